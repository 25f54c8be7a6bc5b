"""PostgreSQL, through psycopg 3: what `database` asks of it. Loaded when DATABASE_URL names one."""

import select
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from peewee import PostgresqlDatabase, Psycopg3Adapter
from playhouse.pool import _PooledPostgresqlDatabase
from psycopg.types.string import TextLoader

from database import Gated, Opened, timed_cursor

# SQLSTATE classes and codes that say "not now" and not "not like this": connection lost (08),
# transaction rolled back (40), out of resources (53), object or lock in use (55), operator or
# time-out intervened (57), system error (58), read-only standby (25006).
UNAVAILABLE_SQLSTATES = ("08", "40", "53", "55", "57", "58", "25006")
APPLICATION_NAME = "meetings"  # how this service's sessions are known to PostgreSQL


class PatientConnection(psycopg.Connection[Any]):
    """A connection that stops waiting for a server which accepts bytes but never answers.

    `statement_timeout` is kept by the server, so a stopped server does not keep it.
    """

    patience = 5.0

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Drive one exchange with the server, for `patience` seconds unless told otherwise."""
        try:
            return super().wait(gen, interval, timeout or self.patience)
        except psycopg.errors._WaitTimeout as error:
            self.pgconn.finish()
            raise psycopg.OperationalError("the database server does not answer") from error


def to_array(values: list[str]) -> str:
    """Texts as an array is written; the driver would work out a type for it, value by value."""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"


class Adapter(Psycopg3Adapter):
    """Opens PostgreSQL connections: UTC sessions, bounded waits, durable commits, ids as text."""

    def connect(self, db: "Postgres", **params: Any) -> PatientConnection:
        """Open a connection."""
        connection = PatientConnection.connect(
            db.database,
            autocommit=True,
            connect_timeout=max(2, round(db.timeout_seconds)),
            client_encoding="utf8",
        )
        # The server's own limits answer first and say why; ours is for a server that is silent.
        connection.patience = db.timeout_seconds + 1
        # Plans are made once, for all values: one for a client's own would hang on how many of its
        # rows the last ANALYZE saw, and be made again each time.
        connection.execute(
            "SELECT set_config(name, value, false) FROM (VALUES"
            " ('timezone', 'UTC'), ('synchronous_commit', 'on'), ('statement_timeout', %(wait)s),"
            " ('lock_timeout', %(wait)s), ('idle_in_transaction_session_timeout', %(wait)s),"
            " ('plan_cache_mode', 'force_generic_plan'), ('application_name', %(name)s)"
            ") AS settings (name, value)",
            {"wait": f"{round(db.timeout_seconds * 1000)}ms", "name": APPLICATION_NAME},
        )
        connection.adapters.register_loader("uuid", TextLoader)
        connection.cursor_factory = db.cursor_class
        return connection


class Postgres(Gated, _PooledPostgresqlDatabase, Opened, PostgresqlDatabase):
    """PostgreSQL through psycopg 3."""

    may_come_back = True  # a server that does not answer may be starting
    cursor_class: Any = psycopg.Cursor

    list_sql = "= ANY(%s::{type}[])"
    list_value = staticmethod(to_array)
    takes_json = True

    psycopg3_adapter = Adapter
    field_types = {**PostgresqlDatabase.field_types, "INSTANT": "TIMESTAMPTZ"}
    native_types = frozenset({"BOOL", "INSTANT"})
    migration_lock = 0x6E787221  # any number, as long as no other program on the database takes it

    def __init__(self, url: str, pool_size: int, timeout_seconds: float) -> None:
        super().__init__(
            url, max_connections=pool_size, timeout=timeout_seconds, prefer_psycopg3=True
        )

    def _is_closed(self, conn: PatientConnection) -> bool:
        """Tell a dead kept connection without a round trip: an idle one has nothing to read.

        A server that went away, or asked us to leave, left something: an end of file or a notice.
        """
        if not conn.closed:
            look = select.poll()  # which, other than select, takes any number of a file
            look.register(conn.fileno(), select.POLLIN)
            if look.poll(0):
                conn.close()
        return bool(conn.closed)

    def _can_reuse(self, conn: PatientConnection) -> bool:
        """Only what nothing is left open on: to end a transaction would wait, under a lock."""
        return conn.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE

    @staticmethod
    def says_not_now(error: BaseException) -> bool:
        """Whether an error of the driver says that trying again may help."""
        if not isinstance(error, psycopg.Error):
            return False
        if error.sqlstate is None:
            return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        return error.sqlstate.startswith(UNAVAILABLE_SQLSTATES)

    def fetch_all(self, sql: str, values: list[Any]) -> list[tuple[Any, ...]]:
        """Every row of a query; other tasks go on meanwhile."""
        return list(self.execute_sql(sql, values).fetchall())

    def turn_to_write(self) -> AbstractContextManager[None]:
        """Nothing to wait for: PostgreSQL lets many write."""
        return nullcontext()

    def settled_before(self) -> datetime:
        """The instant before which no change can appear any more that is not visible already.

        Transactions may commit in another order than the times they wrote, so a reader that went
        on from the latest time it saw would skip a change that was still on its way. But a
        transaction takes its times after it has begun: what is older than the oldest one under
        way is settled. The clocks of the machines must agree, as NTP keeps them.
        """
        row: tuple[datetime] = self.execute_sql(
            "SELECT least(min(xact_start), statement_timestamp()) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = %s"
            " AND pid <> pg_backend_pid()",
            (APPLICATION_NAME,),
        ).fetchone()
        return row[0]

    def time_calls(self, observe: Callable[[float], None]) -> None:
        """Open connections whose calls are timed from now on."""
        self.cursor_class = timed_cursor(psycopg.Cursor, observe)

    def prepare_storage(self) -> None:
        """Nothing to do: whoever runs the server made the database."""

    def dump_command(self, file: Path) -> str:
        """The shell command that writes a backup to a file; it holds no password."""
        where = psycopg.conninfo.conninfo_to_dict(self.database)
        public = {name: value for name, value in where.items() if "password" not in name}
        dbname = psycopg.conninfo.make_conninfo("", **public)
        return shlex.join(["pg_dump", "--format=custom", f"--file={file}", f"--dbname={dbname}"])

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keep a second migration, perhaps on another machine, out until this one is done."""
        self.execute_sql("SET lock_timeout = 0; SET statement_timeout = 0")
        self.connection().patience = 3600.0
        self.execute_sql("SELECT pg_advisory_lock(%s)", (self.migration_lock,))
        try:
            yield
        finally:
            self.manual_close()  # ends the lock, and the limits lifted above, with the session
