"""Logging to standard error, as text or JSON: one line for each request and each event.

No line contains a key, a body, a query string or an email. Of the URL, only the path is
logged, masked; of a validation error, only the names of the wrong fields.
"""

import json
import logging
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

# A request id that a caller may choose. A key sent in its place by mistake is not repeated.
REQUEST_ID = r"(?!nxr_)[A-Za-z0-9._-]{1,128}"
_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_HARMLESS = re.compile(rf"(?:[a-z]+(?:-[a-z]+)*|{_UUID})(?:\.(?:ics|json))?\Z")
_BEFORE_SECRETS = {"feeds", "hooks"}  # the part after one of these is a secret


# Callers may invent names of fields. A name is logged only if it consists of words and is no key.
_FIELD = re.compile(r"(?!nxr_)[A-Za-z]+(?:[_-][A-Za-z]+)*\Z")
_MOST_FIELDS, _LONGEST_FIELD = 10, 40


def list_fields(names: Iterable[Any]) -> str:
    """Join the names of fields, at most ten; a name that could be anything else becomes `*`."""
    shown = [
        name
        if isinstance(name, str) and len(name) <= _LONGEST_FIELD and _FIELD.match(name)
        else "*"
        for name in names
    ]
    more = len(shown) - _MOST_FIELDS
    return ",".join(shown[:_MOST_FIELDS]) + (f",+{more}" if more > 0 else "")


def mask_path(path: str) -> str:
    """Replace each part of a path by `*` unless it is a lower-case word or a UUID.

    A caller can put anything into a path: an email, a key, a line break. What follows `/feeds/` or
    `/hooks/` is masked even if it looks harmless.
    """
    parts = path[:500].split("/")
    return "/".join(
        [
            part if not part or (_HARMLESS.match(part) and before not in _BEFORE_SECRETS) else "*"
            for before, part in pairwise(["", *parts])
        ]
    )


class RequestLine(dict[str, Any]):
    """The logged fields of a request, by name. As text: `name=value …`, without None."""

    def __str__(self) -> str:
        return " ".join([f"{name}={value}" for name, value in self.items() if value is not None])


class TextFormatter(logging.Formatter):
    """`2026-04-15T12:00:00.123Z INFO message`, with a traceback on the lines that follow."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the time of the record, in UTC."""
        return datetime.fromtimestamp(record.created, UTC).isoformat("T", "milliseconds")[:23] + "Z"


class JsonFormatter(TextFormatter):
    """One JSON object per line: `time`, `level`, then the request's fields or `message`."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        line: dict[str, Any] = {"time": self.formatTime(record), "level": record.levelname}
        message: Any = record.msg
        line |= message if isinstance(message, RequestLine) else {"message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configuration(level: str, format: str) -> dict[str, Any]:
    """Return a configuration for `logging.config.dictConfig`; it leaves the root logger alone."""
    formatter = JsonFormatter if format == "json" else TextFormatter
    own = {"level": level, "handlers": ["stderr"]}
    # gunicorn's DEBUG lines contain unmasked paths.
    servers = own | {"level": "INFO" if level == "DEBUG" else level}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {"meetings": own, "gunicorn.error": servers, "psycopg": servers},
    }
