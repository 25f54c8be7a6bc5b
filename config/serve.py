"""Start the server: `python -m config.serve`. A wrong setting stops the start with one line.

With `--check` it only checks that the server could start.
"""

import os
import socket
import subprocess
import sys

from config.settings import ROOT, SettingsError, prepare_state_dir, read_settings

SUPERVISOR_VARIABLE = "MEETINGS_SUPERVISOR_PID"  # tells gunicorn which process to stop with itself


def start_supervisor() -> int:
    """Start the supervisor of `flask webhooks send`; returns its process id.

    It is a child of this process, which stays the same when it becomes gunicorn.
    """
    supervisor = [sys.executable, "-S", "-m", "config.supervisor", str(os.getpid())]
    return subprocess.Popen(supervisor, cwd=ROOT).pid  # noqa: S603  (no argument comes from outside)


def main() -> None:
    """Check the settings, the state folder and the port, then become gunicorn.

    The sender of webhooks is started beside it, unless WEBHOOK_SENDER is off.
    """
    try:
        settings = read_settings()
        prepare_state_dir(settings.state_dir)
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        with socket.create_server((settings.host, settings.port), family=family):
            pass
    except SettingsError as error:
        raise SystemExit(str(error)) from None
    except OSError as error:
        where = f"{settings.host}, port {settings.port}"
        raise SystemExit(f"HOST, PORT: cannot listen on {where}: {error.strerror}") from None
    if "--check" in sys.argv[1:]:
        return
    if "WEB_CONCURRENCY" in os.environ:
        # gunicorn parses it before its configuration, so it gets the checked number.
        os.environ["WEB_CONCURRENCY"] = str(settings.web_concurrency)
    if settings.webhook_sender:
        os.environ[SUPERVISOR_VARIABLE] = str(start_supervisor())
    gunicorn = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "config" / "gunicorn.py")]
    os.execv(sys.executable, gunicorn)  # noqa: S606  (no argument comes from outside)


if __name__ == "__main__":
    main()
