"""GET /meetings: filters, orders, cursors and the change feed; GET /meetings/stats."""

import threading
import time

import pytest
from conftest import booking
from test_lead_meetings import ITEM_KEYS
from test_replay import set_status

import database
from services import transitions, users


def log(api, day, event, **changes):
    times = {"starts_at": f"2026-01-{day:02}T10:00Z", "ends_at": f"2026-01-{day:02}T11:00Z"}
    answer = api.post("/meetings", json=booking(external_event_id=event, **times | changes))
    assert answer.status_code in (200, 201), answer.json
    return answer.json["meeting"]


def events(api, **query):
    answer = api.get("/meetings", query_string=query)
    assert answer.status_code == 200, answer.json
    return [meeting["external_event_id"] for meeting in answer.json["meetings"]]


def stats(api, **query):
    answer = api.get("/meetings/stats", query_string=query)
    assert answer.status_code == 200, answer.json
    return answer.json["stats"]


@pytest.fixture
def meetings(api, lead):
    """Five meetings on five days, one of each status, of two leads, one host and two providers."""
    other = api.new_lead(email="Pepper@example.com")
    users.create(api.client_id, "Happy@example.com", "Happy", "Hogan")
    database.release()
    log(api, 1, "scheduled", status="scheduled")
    log(api, 2, "confirmed", host_email="happy@example.com")
    log(api, 3, "completed", lead_id=other["id"])
    log(api, 4, "cancelled", external_calendar_provider="calendly")
    log(api, 5, "no_show", external_calendar_provider="")
    for meeting in api.get("/meetings").json["meetings"]:
        if meeting["external_event_id"] not in ("scheduled", "confirmed"):
            set_status(meeting, meeting["external_event_id"])
    return lead, other


ALL = ["no_show", "cancelled", "completed", "confirmed", "scheduled"]
FILTERS = [
    ({}, ALL),
    ({"status": "scheduled"}, ["scheduled"]),
    ({"status": "confirmed,no_show"}, ["no_show", "confirmed"]),
    ({"status": "cancelled, completed"}, ["cancelled", "completed"]),
    ({"lead_email": "TONY.STARK@gmail.com"}, ["no_show", "cancelled", "confirmed", "scheduled"]),
    ({"lead_email": " pepper@EXAMPLE.com "}, ["completed"]),
    ({"lead_email": "nobody@example.com"}, []),
    ({"host_email": "HAPPY@example.com"}, ["confirmed"]),
    ({"host_email": "nobody@example.com"}, []),
    ({"external_calendar_provider": "GHL"}, ["completed", "confirmed", "scheduled"]),
    ({"external_calendar_provider": "calendly"}, ["cancelled"]),
    ({"external_event_id": "completed"}, ["completed"]),
    ({"external_event_id": "no_show"}, ["no_show"]),
    ({"external_event_id": "COMPLETED"}, []),
    ({"external_event_id": "cancelled", "external_calendar_provider": "ghl"}, []),
    ({"starts_after": "2026-01-03T10:00:00Z"}, ["no_show", "cancelled", "completed"]),
    ({"starts_after": "2026-01-03T10:00:01Z"}, ["no_show", "cancelled"]),
    ({"starts_before": "2026-01-03T10:00:00Z"}, ["confirmed", "scheduled"]),
    ({"starts_before": "2026-01-03T13:00:01+03:00"}, ["completed", "confirmed", "scheduled"]),
    ({"starts_after": "2026-01-02T00:00Z", "starts_before": "2026-01-04T00:00Z"},
     ["completed", "confirmed"]),
    ({"updated_after": "2000-01-01T00:00:00Z"}, ALL),
    ({"updated_after": "2190-01-01T00:00:00Z"}, []),
    ({"status": "", "lead_email": " ", "limit": "", "verbose": "1"}, ALL),
]  # fmt: skip


@pytest.mark.parametrize(("query", "found"), FILTERS, ids=str)
def test_every_filter_selects_its_meetings_in_lists_and_statistics(
    api, meetings, stranger, query, found
):
    assert events(api, **query) == found
    assert sorted(events(api, order="starts_at", **query)) == sorted(found)
    assert sorted(events(api, order="updated_at", **query)) == sorted(found)
    query = {name: value for name, value in query.items() if name != "limit"}
    assert stats(api, **query)["total"] == len(found)
    assert events(stranger, **query) == []


def test_meetings_are_filtered_by_lead_id(api, meetings, stranger):
    lead, other = meetings

    assert events(api, lead_id=lead["id"]) == ["no_show", "cancelled", "confirmed", "scheduled"]
    assert events(api, lead_id=other["id"].upper()) == ["completed"]
    assert events(stranger, lead_id=other["id"]) == []


def test_an_unescaped_plus_in_an_offset_is_accepted(api, meetings):
    answer = api.get("/meetings?starts_after=2026-01-04T13:00:00+03:00")

    assert [m["external_event_id"] for m in answer.json["meetings"]] == ["no_show", "cancelled"]


def test_a_meeting_is_found_by_its_previous_external_event_id(api, lead):
    log(api, 1, "old")
    log(api, 1, "new", previous_external_event_id="old")

    assert events(api, external_event_id="old") == events(api, external_event_id="new") == ["new"]


def test_a_list_returns_full_meetings_and_pagination(api, meetings):
    answer = api.get("/meetings?limit=2")

    assert list(answer.json) == ["success", "meetings", "pagination"]
    assert list(answer.json["meetings"][0]) == ITEM_KEYS
    pagination = answer.json["pagination"]
    assert (pagination["limit"], pagination["has_more"]) == (2, True)
    one = api.get(f"/meetings/{answer.json['meetings'][0]['id']}")
    assert one.json == {"success": True, "meeting": answer.json["meetings"][0]}


@pytest.mark.parametrize("order", ["starts_at", "-starts_at", "updated_at"])
@pytest.mark.parametrize("limit", [1, 2, 5, 200])
def test_pages_skip_nothing_and_show_nothing_twice(api, meetings, order, limit):
    seen, query = [], {"order": order, "limit": limit}
    while True:
        answer = api.get("/meetings", query_string=query).json
        seen += [meeting["external_event_id"] for meeting in answer["meetings"]]
        if not answer["pagination"]["has_more"]:
            break
        query["cursor"] = answer["pagination"]["next_cursor"]

    assert seen == events(api, order=order)
    assert sorted(seen) == sorted(ALL)
    assert answer["pagination"]["next_cursor"] is None


def test_a_cursor_is_refused_in_another_order_or_list(api, meetings):
    cursor = api.get("/meetings?limit=1&order=starts_at").json["pagination"]["next_cursor"]
    lead, _ = meetings

    for path in (f"/meetings?cursor={cursor}", f"/leads/{lead['id']}/meetings?cursor={cursor}"):
        answer = api.get(path)
        assert (answer.status_code, set(answer.json["details"])) == (400, {"cursor"})


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=booked", "status"),
        ("lead_id=1", "lead_id"),
        ("starts_after=2026-01-01T10:00:00", "starts_after"),
        ("starts_before=2026-01-01", "starts_before"),
        ("updated_after=yesterday", "updated_after"),
        ("updated_after=2026-01-01T10:00", "updated_after"),
        ("updated_after=1969-01-01T10:00Z", "updated_after"),
        ("order=created_at", "order"),
        ("order=-updated_at", "order"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("cursor=x", "cursor"),
        ("page=1", "page"),
        ("host=x", "host"),
        ("external_event_id=%00", "external_event_id"),
    ],
)
@pytest.mark.parametrize("path", ["/meetings", "/meetings/stats"])
def test_an_invalid_parameter_is_refused_and_named(api, path, query, field):
    answer = api.get(f"{path}?{query}")

    assert (answer.status_code, set(answer.json["details"])) == (400, {field})


class TestStats:
    def test_statistics_count_each_status_and_give_rates(self, api, meetings):
        answer = api.get("/meetings/stats")

        assert list(answer.json) == ["success", "stats"]
        assert answer.json["stats"] == {
            "total": 5,
            "scheduled": 1,
            "confirmed": 1,
            "completed": 1,
            "cancelled": 1,
            "no_show": 1,
            "show_rate": 0.5,
            "no_show_rate": 0.5,
        }
        assert next(iter(answer.json["stats"])) == "total"

    def test_the_rates_are_null_without_an_outcome(self, api, meetings):
        shown = stats(api, status="scheduled,cancelled")

        assert (shown["total"], shown["show_rate"], shown["no_show_rate"]) == (2, None, None)

    def test_the_statistics_of_no_meetings_are_zero(self, api):
        assert stats(api) == dict.fromkeys(
            ("total", "scheduled", "confirmed", "completed", "cancelled", "no_show"), 0
        ) | {"show_rate": None, "no_show_rate": None}

    @pytest.mark.parametrize("query", ["order=starts_at", "limit=5", "cursor=x"])
    def test_statistics_refuse_order_limit_and_cursor(self, api, query):
        assert api.get(f"/meetings/stats?{query}").status_code == 400


def test_the_number_of_queries_does_not_grow_with_the_rows(api, lead, count_queries, kind):
    counts = set()
    for day in range(1, 6):
        log(api, day, str(day))
        for order in ("-starts_at", "updated_at"):
            with count_queries() as queries:
                events(api, order=order)
            counts.add((order, len(queries)))

    # On PostgreSQL, the feed first asks up to which time every change is committed.
    feed_queries = 3 if kind == "postgresql" else 2
    assert counts == {("-starts_at", 2), ("updated_at", feed_queries)}


class Reader:
    """Polls the change feed as a caller does: to its end, then again from the last row."""

    def __init__(self, http, key):
        self.http, self.headers = http, {"X-API-Key": key}
        self.titles = {}
        self.since = "1970-01-01T00:00:00Z"

    def poll(self):
        query = {"order": "updated_at", "updated_after": self.since, "limit": "7"}
        while True:
            answer = self.http.get("/api/public/meetings", query_string=query, headers=self.headers)
            for meeting in answer.json["meetings"]:
                self.titles[meeting["id"]] = (meeting["title"], meeting["status"])
                self.since = meeting["updated_at"]
            if not answer.json["pagination"]["has_more"]:
                return
            query["cursor"] = answer.json["pagination"]["next_cursor"]


def test_the_change_feed_misses_no_change_during_concurrent_writes(app, api, lead):
    """The transactions of the writers differ in length, so that they commit out of order."""
    stop = threading.Event()
    written = {}

    def write(writer):
        http, headers = app.test_client(), {"X-API-Key": api.key}
        number = 0
        while not stop.is_set():
            number += 1
            body = booking(
                external_event_id=f"{writer}-{number % 5}", title=f"{number}", status="scheduled"
            )
            meeting = http.post("/api/public/meetings", json=body, headers=headers).json["meeting"]
            written[meeting["id"]] = (meeting["title"], meeting["status"])
            if number % 7 == 0:
                path = f"/api/public/meetings/{meeting['id']}/"
                http.post(path + "cancel", headers=headers)
                written[meeting["id"]] = (meeting["title"], "cancelled")
                if number % 14 == 0:
                    http.post(path + "reopen", headers=headers)
                    written[meeting["id"]] = (meeting["title"], "scheduled")

    writers = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for writer in writers:
        writer.start()
    reader = Reader(app.test_client(), api.key)
    deadline = time.monotonic() + 2.5
    while time.monotonic() < deadline:
        reader.poll()
    stop.set()
    for writer in writers:
        writer.join()
    reader.poll()

    assert len(written) == 15
    assert reader.titles == written


def test_the_change_feed_holds_back_changes_behind_an_uncommitted_one(
    kind, app, api, lead, database_url, monkeypatch
):
    """A change is written but not yet committed when a later change is committed."""
    if kind == "sqlite":
        pytest.skip("SQLite has one writer, so changes commit in order")
    slow, fast = log(api, 1, "slow"), log(api, 2, "fast")
    written, commit = threading.Event(), threading.Event()
    insert = transitions.insert_activities

    def insert_slowly(changes):
        insert(changes)
        if changes.activities[0].meeting == slow["id"]:
            written.set()
            commit.wait(5)

    monkeypatch.setattr(transitions, "insert_activities", insert_slowly)
    path = f"/api/public/meetings/{slow['id']}/cancel"
    thread = threading.Thread(
        target=lambda: app.test_client().post(path, headers={"X-API-Key": api.key})
    )
    reader = Reader(app.test_client(), api.key)
    reader.poll()
    thread.start()
    written.wait(5)
    time.sleep(1.1)  # into the next second, because a poll rereads the second of the last row
    api.post(f"/meetings/{fast['id']}/cancel")

    reader.poll()
    assert [status for _, status in reader.titles.values()] == ["confirmed", "confirmed"]
    commit.set()
    thread.join()
    reader.poll()

    assert [status for _, status in reader.titles.values()] == ["cancelled", "cancelled"]
