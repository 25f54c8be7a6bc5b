"""The service through PgBouncer in transaction mode, where each transaction may get a new session.

The sessions of PgBouncer show in `pg_stat_activity`, with the caller's address after its name.
"""

import os
import subprocess
import sys
from urllib.parse import urlsplit

import psycopg
import pytest
from conftest import using
from pooler import pooling

from config.settings import ROOT
from database import db
from database.postgres import MIGRATION_LOCK
from services import migrations

CORE = [
    "create_lead",
    "errors",
    "instants",
    "intake",
    "lead_matching",
    "lead_meetings",
    "leads",
    "locks",
    "many",
    "meeting_changes",
    "meeting_lists",
    "meetings",
    "outcomes",
    "replay",
]
OTHERS = [
    "calendars",
    "erasure",
    "erasure_races",
    "events",
    "files",
    "idempotency",
    "keys",
    "notes",
    "providers",
    "receipts",
    "sending",
    "sources",
    "users",
    "webhooks",
]


@pytest.fixture(scope="module")
def pooled_server(postgres_server):
    with pooling(postgres_server.url, add_host=True) as url:
        yield url


@pytest.fixture(scope="module")
def pooled_database(postgres_server, pooled_server):
    """A migrated database, through PgBouncer."""
    url = postgres_server.create_database()
    pooled = urlsplit(pooled_server)._replace(path=urlsplit(url).path).geturl()
    with using(pooled):
        migrations.upgrade()
    yield pooled
    postgres_server.drop_database(url)


@pytest.mark.parametrize(
    ("modules", "chosen"),
    [
        pytest.param(["replay"], "", id="short"),
        pytest.param(CORE + OTHERS, "", id="long", marks=pytest.mark.soak),
    ],
)
def test_the_tests_of_the_api_pass(pooled_server, modules, chosen):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider"),
            *("-k", " and ".join(filter(None, ("postgresql", chosen)))),
            *(f"tests/test_{name}.py" for name in modules),
        ],
        cwd=ROOT,
        env=os.environ | {"TEST_DATABASE_URL": pooled_server},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_every_session_has_the_settings_of_this_service_in_a_transaction(pooled_database):
    wanted = {"synchronous_commit": "on", "plan_cache_mode": "force_generic_plan",
              "statement_timeout": "7s", "lock_timeout": "7s", "TimeZone": "UTC",
              "idle_in_transaction_session_timeout": "7s"}  # fmt: skip
    sessions = set()
    with psycopg.connect(pooled_database) as other, using(pooled_database, db_timeout_seconds=7):
        other.execute("SET SESSION synchronous_commit = off")  # keeps a session for the moment
        db.fetch("SELECT 1", ())
        other.commit()
        for _ in range(4):
            with db.write_transaction():
                [(session,)] = db.fetch("SELECT pg_backend_pid()", ())
                found = {name: db.fetch(f"SHOW {name}", ())[0][0] for name in wanted}
            sessions.add(session)
            assert found == wanted

    assert len(sessions) > 1


def test_statements_are_not_prepared(pooled_database):
    with using(pooled_database):
        for number in range(20):
            assert db.fetch("SELECT %s::int", (number,)) == [(number,)]


def test_the_change_feed_waits_for_a_transaction_in_progress(pooled_database):
    with using(pooled_database):
        other = db.obj.open()
        other.execute("BEGIN")
        [(began,)] = other.execute("SELECT transaction_timestamp()").fetchall()
        waiting = db.settled_before()
        other.execute("COMMIT")
        settled = db.settled_before()
        other.close()

    assert waiting == began < settled


def test_one_migration_runs_at_a_time(pooled_database):
    with using(pooled_database), psycopg.connect(pooled_database) as other:
        with db.exclusively():
            for _ in range(3):  # whichever session it gets
                assert not _is_lock_free(other)
        assert _is_lock_free(other)


def _is_lock_free(connection):
    query = "SELECT pg_try_advisory_xact_lock(%s)"
    [(is_free,)] = connection.execute(query, (MIGRATION_LOCK,)).fetchall()
    connection.commit()
    return is_free
