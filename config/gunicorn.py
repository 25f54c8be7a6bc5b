"""How gunicorn serves; `python -m config.serve` starts it."""

import json
import socket
import sys
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.http import errors
from gunicorn.workers.gthread import TConn, ThreadWorker
from peewee import PeeweeException

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from config.logging import configuration  # noqa: E402
from config.settings import VAR, SettingsError, read_settings  # noqa: E402
from database import db  # noqa: E402
from services import migrations  # noqa: E402
from services.errors import Unavailable  # noqa: E402

REQUEST_SECONDS = 15.0  # for a request, head and body, to arrive
RESPONSE_SECONDS = 15.0  # for an answer to be taken

try:
    settings = read_settings()
except SettingsError as error:
    raise SystemExit(str(error)) from None
VAR.mkdir(exist_ok=True)

# What gunicorn itself refuses, before there is a request that could reach the application.
REFUSALS: dict[type[Exception], tuple[int, str]] = {
    errors.LimitRequestLine: (414, "URI Too Long"),
    errors.LimitRequestHeaders: (431, "Request Header Fields Too Large"),
    errors.ExpectationFailed: (417, "Expectation Failed"),
    errors.UnsupportedTransferCoding: (501, "Not Implemented"),
}


class DeadlineSocket(socket.socket):
    """A socket on which a whole request must arrive in time, however slowly its bytes drip in.

    When the time is over the caller counts as gone, so what arrived is a truncated request.
    """

    deadline = 0.0

    def recv(self, *args: Any) -> bytes:
        """Read what there is, or nothing once the deadline is past."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            return b""
        self.settimeout(left)
        try:
            return super().recv(*args)
        except TimeoutError:
            return b""

    def sendall(self, *args: Any) -> None:
        """Write everything, to a caller that takes it in time."""
        self.settimeout(RESPONSE_SECONDS)
        super().sendall(*args)


class Worker(ThreadWorker):
    """gunicorn's threaded worker, with a deadline for every request and errors in JSON."""

    def handle(self, conn: TConn) -> Any:
        """Serve one request on a connection, in a thread."""
        if not conn.initialized and not isinstance(conn.sock, DeadlineSocket):
            conn.sock = DeadlineSocket(fileno=conn.sock.detach())
        conn.sock.deadline = time.monotonic() + REQUEST_SECONDS
        return super().handle(conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request too broken to reach the application in the API's own envelope.

        Neither the answer nor the log repeats what the caller sent: it may hold a key or an email.
        """
        bad_request = isinstance(exc, errors.ParseException)
        status, title = next(
            (refusal for kind, refusal in REFUSALS.items() if isinstance(exc, kind)),
            (400, "Bad Request") if bad_request else (500, "Internal Server Error"),
        )
        if bad_request:
            self.log.warning("Refused a request before the application: %s", type(exc).__name__)
        else:
            self.log.error("Error before the application", exc_info=exc)
        code = title.lower().replace(" ", "_") if bad_request else "internal_error"
        request_id = str(uuid4())
        body = json.dumps(
            {
                "success": False,
                "error": title.capitalize(),
                "message": f"The request could not be read ({type(exc).__name__}).",
                "code": code,
                "request_id": request_id,
            }
        ).encode()
        head = (
            f"HTTP/1.1 {status} {title}\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nX-Request-Id: {request_id}\r\n\r\n"
        )
        try:
            client.sendall(head.encode() + body)
        except OSError:
            self.log.debug("The caller was gone before its error answer.")


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


wsgi_app = "app:create_app()"
preload_app = True  # what the workers share is loaded once; no connection is opened while loading
worker_class = Worker
workers = settings.web_concurrency
threads = settings.threads
bind = f"[{settings.host}]:{settings.port}" if ":" in settings.host else f"{settings.host}:{settings.port}"  # fmt: skip  # noqa: E501
backlog = 2048
worker_connections = 1000
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
