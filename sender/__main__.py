"""The sender's own process, which loads no more than it needs: `python -m sender`.

`flask webhooks send` becomes this program, and the server's supervisor starts it. The words after
`-m sender` are only for the list of processes.
"""

import logging.config
import sys

from config.logging import configuration
from config.settings import SettingsError, read_settings

try:
    settings = read_settings()
except SettingsError as error:
    raise SystemExit(str(error)) from None
if settings.database_url.startswith("sqlite:///"):
    # peewee imports every installed driver, and psycopg takes 12 MiB.
    sys.modules["psycopg"] = None  # type: ignore[assignment]

from peewee import PeeweeException

import database
from sender.run import run
from services import migrations
from services.errors import Unavailable


def main() -> None:
    """Send the deliveries of the database that the settings name."""
    logging.config.dictConfig(configuration(settings.log_level, settings.log_format))
    database.use(database.connect_to(settings.database_url, 1, settings.db_timeout_seconds))
    try:
        migrations.check()
    except Unavailable as behind:
        raise SystemExit(behind.message) from None
    except OSError as error:
        raise SystemExit(f"DATABASE_URL: the database cannot be opened: {error}") from None
    except PeeweeException as error:
        if not database.is_unavailable(error):
            raise
    run(
        settings.webhook_allow_networks,
        settings.webhook_retry_seconds,
        settings.delivery_days,
        once=False,
    )


if __name__ == "__main__":
    main()
