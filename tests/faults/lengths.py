"""Decorators that run a fault test briefly in every run, and much longer in `make soak`."""

from typing import Any

import pytest


def short_and_long(names: str, short: Any, long: Any) -> pytest.MarkDecorator:
    """Run a test with the short values, and in `make soak` with the long ones."""
    return pytest.mark.parametrize(
        names,
        [
            pytest.param(*_values(short), id="short"),
            pytest.param(*_values(long), id="long", marks=pytest.mark.soak),
        ],
    )


def all_or_each(name: str, values: list[Any]) -> pytest.MarkDecorator:
    """Run a test with all values at once for 2.5 `seconds`; in `make soak`, each for a minute."""
    each = [
        pytest.param([value], 60, id=getattr(value, "__name__", value), marks=pytest.mark.soak)
        for value in values
    ]
    return pytest.mark.parametrize(
        f"{name}, seconds", [pytest.param(values, 2.5, id="short"), *each]
    )


def _values(given: Any) -> tuple[Any, ...]:
    return given if isinstance(given, tuple) else (given,)
