"""The clock steps back an hour: order, ids, replays and the change feed stay correct."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from conftest import booking
from freezegun import freeze_time

from database import db
from models import Meeting


@pytest.fixture
def clock():
    """A clock half an hour slow, so that tests can advance it before they set it back."""
    with freeze_time(datetime.now(UTC) - timedelta(minutes=30), ignore=["_pytest.timing"]) as clock:
        yield clock


@pytest.fixture
def set_back(clock):
    """`set_back()` sets the clock back an hour."""
    return lambda: clock.move_to(clock() - timedelta(hours=1))


def changes_since(api, last=None):
    """Read the change feed after the row `last`; returns the new rows and the last row read."""
    since = {"updated_after": last["updated_at"]} if last else {}
    rows, cursor = [], {}
    while True:
        query = {"order": "updated_at", "limit": 2, **since, **cursor}
        page = api.get("/meetings", query_string=query).json
        rows += page["meetings"]
        if not page["pagination"]["has_more"]:
            return rows, rows[-1] if rows else last
        cursor = {"cursor": page["pagination"]["next_cursor"]}


def log(api, event_id, **changes):
    answer = api.post("/meetings", json=booking(external_event_id=event_id, **changes))
    return answer.status_code, answer.json["meeting"]


def test_ids_keep_growing(api, lead, set_back):
    before = [log(api, f"before {n}")[1]["id"] for n in range(3)]

    set_back()
    after = [log(api, f"after {n}")[1]["id"] for n in range(3)]

    assert before + after == sorted(before + after)


def test_a_replay_finds_its_meeting_and_the_history_keeps_its_order(api, lead, set_back):
    _, meeting = log(api, "1")

    set_back()
    same_status, same = log(api, "1")
    moved_status, moved = log(api, "1", starts_at="2025-12-29T13:00:00")
    cancelled = api.post(f"/meetings/{meeting['id']}/cancel")

    assert (same_status, moved_status, cancelled.status_code) == (200, 200, 200)
    assert same == meeting
    assert moved["id"] == meeting["id"]
    assert [entry["activity_type"] for entry in api.history(lead)] == [
        "lead_created",
        "meeting_scheduled",
        "meeting_rescheduled",
        "meeting_cancelled",
    ]
    assert len(api.meetings(lead)) == 1


def test_updated_at_never_goes_back(api, lead, clock, set_back):
    _, meeting = log(api, "1")
    path = f"/meetings/{meeting['id']}"
    stamps = [api.get(path).json["meeting"]["updated_at"]]

    set_back()
    for verb in ("confirm", "cancel", "reopen"):
        api.post(f"{path}/{verb}")
        stamps.append(api.get(path).json["meeting"]["updated_at"])
    changed = api.patch(f"/leads/{lead['id']}", json={"company": "Stark Industries"}).json["lead"]

    assert stamps == sorted(stamps)
    assert changed["updated_at"] >= lead["updated_at"]


def test_an_email_names_the_lead_updated_last(api, clock, set_back):
    first = api.new_lead(email="shared@example.com")
    clock.tick(timedelta(minutes=5))
    api.new_lead(email="shared@example.com")

    set_back()
    api.patch(f"/leads/{first['id']}", json={"company": "Stark Industries"})
    _, meeting = log(api, "1", lead_email="shared@example.com")

    assert meeting["lead_id"] == first["id"]


def test_the_change_feed_misses_no_change(api, lead, clock, set_back):
    ids = []
    for n in range(3):
        ids.append(log(api, str(n))[1]["id"])
        clock.tick(timedelta(minutes=5))
    _, last = changes_since(api)

    set_back()
    api.post(f"/meetings/{ids[0]}/cancel")
    _, new = log(api, "new")
    rows, _ = changes_since(api, last)

    seen = {row["id"]: row["status"] for row in rows}
    assert seen.get(ids[0]) == "cancelled"
    assert new["id"] in seen


@pytest.fixture
def server_clock_is_fast(kind, clock):
    """The clock of PostgreSQL is half an hour ahead, as that of a standby that took over may be."""
    if kind == "sqlite":
        pytest.skip("SQLite has no clock of its own")


def test_no_change_is_older_than_the_servers_time(api, lead, server_clock_is_fast):
    began = db.clock()

    _, meeting = log(api, "1")

    assert Meeting.get_by_id(meeting["id"]).updated_at > began
    assert [row["id"] for row in changes_since(api)[0]] == [meeting["id"]]


def test_a_change_in_a_test_with_frozen_time_gets_that_time(api, lead):
    with freeze_time("2025-12-20T12:00:00Z"):
        _, meeting = log(api, "1")

    assert api.get(f"/meetings/{meeting['id']}").json["meeting"]["updated_at"] == (
        "2025-12-20T12:00:00Z"
    )


def test_a_new_webhook_waits_for_what_began_before_by_the_servers_clock(api, server_clock_is_fast):
    other = db.obj.open()
    other.execute("BEGIN")
    body = {"url": "https://8.8.8.8/hook"}
    adding = threading.Thread(target=api.post, args=("/webhooks",), kwargs={"json": body})

    adding.start()
    adding.join(0.5)
    waited = adding.is_alive()
    other.execute("COMMIT")
    adding.join(5)
    other.close()

    assert waited
    assert not adding.is_alive()
