"""Turns: one caller at a time for each name, in this process."""

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from database.pool import FifoSemaphore


class TurnTimeout(Exception):
    """The earlier callers did not finish in time."""


class Turns:
    """A FIFO lock for each name, for callers that hold no connection while they wait.

    The locks of a process end with it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two below
        self._semaphores: dict[Hashable, FifoSemaphore] = {}
        self._callers: dict[Hashable, int] = {}  # that hold a lock or wait for it

    @contextmanager
    def wait(self, name: Hashable, timeout_seconds: float) -> Iterator[bool]:
        """Run the block after the earlier callers; raises TurnTimeout if they take too long.

        Yields whether there were earlier callers.
        """
        with self._lock:
            others = self._callers.get(name, 0)
            semaphore = self._semaphores.setdefault(name, FifoSemaphore(1))
            self._callers[name] = others + 1
        try:
            if not semaphore.acquire(timeout_seconds):
                raise TurnTimeout()
            try:
                yield others > 0
            finally:
                semaphore.release()
        finally:
            self._leave(name)

    def _leave(self, name: Hashable) -> None:
        with self._lock:
            self._callers[name] -= 1
            if not self._callers[name]:
                del self._callers[name], self._semaphores[name]
