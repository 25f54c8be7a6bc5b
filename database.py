"""The database: one handle for SQLite and PostgreSQL, with kept connections, transactions and
prepared queries.

What differs between the two databases stands in `Sqlite`, here, and in `postgres.Postgres`, and
nowhere else.
"""

import json
import math
import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import orjson
import peewee
from peewee import (
    Alias,
    AutoField,
    Database,
    DatabaseProxy,
    Field,
    Node,
    NodeList,
    PeeweeException,
    Select,
    SqliteDatabase,
    _ConnectionState,
    fn,
)
from playhouse.pool import MaxConnectionsExceeded, _PooledSqliteDatabase

import scheduling
from scheduling import run_in_thread

Row = dict[str, Any]
P = ParamSpec("P")
R = TypeVar("R")

# How often a transaction that lost a deadlock, or could not be serialized, is run before giving up.
ATTEMPTS = 5
RETRYABLE_SQLSTATES = {"40001", "40P01"}  # serialization_failure, deadlock_detected

COPIED_PAGES = 1000  # in a step of a backup: 4 MB, then a Ctrl-C is heard

LOCK_POLL_SECONDS = 0.001  # how often a writer asks whether SQLite's lock is free
LONG_STEPS = 200_000  # of SQLite's machine: 3 ms and more; a page of 200 meetings takes 9,400
LOCKED_SQLITE_CODES = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
UNAVAILABLE_SQLITE_CODES = LOCKED_SQLITE_CODES | {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
}


class Gate:
    """Lets a few tasks or threads in at a time, each in its turn.

    Python's own semaphore lets whoever comes by first in, also past others that it has just woken.
    """

    def __init__(self, places: int) -> None:
        self._lock = threading.Lock()  # over the two below
        self._free = places
        self._waiting: deque[Any] = deque()  # locks, each released to give its owner the turn

    def enter(self, timeout_seconds: float) -> bool:
        """Wait for a place; whether one came in time."""
        with self._lock:
            if self._free:
                self._free -= 1
                return True
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        if turn.acquire(timeout=timeout_seconds):
            return True
        with self._lock:
            if turn not in self._waiting:
                return True  # it came at the last moment
            self._waiting.remove(turn)
            return False

    def leave(self) -> None:
        """Give the place to whoever has waited longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1


class NothingOpened(Exception):
    """The pool wants a new connection, which is to be opened first."""


class Opened:
    """What a pool stands on, here: it is handed the connection that a task has opened for it."""

    opened: ContextVar[Any]

    def _connect(self) -> Any:
        connection = self.opened.get(None)
        if connection is None:
            raise NothingOpened
        self.opened.set(None)
        return connection

    def open(self) -> Any:
        """A new connection."""
        return super()._connect()  # type: ignore[misc]


class Gated:
    """A pool of connections, one for each task or thread, before which they queue up in turn.

    The pool itself would have all who wait try again whenever a connection comes back, and would
    open connections under its lock: while a server does not answer, or a file is locked, nobody
    else would get one or give one back.
    """

    def __init__(self, *args: Any, max_connections: int, timeout: float, **options: Any) -> None:
        self.timeout_seconds = timeout
        self.gate = Gate(max_connections)
        self._current: ContextVar[_ConnectionState] = ContextVar("connection")
        self.opened: ContextVar[Any] = ContextVar("opened")  # on its way to the pool
        super().__init__(*args, max_connections=max_connections, **options)  # type: ignore[call-arg]

    @property
    def _state(self) -> _ConnectionState:
        """What peewee notes of the connection in hand: each task has its own, as each thread."""
        state = self._current.get(None)
        if state is None:
            state = _ConnectionState()
            self._current.set(state)
        return state

    @_state.setter
    def _state(self, of_threads: Any) -> None:
        """Leave the one aside that peewee makes, which the tasks of a thread would share."""

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Give this task a connection; raises MaxConnectionsExceeded if it waited too long."""
        if not self._state.closed:  # it has its place
            return bool(super().connect(reuse_if_open))  # type: ignore[misc]
        if not self.gate.enter(self.timeout_seconds):
            raise MaxConnectionsExceeded("no connection came back in time")
        try:
            return self._take(reuse_if_open)
        except BaseException:
            if not self.close():  # which leaves, where it got as far as a connection
                self.gate.leave()
            raise

    def _take(self, reuse_if_open: bool) -> bool:
        take = super().connect  # type: ignore[misc]
        try:
            return bool(take(reuse_if_open))
        except NothingOpened:
            with driver_errors:
                self.opened.set(self.open())  # type: ignore[attr-defined]
        try:
            return bool(take(reuse_if_open))
        finally:  # another may have come back meanwhile
            if left := self.opened.get(None):
                self.opened.set(None)
                left.close()

    def close(self) -> bool:
        """Give this task's connection back; whether it had one."""
        had_one = bool(super().close())  # type: ignore[misc]
        if had_one:
            self.gate.leave()
        return had_one


class Sqlite(Gated, _PooledSqliteDatabase, Opened, SqliteDatabase):
    """SQLite in WAL mode; every acknowledged commit is on disk, writers begin as writers."""

    may_come_back = False  # a file that cannot be opened now will not open later

    # How a query takes a list as one value, so that its text does not hang on how many there are.
    list_sql = "IN (SELECT value FROM json_each(?))"
    list_value = staticmethod(json.dumps)
    # Whether many rows to insert, or many askings of a query, are best given to it as JSON.
    takes_json = False

    field_types = {**SqliteDatabase.field_types, "INSTANT": "TEXT"}
    native_types: frozenset[str] = frozenset()  # whose values come back as they are in Python

    def __init__(self, path: str, pool_size: int, timeout_seconds: float) -> None:
        self.pause: Callable[[float], None] = time.sleep
        self.apart: Callable[..., list[Any]] = run_in_thread
        self._short_thread = (
            0  # the system's id of the thread whose query is given up if it is long
        )
        self._gave_up = False
        self._writer = Gate(1)
        self.wait_to_write = self._writer.enter
        self._begin_by = math.inf  # when the one whose turn it is to write has waited enough
        super().__init__(
            path,
            max_connections=pool_size,
            timeout=timeout_seconds,
            lock_type="IMMEDIATE",
            check_same_thread=False,
            pragmas={
                "busy_timeout": 0,  # see _once_unlocked
                "journal_mode": "wal",
                "synchronous": "full",
                "foreign_keys": "on",
                "cache_size": -512,  # KiB of each connection; the system's cache serves the rest
            },
        )

    def open(self) -> sqlite3.Connection:
        """A new connection, once the file can be read."""
        connection: sqlite3.Connection = self._once_unlocked(super().open)
        return connection

    @contextmanager
    def turn_to_write(self) -> Iterator[None]:
        """Wait, without a connection, until no other task or thread of this process is writing.

        SQLite would let none but one write anyway; and where the writer of another process keeps
        all waiting, one connection waits for it, and the others are there for who reads.
        """
        if self.in_transaction():
            yield
            return
        release()
        deadline = time.monotonic() + self.timeout_seconds
        if not self.wait_to_write(self.timeout_seconds):
            raise MaxConnectionsExceeded("no turn to write came in time")
        self._begin_by = deadline
        try:
            yield
        finally:
            self._begin_by = math.inf
            self._writer.leave()

    def begin(self, lock_type: str | None = None) -> None:
        """Begin a transaction, once the writers of other processes let us."""
        begin = super().begin
        self._once_unlocked(lambda: begin(lock_type), self._begin_by)

    def _once_unlocked(self, call: Callable[[], R], deadline: float = math.inf) -> R:
        """The result of a call, as soon as no lock of another process is in its way.

        SQLite's own way to wait keeps the thread, and sleeps longer and longer, up to 100 ms, while
        others who just came get in. Asking every millisecond finds a gap between them sooner.
        """
        deadline = min(deadline, time.monotonic() + self.timeout_seconds)
        while True:
            try:
                return call()
            except (peewee.OperationalError, sqlite3.OperationalError) as error:
                is_locked = any(_sqlite_code(of) in LOCKED_SQLITE_CODES for of in _causes(error))
                if not is_locked or time.monotonic() > deadline:
                    raise
                self.pause(LOCK_POLL_SECONDS)

    def fetch_all(self, sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
        """Every row of a query; other tasks go on while one takes long.

        SQLite keeps the thread that asks it. So a query that turns out to be long is given up, and
        asked again in a thread of its own. In a transaction it is not: others would wait for that.
        """
        connection = self.connection()  # which may take turns
        if self.in_transaction():
            return list(self.execute_sql(sql, values).fetchall())
        try:
            return self._once_unlocked(lambda: self._fetch_if_short(sql, values))
        except (peewee.OperationalError, sqlite3.OperationalError):
            if not self._gave_up:
                raise
        return self.apart(lambda: connection.execute(sql, values).fetchall())

    def _fetch_if_short(self, sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
        self._short_thread = threading.get_native_id() if scheduling.USES_GEVENT else 0
        self._gave_up = False
        try:
            return list(self.execute_sql(sql, values).fetchall())
        finally:
            self._short_thread = 0

    def _add_conn_hooks(self, conn: sqlite3.Connection) -> None:
        super()._add_conn_hooks(conn)
        conn.set_progress_handler(self._give_up, LONG_STEPS)

    def _give_up(self) -> bool:
        """Whether the query that runs is to be given up; one in a thread of its own is not."""
        if threading.get_native_id() != self._short_thread:
            return False
        self._gave_up = True
        return True

    def time_calls(self, observe: Callable[[float], None]) -> None:
        """Open connections whose calls are timed from now on."""
        timed = timed_cursor(sqlite3.Cursor, observe)

        class TimedConnection(sqlite3.Connection):
            def cursor(self, factory: Any = timed) -> Any:
                return super().cursor(factory)

        self.connect_params["factory"] = TimedConnection
        self.wait_to_write = _timed(self.wait_to_write, observe)
        self.pause = _timed(time.sleep, observe)
        self.apart = _timed(run_in_thread, observe)

    def prepare_storage(self) -> None:
        """Make the folder of the database file, so that a first migration can create the file."""
        Path(self.database).absolute().parent.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keep a second migration out; SQLite has one writer anyway."""
        yield

    @staticmethod
    def says_not_now(error: BaseException) -> bool:
        """Whether an error of the driver says that trying again may help."""
        return _sqlite_code(error) in UNAVAILABLE_SQLITE_CODES

    def settled_before(self) -> None:
        """No bound: with one writer at a time, changes appear in the order of their times."""

    def dump_command(self, file: Path) -> None:
        """No program is needed for a copy: `copy_to` makes one."""

    def copy_to(self, file: Path) -> None:
        """Write the database as it is at this moment into an empty file; readers and writers go on.

        The copy goes in steps, https://www.sqlite.org/backup.html. A step would begin the whole
        copy anew after another process has written, and under load never end, if not for the read
        transaction around them all: it keeps the moment, and in WAL mode nobody waits for it.
        """
        source = f"{Path(self.database).absolute().as_uri()}?mode=rw"  # else it would be created
        with (
            driver_errors,
            closing(sqlite3.connect(source, self.timeout_seconds, uri=True)) as ours,
            closing(sqlite3.connect(file, isolation_level=None)) as copy,
        ):
            copy.execute("PRAGMA journal_mode = off")  # a copy that failed half-way is thrown away
            copy.execute("PRAGMA synchronous = off")  # the file is synced as a whole
            ours.isolation_level = None
            ours.execute("BEGIN")
            ours.execute("SELECT 1 FROM sqlite_master").fetchone()  # the moment
            ours.backup(copy, pages=COPIED_PAGES)


def _sqlite_code(error: BaseException) -> int:
    """The code of an error of SQLite's driver; the extended one has the plain in its low byte."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(error, sqlite3.Error) and code else sqlite3.SQLITE_OK


def _timed(call: Callable[..., Any], observe: Callable[[float], None]) -> Callable[..., Any]:
    """The same call, telling how many seconds it took."""

    @wraps(call)
    def run(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            observe(time.perf_counter() - began)

    return run


def timed_cursor(cursor: type, observe: Callable[[float], None]) -> type:
    """A driver's cursor class that tells how many seconds each call took."""
    calls = ("execute", "executemany", "fetchall")
    timed = {name: _timed(getattr(cursor, name), observe) for name in calls}
    return type("TimedCursor", (cursor,), timed)


db: Any = DatabaseProxy()
driver_errors: Any = peewee.__exception_wrapper__  # type: ignore[attr-defined]


def use(url: str, pool_size: int, timeout_seconds: float) -> Database:
    """Make `db` the database of a URL (`sqlite:///path` or `postgresql://…`); opens nothing yet.

    At most `pool_size` connections are open at once in this process; whoever finds them all busy,
    or a lock held, waits `timeout_seconds` at most.
    """
    database: Database
    if url.startswith("sqlite:///"):
        database = Sqlite(url.removeprefix("sqlite:///"), pool_size, timeout_seconds)
    else:  # loaded for who needs it: its driver takes 12 MiB
        database = import_module("postgres").Postgres(url, pool_size, timeout_seconds)
    db.initialize(database)
    return database


def time_calls(observe: Callable[[float], None]) -> None:
    """Tell `observe`, in the task that waits, the seconds of each call of the driver.

    For the database in use, on connections opened from now on. Everything asked of it goes through
    its driver's cursors: queries, BEGIN and COMMIT. Waits for SQLite's other writers count, too.
    """
    db.obj.time_calls(observe)


def release() -> None:
    """Give this task's connection, if it has one, back to the pool."""
    if not db.is_closed():
        db.close()


def is_unavailable(error: BaseException | None) -> bool:
    """Whether the database could not be reached, is locked, full or shutting down: worth a retry.

    The error that follows from another (a failed rollback) counts as the other.
    """
    return any(
        isinstance(of, MaxConnectionsExceeded) or db.says_not_now(of) for of in _causes(error)
    )


def _is_retryable(error: BaseException) -> bool:
    return any(getattr(of, "sqlstate", None) in RETRYABLE_SQLSTATES for of in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it follows from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def transaction(function: Callable[P, R]) -> Callable[P, R]:
    """Run the function in one write transaction, again from its start after a deadlock.

    The function must therefore do nothing that outlives a rollback.
    """

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with db.turn_to_write(), db.atomic():
                    return function(*args, **kwargs)
            except PeeweeException as error:
                if attempt == ATTEMPTS or not _is_retryable(error):
                    raise
                time.sleep(random.uniform(0, 0.01 * 2**attempt))
        raise AssertionError("unreachable")

    return run


class Param(Node):
    """A value's place in a prepared query, named as its column unless told otherwise."""

    def __init__(self, field: Field, name: str | None = None) -> None:
        self.name = name or field.column_name
        self.field_type = field.field_type
        # Most values go to the driver as they are.
        self.convert = field.db_value if hasattr(field, "converted") else None

    def __sql__(self, ctx: Any) -> Any:
        asked = ctx.state.asked  # see StatementOfEach
        if asked is not None:
            asked[self.name] = self
            return ctx.literal(f'asked."{self.name}"')
        ctx._values.append(self)
        return ctx.literal(ctx.state.param or "?")

    def column_type(self, field_types: dict[str, str]) -> str:
        """The type of the column that its values are of, given how a database calls them."""
        return field_types.get(self.field_type, self.field_type)


class Plain(Param):
    """The place of what is of no column, and goes to the driver as it is: a LIMIT, rows as JSON."""

    def __init__(self, name: str) -> None:
        self.name, self.field_type, self.convert = name, "BIGINT", None


class ListOf(Param):
    """The place of a list of values of a column; with what it is for in front."""

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.convert = db.obj.list_value

    def __sql__(self, ctx: Any) -> Any:
        ctx._values.append(self)
        return ctx.literal(db.obj.list_sql.format(type=self.column_type(ctx.state.field_types)))


def literal(word: str) -> Any:
    """A word of ours as part of a query's text, for a plan that is made for all values to know."""
    assert word.replace("_", "").isalpha(), word
    return peewee.SQL(f"'{word}'")


def among(field: Field) -> Any:
    """That the field has one of a list of values, which is given under the column's name."""
    return NodeList((field, ListOf(field)), parens=True)


def checked(condition: Any) -> Any:
    """A condition that rows are checked by and not found by: no index is used for it.

    A planner that knows nothing of a client takes its rows for as few as those of an id, or of an
    email, and would as soon read all of them. So where rows are found by anything else, the client
    is checked, and the index begins with what they are found by.
    """
    return NodeList((condition, peewee.SQL("IS TRUE")), parens=True)


class Statement:
    """A peewee query as SQL text for one database, and what it takes to run and read it."""

    def __init__(self, query: Any, database: Any, **options: Any) -> None:
        self.sql, params = database.get_sql_context(**options).sql(query).query()
        self.binders = [_binder(param) for param in params]
        columns = getattr(query, "_returning", None) or ()
        self.names = tuple(_name(column) for column in columns)
        self.converters = tuple(
            (name, field.python_value)
            for name, field in zip(self.names, map(_field, columns), strict=True)
            if isinstance(field, Field)
            and hasattr(field, "converted")
            and field.field_type not in database.native_types
        )

    def execute(self, values: Row) -> Any:
        """Run it and return the cursor."""
        return db.execute_sql(self.sql, self.bind(values))

    def execute_many(self, rows: list[Row]) -> int:
        """Run it for each of the rows; psycopg sends them all before it waits."""
        with driver_errors:
            cursor = db.cursor()
            cursor.executemany(self.sql, [self.bind(values) for values in rows])
        return int(cursor.rowcount)

    def bind(self, values: Row) -> list[Any]:
        """The values as the driver takes them, in the order of their places."""
        return [
            values[name] if convert is None else convert(values[name] if name else None)
            for name, convert in self.binders
        ]

    def rows(self, values: Row) -> list[Row]:
        """Run it and read every row, as a dict from column name to Python value."""
        return self.read(self.fetch(self.bind(values)))

    def fetch_each(self, many: list[Row]) -> list[list[tuple[Any, ...]]]:
        """Run it for many sets of values and fetch the rows of each, as the driver gives them."""
        return [self.fetch(self.bind(values)) for values in many]

    def fetch(self, bound: list[Any]) -> list[tuple[Any, ...]]:
        """Run it with bound values and fetch every row, as the driver gives it."""
        with driver_errors:  # SQLite may fail while rows are read, too
            fetched: list[tuple[Any, ...]] = db.obj.fetch_all(self.sql, bound)
        return fetched

    def read(self, fetched: list[tuple[Any, ...]]) -> list[Row]:
        """Rows as the driver gave them, as dicts from column name to Python value."""
        rows = [dict(zip(self.names, row, strict=False)) for row in fetched]  # strict takes time
        for name, convert in self.converters:
            for row in rows:
                row[name] = convert(row[name])
        return rows


class StatementOfEach(Statement):
    """A SELECT that is run once for many sets of values, which it is given as JSON; on PostgreSQL.

    Each row comes with the place of the set of values that it is for.
    """

    def __init__(self, query: Any, database: Any) -> None:
        asked: dict[str, Param] = {}
        super().__init__(query, database, asked=asked)
        self.constants = self.bind({})
        self.binders = [_binder(param) for param in asked.values()]
        self.asked = ("place", *asked)
        types = database.get_context_options()["field_types"]
        columns = [f'"{name}" {param.column_type(types)}' for name, param in asked.items()]
        sets = f"json_to_recordset(%s) AS asked (place INTEGER, {', '.join(columns)})"
        self.sql = f"SELECT asked.place, page.* FROM {sets}, LATERAL ({self.sql}) AS page"  # noqa: S608

    def bind_each(self, many: list[Row]) -> list[Any]:
        """The sets of values as the driver takes them, and the values that are the same for all."""
        named = [
            dict(zip(self.asked, (place, *self.bind(values)), strict=True))
            for place, values in enumerate(many)
        ]
        return [orjson.dumps(named).decode(), *self.constants]

    def fetch_each(self, many: list[Row]) -> list[list[tuple[Any, ...]]]:
        """Run it for many sets of values and fetch the rows of each, as the driver gives them."""
        fetched: list[list[tuple[Any, ...]]] = [[] for _ in many]
        for row in self.fetch(self.bind_each(many)):
            fetched[row[0]].append(row[1:])
        return fetched


def _binder(param: Any) -> tuple[str, Callable[[Any], Any] | None]:
    """By which name a parameter's value is given, and how it is converted; a constant has none."""
    if isinstance(param, Param):
        return param.name, param.convert
    return "", lambda _: param


def _name(column: Any) -> str:
    return str(column.column_name if isinstance(column, Field) else column._alias)


def _field(column: Any) -> Any:
    return column.unwrap() if isinstance(column, Alias) else column


class Prepared:
    """A peewee query whose SQL text is built once, at first use, then run with values by name.

    Building SQL costs peewee more than SQLite needs to run it.
    """

    def __init__(self, build: Callable[[], Any]) -> None:
        self.build = build
        self._database: Database | None = None
        self._statement: Statement

    def statement(self) -> Statement:
        """The query's SQL for the database in use."""
        if self._database is not db.obj:
            self._statement = self._statement_for(db.obj)
            self._database = db.obj
        return self._statement

    def _statement_for(self, database: Any) -> Statement:
        return Statement(self.build(), database)

    def rows(self, **values: Any) -> list[Row]:
        """Every row of a SELECT."""
        return self.statement().rows(values)

    def rows_among(self, name: str, wanted: Iterable[Any], **values: Any) -> list[Row]:
        """The rows of a SELECT that has `among` of the name; asks nothing where it is empty."""
        among = sorted(set(wanted))
        return self.rows(**values, **{name: among}) if among else []

    def row_or_none(self, **values: Any) -> Row | None:
        """The first row of a SELECT, or None."""
        rows = self.rows(**values)
        return rows[0] if rows else None

    def run(self, **values: Any) -> int:
        """Run an INSERT, UPDATE or DELETE; returns the number of rows it touched."""
        return int(self.statement().execute(values).rowcount)

    def run_many(self, rows: list[Row]) -> int:
        """Run an INSERT, UPDATE or DELETE once for each row, without waiting for each answer.

        Returns the number of rows touched.
        """
        return self.statement().execute_many(rows) if rows else 0


class Insert(Prepared):
    """A prepared INSERT of every column; with `unless_taken`, of nothing where a key is taken."""

    def __init__(self, model: Any, unless_taken: bool) -> None:
        self.model, self.unless_taken = model, unless_taken
        self.fields = [
            field for field in model._meta.sorted_fields if not isinstance(field, AutoField)
        ]
        self.names = [field.column_name for field in self.fields]
        self._of_json = Prepared(self._build_of_json)
        super().__init__(
            lambda: self._finish(model.insert({field: Param(field) for field in self.fields}))
        )

    def _build_of_json(self) -> Any:
        like = peewee.SQL(f"NULL::{self.model._meta.table_name}")
        names = [peewee.SQL(field.column_name) for field in self.fields]
        rows = Select([fn.json_populate_recordset(like, Plain("rows"))], names)
        return self._finish(self.model.insert_from(rows, self.fields))

    def _finish(self, query: Any) -> Any:
        query = query.returning()
        return query.on_conflict(action="NOTHING") if self.unless_taken else query

    def run_many(self, rows: list[Row]) -> int:
        """Insert rows in their order, without waiting for each; returns how many were inserted."""
        if not (rows and db.obj.takes_json):
            return super().run_many(rows)
        bind = self.statement().bind
        named = [dict(zip(self.names, bind(row), strict=True)) for row in rows]
        return self._of_json.run(rows=orjson.dumps(named).decode())


def insert(model: Any, unless_taken: bool = False) -> Insert:
    """A prepared INSERT of every column; with `unless_taken`, of nothing where a key is taken."""
    return Insert(model, unless_taken)


def locked(query: Any) -> Any:
    """The query, taking its model's rows for update where the database has row locks.

    It must not be the nullable side of a join that is read along: PostgreSQL, having waited for a
    row, looks at its new version beside the other tables' rows that fitted the old one.
    """
    return query.for_update(of=query.model) if db.for_update else query


def fetch(query: Any) -> list[Row]:
    """Run a SELECT built for this one call."""
    return Statement(query, db.obj).rows({})
