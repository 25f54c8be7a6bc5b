"""Storage: migrations, constraints, plans, durability, transactions, and life without it."""

import re
import sqlite3
import threading
import time
from datetime import timedelta

import psycopg
import pytest
from conftest import booking, hold_write_lock, using
from peewee import IntegrityError, Tuple
from playhouse.schema_diff import diff_models

import database
from database import db, fetch, transaction
from models import TABLES, Activity, ExternalEvent, Lead, Meeting, new_id
from services import clients, leads, migrations
from times import utc_now


class TestMigrations:
    def test_they_agree_with_the_models(self, app):
        difference = diff_models(db.obj, TABLES)
        database.release()

        assert not difference, str(difference)

    def test_they_agree_with_the_models_to_the_letter(self, kind, app, empty_databases):
        migrated = _described(kind)
        with using(empty_databases()):
            db.create_tables(TABLES)
            modelled = _described(kind)

        assert modelled == migrated

    def test_they_can_be_taken_back_and_done_again(self, app, empty_databases):
        with using(empty_databases()):
            names = migrations.upgrade()
            for _ in names:
                migrations._runner().down()

            assert db.get_tables() == ["schema_migration"]
            assert migrations.upgrade() == names


def _described(kind):
    """Everything the database knows of our tables: columns with types, keys, checks, indexes."""
    if kind == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"
        rows = [row for row in db.execute_sql(query) if "schema_migration" not in row[0]]
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


class TestQueries:
    def test_a_first_booking_takes_five(self, api, lead, count_queries):
        with count_queries() as queries:
            api.post("/meetings", json=booking())

        assert len(queries) == 5, queries  # key, lead, external event, meeting, activity

    def test_an_identical_replay_takes_four(self, api, lead, count_queries):
        api.post("/meetings", json=booking())

        with count_queries() as queries:
            api.post("/meetings", json=booking())

        assert len(queries) == 4, queries  # key, lead, external event (taken), the meeting

    def test_every_one_names_the_client(self, api, lead, count_queries):
        meeting = booking(host_email="a@b.co", meeting_type_id=new_id())
        with count_queries() as queries:
            api.post("/meetings", json=meeting)
            api.post("/meetings", json=booking())
            api.post("/meetings", json=booking(title="x"))
            api.get(f"/leads/{lead['id']}/meetings")
            api.get(f"/leads/{lead['id']}/history")
            api.get("/leads?search=x&email=y")
            api.patch(f"/leads/{lead['id']}", json={"company": "x"})

        assert len(queries) > 20
        for query in queries:
            assert '"client_id"' in query


@pytest.fixture(scope="session")
def seeded(kind, app):
    """Seed a client among others, and return what explains how a query would be run."""
    owner = _seed(leads=5000, meetings_each=4)

    def explain(query):
        sql, params = query.sql()
        prefix = "EXPLAIN QUERY PLAN " if kind == "sqlite" else "EXPLAIN "
        rows = db.execute_sql(prefix + sql, params).fetchall()
        database.release()
        return "\n".join(str(row[-1]) for row in rows)

    return owner, explain


# PostgreSQL may prefer to sort a lead's few rows; it must not read the others'.
WHOLE_TABLE = r"Seq Scan|SCAN|TEMP B-TREE"


class TestPlans:
    """No query of the contract reads a whole table, the search through a client's leads aside."""

    def test_a_leads_meetings_come_in_order_from_an_index(self, seeded):
        owner, explain = seeded
        lead = Lead.select().where(Lead.client == owner).limit(1).get().id
        query = (
            Meeting.select()
            .where(Meeting.client == owner, Meeting.lead == lead)
            .order_by(Meeting.starts_at.desc(), Meeting.id.desc())
            .limit(200)
        )
        after = query.where(Tuple(Meeting.starts_at, Meeting.id) < Tuple(utc_now(), lead))

        for plan in map(explain, (query, after)):
            assert "meetings_lead_id_starts_at_id" in plan
            assert not re.search(WHOLE_TABLE, plan), plan

    def test_the_lead_of_an_email_comes_from_an_index(self, seeded):
        owner, explain = seeded
        plan = explain(
            Lead.select()
            .where(Lead.client == owner, Lead.email_key == "lead7@example.com")
            .order_by(Lead.updated_at.desc(), Lead.created_at.desc(), Lead.id.desc())
            .limit(1)
        )

        assert "leads_client_id_email_key_updated_at_created_at_id" in plan
        assert not re.search(WHOLE_TABLE, plan), plan

    def test_the_list_of_leads_comes_in_order_from_an_index(self, seeded):
        owner, explain = seeded
        plan = explain(
            Lead.select()
            .where(Lead.client == owner)
            .order_by(Lead.updated_at.desc(), Lead.created_at.desc(), Lead.id.desc())
            .limit(51)
        )

        assert "leads_client_id_updated_at_created_at_id" in plan
        assert not re.search(WHOLE_TABLE, plan), plan

    def test_a_history_comes_in_order_from_an_index(self, seeded):
        owner, explain = seeded
        lead = Lead.select().where(Lead.client == owner).limit(1).get().id
        plan = explain(
            Activity.select()
            .where(Activity.client == owner, Activity.lead == lead)
            .order_by(Activity.id)
            .limit(50)
        )

        assert "activities_lead_id_id" in plan
        assert not re.search(WHOLE_TABLE, plan), plan


def _seed(leads, meetings_each):
    """A client with many leads, meetings and activities, written straight into the tables."""
    owner = clients.create(f"Seeded {new_id()}")[0]["id"]
    now = utc_now()
    people = [
        {
            "id": new_id(),
            "client": owner,
            "first_name": "Lead",
            "email": f"lead{n}@example.com",
            "email_key": f"lead{n}@example.com",
            "source": "api",
            "metadata": {},
            "search_key": "",
            "created_at": now,
            "updated_at": now + timedelta(seconds=n),
        }
        for n in range(leads)
    ]
    booked = [
        {
            "id": new_id(),
            "client": owner,
            "lead": person["id"],
            "title": "Seeded",
            "starts_at": now + timedelta(hours=n),
            "ends_at": now + timedelta(hours=n + 1),
            "timezone": "UTC",
            "status": "scheduled",
            "confirmed_by_lead": False,
            "location_type": "video",
            "additional_attendees": [],
            "matched_emails": [],
            "reschedules": [],
            "source": "api",
            "created_at": now,
            "updated_at": now,
        }
        for n in range(meetings_each)
        for person in people
    ]
    told = [
        {
            "client": owner,
            "lead": meeting["lead"],
            "activity_type": "meeting_scheduled",
            "title": "Seeded",
            "actor_type": "api",
            "created_at": now,
        }
        for meeting in booked
    ]
    with db.atomic():
        for model, rows in ((Lead, people), (Meeting, booked), (Activity, told)):
            for start in range(0, len(rows), 500):
                model.insert_many(rows[start : start + 500]).execute()
    db.execute_sql("ANALYZE")
    database.release()
    return owner


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
    def test_the_database_refuses_what_the_code_never_writes(self, meeting, field, value):
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
        assert db.pragma("busy_timeout") == 5000
    else:
        for name, value in (("synchronous_commit", "on"), ("TimeZone", "UTC"),
                            ("statement_timeout", "5s"), ("lock_timeout", "5s")):  # fmt: skip
            assert db.execute_sql(f"SHOW {name}").fetchone() == (value,)
    database.release()


def test_a_write_transaction_begins_as_one(kind, app, database_url):
    """A deferred one would fail when it turns into a writer after another has written."""
    if kind == "postgresql":
        pytest.skip("SQLite's matter")
    with db.atomic():
        other = sqlite3.connect(database_url.removeprefix("sqlite:///"), timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()
    database.release()


def test_a_deadlock_is_run_again_inside_the_service(kind, api):
    if kind == "sqlite":
        pytest.skip("SQLite has one writer, and so no deadlocks")
    first, second = api.new_lead(), api.new_lead()
    both_hold_one = threading.Barrier(2, timeout=5)
    runs = []

    @transaction
    def change(one, other):
        runs.append(one["id"])
        leads.LEAD_BY_ID_LOCKED.row_or_none(client_id=api.client_id, id=one["id"])
        if len(runs) <= 2:
            both_hold_one.wait()
        leads.LEAD_BY_ID_LOCKED.row_or_none(client_id=api.client_id, id=other["id"])

    def run(*pair):
        change(*pair)
        database.release()

    threads = [
        threading.Thread(target=run, args=pair) for pair in ((first, second), (second, first))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(runs) == 3


class TestUnavailable:
    """Without its database the service answers 503 and recovers by itself."""

    def expect(self, answer):
        assert (answer.status_code, answer.json["code"]) == (503, "unavailable"), answer.json
        assert answer.json["error"] == "Service unavailable"
        assert answer.headers["Retry-After"] == "1"

    def test_a_server_that_is_not_there(self, app, api):
        with using("postgresql://nobody@127.0.0.1:1/none"):
            self.expect(api.get("/leads"))
            self.expect(api.http.get("/readyz"))
            assert api.http.get("/healthz").status_code == 200

    def test_a_database_that_is_behind_is_not_ready(self, app, tmp_path):
        with using(f"sqlite:///{tmp_path / 'new.db'}"):
            answer = app.test_client().get("/readyz")

        self.expect(answer)
        assert "flask --app app db upgrade" in answer.json["message"]

    def test_a_database_that_was_never_migrated(self, app, api, empty_databases):
        with using(empty_databases()):
            answer = api.get("/leads")

        self.expect(answer)
        assert "flask --app app db upgrade" in answer.json["message"]

    def test_a_file_that_is_no_database(self, api, tmp_path):
        path = tmp_path / "junk.db"
        path.write_bytes(b"junk" * 2000)
        with using(f"sqlite:///{path}"):
            self.expect(api.get("/leads"))
            self.expect(api.http.get("/readyz"))

    def test_a_lock_held_past_the_timeout(self, kind, api, lead, database_url):
        holder = hold_write_lock(kind, database_url)
        with using(database_url, timeout_seconds=0.3):
            began = time.monotonic()
            answer = api.post("/meetings", json=booking())
            took = time.monotonic() - began
            holder.close()

            self.expect(answer)
            assert took < 3
            assert api.post("/meetings", json=booking()).status_code == 201
            assert len(api.history(lead)) == 2

    def test_a_connection_that_died_is_replaced_unseen(self, kind, api, database_url):
        if kind == "sqlite":
            pytest.skip("there is no server to lose")
        api.get("/leads")
        with psycopg.connect(database_url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        time.sleep(0.1)

        assert api.get("/leads").status_code == 200

    def test_a_pool_that_stays_empty(self, kind, api, database_url):
        taken, done = threading.Event(), threading.Event()

        def take_the_only_connection():
            fetch(Lead.select().limit(1))
            taken.set()
            done.wait(10)
            database.release()

        with using(database_url, pool_size=1, timeout_seconds=0.3):
            thread = threading.Thread(target=take_the_only_connection)
            thread.start()
            taken.wait(5)
            answer = api.get("/leads")
            done.set()
            thread.join()

            self.expect(answer)
            assert api.get("/leads").status_code == 200
