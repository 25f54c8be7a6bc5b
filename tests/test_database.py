"""Migrations, constraints, durability, transactions, and an unavailable database."""

import re
import sqlite3
import threading
import time

import psycopg
import pytest
from conftest import booking, hold_write_lock, using
from peewee import IntegrityError
from playhouse.schema_diff import diff_models
from tables import TABLES

import database
from database import db, transaction
from models import ExternalEvent, Meeting
from services import lead_queries, leads, migrations


class TestMigrations:
    def test_they_leave_nothing_to_change_for_the_models(self, app):
        difference = diff_models(db.obj, TABLES)
        database.release()

        assert not difference, str(difference)

    def test_they_create_exactly_the_tables_of_the_models(self, kind, app, empty_databases):
        migrated = _described(kind)
        with using(empty_databases()):
            db.create_tables(TABLES)
            modelled = _described(kind)

        assert modelled == migrated

    def test_they_can_be_undone_and_repeated(self, app, empty_databases):
        with using(empty_databases()):
            names = migrations.upgrade()
            for _ in names:
                migrations._runner().down()

            assert db.get_tables() == ["schema_migration"]
            assert migrations.upgrade() == names

    def test_only_its_owner_can_read_the_file_of_sqlite(self, tmp_path):
        file = tmp_path / "new" / "meetings.db"

        with using(f"sqlite:///{file}"):
            migrations.upgrade()

            assert {path.stat().st_mode & 0o777 for path in file.parent.iterdir()} == {0o600}


def _described(kind):
    """Return the database's description of our tables: columns, keys, checks and indexes."""
    if kind == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
        # Migrations that alter a table leave its columns in another order.
        rows = [
            (name, *sorted(re.split(r"\s*,\s+", sql.removesuffix(")").replace(" (", ", ", 1))))
            for name, sql in db.execute_sql(query)
            if "schema_migration" not in name and not name.startswith("sqlite_")
        ]
    else:
        rows = db.execute_sql(
            "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable"
            " FROM information_schema.columns WHERE table_schema = 'public'"
            " UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), 0, ''"
            " FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
            " UNION ALL SELECT tablename, indexname, indexdef, 0, ''"
            " FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2, 3"
        ).fetchall()
        rows = [row for row in rows if "schema_migration" not in row[0]]
    return [tuple(row) for row in rows]


class TestConstraints:
    @pytest.fixture
    def meeting(self, api, lead):
        meeting = api.post("/meetings", json=booking()).json["meeting"]
        yield Meeting.get_by_id(meeting["id"])
        database.release()

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("status", "postponed"),
            ("location_type", "moon"),
            ("lead", "0198c0de-0000-7000-8000-000000000000"),
            ("host", "0198c0de-0000-7000-8000-000000000000"),
            ("title", None),
        ],
    )
    def test_the_database_refuses_an_invalid_value(self, meeting, field, value):
        with pytest.raises(IntegrityError), db.atomic():
            Meeting.update({field: value}).where(Meeting.id == meeting.id).execute()

    def test_a_meeting_ends_after_it_starts(self, meeting):
        with pytest.raises(IntegrityError), db.atomic():
            Meeting.update(ends_at=meeting.starts_at).where(Meeting.id == meeting.id).execute()

    def test_a_pair_names_one_meeting(self, meeting):
        with pytest.raises(IntegrityError), db.atomic():
            ExternalEvent.create(
                client=meeting.client_id,
                provider="ghl",
                event_id="1RZJ24WY65VGQFyhN0vJ",
                meeting=meeting.id,
            )


def test_commits_are_durable(kind, app):
    if kind == "sqlite":
        assert (db.journal_mode, db.synchronous, db.foreign_keys) == ("wal", 2, 1)
        assert db.pragma("busy_timeout") == 0  # the service itself waits for locks, not SQLite
    else:
        for name, value in (("synchronous_commit", "on"), ("TimeZone", "UTC"),
                            ("statement_timeout", "5s"), ("lock_timeout", "5s")):  # fmt: skip
            assert db.execute_sql(f"SHOW {name}").fetchone() == (value,)
    database.release()


def test_a_write_transaction_begins_as_a_writer(kind, app, database_url):
    """A deferred transaction fails if another one writes between its first read and first write."""
    if kind == "postgresql":
        pytest.skip("only SQLite has deferred transactions")
    with db.atomic():
        other = sqlite3.connect(database_url.removeprefix("sqlite:///"), timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()
    database.release()


def test_a_writer_that_waits_for_the_lock_holds_no_connection(kind, api, database_url):
    if kind == "postgresql":
        pytest.skip("PostgreSQL has many writers")
    lead = api.new_lead()
    took, unavailable = [], []

    def write(number):
        try:
            leads.update(api.client_id, lead["id"], {"company": f"{number}"})
        except Exception as error:
            unavailable.append(database.is_unavailable(error))

    def read():
        began = time.monotonic()
        for _ in range(10):
            leads.find(api.client_id, lead["id"])
        took.append(time.monotonic() - began)

    holder = hold_write_lock(kind, database_url)
    with using(database_url, db_pool_size=2, db_timeout_seconds=0.5):
        threads = [threading.Thread(target=write, args=(number,)) for number in range(5)]
        threads.append(threading.Thread(target=read))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    holder.close()

    assert unavailable == [True] * 5
    assert took[0] < 0.3


def test_a_transaction_aborted_by_a_deadlock_runs_again(kind, api):
    if kind == "sqlite":
        pytest.skip("SQLite has one writer, and so no deadlocks")
    first, second = api.new_lead(), api.new_lead()
    both_hold_one = threading.Barrier(2, timeout=5)
    runs = []

    @transaction
    def change(one, other):
        runs.append(one["id"])
        lead_queries.lead_by_id_locked.first(client_id=api.client_id, lead_id=one["id"])
        if len(runs) <= 2:
            both_hold_one.wait()
        lead_queries.lead_by_id_locked.first(client_id=api.client_id, lead_id=other["id"])

    threads = [
        threading.Thread(target=change, args=pair) for pair in ((first, second), (second, first))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(runs) == 3


def test_two_applications_in_one_process_use_their_own_databases(app, api, empty_databases):
    with using(empty_databases()) as other:
        migrations.upgrade()
        other.test_cli_runner().invoke(args=["clients", "create", "Only here"])
        lists = [
            each.test_cli_runner().invoke(args=["clients", "list"]).output for each in (app, other)
        ]
        responses = [caller.get("/leads").status_code for caller in (api, api.on(other), api)]

    assert ["Only here" in clients for clients in lists] == [False, True]
    assert responses == [200, 401, 200]


class TestUnavailable:
    """Without its database, the service responds with 503 and recovers by itself."""

    def expect(self, answer):
        assert (answer.status_code, answer.json["code"]) == (503, "unavailable"), answer.json
        assert answer.json["error"] == "Service unavailable"
        assert answer.headers["Retry-After"] == "1"

    def test_an_unreachable_server(self, api):
        with using("postgresql://nobody@127.0.0.1:1/none") as app:
            self.expect(api.on(app).get("/leads"))
            self.expect(app.test_client().get("/readyz"))
            assert app.test_client().get("/healthz").status_code == 200

    def test_a_database_that_lacks_migrations_is_not_ready(self, tmp_path):
        with using(f"sqlite:///{tmp_path / 'new.db'}") as app:
            answer = app.test_client().get("/readyz")

        self.expect(answer)
        assert "flask --app app db upgrade" in answer.json["message"]

    def test_a_request_to_a_database_without_tables(self, api, empty_databases):
        with using(empty_databases()) as app:
            answer = api.on(app).get("/leads")

        self.expect(answer)
        assert "flask --app app db upgrade" in answer.json["message"]

    def test_a_file_that_is_not_a_database(self, api, tmp_path):
        path = tmp_path / "junk.db"
        path.write_bytes(b"junk" * 2000)
        with using(f"sqlite:///{path}") as app:
            self.expect(api.on(app).get("/leads"))
            self.expect(app.test_client().get("/readyz"))

    def test_a_lock_held_past_the_timeout(self, kind, api, lead, database_url):
        holder = hold_write_lock(kind, database_url)
        with using(database_url, db_timeout_seconds=0.3) as app:
            impatient = api.on(app)
            began = time.monotonic()
            answer = impatient.post("/meetings", json=booking())
            took = time.monotonic() - began
            holder.close()

            self.expect(answer)
            assert took < 3
            # PostgreSQL frees the lock a moment after its connection is closed.
            later = (impatient.post("/meetings", json=booking()).status_code for _ in range(20))
            assert 201 in later
            assert len(impatient.history(lead)) == 2

    def test_a_dead_connection_is_replaced_and_the_request_succeeds(self, kind, api, database_url):
        if kind == "sqlite":
            pytest.skip("SQLite has no server to lose")
        api.get("/leads")
        with psycopg.connect(database_url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        time.sleep(0.1)

        assert api.get("/leads").status_code == 200

    def test_a_pool_without_a_free_connection(self, kind, api, database_url):
        taken, done = threading.Event(), threading.Event()

        def hold_the_only_connection():
            db.connect()
            taken.set()
            done.wait(10)
            db.close()

        with using(database_url, db_pool_size=1, db_timeout_seconds=0.3) as app:
            thread = threading.Thread(target=hold_the_only_connection)
            thread.start()
            taken.wait(5)
            answer = api.on(app).get("/leads")
            done.set()
            thread.join()

            self.expect(answer)
            assert api.on(app).get("/leads").status_code == 200
