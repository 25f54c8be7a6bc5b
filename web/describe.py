"""The decorator that documents a route for docs/openapi.json."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from bases import Query, Request
from envelopes import Answer
from services.errors import ServiceError

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Described:
    """What a route takes and returns; its docstring has the summary and the description."""

    statuses: Mapping[int, str]  # each status of a success, and when it occurs
    answer: type[Answer] | None  # None for a calendar
    body: type[Request] | None
    query: type[Query] | None
    row: type[Answer] | None  # a row of the response to an array, for a route that takes one
    has_location: bool  # whether the response has the address of the row
    raises: tuple[type[ServiceError], ...]  # its own errors; all routes share some more

    @property
    def unrepeatable(self) -> str:
        """Why a POST is refused with an `Idempotency-Key`; empty if it is not."""
        return self.answer.UNREPEATABLE if self.answer else ""


def answers(
    statuses: int | dict[int, str],
    answer: type[Answer] | None,
    *,
    body: type[Request] | None = None,
    query: type[Query] | None = None,
    row: type[Answer] | None = None,
    has_location: bool = False,
    raises: tuple[type[ServiceError], ...] = (),
) -> Callable[[View], View]:
    """Record what a route takes and returns. This costs a request nothing.

    `statuses` is one status, or several and when each occurs, as in
    `{201: "new", 200: "replayed"}`.
    """
    whens = {statuses: ""} if isinstance(statuses, int) else statuses

    def record(view: View) -> View:
        vars(view)["described"] = Described(
            whens, answer, body, query, row, has_location or row is not None, raises
        )
        return view

    return record
