"""What services take and return for the rows of a request: one, or many of an array."""

from typing import Any, Literal, NamedTuple

from services.errors import ServiceError

Details = dict[Any, Any]  # field → sentences; nested fields nest, list items by index
Key = tuple[str, Any, str]  # of a row in a list: the order, the time it is listed by, the id


class Loaded(NamedTuple):
    """One object of a body: its valid fields, and what is wrong with the others."""

    valid: dict[str, Any]
    wrong: Details


class RowResult(NamedTuple):
    """A stored row and what the request did to it."""

    row: Any
    effect: Literal["created", "updated", "rescheduled", "unchanged"]
    lead_created: bool = False


Result = RowResult | ServiceError
