"""GET /leads/{id}/meetings: the items, their order, the status filter and the pages."""

import base64

import pytest
from conftest import booking
from test_meetings import MEETING_KEYS
from test_replay import set_status

import database
from services import users

ITEM_KEYS = [
    *MEETING_KEYS,
    "confirmed_by_lead",
    "cancelled_at",
    "cancellation_reason",
    "no_show_reason",
    "outcome_at",
    "outcome_notes",
    "updated_at",
    "host",
    "description",
    "attendee_phone",
    "additional_attendees",
    "meeting_type_id",
    "reschedules",
]


def log(api, day, **changes):
    times = {"starts_at": f"2026-01-{day:02}T10:00Z", "ends_at": f"2026-01-{day:02}T11:00Z"}
    event = {"external_event_id": f"{day}-{changes}"}
    return api.post("/meetings", json=booking(**times | event | changes)).json["meeting"]


def page(api, lead, **query):
    answer = api.get(f"/leads/{lead['id']}/meetings", query_string=query)
    assert answer.status_code == 200, answer.json
    return [meeting["id"] for meeting in answer.json["meetings"]], answer.json["pagination"]


def test_a_list_returns_full_meetings_and_pagination(api, lead):
    meeting = log(api, 1)

    answer = api.get(f"/leads/{lead['id']}/meetings")

    assert list(answer.json) == ["success", "meetings", "pagination"]
    assert answer.json["pagination"] == {"limit": 200, "has_more": False, "next_cursor": None}
    [item] = answer.json["meetings"]
    assert list(item) == ITEM_KEYS
    assert {key: item[key] for key in MEETING_KEYS} == meeting
    assert (item["confirmed_by_lead"], item["reschedules"], item["host"]) == (True, [], None)


def test_the_latest_start_comes_first_and_the_id_breaks_ties(api, lead):
    ids = [log(api, day)["id"] for day in (2, 3, 1)]
    twins = sorted(log(api, 2, title=f"Twin {n}")["id"] for n in range(3))

    listed, _ = page(api, lead)

    assert listed == [ids[1], *sorted([ids[0], *twins], reverse=True), ids[2]]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
def test_pages_skip_nothing_and_show_nothing_twice(api, lead, limit):
    for day in (1, 1, 1, 2, 3, 3, 4):
        log(api, day, title=str(len(api.meetings(lead))))
    everything, _ = page(api, lead)

    seen, query = [], {"limit": limit}
    while True:
        ids, pagination = page(api, lead, **query)
        assert pagination["limit"] == limit
        seen += ids
        log(api, 20, title=f"new {len(seen)}")  # a new first row does not shift the pages
        if not pagination["has_more"]:
            break
        query["cursor"] = pagination["next_cursor"]

    assert pagination["next_cursor"] is None
    assert seen == everything


def test_the_status_filter_matches_the_status_shown(api, lead):
    by_status = {
        "scheduled": log(api, 1, status="scheduled")["id"],
        "confirmed": log(api, 2)["id"],
    }
    for day, status in enumerate(("completed", "cancelled", "no_show"), 3):
        meeting = log(api, day)
        set_status(meeting, status)
        by_status[status] = meeting["id"]

    for status, meeting_id in by_status.items():
        assert page(api, lead, status=status)[0] == [meeting_id]
    assert set(page(api, lead, status="scheduled, no_show,")[0]) == {
        by_status["scheduled"],
        by_status["no_show"],
    }
    assert len(page(api, lead, status=",".join(by_status))[0]) == 5
    assert len(page(api, lead, status="")[0]) == 5


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=booked", "status"),
        ("status=scheduled,canceled", "status"),
        ("status=,", "status"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=1e2", "limit"),
        ("limit=1.5", "limit"),
        ("limit=99999999999999999999999", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=W10=", "cursor"),
        ("cursor=" + base64.b64encode(b'["2026-01-01T00:00:00", "x"]').decode(), "cursor"),
        ("cursor=" + base64.b64encode(b'["2026-01-01", 5]').decode(), "cursor"),
        ("cursor=" + base64.b64encode(b"[" * 180).decode(), "cursor"),
        ("cursor=" + "A" * 300, "cursor"),
        ("page=1", "page"),
        ("Limit=1", "Limit"),
    ],
)
def test_an_invalid_parameter_is_refused_and_named(api, lead, query, field):
    answer = api.get(f"/leads/{lead['id']}/meetings?{query}")

    assert (answer.status_code, answer.json["code"]) == (400, "validation_error")
    assert set(answer.json["details"]) == {field}


@pytest.mark.parametrize("query", ["limit=5.0", "limit=%205%20", "limit=1&limit=5", "limit="])
def test_a_limit_is_accepted_in_the_ways_forms_write_it(api, lead, query):
    answer = api.get(f"/leads/{lead['id']}/meetings?{query}")

    assert answer.json["pagination"]["limit"] == (200 if query == "limit=" else 5)


def test_another_clients_lead_is_not_found(api, lead, stranger):
    log(api, 1)

    theirs = stranger.get(f"/leads/{lead['id']}/meetings")

    assert (theirs.status_code, theirs.json["code"]) == (404, "lead_not_found")
    assert lead["id"] in theirs.json["message"]


def test_the_number_of_queries_does_not_grow_with_the_rows(api, lead, count_queries):
    users.create(api.client_id, "host@example.com", "A", "B")
    database.release()
    with count_queries() as queries:
        page(api, lead)
    counts = [len(queries)]
    for day in range(1, 8):
        log(api, day, host_email="host@example.com")
        with count_queries() as queries:
            page(api, lead)
        counts.append(len(queries))

    # One query for the key and one for the meetings; if there are none, one more for the lead.
    assert counts == [3] + [2] * 7
