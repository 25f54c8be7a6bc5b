"""Group commit: the calls that arrive while a transaction is in progress share the next one."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from database import is_unavailable, selected
from scheduling import wait_until_idle

T = TypeVar("T")
R = TypeVar("R")

# How long the leader waits at most for the loop to be idle. Calls that arrive meanwhile join its
# group, and larger groups need fewer commits.
GATHER_SECONDS = 0.002
LARGEST_GROUP = 500  # items; other writers wait for as long as these take, about 0.15 s
# After so many groups of a single call, only every 16th waits. With one caller at a time, a booking
# on SQLite then takes 9 % less CPU; with 32 callers it makes no difference.
SINGLES = 16


class _Call:
    """The items of one caller, and their results."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.outcome: list[Any] | BaseException | None = None
        self.turn = threading.Event()


class GroupCommit(Generic[T, R]):
    """Carries out the items of concurrent calls in shared transactions, one group at a time.

    A commit, which waits for the disk, costs far more than the work it commits. So calls that
    arrive during a transaction wait. The first of them is the leader: it carries out the items of
    all in one transaction. Only calls for one client of one database share a transaction.

    `carry_out(client_id, items)` does all of the items or none and returns a result for each. If it
    fails for a group, each call runs alone, so that no call fails because of another. If the
    database is unavailable, all callers that wait get that error at once.

    A call within a transaction becomes part of that one, and so runs alone.
    """

    def __init__(self, carry_out: Callable[[str, list[T]], list[R]]) -> None:
        self._carry_out = carry_out
        self._singles = 0  # groups of a single call since the last larger one
        self._lock = threading.Lock()  # guards the queues
        # The calls that wait for a leader; a key exists while its transaction is in progress.
        self._queues: dict[tuple[Any, str], deque[_Call]] = {}

    def __call__(self, client_id: str, items: list[T]) -> list[R]:
        """Return the results of the items; raises the error of `carry_out`."""
        database = selected.get().database
        if database.in_transaction():
            return self._carry_out(client_id, items)
        key = (database, client_id)
        call = _Call(items)
        with self._lock:
            queue = self._queues.get(key)
            if queue is None:
                self._queues[key] = deque()
            else:
                queue.append(call)
        if queue is None:
            if self._singles < SINGLES or self._singles % SINGLES == 0:
                wait_until_idle(GATHER_SECONDS)
        else:
            call.turn.wait()
        if call.outcome is None:
            self._lead(key, call)
        if isinstance(call.outcome, BaseException):
            raise call.outcome
        assert call.outcome is not None
        return call.outcome

    def _lead(self, key: tuple[Any, str], own: _Call) -> None:
        """Carry out one group, the leader's call first, and appoint the next leader."""
        group = self._gather(key, own)
        try:
            self._carry_out_group(key[1], group)
        except BaseException as error:  # handed to the callers of the group
            for call in group:
                call.outcome = error
        finally:
            self._hand_over(key, group)

    def _gather(self, key: tuple[Any, str], own: _Call) -> list[_Call]:
        group, size = [own], len(own.items)
        with self._lock:
            queue = self._queues[key]
            while queue and size + len(queue[0].items) <= LARGEST_GROUP:
                size += len(queue[0].items)
                group.append(queue.popleft())
        self._singles = 0 if len(group) > 1 else self._singles + 1
        return group

    def _carry_out_group(self, client_id: str, group: list[_Call]) -> None:
        try:
            results = self._carry_out(client_id, [item for call in group for item in call.items])
        except Exception as error:
            if len(group) == 1 or is_unavailable(error):
                raise
            for call in group:
                self._carry_out_alone(client_id, call)
            return
        start = 0
        for call in group:
            call.outcome = results[start : start + len(call.items)]
            start += len(call.items)

    def _carry_out_alone(self, client_id: str, call: _Call) -> None:
        try:
            call.outcome = self._carry_out(client_id, call.items)
        except Exception as error:  # raised again for its caller
            call.outcome = error

    def _hand_over(self, key: tuple[Any, str], group: list[_Call]) -> None:
        """Wake the callers of the group and the next leader."""
        error = group[0].outcome
        with self._lock:
            queue = self._queues[key]
            if isinstance(error, BaseException) and is_unavailable(error):
                for call in queue:
                    call.outcome = error
                group += queue
                queue.clear()
            if queue:
                queue.popleft().turn.set()  # without an outcome, its caller becomes the leader
            else:
                del self._queues[key]
        for call in group[1:]:
            call.turn.set()
