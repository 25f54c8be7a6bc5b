"""SQLite in WAL mode: every acknowledged commit is on disk, and writers queue in the process."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import orjson
from peewee import OperationalError, SqliteDatabase, Value

from database.pool import (
    STREAMED_ROWS,
    FifoSemaphore,
    Observe,
    Pool,
    PoolTimeout,
    driver_errors,
)
from scheduling import USES_GEVENT, run_in_thread

R = TypeVar("R")

COPIED_PAGES = 1000  # in a step of a backup: 4 MB; Ctrl-C works between two steps
LOCK_POLL_SECONDS = 0.001  # how often a writer asks whether another process holds the lock
PROGRESS_STEPS = 20_000  # of SQLite's virtual machine, about 0.3 ms
LONG_SECONDS = 0.003  # a longer query moves to a thread; a page of 200 meetings takes 1 ms

PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": "full",
    "foreign_keys": "on",
    "secure_delete": "on",  # overwrites deleted rows, so that no data of an erased person remains
    "cache_size": -512,  # KiB of each connection; the system's cache serves the rest
    # Pages of the log, 16 MB, after which they are copied into the file. With two million meetings,
    # bookings change pages all over the file: with SQLite's 1000, they take twice as long.
    "wal_autocheckpoint": 4000,
}
BULK_PRAGMAS = {"cache_size": -32 * 1024, "wal_autocheckpoint": 10_000, "synchronous": "normal"}
LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
TEMPORARY = LOCKED | {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
}


class Sqlite(Pool, SqliteDatabase):
    """SQLite through Python's own driver."""

    field_types = {**SqliteDatabase.field_types, "INSTANT": "TEXT"}
    native_types: frozenset[str] = frozenset()  # no column type comes back as its Python type
    row_lock = queue_lock = deletion_lock = None  # the write transaction is the lock
    # There is no server's clock: writers take turns, so times and commits have the same order.
    server_clock = Value(None)
    may_come_back = False  # a file that cannot be opened now will not open later

    def __init__(self, path: str, pool_size: int, timeout_seconds: float) -> None:
        self._writer = FifoSemaphore(1)
        # The pragmas of the connections that are opened from now on.
        self.connection_pragmas: dict[str, Any] = PRAGMAS
        self._begin_by = 0.0  # when this process's writer stops waiting for those of others
        self._long_at = 0.0  # the CPU time at which the running query counts as long; 0 for never
        super().__init__(
            path, lock_type="IMMEDIATE", pool_size=pool_size, timeout_seconds=timeout_seconds
        )

    def open(self) -> sqlite3.Connection:
        """Open the file, once no other process locks it."""
        return self._when_unlocked(self._open_now)

    def _open_now(self) -> sqlite3.Connection:
        # SQLite's own way to wait blocks the thread and sleeps up to 100 ms: see `_when_unlocked`.
        connection = sqlite3.connect(
            self.database, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            for name, value in self.connection_pragmas.items():
                connection.execute(f"PRAGMA {name} = {value}")
        except BaseException:
            connection.close()
            raise
        if USES_GEVENT:
            connection.set_progress_handler(self._is_long, PROGRESS_STEPS)
        return connection

    def is_usable(self, connection: sqlite3.Connection) -> bool:
        """Whether an idle connection still works: a file always does."""
        return True

    def is_reusable(self, connection: sqlite3.Connection) -> bool:
        """Whether a returned connection has no transaction left open."""
        return not connection.in_transaction

    @contextmanager
    def write_transaction(self) -> Iterator[None]:
        """Run the block in a transaction, after the other writers of this process.

        A caller that waits for its turn holds no connection, so reads go on meanwhile.
        """
        deadline = time.monotonic() + self.timeout_seconds
        if not self._writer.acquire(self.timeout_seconds):
            raise PoolTimeout("the other writers did not finish in time")
        self._begin_by = deadline
        try:
            with self.atomic():
                yield
        finally:
            self.close()
            self._begin_by = 0.0
            self._writer.release()

    def begin(self, lock_type: str | None = None) -> None:
        """Begin a transaction, once the writers of other processes are done."""
        self._when_unlocked(super().begin, lock_type, deadline=self._begin_by)

    def _when_unlocked(
        self, call: Callable[..., R], *arguments: Any, deadline: float | None = None
    ) -> R:
        """Return the result of a call as soon as no lock of another process is in its way.

        SQLite's own wait sleeps longer and longer, and newcomers overtake it. Asking every
        millisecond finds a gap between them sooner.
        """
        deadline = deadline or time.monotonic() + self.timeout_seconds
        while True:
            try:
                return call(*arguments)
            except (OperationalError, sqlite3.OperationalError) as error:
                if error_code(error) not in LOCKED or time.monotonic() > deadline:
                    raise
            time.sleep(LOCK_POLL_SECONDS)
            if self.observe:
                self.observe(LOCK_POLL_SECONDS)

    def fetch(self, sql: str, values: Any) -> list[tuple[Any, ...]]:
        """Run a query and return all its rows, on a connection borrowed for it if need be.

        SQLite blocks the thread that calls it. A long query is interrupted and runs again in
        another thread. In a transaction it continues, because other writers wait.
        """
        if self.in_transaction():
            rows: list[tuple[Any, ...]] = self.execute_sql(sql, values).fetchall()
            return rows
        return super().fetch(sql, values)

    def run_query(self, sql: str, values: Any) -> list[tuple[Any, ...]]:
        """Run a query on the connection of this thread and return all its rows."""
        self.connect()  # which may wait, unlike the rest
        try:
            return self._when_unlocked(self._run_unless_long, sql, values)
        except (OperationalError, sqlite3.OperationalError) as error:
            if error_code(error) != sqlite3.SQLITE_INTERRUPT:
                raise
        return self._run_in_thread(sql, values)

    def _run_unless_long(self, sql: str, values: Any) -> list[tuple[Any, ...]]:
        """Run a query, and interrupt it once it is long; no other greenlet runs meanwhile."""
        self._long_at = time.thread_time() + LONG_SECONDS
        try:
            return super().run_query(sql, values)
        finally:
            self._long_at = 0.0

    def _run_in_thread(self, sql: str, values: Any) -> list[tuple[Any, ...]]:
        connection = self.connection()
        connection.set_progress_handler(None, 0)
        try:
            return run_in_thread(lambda: connection.execute(sql, values).fetchall())
        finally:
            connection.set_progress_handler(self._is_long, PROGRESS_STEPS)

    def _is_long(self) -> bool:
        """Whether the running query is to be interrupted.

        SQLite counts the steps of a cached statement over all its runs, so it may ask during a
        short query, too. Only the CPU time that the query has taken tells.
        """
        return 0.0 < self._long_at < time.thread_time()

    def time_calls(self, observe: Observe) -> None:
        """Pass the seconds of each call of the driver and of each wait for a turn to `observe`."""
        super().time_calls(observe)
        self._writer.observe_wait = observe

    def insert_sql(self, table: str, columns: list[str]) -> str:
        """An INSERT whose values `write_rows` gives row by row."""
        places = ", ".join("?" * len(columns))
        return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608

    def update_sql(self, table: str, columns: list[str], keys: list[str]) -> str:
        """An UPDATE by `keys` whose values, of columns and keys, `write_rows` gives row by row."""
        settings = ", ".join(f"{name} = ?" for name in columns)
        conditions = " AND ".join(f"{name} = ?" for name in keys)
        return f"UPDATE {table} SET {settings} WHERE {conditions}"  # noqa: S608

    def write_rows(self, sql: str, columns: list[str], rows: list[list[Any]]) -> int:
        """Run an INSERT or UPDATE for rows; returns how many rows it wrote."""
        with driver_errors:
            cursor = self.cursor()
            cursor.executemany(sql, rows)
        return int(cursor.rowcount)

    def is_among(self, column: Any, values: Any) -> tuple[Any, ...]:
        """The parts of a condition that the column has one of a list of values."""
        return column, "IN (SELECT value FROM json_each(", values, "))"

    def list_value(self, values: list[Any]) -> str:
        """A list in the form that a query takes: one value of any length."""
        return orjson.dumps(values).decode()

    def prepare_storage(self) -> None:
        """Make the folder of the database file, and the file unless it is there.

        It holds personal data, so only its owner can read it. SQLite gives its log the same mode.
        """
        file = Path(self.database).absolute()
        file.parent.mkdir(parents=True, exist_ok=True)
        # A file that is there must not be opened: closing it would end this process's locks on it.
        with suppress(OSError):  # SQLite says what is wrong
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Make a second migration wait; SQLite has one writer anyway."""
        yield

    def build_index(self, name: str, columns: str, unique: bool = False) -> None:
        """Create an index, unless it exists."""
        # The statement is stored as it is written, and IF NOT EXISTS with it.
        if not self.run_query("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)):
            kind = "UNIQUE INDEX" if unique else "INDEX"
            self.execute_sql(f'CREATE {kind} "{name}" ON {columns}')

    def remove_index(self, name: str) -> None:
        """Drop an index, if it exists."""
        self.execute_sql(f'DROP INDEX IF EXISTS "{name}"')

    @staticmethod
    def is_temporary(error: BaseException) -> bool:
        """Whether an error of the driver says that trying again may help."""
        return isinstance(error, sqlite3.Error) and error_code(error) in TEMPORARY

    @staticmethod
    def is_lock_timeout(error: BaseException) -> bool:
        """Never: within a transaction, nothing waits for another one."""
        return False

    def lock_names(self, names: Iterable[str], shared: bool = False) -> None:
        """Do nothing: the write transaction is the lock."""

    def lock_client(self, client_id: str, shared: bool = False) -> None:
        """Do nothing: the write transaction is the lock."""

    def queue_receipts(self, client_id: str) -> None:
        """Do nothing: the write transaction is the lock."""

    def discard_log(self) -> None:
        """Empty the write-ahead log, which still holds earlier contents of the changed pages.

        This waits for readers and for the writers of other processes, as long as a writer does.
        If they take longer, the log keeps the contents until the next checkpoint without a reader.
        """
        deadline = time.monotonic() + self.timeout_seconds
        if not self._writer.acquire(self.timeout_seconds):
            return
        try:
            while self._is_checkpoint_blocked() and time.monotonic() < deadline:
                time.sleep(LOCK_POLL_SECONDS)
        finally:
            self.close()
            self._writer.release()

    def _is_checkpoint_blocked(self) -> bool:
        try:
            return bool(self.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
        except OperationalError as error:
            if error_code(error) not in LOCKED:
                raise
            return True

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Run the block's reads on the database as it is when the first of them runs."""
        try:
            with self.atomic("DEFERRED"):
                yield
        finally:
            self.close()

    def clock(self) -> datetime:
        """The time by the clock of this machine."""
        return datetime.now(UTC)

    def settled_before(self) -> None:
        """No bound: with one writer at a time, changes commit in the order of their times."""

    def dump_command(self, file: Path) -> None:
        """No program is needed for a backup: `copy_to` makes it."""

    @contextmanager
    def bulk_writing(self) -> Iterator[None]:
        """Make many large transactions fast; all of them are on disk when the block has ended.

        Rows with random ids touch a page each: a larger cache keeps these pages from being written
        twice in a transaction, and a longer log from being copied after each. The log is synced
        once, at the end. Writers of other processes still sync each of their own transactions.
        """
        self.close_all()
        self.connection_pragmas = PRAGMAS | BULK_PRAGMAS
        try:
            yield
        finally:
            self.connection_pragmas = PRAGMAS
            self.close_all()
            for name in (f"{self.database}-wal", self.database):
                with suppress(FileNotFoundError):  # without other users, SQLite deletes the log
                    _sync(name)

    def stream(self, sql: str, values: Any) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a query in parts, all of one snapshot.

        The read transaction keeps the snapshot while others write. It has its own connection.
        """
        with driver_errors, closing(self.open()) as connection:
            connection.execute("BEGIN")
            cursor = connection.execute(sql, values)
            while rows := cursor.fetchmany(STREAMED_ROWS):
                yield rows

    def copy_to(self, file: Path) -> None:
        """Write the database as it is now into an empty file, while readers and writers go on.

        The copy goes in steps (https://www.sqlite.org/backup.html). After another process has
        written, a step would begin the whole copy anew and never end under load. The read
        transaction around all steps prevents that; in WAL mode no other caller waits for it.
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
            ours.execute("SELECT 1 FROM sqlite_master").fetchone()  # takes the snapshot
            ours.backup(copy, pages=COPIED_PAGES)


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def error_code(error: BaseException | None) -> int:
    """SQLite's primary result code of an error or its cause; SQLITE_OK if there is none."""
    while error is not None:
        code: int | None = getattr(error, "sqlite_errorcode", None)
        if code:
            return code & 0xFF  # an extended code has the primary one in its low byte
        error = error.__cause__ or error.__context__
    return sqlite3.SQLITE_OK
