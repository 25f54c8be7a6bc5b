"""Many rows in one request: what leads and meetings share of it."""

from collections.abc import Callable
from typing import Any, TypeVar

from database import Row, db
from services.errors import ServiceError

R = TypeVar("R")

# A row of an array, as the schema judged it: what was valid, and field → what is wrong.
Judged = tuple[Row, dict[Any, Any]]

# Large enough that the commits do not count, small enough that other writers do not wait long.
ROWS_A_TRANSACTION = 500


def in_parts(
    store: Callable[[str, list[Judged]], list[R]], client_id: str, rows: list[Judged]
) -> list[R]:
    """Store rows by a function that takes a transaction for each part of them."""
    return [
        result
        for start in range(0, len(rows), ROWS_A_TRANSACTION)
        for result in store(client_id, rows[start : start + ROWS_A_TRANSACTION])
    ]


def alone(function: Callable[..., R], *arguments: Any) -> R | ServiceError:
    """Do something that undoes itself where it fails, within a transaction that goes on."""
    try:
        with db.atomic():
            return function(*arguments)
    except ServiceError as error:
        return error
