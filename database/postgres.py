"""PostgreSQL through psycopg 3. Loaded only when DATABASE_URL names one."""

import shlex
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson
import psycopg
from peewee import PostgresqlDatabase, fn
from psycopg.pq import TransactionStatus
from psycopg.types.string import TextLoader

from database.pool import STREAMED_ROWS, Pool, driver_errors

# SQLSTATE classes and codes of temporary errors, for which a retry may succeed: connection lost
# (08), transaction rolled back (40), out of resources (53), object or lock in use (55), operator or
# time-out intervened (57), system error (58), read-only standby (25006).
TEMPORARY = ("08", "40", "53", "55", "57", "58", "25006")
LOCK_TIMEOUTS = {"55P03", "57014"}  # lock_not_available, query_canceled
APPLICATION_NAME = "meetings"  # marks the sessions of this service in pg_stat_activity
NAME_LOCK, NAME_LOCKS = 0x6E78, 64  # the first half of the keys of advisory locks; how many
PATIENCE_SECONDS = 3600.0  # for the server to sort what an export reads, or to build an index
# The first halves of the keys of the locks of clients.
CLIENT_LOCK, RECEIPTS_LOCK = 0x6E79, 0x6E7A
# Each plan is made once, for all values. A plan for one client's values would be made for each
# query, and would depend on how many of its rows the last ANALYZE saw.
SETTINGS = {"synchronous_commit": "on", "plan_cache_mode": "force_generic_plan"}
TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
NO_LIMITS = dict.fromkeys(TIMEOUTS, "0")
MIGRATION_LOCK = 0x6E787221  # any number that no other program on the database uses
# How long a migration waits for a lock on a table: writers queue behind a migration that waits.
MIGRATION_LIMITS = {"lock_timeout": "300ms"}


class PatientConnection(psycopg.Connection[Any]):
    """A connection that stops waiting for a server which accepts bytes but never answers.

    `statement_timeout` does not help: the server itself applies it.
    """

    patience_seconds = 5.0
    # SET statements that each BEGIN carries if the session itself cannot keep settings.
    transaction_settings = ""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Drive one exchange with the server, for at most `timeout`, else `patience_seconds`."""
        try:
            return super().wait(gen, interval, timeout or self.patience_seconds)
        except psycopg.OperationalError:
            # The server ends every exchange, even a failed one. If the exchange is still active,
            # the time-out ended it and the answer may still arrive, so the connection is unusable.
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.pgconn.finish()
            raise


def set_local(settings: dict[str, str]) -> str:
    """The statements after a BEGIN that set these settings for its transaction."""
    return "".join(f"; SET LOCAL {name} = '{value}'" for name, value in settings.items())


class Postgres(Pool, PostgresqlDatabase):
    """PostgreSQL through psycopg 3."""

    # A transaction that selects this clock has begun, so `settled_before` sees the transaction.
    server_clock = fn.clock_timestamp()

    field_types = {**PostgresqlDatabase.field_types, "INSTANT": "TIMESTAMPTZ"}
    native_types = frozenset({"BOOL", "INSTANT"})
    # Does not conflict with the lock that a foreign key takes on the row it refers to.
    row_lock = "FOR NO KEY UPDATE"
    # Several senders share a queue without waiting for each other.
    queue_lock = "FOR UPDATE SKIP LOCKED"
    deletion_lock = "FOR UPDATE"  # which conflicts with it
    may_come_back = True  # a server that does not answer may be starting

    def __init__(self, url: str, pool_size: int, timeout_seconds: float) -> None:
        super().__init__(
            url, prefer_psycopg3=True, pool_size=pool_size, timeout_seconds=timeout_seconds
        )

    def open(self, name: str = APPLICATION_NAME) -> PatientConnection:
        """Open a connection: UTC session, bounded waits, durable commits, ids as text.

        A pooler such as PgBouncer may give each transaction another session. The process of the
        session then differs from the process with which the connection began. In this case each
        BEGIN carries the settings, in the same message, and no statement is prepared. (PgBouncer
        keeps the time zone and the application's name for each of its callers.)
        """
        connection = PatientConnection.connect(
            self.database,
            autocommit=True,
            connect_timeout=max(2, round(self.timeout_seconds)),
            client_encoding="utf8",
            application_name=name,
        )
        # The server's own limits apply first and say why; this limit is for a silent server.
        connection.patience_seconds = self.timeout_seconds + 1
        wait = f"{round(self.timeout_seconds * 1000)}ms"
        settings = SETTINGS | dict.fromkeys(TIMEOUTS, wait)
        process = connection.pgconn.backend_pid
        row = connection.execute(
            "SELECT pg_backend_pid(), set_config('timezone', 'UTC', false), (SELECT count("
            " set_config(name, value, false)) FROM json_each_text(%s) AS settings (name, value)"
            " WHERE pg_backend_pid() = %s)",
            (orjson.dumps(settings).decode(), process),
        ).fetchone()
        if row and row[0] != process:
            connection.prepare_threshold = None
            connection.transaction_settings = set_local(settings)
        connection.adapters.register_loader("uuid", TextLoader)
        self.server_version = connection.info.server_version
        return connection

    def begin(self, isolation_level: str | None = None) -> None:
        """Begin a transaction, with the settings that the session cannot keep."""
        connection = self.connection()
        level = f" ISOLATION LEVEL {isolation_level}" if isolation_level else ""
        with driver_errors:
            self.cursor().execute(f"BEGIN{level}{connection.transaction_settings}")

    def is_usable(self, connection: PatientConnection) -> bool:
        """Whether an idle connection still works, without asking the server.

        A server that went away left a notice and an end of file; each read consumes one of them.
        """
        try:
            connection.pgconn.consume_input()
            connection.pgconn.consume_input()
        except psycopg.OperationalError:
            return False
        return not connection.closed

    def is_reusable(self, connection: PatientConnection) -> bool:
        """Whether a returned connection has no transaction left open."""
        return connection.pgconn.transaction_status == TransactionStatus.IDLE

    @contextmanager
    def write_transaction(self) -> Iterator[None]:
        """Run the block in a transaction."""
        try:
            with self.atomic():
                yield
        finally:
            self.close()

    def insert_sql(self, table: str, columns: list[str]) -> str:
        """An INSERT whose rows `write_rows` gives as JSON: one value, whatever their number."""
        names = ", ".join(columns)
        rows = f"json_populate_recordset(NULL::{table}, %s)"
        return f"INSERT INTO {table} ({names}) SELECT {names} FROM {rows}"  # noqa: S608

    def update_sql(self, table: str, columns: list[str], keys: list[str]) -> str:
        """An UPDATE by `keys` whose rows `write_rows` gives as JSON."""
        settings = ", ".join(f"{name} = new.{name}" for name in columns)
        conditions = " AND ".join(f"{table}.{name} = new.{name}" for name in keys)
        rows = f"json_populate_recordset(NULL::{table}, %s) AS new"
        return f"UPDATE {table} SET {settings} FROM {rows} WHERE {conditions}"  # noqa: S608

    def write_rows(self, sql: str, columns: list[str], rows: list[list[Any]]) -> int:
        """Run an INSERT or UPDATE for rows; returns how many rows it wrote."""
        named = [dict(zip(columns, row, strict=True)) for row in rows]
        return int(self.execute_sql(sql, (orjson.dumps(named).decode(),)).rowcount)

    def is_among(self, column: Any, values: Any) -> tuple[Any, ...]:
        """The parts of a condition that the column has one of a list of values."""
        kind = {"UUID": "uuid", "BIGAUTO": "bigint"}.get(column.field_type, "text")
        return column, "= ANY(", values, f"::{kind}[])"

    def list_value(self, values: list[Any]) -> list[Any]:
        """A list in the form that a query takes: one value of any length."""
        return values

    def prepare_storage(self) -> None:
        """Do nothing: the administrator of the server has created the database."""

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Make a second migration, perhaps on another machine, wait until this one ends.

        A transaction on another connection holds the lock: one migration runs in several
        transactions. It has no snapshot, so no concurrent creation of an index waits for it.
        """
        name = f"{APPLICATION_NAME} upgrade"  # another name, so that the change feed does not wait
        with driver_errors, closing(self.open(name)) as holder:
            holder.patience_seconds = PATIENCE_SECONDS
            holder.execute(f"BEGIN{set_local(NO_LIMITS)}")
            # Without parameters: the portal of a query with parameters would keep its snapshot.
            holder.execute(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
            connection = self.connection()
            connection.patience_seconds = PATIENCE_SECONDS
            connection.prepare_threshold = None  # a BEGIN of several statements cannot be prepared
            connection.execute(f"SET application_name = '{name}'; SET statement_timeout = 0")
            connection.execute("SET lock_timeout = 0")  # outside transactions no writer waits
            connection.transaction_settings = set_local(NO_LIMITS | MIGRATION_LIMITS)
            try:
                yield
            finally:
                connection.close()
                self.close()
            holder.rollback()  # else a pooler holds the lock until it notices the closed connection

    def build_index(self, name: str, columns: str, unique: bool = False) -> None:
        """Create an index, unless it exists, while writers go on; outside transactions only."""
        is_invalid = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid"
        if self.run_query(is_invalid, (name,)):  # an earlier attempt was interrupted
            self.remove_index(name)
        kind = "UNIQUE INDEX" if unique else "INDEX"
        self.execute_sql(f'CREATE {kind} CONCURRENTLY IF NOT EXISTS "{name}" ON {columns}')

    def remove_index(self, name: str) -> None:
        """Drop an index, if it exists, while writers go on; outside transactions only."""
        self.execute_sql(f'DROP INDEX CONCURRENTLY IF EXISTS "{name}"')

    @staticmethod
    def is_temporary(error: BaseException) -> bool:
        """Whether an error of the driver says that trying again may help."""
        if not isinstance(error, psycopg.Error):
            return False
        if error.sqlstate is None:
            return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return error.sqlstate.startswith(TEMPORARY)

    @staticmethod
    def is_lock_timeout(error: BaseException) -> bool:
        """Whether a statement ended because it had waited too long, as for another transaction.

        `lock_timeout` and `statement_timeout` are equal here, so either may end it.
        """
        return getattr(error, "sqlstate", None) in LOCK_TIMEOUTS

    def lock_names(self, names: Iterable[str], shared: bool = False) -> None:
        """Lock each name, such as an email that no lead has yet, until the transaction ends.

        PostgreSQL cannot lock a row that does not exist. Shared locks exclude exclusive ones only.
        The names share NAME_LOCKS locks by their hash: a lock for each email of a long array could
        fill the server's lock table. All callers lock in one order, before any row.
        """
        numbers = sorted({crc32(name.encode()) % NAME_LOCKS for name in names})
        kind = "_shared" if shared else ""
        self.execute_sql(
            f"SELECT pg_advisory_xact_lock{kind}(%s, n) FROM unnest(%s::int[]) AS n",  # noqa: S608
            (NAME_LOCK, numbers),
        )

    def lock_client(self, client_id: str, shared: bool = False) -> None:
        """Keep erasures of a client's leads apart from what stores data about leads.

        An erasure locks exclusively. A transaction that stores a receipt or a response, to which no
        row of the lead refers, holds a shared lock. Both lock this before anything else.
        """
        kind = "_shared" if shared else ""
        self.execute_sql(
            f"SELECT pg_advisory_xact_lock{kind}(%s, %s)",
            (CLIENT_LOCK, crc32(client_id.encode()) - 2**31),
        )

    def queue_receipts(self, client_id: str) -> None:
        """Let transactions that process receipts of a client take turns.

        Two of them may change the same meetings in different orders. The server needs a second to
        detect a deadlock, so after several in a row, callers would reach their time-out.
        """
        self.execute_sql(
            "SELECT pg_advisory_xact_lock(%s, %s)",
            (RECEIPTS_LOCK, crc32(client_id.encode()) - 2**31),
        )

    def discard_log(self) -> None:
        """Do nothing: the server manages its own write-ahead log."""

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Run the block's reads on the database as it is when the first of them runs."""
        try:
            with self.atomic("REPEATABLE READ"):
                yield
        finally:
            self.close()

    def clock(self) -> datetime:
        """The time by the server's clock."""
        [(now,)] = self.fetch("SELECT clock_timestamp()", ())
        at: datetime = now
        return at

    def settled_before(self) -> datetime:
        """The instant before which all changes are visible: no earlier one can still appear.

        Transactions may commit in another order than that of the times they wrote. A reader that
        continues from the latest time it saw would then miss a change that commits later. But a
        change has a later time than the beginning of its transaction (`ChangeSet.time_of`). So all
        changes older than the oldest transaction in progress have been committed.
        """
        [(settled_before,)] = self.fetch(
            "SELECT least(min(xact_start), statement_timestamp()) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name ~ %s"
            " AND pid <> pg_backend_pid()",
            (f"^{APPLICATION_NAME}( - |$)",),  # PgBouncer may add the caller's address
        )
        settled: datetime = settled_before
        return settled

    @contextmanager
    def bulk_writing(self) -> Iterator[None]:
        """Change nothing: the server's administrator configures its memory."""
        yield

    def stream(self, sql: str, values: Any) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a query in parts, all of one snapshot, from a cursor of the server.

        It has its own connection. This has no limits of time, because the reader may be slow. It
        has another name, because the change feed waits for transactions of this service.
        """
        with driver_errors, closing(self.open(f"{APPLICATION_NAME} export")) as connection:
            connection.patience_seconds = PATIENCE_SECONDS
            connection.execute(f"BEGIN{set_local(NO_LIMITS)}")
            with connection.cursor("export") as cursor:
                cursor.execute(sql, values)
                while rows := cursor.fetchmany(STREAMED_ROWS):
                    yield rows

    def dump_command(self, file: Path) -> str:
        """The shell command that writes a backup to a file, without the password."""
        where = psycopg.conninfo.conninfo_to_dict(self.database)
        public = {name: value for name, value in where.items() if "password" not in name}
        dbname = psycopg.conninfo.make_conninfo("", **public)
        return shlex.join(["pg_dump", "--format=custom", f"--file={file}", f"--dbname={dbname}"])
