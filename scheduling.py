"""Functions that let long work yield to other requests, with or without gevent.

gunicorn's configuration patches the standard library for gevent; then each request is a greenlet.
Commands, tests and Flask's own server are not patched: there each request is an ordinary thread.
"""

from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any, TypeVar

import gevent
from gevent import monkey
from gevent.util import wrap_errors

R = TypeVar("R")
T = TypeVar("T")

TURN_SECONDS = 0.01  # at most, for other requests between two parts of a list
USES_GEVENT: bool = monkey.is_module_patched("threading")


def run_in_thread(function: Callable[..., R], *arguments: Any) -> R:
    """Run a call that blocks its thread, such as a long query, while other requests run."""
    if not USES_GEVENT:
        return function(*arguments)
    # gevent prints the traceback of an error that a call in its pool raises, so return the error.
    call = wrap_errors(Exception, function)
    outcome: R | Exception = gevent.get_hub().threadpool.spawn(call, *arguments).get()
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def run_later(function: Callable[..., None], *arguments: Any) -> None:
    """Run a call while the caller goes on, on the same database; without gevent, run it now."""
    if USES_GEVENT:
        gevent.spawn(copy_context().run, function, *arguments)
    else:
        function(*arguments)


def wait_until_idle(seconds: float) -> None:
    """Wait at most `seconds` until no other greenlet can run; without gevent, return at once."""
    if USES_GEVENT:
        with gevent.Timeout(seconds, False):
            gevent.idle()


def in_turns(items: list[T], size: int) -> Iterator[list[T]]:
    """Yield parts of a list; other requests run between two parts."""
    for start in range(0, len(items), size):
        if start:
            wait_until_idle(TURN_SECONDS)  # sleep(0) runs callbacks, but does not look at sockets
        yield items[start : start + size]
