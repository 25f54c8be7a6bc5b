"""Many rows at once: those of an array, and those of requests that meet."""

import math
from collections.abc import Callable
from threading import Lock
from typing import Any, Generic, TypeVar

from database import Prepared, Row, Statement, StatementOfEach, db, is_unavailable, release
from scheduling import in_turns, wait_until_idle
from services.errors import ServiceError

R = TypeVar("R")

# A row of an array, as the schema judged it: what was valid, and field → what is wrong.
Judged = tuple[Row, dict[Any, Any]]

# Large enough that the commits do not count, small enough that other writers do not wait long.
ROWS_A_TRANSACTION = 500
ANYONE = ""  # whose calls are carried out together, where it does not matter
ROWS_TOGETHER = 1000  # that requests which meet ask for at once: what one may ask for alone
IDLE_SECONDS = 0.002  # for requests that have arrived to join a group commit
ROWS_OF_ONE = 201  # of one of them: 200, and one that tells whether there are more


def in_parts(
    store: Callable[[str, list[Judged]], list[R]], client_id: str, rows: list[Judged]
) -> list[R]:
    """Store rows by a function that takes a transaction for each part of them."""
    results = []
    for part in in_turns(rows, ROWS_A_TRANSACTION):
        results += store(client_id, part)
        release()  # to whoever waits
    return results


def alone(function: Callable[..., R], *arguments: Any) -> R | ServiceError:
    """Do something that undoes itself where it fails, within a transaction that goes on."""
    try:
        with db.atomic():
            return function(*arguments)
    except ServiceError as error:
        return error


class _Call:
    """A call that waits for its turn to lead, or for what has become of it."""

    __slots__ = ("argument", "client_id", "done", "outcome", "turn")

    def __init__(self, client_id: str, argument: Any) -> None:
        self.client_id, self.argument = client_id, argument
        self.done = False
        self.outcome: Any = None
        self.turn = Lock()
        self.turn.acquire()


class Together(Generic[R]):
    """Calls of one client that meet: those that arrive while one is under way wait, and the first
    of them carries them all out as one.

    This is group commit: one transaction, whose commit is what takes long, serves all who wait for
    it, and the more wait, the less each costs. It is also the queue in front of the database's
    writers, of whom a process has one at a time. Look-ups that meet are one query in the same way.
    A call that meets nobody goes through at once. Nobody keeps a connection beyond it.

    `carry_out_all` does many calls, all or none of them, and returns for each its result or the
    ServiceError it ends in; `carry_out` does one, where there is a shorter way for one. Where many
    fail as a whole, each call is done by itself, so that nobody pays for another's fault. Where the
    database is not to be had, all who wait by then are told so, and nobody waits longer than the
    first. Those carried out together weigh `most` at most, by what `weigh` says of each argument;
    one alone may weigh more.
    """

    def __init__(
        self,
        carry_out_all: Callable[[str, list[Any]], list[R | ServiceError]],
        carry_out: Callable[[str, Any], R] | None = None,
        weigh: Callable[[Any], int] = lambda argument: 1,
        most: float = math.inf,
    ) -> None:
        self._carry_out_all = carry_out_all
        self._weigh, self._most = weigh, most
        self._carry_out = carry_out or self._carry_out_as_many
        self._lock = Lock()  # over the two below
        self._waiting: list[_Call] = []
        self._busy = False

    def __call__(self, client_id: str, argument: Any) -> R:
        """The result of one call; raises what it ends in."""
        call = _Call(client_id, argument)
        with self._lock:
            self._waiting.append(call)
            leads, self._busy = not self._busy, True
        if leads:
            wait_until_idle(IDLE_SECONDS)  # for all that have arrived already
        else:
            release()  # who leads may need the connection
            call.turn.acquire()
        if not call.done:
            self._lead(client_id)
            release()
        if isinstance(call.outcome, BaseException):
            raise call.outcome
        result: R = call.outcome
        return result

    def _lead(self, client_id: str) -> None:
        with self._lock:
            calls = self._take(client_id)
        outcomes: list[Any] = self._outcomes(client_id, [call.argument for call in calls])
        with self._lock:
            if isinstance(outcomes[0], BaseException) and is_unavailable(outcomes[0]):
                calls += self._waiting
                outcomes += outcomes[:1] * len(self._waiting)
                self._waiting = []
            self._busy = bool(self._waiting)
            next_to_lead = self._waiting[:1]
        for call, outcome in zip(calls, outcomes, strict=True):
            call.done, call.outcome = True, outcome
        for call in next_to_lead + calls:  # first who keeps the database at work
            call.turn.release()

    def _take(self, client_id: str) -> list[_Call]:
        """Those who wait and are a client's, as many as may be carried out together."""
        taken: list[_Call] = []
        left: list[_Call] = []
        weight = 0
        for call in self._waiting:
            is_theirs = call.client_id == client_id
            weight += self._weigh(call.argument) if is_theirs else 0
            fits = is_theirs and (weight <= self._most or not taken)
            (taken if fits else left).append(call)
        self._waiting = left
        return taken

    def _outcomes(self, client_id: str, arguments: list[Any]) -> list[Any]:
        if len(arguments) > 1:
            try:
                return list(self._carry_out_all(client_id, arguments))
            except Exception as error:  # raised again in each caller, or met again by each alone
                if is_unavailable(error):
                    return [error] * len(arguments)
        return [self._outcome(client_id, argument) for argument in arguments]

    def _carry_out_as_many(self, client_id: str, argument: Any) -> R | ServiceError:
        return self._carry_out_all(client_id, [argument])[0]

    def _outcome(self, client_id: str, argument: Any) -> Any:
        try:
            return self._carry_out(client_id, argument)
        except BaseException as error:  # raised again in the caller
            return error


class Joint(Prepared):
    """A prepared SELECT that is run once for all requests that meet, where the database takes that.

    It must be quick whatever its values, since who asks with others waits for all of them; and have
    a LIMIT, with which each is sure to be looked up by itself, along the index.
    """

    def __init__(self, build: Callable[[], Any]) -> None:
        super().__init__(build)
        self._together: Together[list[tuple[Any, ...]]] = Together(
            self._fetch_each, weigh=_rows_asked, most=ROWS_TOGETHER
        )

    def _statement_for(self, database: Any) -> Statement:
        return (StatementOfEach if database.takes_json else Statement)(self.build(), database)

    def rows(self, **values: Any) -> list[Row]:
        """Every row."""
        may_join = db.takes_json and not db.in_transaction()
        if may_join and _rows_asked(values) <= ROWS_OF_ONE:
            fetched = self._together(ANYONE, values)
        else:
            [fetched] = self._fetch_each(ANYONE, [values])
        return self.statement().read(fetched)

    def _fetch_each(self, _: str, many: list[Row]) -> list[Any]:
        return self.statement().fetch_each(many)


def _rows_asked(values: Row) -> int:
    limit: int = values.get("limit", 1)
    return limit
