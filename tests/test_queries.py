"""Queries: how many a request takes, and that none reads a whole table."""

import itertools
import re
from datetime import timedelta
from typing import Any

import pytest
from conftest import booking, using

import database
from database import db
from database.queries import Compiled
from ids import new_id
from intake_models import Receipt
from models import Activity, ExternalEvent, Lead, Meeting, MeetingNote
from services import (
    bookings,
    clients,
    erased_events,
    erasure,
    external_events,
    idempotency,
    lead_changes,
    lead_queries,
    meetings,
    notes,
    personal_data,
    receipts,
    sources,
    timeline,
    users,
)
from services.results import Loaded
from times import utc_now


class TestCounts:
    def test_a_first_booking_takes_six(self, api, lead, count_queries):
        with count_queries() as queries:
            api.post("/meetings", json=booking())

        # key, lead, external event, latest change, meeting, activity
        assert len(queries) == 6, queries

    def test_an_identical_replay_takes_four(self, api, lead, count_queries):
        api.post("/meetings", json=booking())

        with count_queries() as queries:
            api.post("/meetings", json=booking())

        assert len(queries) == 4, queries  # key, lead, external event (taken), its meeting

    def test_every_query_names_the_client(self, api, lead, count_queries):
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
            assert "client_id" in query


def _seed(leads_count, meetings_count):
    """Make a client with many leads and meetings; returns ids of some."""
    owner = clients.create(f"Seeded {new_id()}")[0].id
    host = users.create(owner, "host@example.com", "A", "B").id
    now = utc_now()
    statuses = ["scheduled"] * 97 + ["cancelled", "completed", "no_show"]
    people = []
    for n in range(leads_count):
        given = {"first_name": f"Lead {n}", "email": f"lead{n}@example.com", "phone": f"{n}"}
        given["external_id"] = f"lead-{n}"
        people.append(lead_changes.new_lead(owner, Loaded(given, {})))
        people[-1].updated_at = now + timedelta(seconds=n)
    booked = []
    for n in range(meetings_count):
        lead = people[n % leads_count]
        data = bookings.NO_VALUES | meetings.defaults_for(lead)
        data |= {
            "id": new_id(),
            "client": owner,
            "lead": lead.id,
            "title": "Seeded",
            "meeting_url": f"https://meet.example.com/{n // 3}" if n % 2 else None,
            "starts_at": now + timedelta(minutes=n),
            "ends_at": now + timedelta(minutes=n + 30),
            "external_calendar_provider": "ghl" if n % 1000 else None,
            "external_event_id": f"seeded-{n}",
            "matched_emails": [],
            "reschedules": [],
            "source": "api",
            "host": host if n % 500 == 0 else None,
            "status": statuses[n % 100],
            "confirmed_by_lead": n % 2 == 0,
            "created_at": now,
            "updated_at": now + timedelta(seconds=n),
        }
        booked.append(Meeting.of(data))
    events = [
        ExternalEvent.of(
            {
                "client": owner,
                "provider": "ghl",
                "event_id": meeting.external_event_id,
                "meeting": meeting.id,
                "booking_stamp": None,
                "outcome_stamp": None,
            }
        )
        for meeting in booked
        if meeting.external_calendar_provider
    ]
    activity = dict.fromkeys(Activity._meta.fields) | {
        "client": owner,
        "activity_type": "meeting_scheduled",
        "title": "Seeded",
        "actor_type": "api",
        "created_at": now,
    }
    activities = [
        Activity.of(activity | {"lead": meeting.lead_id, "meeting": meeting.id})
        for meeting in booked[:20_000]
    ]
    note = dict.fromkeys(MeetingNote._meta.fields) | {
        "client": owner,
        "provider": "manual",
        "matched_by": "meeting_url",
        "created_at": now,
        "updated_at": now,
    }
    written = [
        MeetingNote.of(
            note | {"id": new_id(), "meeting": meeting.id, "external_meeting_id": meeting.id}
        )
        for meeting in booked[:5000]
    ]
    receipt = dict.fromkeys(Receipt._meta.fields) | {
        "client": owner,
        "source": sources.create(owner, {"name": "Seeded", "provider": "calcom"})[0].id,
        "provider": "calcom",
        "outcome": "ignored",
        "message": "Seeded",
        "payload": "{}",
        "attempts": 1,
        "received_at": now,
    }
    received = [
        Receipt.of(
            receipt
            | {"id": new_id(), "email_key": f"{n}", "external_event_id": f"{n}"}
            | {"event_provider": "calcom", "previous_event_id": f"-{n}"}
        )
        for n in range(2000)
    ]
    for insert, rows in (
        (lead_changes.insert_unless_taken, people),
        (bookings.insert_meetings, booked),
        (external_events.insert_unless_taken, events),
        (timeline.insert_rows, activities),
        (notes.insert_unless_taken, written),
        (receipts.insert, received),
    ):
        for start in range(0, len(rows), 5000):
            with db.atomic():
                insert(rows[start : start + 5000])
    db.execute_sql("ANALYZE")
    return owner, people[0].id, booked[50]


@pytest.fixture(scope="session")
def explain(kind, app, database_url):
    """`explain(query)`: the plan of a compiled query, for a client with 50,000 meetings."""
    with using(database_url, db_timeout_seconds=60):
        owner, lead_id, meeting = _seed(leads_count=5000, meetings_count=50_000)
    values = {
        "client_id": owner,
        "lead_id": lead_id,
        "lead_email": "lead7@example.com",
        "email_keys": ["lead7@example.com"] * 9,
        "phone_digits": ["7"] * 9,
        "most": 1,
        "ids": [new_id()] * 9,
        "event_ids": ["a"] * 9,
        "meeting_ids": [meeting.id] * 9,
        "values": [meeting.id] * 9,
        "pair_hashes": ["a"] * 9,
        "key": "a",
        **dict.fromkeys(("status", "body", "location", "subject_id", "created_at")),
        "external_ids": ["a"] * 9,
        "host_email": "host@example.com",
        "external_calendar_provider": "ghl",
        "external_event_id": "seeded-50",
        "provider": "ghl",
        "external_meeting_id": "a",
        "event_id": "seeded-50",
        "meeting_url": "https://meet.example.com/a",
        "limit": 51,
        "offset": 0,
        "meeting_id": meeting.id,
        "cursor_id": meeting.id,
        **dict.fromkeys(("starts_after", "updated_after", "cursor_at"), meeting.starts_at),
        **dict.fromkeys(
            ("starts_before", "settled_before"), meeting.starts_at + timedelta(hours=2)
        ),
    }

    def explain(query, **given):
        """The plan for all values, as the service uses it; with a `client_id`, the plan for it."""
        bound = values | given
        statement = query.statement(bound)
        bound = statement.bind(bound)
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
        db.close()
        return "\n".join(str(row[-1]) for row in rows)

    return explain


# A client has few hosts and types. Joined from the left they may be read whole; the tables that
# grow may not.
WHOLE_TABLE = (
    r"Seq Scan on (meetings|leads|external_events|activities)|SCAN (t1|t4|t5|t6)\b(?! LEFT-JOIN)"
)
# The indexes of all leads or meetings of a client.
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


def in_order(value: Any) -> str:
    """Return an id that is the same in every run, also for a set, whose own order varies."""
    return "+".join(sorted(value)) if isinstance(value, frozenset | set) else str(value)


class TestPlans:
    """No query reads a whole table, except the search through a client's leads."""

    @pytest.mark.parametrize(("filters", "statuses"), PAGES, ids=in_order)
    @pytest.mark.parametrize("order", meetings.ORDERS)
    @pytest.mark.parametrize("after_cursor", [False, True])
    def test_no_filter_or_order_of_meetings_reads_a_whole_table(
        self, explain, filters, statuses, order, after_cursor
    ):
        plan = explain(meetings._page(filters, statuses, order, after_cursor))

        assert not re.search(WHOLE_TABLE, plan), plan

    @pytest.mark.parametrize("order", meetings.ORDERS)
    def test_without_filters_the_order_is_that_of_an_index(self, explain, order):
        plan = explain(meetings._page(frozenset(), None, order, True))

        assert f"meetings_client_id_{order.strip('-')}_id" in plan, plan
        assert not re.search(r"Sort|TEMP B-TREE", plan), plan

    @pytest.mark.parametrize(
        ("order", "bounds"),
        [
            ("starts_at", {"starts_after"}),
            ("-starts_at", {"starts_before"}),
            ("-starts_at", {"starts_before", "starts_after"}),
        ],
        ids=in_order,
    )
    def test_a_meeting_url_is_searched_outward_from_a_time(self, explain, order, bounds):
        plan = explain(meetings._page(frozenset({"meeting_url", *bounds}), None, order, False))

        assert "meetings_client_id_starts_at_id" in plan, plan
        # Between two bounds are few meetings, which PostgreSQL may sort once more.
        sorting = "Sort|TEMP B-TREE" if len(bounds) == 1 else "TEMP B-TREE"
        assert not re.search(f"{WHOLE_TABLE}|{sorting}", plan), plan

    @pytest.mark.parametrize(
        ("filters", "statuses", "index"),
        [
            ({"lead_id"}, None, "meetings_lead_id_starts_at_id"),
            ({"lead_email"}, None, "leads_email_key_client_id"),
            ({"host_email"}, None, "meetings_of_host"),
            ({"external_event_id"}, None, "meetings_of_half_a_pair"),
            (set(), {"cancelled"}, "meetings_with_outcome"),
        ],
        ids=in_order,
    )
    def test_a_selective_filter_has_its_own_index(self, explain, filters, statuses, index):
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
        ids=in_order,
    )
    def test_statistics_of_few_meetings_read_only_those(self, explain, filters, statuses):
        """Statistics of all of a client's meetings read them all."""
        plan = explain(meetings._counts(frozenset(filters), statuses and frozenset(statuses)))

        assert not re.search(WHOLE_TABLE, plan), plan

    @pytest.mark.parametrize(
        ("query", "index"),
        [
            (timeline.activities_of_lead, "activities_lead_id_id"),
            (lead_queries.leads_by_external_id_locked, "leads_external_id_client_id"),
            (lead_queries.latest_leads_by_email, "leads_email_key_client_id"),
            (lead_queries.latest_leads_by_email, PRIMARY + "leads"),
            (lead_queries.leads_by_id, PRIMARY + "leads"),
            (lead_queries.leads_by_keys_locked, "leads_external_id_client_id"),
            (lead_queries.leads_by_keys_locked, "leads_email_key_client_id"),
            (lead_queries.leads_by_keys_locked, "leads_phone_digits"),
            (lead_queries.leads_by_keys_locked, PRIMARY + "leads"),
            (notes.note_by_tool, "meeting_notes_external_meeting_id_client_id_provider"),
            (notes.note_by_tool_locked, "meeting_notes_external_meeting_id_client_id_provider"),
            (notes._page(False), "meeting_notes_meeting_id_created_at_id"),
            (notes._page(True), "meeting_notes_meeting_id_created_at_id"),
            (external_events.owners_locked, PRIMARY + "external_events"),
            (external_events.owners_locked, PRIMARY + "meetings"),
            (external_events.owner_of_pair, PRIMARY + "external_events"),
            (meetings.latest_change, "meetings_client_id_updated_at_id"),
            (lead_changes.latest_change, "leads_client_id_updated_at"),
        ],
        ids=lambda value: getattr(value, "__name__", value),
    )
    def test_bookings_and_histories_use_an_index(self, explain, kind, query, index):
        plan = explain(query)

        if kind == "postgresql" and index.startswith(PRIMARY):
            index = index.removeprefix(PRIMARY) + "_pkey"
        assert index in plan, plan
        assert not re.search(WHOLE_TABLE, plan), plan

    @pytest.mark.parametrize(
        ("query", "index"),
        [
            (personal_data.meetings_of_lead, "meetings_lead_id_starts_at_id"),
            (personal_data.email_changes_of_lead, "activities_lead_id_id"),
            (personal_data.pairs_of_meetings, "external_events_meeting_id"),
            (personal_data.notes_of_meetings, "meeting_notes_meeting_id_created_at_id"),
            (receipts.receipts_of_lead, "receipts_of_lead"),
            (receipts.without_lead_by_email, "receipts_email_key_client_id_received_at_id"),
            (receipts.without_lead_by_event, "receipts_without_lead_external_event_id"),
            (receipts.without_lead_by_previous_event, "receipts_without_lead_previous_event_id"),
            (erasure.meetings_to_erase, "meetings_lead_id_starts_at_id"),
            (erasure.delete_answers, "idempotency_keys_subject"),
            (erasure.delete_events, "external_events_meeting_id"),
            (erasure.delete_notes, "meeting_notes_meeting_id_created_at_id"),
            (erasure.delete_activities, "activities_lead_id_id"),
            (erasure.delete_feeds, "feeds_lead_id"),
            (erasure.delete_meetings, PRIMARY + "meetings"),
            (erased_events.erased_events, PRIMARY + "erased_events"),
            (idempotency.key_by_name, PRIMARY + "idempotency_keys"),
            (idempotency.complete, PRIMARY + "idempotency_keys"),
        ],
        ids=lambda value: getattr(value, "__name__", value),
    )
    def test_an_erasure_and_an_idempotency_key_find_their_rows_by_an_index(
        self, explain, kind, query, index
    ):
        """Also in tables that are small here, which PostgreSQL would read whole."""
        if kind == "postgresql":
            db.execute_sql("SET enable_seqscan = off")
            index = index.replace(PRIMARY, "") + "_pkey" if PRIMARY in index else index
        plan = explain(query)

        assert index in plan, plan
        assert not re.search(r"Seq Scan|SCAN (?!json_each)", plan), plan
        if kind == "postgresql":
            db.execute_sql("RESET enable_seqscan")
            database.release()

    @pytest.mark.parametrize(
        "key",
        [key for deleted in (Lead, Meeting) for key in deleted._meta.backrefs],
        ids=lambda key: f"{key.model.__name__}.{key.name}",
    )
    def test_the_rows_that_refer_to_a_deleted_one_are_found_by_an_index(self, app, key):
        """The database looks for them whenever a lead or a meeting is deleted."""
        indexed = {index.columns[0] for index in db.get_indexes(key.model._meta.table_name)}
        database.release()

        assert key.column_name in indexed

    @pytest.mark.parametrize(
        "query",
        [
            lead_queries.leads_by_id,
            lead_queries.lead_by_id,
            lead_queries.latest_leads_by_email,
            lead_queries.leads_by_external_id_locked,
            lead_queries.leads_by_keys_locked,
            external_events.owners_locked,
            external_events.owner_of_pair,
            meetings.meeting_by_id,
            meetings.meeting_by_id_locked,
        ],
        ids=lambda query: query.__name__,
    )
    def test_a_row_is_not_searched_among_all_rows_of_its_client(self, explain, query):
        """Nor by a planner that takes the rows of an unknown client for a handful."""
        plan = explain(query, client_id=new_id())

        assert not re.search(OF_ALL, plan), plan

    @pytest.mark.parametrize(
        ("field", "index"),
        [
            ("email", "leads_email_key_client_id"),
            ("external_id", "leads_external_id_client_id"),
            ("phone", "leads_phone_digits"),
        ],
    )
    def test_a_lead_is_found_by_an_index_on_what_names_it(self, explain, field, index):
        query = {field: "7", "limit": 50, "page": 0}

        for client in ({}, {"client_id": new_id()}):
            pages = Compiled(lambda client_id: lead_queries.page(client_id, query))
            plan = explain(pages, **client)

            assert index in plan, plan
            assert not re.search(f"{WHOLE_TABLE}|{OF_ALL}", plan), plan

    @pytest.mark.parametrize("selective", sorted(meetings.SELECTIVE))
    @pytest.mark.parametrize("more", [None, "starts_after", "updated_after", "settled_before"])
    @pytest.mark.parametrize("statuses", [None, frozenset({"confirmed"}), frozenset({"no_show"})])
    def test_a_selective_filter_is_not_applied_to_all_meetings_of_a_client(
        self, explain, selective, more, statuses
    ):
        """In every order, with and without a cursor, for a client known to the planner or not."""
        filters = frozenset({selective, more} - {None})
        for order in meetings.ORDERS:
            for after_cursor in (False, True):
                page = meetings._page(filters, statuses, order, after_cursor)
                for client in ({}, {"client_id": new_id()}):
                    plan = explain(page, **client)

                    assert not re.search(OF_ALL, plan), plan
