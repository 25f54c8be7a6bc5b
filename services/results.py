"""What services take and return for the rows of a request: one, or many of an array."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

from services.errors import InvalidRequest, ServiceError

Details = dict[Any, Any]  # field → sentences; nested fields nest, list items by index
Key = tuple[str, Any, str]  # of a row in a list: the order, the time it is listed by, the id
T = TypeVar("T")


class Loaded(NamedTuple):
    """One object of a body: its valid fields, and what is wrong with the others."""

    valid: dict[str, Any]
    wrong: Details

    def require_valid(self) -> dict[str, Any]:
        """Return the fields; raises InvalidRequest if any is wrong."""
        if self.wrong:
            raise InvalidRequest(self.wrong)
        return self.valid


class RowResult(NamedTuple):
    """A stored row and what the request did to it."""

    row: Any
    effect: Literal["created", "updated", "rescheduled", "unchanged"]
    lead_created: bool = False


Result = RowResult | ServiceError


def require_row(result: Result) -> RowResult:
    """Return the result of a row that was stored; raises the error that refused it."""
    if isinstance(result, ServiceError):
        raise result
    return result


def page_of(rows: list[T], limit: int, key: Callable[[T], Key]) -> tuple[list[T], Key | None]:
    """Return a page of at most `limit` rows, and the key of its last row if more rows follow.

    `rows` has one row more than the limit if there are so many.
    """
    page = rows[:limit]
    return page, key(page[-1]) if len(rows) > limit else None
