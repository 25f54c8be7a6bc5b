"""Carry out a call and undo it, to learn what it would do."""

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from database import transaction

R = TypeVar("R")


class _Undo(Exception):
    """Rolls back a rehearsal."""


def rehearse(call: Callable[[], R]) -> R:
    """Return the result that a call would return, and store nothing; raises its errors."""
    results: list[R] = []

    @transaction
    def attempt() -> None:
        results.append(call())
        raise _Undo

    with suppress(_Undo):
        attempt()
    return results[-1]
