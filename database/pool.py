"""A pool of connections beneath a peewee database.

Neither maintained library fits. peewee's pool opens connections while it holds its lock: one server
that does not answer keeps every caller from getting or returning a connection. psycopg's pool
serves PostgreSQL alone and reconnects in the background, after growing pauses. This pool is small
and uses only peewee's public methods.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import peewee

driver_errors: Any = peewee.ExceptionWrapper(peewee.EXCEPTIONS)  # type: ignore[attr-defined]

STREAMED_ROWS = 500  # in memory at a time
Observe = Callable[[float], None]  # takes the seconds that a call took


class PoolTimeout(Exception):
    """No connection came free in time."""


def ignore(seconds: float) -> None:
    """Do nothing with the seconds of a call."""


class FifoSemaphore:
    """A semaphore that serves its callers in the order of their arrival.

    Python's own semaphore lets newcomers overtake callers that are just waking up; under load, some
    callers waited for seconds.
    """

    def __init__(self, permits: int) -> None:
        self._lock = threading.Lock()  # guards the two below
        self._free = permits
        self._waiting: deque[threading.Event] = deque()
        self.observe_wait: Observe = ignore

    def acquire(self, timeout_seconds: float) -> bool:
        """Take a permit; False if none came free in time."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            turn = threading.Event()
            self._waiting.append(turn)
        began = time.perf_counter()
        is_my_turn = turn.wait(timeout_seconds)
        self.observe_wait(time.perf_counter() - began)
        with self._lock:
            if is_my_turn or turn not in self._waiting:
                return True  # perhaps at the last moment
            self._waiting.remove(turn)
            return False

    def release(self) -> None:
        """Give the permit to the caller that has waited longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._free += 1


class TimedCursor:
    """A driver's cursor that passes the seconds of each call to `observe`."""

    def __init__(self, cursor: Any, observe: Observe) -> None:
        self._cursor, self._observe = cursor, observe

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, *arguments: Any) -> Any:
        """Run a statement."""
        return self._timed(self._cursor.execute, *arguments)

    def executemany(self, *arguments: Any) -> Any:
        """Run a statement once for each set of values."""
        return self._timed(self._cursor.executemany, *arguments)

    def fetchall(self) -> Any:
        """Return all rows."""
        return self._timed(self._cursor.fetchall)

    def _timed(self, call: Callable[..., Any], *arguments: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*arguments)
        finally:
            self._observe(time.perf_counter() - began)


class Pool:
    """Mixin for a peewee database: each thread or greenlet borrows one connection at a time.

    A query outside a transaction borrows a connection for its own duration (`fetch`); a transaction
    borrows one from BEGIN to COMMIT.
    """

    execute_sql: Any
    observe: Observe | None = None

    def __init__(self, *args: Any, pool_size: int, timeout_seconds: float, **options: Any) -> None:
        self.timeout_seconds = timeout_seconds
        self._permits = FifoSemaphore(pool_size)
        self._idle: list[Any] = []  # the connection used last is used first
        self._borrowed = threading.local()
        super().__init__(*args, **options)

    def open(self) -> Any:
        """Open a connection of the driver."""
        raise NotImplementedError

    def is_usable(self, connection: Any) -> bool:
        """Whether an idle connection still works, without asking the server."""
        raise NotImplementedError

    def is_reusable(self, connection: Any) -> bool:
        """Whether a returned connection has no transaction left open."""
        raise NotImplementedError

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Borrow a connection, unless this thread has one; raises PoolTimeout."""
        if not self.is_closed():
            return False
        if not self._permits.acquire(self.timeout_seconds):
            raise PoolTimeout("no connection came free in time")
        try:
            self._borrowed.connection = self._find_idle() or self._open_one()
        except BaseException:
            self._permits.release()
            raise
        return True

    def _find_idle(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            if self.is_usable(connection):
                return connection
            connection.close()
        return None

    def _open_one(self) -> Any:
        with driver_errors:
            return self.open()

    def close(self) -> bool:
        """Give the connection of this thread back; False if it has none."""
        connection = getattr(self._borrowed, "connection", None)
        if connection is None:
            return False
        self._borrowed.connection = None
        if self.is_reusable(connection):
            self._idle.append(connection)
        else:
            connection.close()
        self._permits.release()
        return True

    def is_closed(self) -> bool:
        """Whether this thread has no connection."""
        return getattr(self._borrowed, "connection", None) is None

    def connection(self) -> Any:
        """The connection of this thread, borrowed if need be."""
        self.connect()
        return self._borrowed.connection

    def cursor(self, named_cursor: Any = None) -> Any:
        """A cursor on the connection of this thread."""
        cursor = (getattr(self._borrowed, "connection", None) or self.connection()).cursor()
        return TimedCursor(cursor, self.observe) if self.observe else cursor

    def close_all(self) -> None:
        """Close the idle connections and that of this thread."""
        self.close()
        while self._idle:
            self._idle.pop().close()

    def time_calls(self, observe: Observe) -> None:
        """Pass the seconds of each call of the driver and of each wait for a turn to `observe`."""
        self.observe = self._permits.observe_wait = observe

    def fetch(self, sql: str, values: Any) -> list[tuple[Any, ...]]:
        """Run a query and return all its rows, on a connection borrowed for it if need be."""
        if getattr(self._borrowed, "connection", None) is not None:
            return self.run_query(sql, values)
        try:
            return self.run_query(sql, values)
        finally:
            self.close()

    def run_query(self, sql: str, values: Any) -> list[tuple[Any, ...]]:
        """Run a query on the connection of this thread and return all its rows."""
        rows: list[tuple[Any, ...]] = self.execute_sql(sql, values).fetchall()
        return rows
