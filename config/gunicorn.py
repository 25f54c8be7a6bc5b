"""How gunicorn serves; `python -m config.serve` starts it."""

# First of all, so that every module imports the patched standard library. gunicorn's master needs
# its own fork, signals and queue; nothing here waits for a subprocess or for TLS.
from gevent import monkey

monkey.patch_all(os=False, signal=False, subprocess=False, queue=False, ssl=False)

import gc
import signal
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from config.settings import VAR, SettingsError, read_settings

try:
    settings = read_settings()
except SettingsError as error:
    raise SystemExit(str(error)) from None
if settings.database_url.startswith("sqlite:///"):
    # peewee loads each driver that is installed, and this one takes 12 MiB.
    sys.modules["psycopg"] = None  # type: ignore[assignment]

from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from peewee import PeeweeException

from config import metrics
from config.logging import configuration
from config.worker import GeventWorker
from database import db
from services import migrations
from services.errors import Unavailable

VAR.mkdir(exist_ok=True)
if settings.metrics:
    metrics.share()


class Log(Logger):
    """gunicorn's log of events; requests are logged by the application."""

    def access(self, *args: Any) -> None:
        """Write nothing: an access line would hold the query string."""


def on_starting(server: Arbiter) -> None:
    """Refuse to start on a database that is behind; one that is away may come back."""
    try:
        migrations.check()  # on the database that the application, loaded by now, uses
    except Unavailable as behind:
        raise SystemExit(behind.message) from None
    except (PeeweeException, OSError) as error:
        why = " ".join(str(error).split())
        if not db.may_come_back:
            raise SystemExit(f"DATABASE_URL: the database cannot be opened: {why}") from None
        server.log.warning("The database does not answer yet: %s", why)
    finally:
        db.close_all()  # a connection must not live through a fork


def when_ready(server: Arbiter) -> None:
    """Leave what is loaded by now to itself, so that the workers go on sharing its memory.

    A collection of garbage writes to every object it looks at, and what is written to is copied.
    """
    gc.collect()
    gc.freeze()


def post_fork(server: Arbiter, worker: GeventWorker) -> None:
    """Heed a SIGTERM that comes before the worker is up; gunicorn would lose it, and wait."""
    signal.signal(signal.SIGTERM, worker.handle_exit)


wsgi_app = "app:create_app()"
preload_app = True  # what the workers share is loaded once; no connection is opened while loading
worker_class = GeventWorker
# Half of the database's own timeout, so that a request which waits for both is answered in time.
GeventWorker.queue_seconds = settings.db_timeout_seconds / 2
workers = settings.web_concurrency
threads = settings.threads  # requests in progress in each worker
bind = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"  # fmt: skip  # noqa: E501
backlog = 2048
worker_connections = 800  # of each worker; many systems allow a process 1,024 open files
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 8190
keepalive = 15
timeout = 30  # a worker whose main loop hangs this long is replaced
graceful_timeout = 30  # for requests in flight after SIGTERM
control_socket_disable = True  # it would be made in the home folder
worker_tmp_dir = str(VAR)
logger_class = Log
# Without a root of ours, gunicorn would configure one that prints every line a second time.
logconfig_dict = configuration(settings.log_level, settings.log_format) | {"root": {"handlers": []}}
