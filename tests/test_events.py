"""Events: one for each change, with the state after it, in the transaction of the change."""

import threading
import time

import pytest
from conftest import booking, save_lead
from test_webhooks import add, log_meeting, log_of, public_names  # noqa: F401

import database
from database import db, transaction
from models import ACTIVITY_TYPES
from services import lead_changes, leads, outbox, timeline, users, webhooks
from services.results import Loaded
from webhook_models import EVENT_TYPES

MEETING_KEYS = [
    *("id", "title", "starts_at", "ends_at", "duration_minutes", "timezone", "location_type"),
    *("location_details", "meeting_url", "status", "source", "attendee_name", "attendee_email"),
    *("attendee_phone", "confirmed_by_lead", "cancelled_at", "cancellation_reason"),
    *("outcome_notes", "outcome_at", "no_show_reason", "external_calendar_provider"),
    *("external_event_id", "description", "additional_attendees", "reschedules"),
    *("created_at", "updated_at"),
]
NOTE = {
    "lead_email": "tony.stark@gmail.com",
    "meeting_date": "2025-12-29T17:00:00Z",
    "notes": "He likes suits.",
}


@pytest.fixture
def webhook(api):
    return add(api)


def payloads_of(api, webhook):
    """The payloads of all deliveries, oldest first."""
    path = f"/webhooks/{webhook['id']}/deliveries"
    return [
        api.get(f"{path}/{row['id']}").json["delivery"]["payload"]
        for row in reversed(log_of(api, webhook))
    ]


def test_every_activity_type_has_an_event_type():
    assert {kind.replace("_", ".", 1) for kind in ACTIVITY_TYPES} == set(EVENT_TYPES) - {
        "lead.erased"
    }


def test_a_booking_is_reported_with_its_meeting_lead_host_and_type(api, lead, webhook):
    users.create(api.client_id, "pepper@example.com", "Pepper", "Potts")
    database.release()
    meeting = log_meeting(api, host_email="pepper@example.com")

    [body] = payloads_of(api, webhook)

    assert list(body) == [
        *("event_type", "event_id", "webhook_id", "delivery_id", "timestamp", "client_id"),
        *("test", "data"),
    ]
    assert (body["event_type"], body["test"]) == ("meeting.scheduled", False)
    assert (body["webhook_id"], body["client_id"]) == (webhook["id"], api.client_id)
    assert len(body["timestamp"]) == len("2026-03-02T14:00:00.123Z")
    data = body["data"]
    assert list(data) == ["meeting", "lead", "host", "meeting_type", "changes", "sequence"]
    assert list(data["meeting"]) == MEETING_KEYS
    item = api.get(f"/meetings/{meeting['id']}").json["meeting"]
    assert data["meeting"] == {name: item[name] for name in MEETING_KEYS}
    assert data["lead"] == {
        name: lead[name]
        for name in (
            *("id", "first_name", "last_name", "email", "phone", "company", "source"),
            "external_id",
        )
    }
    assert list(data["host"]) == ["id", "first_name", "last_name", "email"]
    assert data["host"]["email"] == "pepper@example.com"
    assert (data["meeting_type"], data["changes"]) == (None, None)


def test_each_of_a_meetings_changes_reports_the_state_after_it(api, lead, webhook):
    meeting = log_meeting(api, status="scheduled")
    path = f"/meetings/{meeting['id']}"
    log_meeting(api, title="Moved to Zoom", status="scheduled")
    api.post(f"{path}/confirm")
    api.post(f"{path}/reschedule", json={"starts_at": "2026-03-02T14:00:00Z", "reason": "ill"})
    api.post(f"{path}/complete", json={"notes": "went well"})
    api.post(f"{path}/no-show")
    api.post(f"{path}/reopen")
    api.post(f"{path}/cancel", json={"reason": "over"})

    bodies = payloads_of(api, webhook)

    states = [(body["event_type"], body["data"]["meeting"]["status"]) for body in bodies]
    assert states == [
        ("meeting.scheduled", "scheduled"),
        ("meeting.updated", "scheduled"),
        ("meeting.confirmed", "confirmed"),
        ("meeting.rescheduled", "scheduled"),
        ("meeting.completed", "completed"),
        ("meeting.no_show", "no_show"),
        ("meeting.reopened", "scheduled"),
        ("meeting.cancelled", "cancelled"),
    ]
    meetings = [body["data"]["meeting"] for body in bodies]
    assert [m["title"] for m in meetings[:2]] == ["Discovery Call with Tony Stark", "Moved to Zoom"]
    assert [len(m["reschedules"]) for m in meetings] == [0, 0, 0, 1, 1, 1, 1, 1]
    assert [m["outcome_notes"] for m in meetings[3:6]] == [None, "went well", None]
    assert bodies[1]["data"]["changes"] == {
        "title": ["Discovery Call with Tony Stark", "Moved to Zoom"]
    }
    sequences = [body["data"]["sequence"] for body in bodies]
    assert sequences == sorted(set(sequences))
    assert all(body["data"]["lead"]["id"] == lead["id"] for body in bodies)


def test_changes_of_one_array_report_their_own_states(api, lead, webhook):
    rows = [booking(title=title) for title in ("One", "Two", "Three")]

    api.post("/meetings", json=rows)

    titles = [body["data"]["meeting"]["title"] for body in payloads_of(api, webhook)]
    assert titles == ["One", "Two", "Three"]


def test_a_lead_is_reported_with_all_its_fields(api, webhook):
    lead = api.new_lead(email="tony@example.com", utm_source="ads")
    changed = api.patch(f"/leads/{lead['id']}", json={"company": "Stark"}).json["lead"]

    created, updated = payloads_of(api, webhook)

    assert list(created["data"]) == ["lead", "changes", "sequence"]
    assert created["data"]["lead"] == lead
    assert list(created["data"]["lead"]) == list(lead)
    assert updated["data"]["lead"] == changed
    assert updated["data"]["changes"] == {"company": [None, "Stark"]}


def test_leads_of_one_array_report_their_own_states(api, webhook):
    rows = [{"first_name": name, "external_id": "x"} for name in ("One", "Two")]

    api.post("/leads", json=rows)

    names = [body["data"]["lead"]["first_name"] for body in payloads_of(api, webhook)]
    assert names == ["One", "Two"]


def test_a_note_is_reported_with_its_meeting_and_lead(api, lead, webhook):
    meeting = log_meeting(api)
    api.post("/meeting-notes", json=NOTE)

    _, body = payloads_of(api, webhook)

    assert body["event_type"] == "note.added"
    assert list(body["data"]) == [
        *("meeting", "lead", "host", "meeting_type", "note", "changes", "sequence")
    ]
    assert body["data"]["note"]["notes"] == "He likes suits."
    assert body["data"]["note"]["meeting_id"] == meeting["id"]
    assert body["data"]["note"]["lead_id"] == lead["id"]
    assert body["data"]["meeting"]["title"] == meeting["title"]


def test_a_note_is_reported_before_the_later_changes_of_its_meeting(
    kind, app, api, lead, webhook, monkeypatch
):
    if kind == "sqlite":
        pytest.skip("SQLite has one writer, so changes commit in order")
    meeting, store = log_meeting(api), outbox.store
    other = api.on(app)
    cancelling = threading.Thread(target=other.post, args=(f"/meetings/{meeting['id']}/cancel",))

    def store_slowly(events, subscriptions):
        if events[0].event_type == "note.added":
            cancelling.start()
            cancelling.join(0.3)  # it would commit meanwhile if the meeting were not locked
        return store(events, subscriptions)

    monkeypatch.setattr(outbox, "store", store_slowly)
    api.post("/meeting-notes", json=NOTE)
    cancelling.join()

    bodies = payloads_of(api, webhook)
    assert [(body["event_type"], body["data"]["meeting"]["status"]) for body in bodies[1:]] == [
        ("note.added", "confirmed"),
        ("meeting.cancelled", "cancelled"),
    ]


def test_a_call_that_changes_nothing_reports_nothing(api, lead, webhook):
    meeting = log_meeting(api)
    log_meeting(api)
    api.post(f"/meetings/{meeting['id']}/confirm")
    api.patch(f"/leads/{lead['id']}", json={"first_name": lead["first_name"]})

    assert len(log_of(api, webhook)) == 1


def test_a_webhook_gets_the_events_that_it_names(api, lead):
    cancellations = add(api, events=["meeting.cancelled", "lead.updated"])
    everything = add(api)
    meeting = log_meeting(api)
    api.post(f"/meetings/{meeting['id']}/cancel")

    assert [row["event_type"] for row in log_of(api, cancellations)] == ["meeting.cancelled"]
    both = [row["event_id"] for row in log_of(api, everything)]
    assert len(both) == 2
    assert log_of(api, cancellations)[0]["event_id"] == both[0]


def test_a_webhook_gets_no_events_of_another_client_or_of_before(api, stranger, lead):
    log_meeting(api)
    webhook = add(api)
    stranger.new_lead(email="tony.stark@gmail.com")
    log_meeting(stranger)

    assert log_of(api, webhook) == []


def test_without_webhooks_nothing_is_stored_and_a_booking_takes_no_further_query(
    api, lead, count_queries
):
    with count_queries() as queries:
        log_meeting(api)

    assert len(queries) == 6, queries
    assert not [query for query in queries if "INTO events" in query]


def test_with_a_webhook_a_booking_takes_two_more_queries(api, lead, webhook, count_queries):
    with count_queries() as queries:
        log_meeting(api)

    assert len(queries) == 8, queries


def test_a_change_that_is_rolled_back_reports_nothing(api, lead, webhook, monkeypatch):
    insert = outbox.insert_deliveries

    def fail(rows):
        insert(rows)
        raise RuntimeError("after the deliveries were written")

    monkeypatch.setattr(outbox, "insert_deliveries", fail)
    answer = api.post("/meetings", json=booking())
    monkeypatch.undo()

    assert answer.status_code == 500
    assert api.meetings(lead) == []
    assert db.obj.fetch(f"SELECT id FROM deliveries WHERE webhook_id = '{webhook['id']}'", ()) == []


def test_a_webhook_is_made_only_when_no_older_transaction_can_miss_it(kind, api, lead, monkeypatch):
    """A change reads the webhooks, then one is added, then the change commits."""
    if kind == "sqlite":
        pytest.skip("SQLite has one writer: the webhook cannot be stored meanwhile")
    has_read, commit = threading.Event(), threading.Event()

    @transaction
    def change_slowly():
        changes = timeline.ChangeSet(api.client_id, lead_changes.latest_change)
        assert changes.subscriptions == []
        has_read.set()
        commit.wait(3)

    slow = threading.Thread(target=change_slowly)
    made = threading.Thread(target=add, args=(api,))
    slow.start()
    has_read.wait(3)
    made.start()
    time.sleep(0.3)

    assert made.is_alive()
    commit.set()
    made.join(3)
    assert not made.is_alive()
    slow.join()
    log_meeting(api)
    [webhook] = api.get("/webhooks").json["webhooks"]
    assert len(log_of(api, webhook)) == 1


def test_leads_that_a_file_brings_are_reported_too(api, webhook):
    save_lead(api.client_id, first_name="Happy")
    leads.save(api.client_id, [Loaded({"first_name": "Rhodey"}, {})])
    database.release()

    names = [body["data"]["lead"]["first_name"] for body in payloads_of(api, webhook)]
    assert names == ["Happy", "Rhodey"]


def test_a_deleted_webhook_neither_stops_changes_nor_gets_them(api, lead):
    webhook = add(api)
    webhooks.delete(api.client_id, webhook["id"])
    assert log_meeting(api)

    rows = db.obj.fetch(f"SELECT id FROM deliveries WHERE webhook_id = '{webhook['id']}'", ())
    assert rows == []
