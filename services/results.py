"""What services are given of a request's rows, and what they return for each."""

from typing import Any, NamedTuple


class Loaded(NamedTuple):
    """A row as its schema loaded it: the valid fields, and field → sentences for the others."""

    valid: dict[str, Any]
    wrong: dict[Any, Any]


class RowResult(NamedTuple):
    """A stored row and what the request did to it: `created`, `updated` or `unchanged`."""

    row: Any
    effect: str
