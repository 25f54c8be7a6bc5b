"""Error responses to requests that never reach the application, in the API's envelope."""

import json
import re
from logging import Logger
from uuid import uuid4

from gunicorn.http import errors

from config.logging import REQUEST_ID


class Busy(Exception):
    """The worker cannot take another request just now; the message is for the caller."""


# Error → status and title. All other errors in the form of a request are a 400.
REFUSALS: dict[type[Exception], tuple[int, str]] = {
    Busy: (503, "Service unavailable"),
    errors.LimitRequestLine: (414, "URI Too Long"),
    errors.LimitRequestHeaders: (431, "Request Header Fields Too Large"),
    errors.ExpectationFailed: (417, "Expectation Failed"),
    errors.UnsupportedTransferCoding: (501, "Not Implemented"),
    errors.ParseException: (400, "Bad Request"),
    Exception: (500, "Internal Server Error"),
}
CODES = {500: "internal_error", 503: "unavailable"}  # other codes are derived from the title
ASKED_ID = re.compile(rf"\r\nx-request-id:[ \t]*({REQUEST_ID})[ \t]*\r\n".encode(), re.IGNORECASE)


def refuse(error: Exception, received: bytes, log: Logger) -> bytes:
    """Log a refused request and return the complete response; the connection is then closed.

    `received` is the beginning of the request. Neither the log nor the response repeats any of it
    except its X-Request-Id, since it may contain a key or an email.
    """
    request_id = find_request_id(received)
    status, title = next(REFUSALS[kind] for kind in REFUSALS if isinstance(error, kind))
    message = f"The request could not be read ({type(error).__name__})."
    if isinstance(error, Busy):
        message = str(error)
        log.warning("Refused request %s: %s", request_id, message)
    elif status == 500:
        log.error("Error before the application: request %s", request_id, exc_info=error)
    else:
        kind = type(error).__name__
        log.warning("Refused request %s before the application: %s", request_id, kind)
    return write_response(request_id, status, title, message)


def find_request_id(received: bytes) -> str:
    """Return the X-Request-Id of a request if it is well-formed, else a new one."""
    head, _, _ = received.partition(b"\r\n\r\n")
    asked = ASKED_ID.search(head + b"\r\n")
    return asked[1].decode() if asked else str(uuid4())


def write_response(request_id: str, status: int, title: str, message: str) -> bytes:
    """Return the bytes of an error response."""
    body = json.dumps(
        {
            "success": False,
            "error": title.capitalize(),
            "message": message,
            "code": CODES.get(status) or title.lower().replace(" ", "_"),
            "request_id": request_id,
        }
    ).encode()
    head = (
        f"HTTP/1.1 {status} {title}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nX-Request-Id: {request_id}\r\n"
    )
    if status == 503:
        head += "Retry-After: 1\r\n"
    return f"{head}\r\n".encode() + body
