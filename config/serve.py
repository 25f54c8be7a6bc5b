"""Start the server: `python -m config.serve`. Wrong settings are told in one line."""

import os
import socket
import sys

from config.settings import ROOT, SettingsError, read_settings


def main() -> None:
    """Check the settings, then become gunicorn."""
    try:
        settings = read_settings()
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        with socket.create_server((settings.host, settings.port), family=family):
            pass
    except SettingsError as error:
        raise SystemExit(str(error)) from None
    except OSError as error:
        where = f"{settings.host}, port {settings.port}"
        raise SystemExit(f"HOST, PORT: cannot listen on {where}: {error.strerror}") from None
    # gunicorn reads this for itself, before its configuration, and knows it by no other spelling.
    os.environ["WEB_CONCURRENCY"] = str(settings.web_concurrency)
    gunicorn = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "config" / "gunicorn.py")]
    os.execv(sys.executable, gunicorn)  # noqa: S606  (all of it is ours)


if __name__ == "__main__":
    main()
