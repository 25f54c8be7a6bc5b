"""The database: one handle for SQLite and PostgreSQL, and write transactions.

What differs between the two databases is in `sqlite.py` and `postgres.py`; no other module asks
which of them is in use.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import wraps
from importlib import import_module
from typing import Any, ParamSpec, TypeVar

from peewee import DatabaseProxy, PeeweeException

from database.pool import PoolTimeout
from database.sqlite import Sqlite

P = ParamSpec("P")
R = TypeVar("R")

# How many times a transaction may run. It runs again if it loses a deadlock, cannot be serialized,
# or refers to a row deleted meanwhile.
ATTEMPTS = 5
# serialization_failure, deadlock_detected, foreign_key_violation
RETRYABLE_SQLSTATES = {"40001", "40P01", "23503"}


class RowGone(PeeweeException):
    """A row that the transaction has read was deleted meanwhile: the transaction runs again."""

    sqlstate = "40001"  # like a transaction that cannot be serialized


class Selection:
    """Which database is in use."""

    def __init__(self, database: Any = None) -> None:
        self.database = database


DEFAULT = Selection()
selected: ContextVar[Selection] = ContextVar("database", default=DEFAULT)


class Handle(DatabaseProxy):
    """The database of the models: the one selected in this context, else the default.

    An application selects its database for each of its requests and commands. So two applications
    in one process each use their own.
    """

    @property
    def obj(self) -> Any:
        """The database itself."""
        return selected.get().database

    @obj.setter
    def obj(self, database: Any) -> None:
        """Do nothing: `use` and `select` set the database."""


db: Any = Handle()


def connect_to(url: str, pool_size: int, timeout_seconds: float) -> Any:
    """Return the database of a URL (`sqlite:///path` or `postgresql://…`) without opening it.

    It opens at most `pool_size` connections in this process. If they are all in use, or a row or
    the database is locked, a call waits at most `timeout_seconds`.
    """
    if url.startswith("sqlite:///"):
        return Sqlite(url.removeprefix("sqlite:///"), pool_size, timeout_seconds)
    # PostgreSQL's driver takes 12 MiB, so it is loaded only where it is needed.
    postgres = import_module("database.postgres")
    return postgres.Postgres(url, pool_size, timeout_seconds)


def use(database: Any) -> None:
    """Make a database the default, for code that runs outside requests, such as tests."""
    DEFAULT.database = database


def select(selection: Selection) -> None:
    """Use a database in this context until `deselect`."""
    selected.set(selection)


def deselect() -> None:
    """Give this thread's connection back to the pool and use the default database again."""
    db.close()
    selected.set(DEFAULT)


def release() -> None:
    """Give this thread's connection, if it has one, back to the pool."""
    db.close()


def is_unavailable(error: BaseException | None) -> bool:
    """Whether the database was unreachable, locked, full or shutting down, so that a retry helps.

    An error that another error caused, such as a failed rollback, counts as that other error.
    """
    return any(
        isinstance(cause, PoolTimeout | RowGone) or db.obj.is_temporary(cause)
        for cause in causes(error)
    )


def is_lock_timeout(error: BaseException | None) -> bool:
    """Whether a statement of this transaction waited too long for another transaction."""
    return any(db.obj.is_lock_timeout(cause) for cause in causes(error))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, the error that caused it, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def transaction(function: Callable[P, R]) -> Callable[P, R]:
    """Run the function in a write transaction, again from its start after a deadlock.

    The function must therefore have no effect that outlives a rollback. Called within another
    transaction it becomes part of that one.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        database = selected.get().database
        if database.in_transaction():
            return function(*args, **kwargs)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with database.write_transaction():
                    return function(*args, **kwargs)
            except PeeweeException as error:
                if attempt == ATTEMPTS or not _is_retryable(error):
                    raise
                time.sleep(random.uniform(0, 0.01 * 2**attempt))
        raise AssertionError("unreachable")

    return run


def _is_retryable(error: BaseException) -> bool:
    return any(getattr(cause, "sqlstate", None) in RETRYABLE_SQLSTATES for cause in causes(error))
