"""The configuration of gunicorn, which `python -m config.serve` starts."""

# This comes first, so that every module imports the patched standard library. gunicorn's master
# needs the original fork, signals and queue. The service never waits for a subprocess or for TLS.
from gevent import monkey

monkey.patch_all(os=False, signal=False, subprocess=False, queue=False, ssl=False)

import fcntl
import gc
import math
import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from config.settings import SettingsError, prepare_state_dir, read_settings

try:
    settings = read_settings()
    prepare_state_dir(settings.state_dir)
except SettingsError as error:
    raise SystemExit(str(error)) from None
if settings.database_url.startswith("sqlite:///"):
    # peewee imports every installed driver, and psycopg takes 12 MiB.
    sys.modules["psycopg"] = None  # type: ignore[assignment]

import gevent
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from peewee import PeeweeException

from config import metrics
from config.logging import configuration
from config.serve import SUPERVISOR_VARIABLE
from config.version import VERSION
from config.worker import GeventWorker
from database import db
from services import migrations, sending
from services.errors import Unavailable

if settings.metrics:
    metrics.share(settings.state_dir)
WATCH_SECONDS = 60
# Open in all workers, without a name.
WATCH_LOCK = tempfile.TemporaryFile(dir=settings.state_dir)  # noqa: SIM115


class Log(Logger):
    """gunicorn's log of events; the application logs the requests."""

    def __init__(self, cfg: Any) -> None:
        super().__init__(cfg)
        self.info("Meetings %s starts.", VERSION)

    def access(self, *args: Any) -> None:
        """Write nothing, since an access line would contain the query string."""


def on_starting(server: Arbiter) -> None:
    """Refuse to start if the database lacks a migration; an unreachable server may come back."""
    try:
        migrations.check()  # the application is loaded by now and has chosen the database
    except Unavailable as behind:
        raise SystemExit(behind.message) from None
    except (PeeweeException, OSError) as error:
        why = " ".join(str(error).split())
        if not db.may_come_back:
            raise SystemExit(f"DATABASE_URL: the database cannot be opened: {why}") from None
        server.log.warning("The database does not answer yet: %s", why)
    finally:
        db.close_all()  # processes must not share a connection after a fork


def when_ready(server: Arbiter) -> None:
    """Exclude the loaded objects from garbage collection, so that the workers share their memory.

    A collection writes to every object it visits, and the kernel copies each page written to.
    """
    gc.collect()
    gc.freeze()
    stop_supervisor_with(server)


def stop_supervisor_with(server: Arbiter) -> None:
    """Forward signals to stop to the sender's supervisor, instead of stopping it at the end.

    So the sender and the workers finish their work in progress at the same time.
    """
    master, supervisor = os.getpid(), int(os.environ.get(SUPERVISOR_VARIABLE, 0))
    if not supervisor:
        return
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        handle: Any = signal.getsignal(number)

        def forward(sig: int, frame: Any, handle: Any = handle) -> None:
            if os.getpid() == master:  # a worker inherits the handler until it sets its own
                with suppress(ProcessLookupError):
                    os.kill(supervisor, signal.SIGTERM)
            handle(sig, frame)

        signal.signal(number, forward)


def post_worker_init(worker: GeventWorker) -> None:
    """Start watching for deliveries that no sender sends."""
    gevent.spawn(watch_deliveries)


def watch_deliveries() -> None:
    """Warn once a minute while deliveries wait and no sender runs; one worker warns for all.

    The first process to take the lock keeps it until the process ends.
    """
    while True:
        gevent.sleep(WATCH_SECONDS)
        with suppress(BlockingIOError):
            fcntl.lockf(WATCH_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sending.warn_if_stuck()


def post_fork(server: Arbiter, worker: GeventWorker) -> None:
    """Handle a SIGTERM that arrives before the worker is ready; gunicorn would lose it."""
    signal.signal(signal.SIGTERM, worker.handle_exit)


wsgi_app = "app:create_app()"
preload_app = True  # the workers share the loaded code's memory; loading opens no connection
worker_class = GeventWorker
# Half of the database's timeout: a request may wait for its turn and then for the database.
GeventWorker.queue_seconds = settings.db_timeout_seconds / 2
GeventWorker.keepalive_seconds = settings.keepalive_seconds
workers = settings.web_concurrency
threads = settings.threads  # requests in progress in each worker
bind = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"  # fmt: skip  # noqa: E501
backlog = 2048
worker_connections = 800  # of each worker; many systems allow a process 1,024 open files
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 8190
# TRUSTED_PROXIES alone decides whose X-Forwarded-* headers count (web/proxies.py). By default,
# gunicorn takes the scheme, and parts of the path, from the headers of every local caller.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""
keepalive = math.ceil(settings.keepalive_seconds)
timeout = 30  # seconds for which a worker's main loop may block before the worker is replaced
graceful_timeout = 30  # seconds for requests in progress after SIGTERM
control_socket_disable = True  # gunicorn would create it in the home folder
worker_tmp_dir = str(settings.state_dir)
logger_class = Log
# Without a root logger here, gunicorn configures one that prints every line a second time.
logconfig_dict = configuration(settings.log_level, settings.log_format) | {"root": {"handlers": []}}
