"""Storage: migrations, constraints, plans, durability, transactions, and life without it."""

import itertools
import re
import sqlite3
import threading
import time
from datetime import timedelta
from functools import partial

import psycopg
import pytest
from conftest import booking, hold_write_lock, using
from peewee import IntegrityError, OperationalError
from playhouse.schema_diff import diff_models

import database
from database import Gate, StatementOfEach, db, fetch, transaction
from models import TABLES, ExternalEvent, Lead, Meeting, new_id
from services import bookings, clients, leads, meetings, migrations, timeline, users
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
    def test_a_first_booking_takes_six(self, api, lead, count_queries):
        with count_queries() as queries:
            api.post("/meetings", json=booking())

        # key, lead, external event, latest change, meeting, activity
        assert len(queries) == 6, queries

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


def _seed(leads_count, meetings_count):
    """A client with many leads and meetings, written straight into the tables; some ids of it."""
    owner = clients.create(f"Seeded {new_id()}")[0]["id"]
    host = users.add(owner, "host@example.com", "A", "B")["id"]
    now = utc_now()
    statuses = ["scheduled"] * 97 + ["cancelled", "completed", "no_show"]
    people = [
        leads._new_lead(owner, {"first_name": f"Lead {n}", "email": f"lead{n}@example.com"})
        | {"updated_at": now + timedelta(seconds=n)}
        for n in range(leads_count)
    ]
    booked = [
        bookings._new_meeting(
            new_id(),
            people[n % leads_count],
            {
                "lead_email": f"lead{n % leads_count}@example.com",
                "title": "Seeded",
                "starts_at": now + timedelta(minutes=n),
                "ends_at": now + timedelta(minutes=n + 30),
                "external_calendar_provider": "ghl" if n % 1000 else None,
                "external_event_id": f"seeded-{n}",
            },
            {},
            now,
        )
        | {
            "host_id": host if n % 500 == 0 else None,
            "status": statuses[n % 100],
            "confirmed_by_lead": n % 2 == 0,
            "updated_at": now + timedelta(seconds=n),
        }
        for n in range(meetings_count)
    ]
    events = [
        bookings.external_event(meeting) | {"client_id": owner, "meeting_id": meeting["id"]}
        for meeting in booked
        if bookings.external_event(meeting)
    ]
    told = [bookings._scheduled(meeting) for meeting in booked[:20_000]]
    for insert, rows in (
        (leads.INSERT_LEAD, people),
        (bookings.INSERT_MEETING, booked),
        (bookings.INSERT_EXTERNAL_EVENT, events),
        (timeline.INSERT_ACTIVITY, told),
    ):
        for start in range(0, len(rows), 5000):
            with db.atomic():
                insert.run_many(rows[start : start + 5000])
    db.execute_sql("ANALYZE")
    return owner, people[0]["id"], booked[50]


@pytest.fixture(scope="session")
def explain(kind, app, database_url):
    """How the database would run a query of the service, for a client with 100,000 meetings."""
    with using(database_url, timeout_seconds=60):
        owner, lead_id, meeting = _seed(leads_count=5000, meetings_count=100_000)
    values = {
        "client_id": owner,
        "lead_id": lead_id,
        "lead_email": "lead7@example.com",
        "email_key": "lead7@example.com",
        "host_email": "host@example.com",
        "external_calendar_provider": "ghl",
        "external_event_id": "seeded-50",
        "provider": "ghl",
        "event_id": "seeded-50",
        "limit": 51,
        "offset": 0,
        "id": meeting["id"],
        "external_id": "x",
        "cursor_id": meeting["id"],
        **dict.fromkeys(("starts_after", "updated_after", "cursor_at"), meeting["starts_at"]),
        **dict.fromkeys(
            ("starts_before", "settled_before"), meeting["starts_at"] + timedelta(hours=2)
        ),
    }

    def explain(prepared, **given):
        """The plan for all values, as it is made in use; the one for a `client_id`, if given."""
        statement, bound = prepared.statement(), values | given
        is_joint = isinstance(statement, StatementOfEach)
        bound = statement.bind_each([bound] * 9) if is_joint else statement.bind(bound)
        if kind == "sqlite":
            rows = db.execute_sql("EXPLAIN QUERY PLAN " + statement.sql, bound).fetchall()
        elif "client_id" in given:
            db.execute_sql("SET plan_cache_mode = force_custom_plan")
            rows = db.execute_sql("EXPLAIN " + statement.sql, bound).fetchall()
            db.execute_sql("SET plan_cache_mode = force_generic_plan")
        else:
            numbers = itertools.count(1)
            numbered = re.sub("%s", lambda _: f"${next(numbers)}", statement.sql)
            rows = db.execute_sql("EXPLAIN (GENERIC_PLAN) " + numbered).fetchall()
        database.release()
        return "\n".join(str(row[-1]) for row in rows)

    return explain


# The few hosts and types of a client, joined from the left, may be read whole; of what grows, no
# table may.
WHOLE_TABLE = (
    r"Seq Scan on (meetings|leads|external_events|activities)|SCAN (t1|t4|t5|t6)\b(?! LEFT-JOIN)"
)
# An index of all leads or meetings of a client.
OF_ALL = r"(leads|meetings)_client_id_(updated|starts)_at"
PRIMARY = "sqlite_autoindex_"
PAGES = [
    *((frozenset({name}), None) for name in meetings.FILTERS if name != "host_id"),
    (frozenset(), None),
    (frozenset(), frozenset({"confirmed"})),
    (frozenset(), frozenset({"cancelled"})),
    (frozenset(), frozenset({"completed", "no_show"})),
    (frozenset({"starts_after", "starts_before"}), frozenset({"scheduled"})),
    (frozenset({"updated_after", "settled_before"}), None),
]


class TestPlans:
    """No query of the contract reads a whole table, the search through a client's leads aside."""

    @pytest.mark.parametrize(("filters", "statuses"), PAGES, ids=str)
    @pytest.mark.parametrize("order", meetings.ORDERS)
    @pytest.mark.parametrize("after_cursor", [False, True])
    def test_every_filter_and_order_of_meetings(
        self, explain, filters, statuses, order, after_cursor
    ):
        plan = explain(meetings._page(filters, statuses, order, after_cursor))

        assert not re.search(WHOLE_TABLE, plan), plan

    @pytest.mark.parametrize("order", meetings.ORDERS)
    def test_without_filters_the_order_itself_is_an_index(self, explain, order):
        plan = explain(meetings._page(frozenset(), None, order, True))

        assert f"meetings_client_id_{order.strip('-')}_id" in plan, plan
        assert not re.search(r"Sort|TEMP B-TREE", plan), plan

    @pytest.mark.parametrize(
        ("filters", "statuses", "index"),
        [
            ({"lead_id"}, None, "meetings_lead_id_starts_at_id"),
            ({"lead_email"}, None, "leads_email_key_client_id"),
            ({"host_email"}, None, "meetings_of_host"),
            ({"external_event_id"}, None, "meetings_of_half_a_pair"),
            (set(), {"cancelled"}, "meetings_with_outcome"),
        ],
        ids=str,
    )
    def test_what_is_rare_has_an_index_of_its_own(self, explain, filters, statuses, index):
        plan = explain(
            meetings._page(
                frozenset(filters), statuses and frozenset(statuses), "-starts_at", False
            )
        )

        assert index in plan, plan

    @pytest.mark.parametrize(
        ("filters", "statuses"),
        [
            ({"lead_id"}, None),
            ({"lead_email"}, None),
            ({"host_email"}, None),
            ({"external_event_id"}, None),
            (set(), {"completed", "no_show"}),
        ],
        ids=str,
    )
    def test_statistics_of_a_few_meetings_read_no_others(self, explain, filters, statuses):
        """Of all of a client's meetings, counting them is reading them."""
        plan = explain(meetings._counts(frozenset(filters), statuses and frozenset(statuses)))

        assert not re.search(WHOLE_TABLE, plan), plan

    @pytest.mark.parametrize(
        ("prepared", "index"),
        [
            (leads.LEAD_BY_EMAIL, "leads_email_key_client_id"),
            (leads.LEAD_BY_EXTERNAL_ID_LOCKED, "leads_external_id_client_id"),
            (bookings.MEETING_OF_EXTERNAL_EVENT, "external_events"),
            (timeline.ACTIVITIES_OF_LEAD, "activities_lead_id_id"),
        ],
    )
    def test_what_a_booking_and_a_history_ask(self, explain, prepared, index):
        plan = explain(prepared)

        assert index in plan, plan
        assert not re.search(WHOLE_TABLE, plan), plan

    @pytest.mark.parametrize(
        ("prepared", "lists", "index"),
        [
            (
                leads.LEADS_BY_EMAIL,
                {"email_key": ["lead7@example.com"] * 9},
                "leads_email_key_client_id",
            ),
            (leads.LEADS_BY_EMAIL, {"email_key": ["lead7@example.com"] * 9}, PRIMARY + "leads"),
            (leads.LEADS_BY_ID, {"id": [new_id()] * 9}, PRIMARY + "leads"),
            (bookings.EXTERNAL_EVENTS, {"event_id": ["a"] * 9}, PRIMARY + "external_events"),
            (bookings.MEETINGS_LOCKED, {"id": [new_id()] * 9}, PRIMARY + "meetings"),
            (meetings.LATEST_CHANGE, {}, "meetings_client_id_updated_at_id"),
            (leads.LATEST_CHANGE, {}, "leads_client_id_updated_at"),
        ],
    )
    def test_what_bookings_that_meet_ask(self, explain, kind, prepared, lists, index):
        plan = explain(prepared, **lists)

        if kind == "postgresql" and index.startswith(PRIMARY):
            index = index.removeprefix(PRIMARY) + "_pkey"
        assert index in plan, plan
        assert not re.search(WHOLE_TABLE, plan), plan

    @pytest.mark.parametrize(
        ("prepared", "lists"),
        [
            (leads.LEADS_BY_ID, {"id": [new_id()] * 9}),
            (leads.LEAD_BY_ID, {}),
            (leads.LEADS_BY_EMAIL, {"email_key": ["lead7@example.com"] * 9}),
            (leads.LEAD_BY_EMAIL, {}),
            (leads.OWNERS_OF_EXTERNAL_IDS, {"external_id": ["a"] * 9}),
            (leads.LEAD_BY_EXTERNAL_ID_LOCKED, {}),
            (bookings.EXTERNAL_EVENTS, {"event_id": ["a"] * 9}),
            (bookings.MEETING_OF_EXTERNAL_EVENT, {}),
            (bookings.MEETINGS_LOCKED, {"id": [new_id()] * 9}),
            (meetings.MEETING_BY_ID, {}),
        ],
    )
    def test_what_is_one_of_many_is_never_looked_for_among_all_of_a_client(
        self, explain, prepared, lists
    ):
        """Also by a planner that takes the rows of a client it has not seen for a handful."""
        plan = explain(prepared, **lists, client_id=new_id())

        assert not re.search(OF_ALL, plan), plan

    @pytest.mark.parametrize("few", sorted(meetings.FEW))
    @pytest.mark.parametrize("more", [None, "starts_after", "updated_after", "settled_before"])
    @pytest.mark.parametrize("statuses", [None, frozenset({"confirmed"}), frozenset({"no_show"})])
    def test_few_meetings_are_not_looked_for_among_all_of_a_client(
        self, explain, few, more, statuses
    ):
        """However they are ordered, and read on; seen by the planner before, or not."""
        filters = frozenset({few, more} - {None})
        for order in meetings.ORDERS:
            for after_cursor in (False, True):
                page = meetings._page(filters, statuses, order, after_cursor)
                for client in ({}, {"client_id": new_id()}):
                    plan = explain(page, **client)

                    assert not re.search(OF_ALL, plan), plan


class TestGate:
    def test_nobody_gets_in_past_who_waits(self):
        gate, order = Gate(1), []
        assert gate.enter(0)

        def wait(name):
            assert gate.enter(5)
            order.append(name)
            gate.leave()

        threads = []
        for name in "abc":
            threads.append(threading.Thread(target=wait, args=name))
            threads[-1].start()
            while len(gate._waiting) < len(threads):
                time.sleep(0.001)
        gate.leave()
        came_by = gate.enter(5)
        order.append("whoever came by")
        gate.leave()
        for thread in threads:
            thread.join()

        assert came_by
        assert order == ["a", "b", "c", "whoever came by"]

    def test_who_waited_in_vain_takes_no_place(self):
        gate = Gate(1)
        assert gate.enter(0)

        assert not gate.enter(0.01)
        gate.leave()

        assert gate.enter(0)
        assert not gate.enter(0)

    def test_a_connection_takes_one_place_and_gives_it_back_once(self, app, database_url):
        with using(database_url, pool_size=2):
            db.connect()
            db.connect(reuse_if_open=True)
            db.close()
            db.close()

            assert db.gate._free == 2

    def test_who_cannot_connect_gives_the_place_back(self, app):
        with using("postgresql://nobody@127.0.0.1:1/none", pool_size=2):
            for _ in range(3):
                with pytest.raises(OperationalError):
                    db.connect()

            assert db.gate._free == 2


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
        assert db.pragma("busy_timeout") == 0  # tasks wait for locks, and not within SQLite
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


def test_who_waits_to_write_leaves_a_connection_to_who_reads(kind, api, carry_out, database_url):
    if kind == "postgresql":
        pytest.skip("SQLite's matter")
    lead = api.new_lead()
    took, told = [], []

    def write(number):
        try:
            leads.update(api.client_id, lead["id"], {"company": f"{number}"})
        except Exception as error:
            told.append(database.is_unavailable(error))
        database.release()

    def read():
        began = time.monotonic()
        for _ in range(10):
            leads.find(api.client_id, lead["id"])
            database.release()
            time.sleep(0)
        took.append(time.monotonic() - began)

    holder = hold_write_lock(kind, database_url)
    with using(database_url, pool_size=2, timeout_seconds=0.5):
        carry_out(*[partial(write, number) for number in range(5)], read)
    holder.close()

    assert told == [True] * 5
    assert took[0] < 0.3


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
