"""How long a fault lasts: briefly in every run of the tests, much longer in the soak."""

from typing import Any

import pytest


def lengths(names: str, short: Any, long: Any) -> pytest.MarkDecorator:
    """Run a test with the short values, and in the soak (`make soak`) with the long ones."""
    return pytest.mark.parametrize(
        names,
        [
            pytest.param(*_values(short), id="short"),
            pytest.param(*_values(long), id="long", marks=pytest.mark.soak),
        ],
    )


def _values(given: Any) -> tuple[Any, ...]:
    return given if isinstance(given, tuple) else (given,)
