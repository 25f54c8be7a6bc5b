"""Logging: one line a request and one an event, as text or as JSON, to standard error.

No line holds a key, a body, a query string or an email: of its address, a request logs the path
alone, masked.
"""

import json
import logging
import re
import time
from typing import Any

# What a request's line says, in this order; `app` fills it in.
REQUEST_FIELDS = ("request_id", "client_id", "method", "path", "status", "milliseconds")

_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_HARMLESS = re.compile(rf"(?:[a-z]+(?:-[a-z]+)*|{_UUID})(?:\.ics)?\Z")


def mask_path(path: str) -> str:
    """The path with every part hidden that is neither a plain lower-case word nor a UUID.

    A caller may put anything there: an email, its key, a feed's secret, a line break.
    """
    parts = path[:500].split("/")
    return "/".join(part if not part or _HARMLESS.match(part) else "*" for part in parts)


class TextFormatter(logging.Formatter):
    """`2026-04-15T12:00:00.123Z INFO message`, with a traceback on lines of its own."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")


class JsonFormatter(TextFormatter):
    """One JSON object a line: `time`, `level`, then the request's fields or `message`."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        line: dict[str, Any] = {"time": self.formatTime(record), "level": record.levelname}
        line |= getattr(record, "request", None) or {"message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configuration(level: str, format: str) -> dict[str, Any]:
    """A configuration for `logging.config.dictConfig`; the root logger is left to its owner."""
    formatter = JsonFormatter if format == "json" else TextFormatter
    own = {"level": level, "handlers": ["stderr"]}
    # gunicorn's DEBUG lines hold paths as they came.
    servers = own | {"level": "INFO" if level == "DEBUG" else level}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {"meetings": own, "gunicorn.error": servers, "psycopg": servers},
    }
