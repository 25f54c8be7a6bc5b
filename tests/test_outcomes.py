"""Confirm, cancel, complete, no-show, reopen and reschedule, and bookings that get a new id."""

import threading

import pytest
from conftest import booking
from freezegun import freeze_time
from test_lead_meetings import ITEM_KEYS

UNKNOWN_ID = "0198c0de-0000-7000-8000-000000000000"
MOVE = {"starts_at": "2026-02-01T10:00:00Z"}
BODIES = {
    "confirm": None,
    "cancel": {"reason": "ill"},
    "complete": {"notes": "went well"},
    "no-show": {"reason": "no answer", "notes": "called twice"},
    "reopen": None,
    "reschedule": MOVE,
}
CALLS_TO_REACH = {  # the calls that bring a new meeting into each state
    "scheduled": [],
    "confirmed": ["confirm"],
    "completed": ["complete"],
    "no_show": ["no-show"],
    "cancelled": ["cancel"],
}
TRANSITIONS = {
    "scheduled": ["ok", "ok", "ok", "ok", "no-op", "ok"],
    "confirmed": ["no-op", "ok", "ok", "ok", "no-op", "ok"],
    "completed": ["409", "409", "no-op", "ok", "ok", "409"],
    "no_show": ["409", "409", "ok", "no-op", "ok", "409"],
    "cancelled": ["409", "no-op", "409", "409", "ok", "409"],
}
CELLS = [
    (state, call, expected)
    for state, row in TRANSITIONS.items()
    for call, expected in zip(BODIES, row, strict=True)
]
RESULTING_STATUS = {
    "confirm": "confirmed",
    "cancel": "cancelled",
    "complete": "completed",
    "no-show": "no_show",
    "reopen": "scheduled",
    "reschedule": "scheduled",
}
ACTIVITY_TYPE = {
    "confirm": "meeting_confirmed",
    "cancel": "meeting_cancelled",
    "complete": "meeting_completed",
    "no-show": "meeting_no_show",
    "reopen": "meeting_reopened",
    "reschedule": "meeting_rescheduled",
}


@pytest.fixture
def meeting(api, lead):
    return api.post("/meetings", json=booking(status="scheduled")).json["meeting"]


def call(api, meeting, name, **changes):
    body = {**(BODIES[name] or {}), **changes}
    return api.post(f"/meetings/{meeting['id']}/{name}", json=body)


def get(api, meeting):
    return api.get(f"/meetings/{meeting['id']}").json["meeting"]


@pytest.mark.parametrize(("state", "name", "expected"), CELLS)
def test_every_transition_follows_the_table(api, lead, meeting, state, name, expected):
    for step in CALLS_TO_REACH[state]:
        assert call(api, meeting, step).status_code == 200
    before, history = get(api, meeting), api.history(lead)
    assert before["status"] == state

    answer = call(api, meeting, name)

    if expected == "ok":
        assert answer.status_code == 200, answer.json
        assert list(answer.json) == ["success", "meeting"]
        assert list(answer.json["meeting"]) == ITEM_KEYS
        assert answer.json["meeting"]["status"] == RESULTING_STATUS[name]
        assert get(api, meeting) == answer.json["meeting"]
        assert api.history(lead)[:-1] == history
        entry = api.history(lead)[-1]
        assert (entry["activity_type"], entry["meeting_id"]) == (ACTIVITY_TYPE[name], meeting["id"])
        if state != "scheduled" or name != "reschedule":
            assert entry["changes"]["status"] == [state, RESULTING_STATUS[name]]
    elif expected == "no-op":
        assert answer.json == {
            "success": True,
            "meeting": before | {"idempotent": True},
            "idempotent": True,
        }
        assert (get(api, meeting), api.history(lead)) == (before, history)
    else:
        assert (answer.status_code, answer.json["code"]) == (409, "invalid_transition")
        assert answer.json["error"] == "Invalid transition"
        assert (get(api, meeting), api.history(lead)) == (before, history)


@pytest.mark.parametrize("name", BODIES)
def test_a_repeated_call_is_a_no_op(api, lead, meeting, name):
    if name == "reopen":
        call(api, meeting, "cancel")
    with freeze_time("2030-01-01"):
        first = call(api, meeting, name)
    history = api.history(lead)

    with freeze_time("2031-01-01"):
        again = call(api, meeting, name, **({"reason": "another"} if name == "cancel" else {}))

    assert "idempotent" not in first.json
    assert again.json["meeting"] == first.json["meeting"] | {"idempotent": True}
    assert again.json["idempotent"] is True
    assert api.history(lead) == history


class TestOutcomeFields:
    def test_cancel_sets_its_time_and_reason(self, api, meeting):
        with freeze_time("2031-01-01T12:00:00Z"):
            after = call(api, meeting, "cancel").json["meeting"]

        assert after["cancelled_at"] == after["updated_at"] == "2031-01-01T12:00:00Z"
        assert after["cancellation_reason"] == "ill"
        assert (after["outcome_at"], after["no_show_reason"], after["outcome_notes"]) == (None,) * 3

    def test_a_new_outcome_sets_its_own_fields_and_clears_those_of_the_other(self, api, meeting):
        completed = call(api, meeting, "complete").json["meeting"]
        assert completed["outcome_notes"] == "went well"
        assert completed["outcome_at"]

        missed = call(api, meeting, "no-show", notes="").json["meeting"]
        assert (missed["no_show_reason"], missed["outcome_notes"]) == ("no answer", None)

        again = call(api, meeting, "complete", notes=None).json["meeting"]
        assert (again["no_show_reason"], again["outcome_notes"]) == (None, None)
        assert again["outcome_at"]

    @pytest.mark.parametrize("reason", ["", None])
    def test_a_no_show_without_a_reason_gets_the_default_reason(self, api, meeting, reason):
        after = call(api, meeting, "no-show", reason=reason, notes=None).json["meeting"]

        assert after["no_show_reason"] == "api_marked"

    @pytest.mark.parametrize("name", ["cancel", "complete", "no-show"])
    def test_reopen_clears_the_outcome_and_the_timeline_keeps_it(self, api, lead, meeting, name):
        call(api, meeting, "confirm")
        before = get(api, meeting)
        call(api, meeting, name)

        after = call(api, meeting, "reopen").json["meeting"]

        assert after | {"updated_at": ""} == before | {
            "updated_at": "",
            "status": "scheduled",
            "confirmed_by_lead": False,
        }
        outcome, reopening = [entry["changes"] for entry in api.history(lead)[-2:]]
        assert outcome["status"] == ["confirmed", RESULTING_STATUS[name]]
        assert reopening == {field: change[::-1] for field, change in outcome.items()} | {
            "status": [RESULTING_STATUS[name], "scheduled"]
        }

    def test_reopening_a_scheduled_meeting_keeps_its_confirmation(self, api, meeting):
        call(api, meeting, "confirm")

        assert call(api, meeting, "reopen").json["meeting"]["status"] == "confirmed"


@pytest.mark.parametrize("name", [name for name in BODIES if name != "reschedule"])
@pytest.mark.parametrize("data", [None, b"", b"  ", b"{}", b"\xef\xbb\xbf"])
def test_the_body_may_be_absent_or_empty(api, meeting, name, data):
    if name == "reopen":
        call(api, meeting, "cancel")

    answer = api.post(f"/meetings/{meeting['id']}/{name}", data=data)

    assert (answer.status_code, answer.json["meeting"]["status"]) == (200, RESULTING_STATUS[name])


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize(
    ("data", "code"),
    [(b"{", "invalid_json"), (b"[]", "validation_error"), (b'{"raeson": "x"}', "validation_error")],
)
def test_an_invalid_body_is_refused_even_if_the_meeting_is_unknown(api, meeting, name, data, code):
    for meeting_id in (meeting["id"], UNKNOWN_ID):
        answer = api.post(f"/meetings/{meeting_id}/{name}", data=data)
        assert (answer.status_code, answer.json["code"]) == (400, code)
    assert get(api, meeting)["status"] == "scheduled"


@pytest.mark.parametrize(
    ("name", "field", "longest"),
    [("cancel", "reason", 1000), ("no-show", "reason", 1000), ("complete", "notes", 10_000),
     ("no-show", "notes", 10_000), ("reschedule", "reason", 1000)],
)  # fmt: skip
def test_text_length_is_limited(api, meeting, name, field, longest):
    over = call(api, meeting, name, **{field: "x" * (longest + 1)})
    assert (over.status_code, set(over.json["details"])) == (400, {field})
    assert call(api, meeting, name, **{field: "é" * longest}).status_code == 200


@pytest.mark.parametrize("name", [*BODIES, ""])
def test_another_clients_meeting_is_not_found(api, meeting, stranger, name):
    path = f"/meetings/{meeting['id']}" + (f"/{name}" if name else "")

    answer = stranger.open("POST" if name else "GET", path, json=BODIES.get(name) or {})

    assert (answer.status_code, answer.json["code"]) == (404, "meeting_not_found")
    assert answer.json["error"] == "Meeting not found"
    assert get(api, meeting)["status"] == "scheduled"


class TestReschedule:
    def test_a_reschedule_keeps_the_duration_and_removes_the_confirmation(self, api, lead, meeting):
        call(api, meeting, "confirm")

        with freeze_time("2031-01-01T00:00:00Z"):
            after = call(api, meeting, "reschedule", reason="ill").json["meeting"]

        assert after["id"] == meeting["id"]
        assert (after["starts_at"], after["ends_at"]) == (
            "2026-02-01T10:00:00Z",
            "2026-02-01T11:00:00Z",
        )
        assert (after["status"], after["confirmed_by_lead"]) == ("scheduled", False)
        assert after["timezone"] == "America/Santiago"
        move = {
            "from": {"starts_at": "2025-12-29T17:00:00Z", "ends_at": "2025-12-29T18:00:00Z"},
            "to": {"starts_at": "2026-02-01T10:00:00Z", "ends_at": "2026-02-01T11:00:00Z"},
            "reason": "ill",
            "at": "2031-01-01T00:00:00Z",
        }
        assert after["reschedules"] == [move]
        assert list(after["reschedules"][0]) == ["from", "to", "reason", "at"]
        entry = api.history(lead)[-1]
        assert entry["description"] == "ill"
        assert entry["changes"] == {
            "starts_at": ["2025-12-29T17:00:00Z", "2026-02-01T10:00:00Z"],
            "ends_at": ["2025-12-29T18:00:00Z", "2026-02-01T11:00:00Z"],
            "status": ["confirmed", "scheduled"],
        }

    def test_a_wall_clock_time_is_read_in_the_meetings_zone_unless_one_is_given(self, api, meeting):
        local = call(api, meeting, "reschedule", starts_at="2026-04-20T14:00").json["meeting"]
        assert local["starts_at"] == "2026-04-20T18:00:00Z"

        named = call(
            api, meeting, "reschedule", starts_at="2026-04-20T14:00", timezone="Asia/Tokyo"
        ).json["meeting"]
        assert (named["starts_at"], named["timezone"]) == ("2026-04-20T05:00:00Z", "Asia/Tokyo")
        assert len(named["reschedules"]) == 2

    @pytest.mark.parametrize(
        "end", [{"ends_at": "2026-02-01T12:30:00Z"}, {"duration_minutes": 150},
                {"ends_at": "2026-02-01T12:30:00Z", "duration_minutes": "150"}]
    )  # fmt: skip
    def test_a_reschedule_accepts_an_end_or_a_duration(self, api, meeting, end):
        assert call(api, meeting, "reschedule", **end).json["meeting"]["duration_minutes"] == 150

    @pytest.mark.parametrize(
        ("body", "fields"),
        [
            ({}, {"starts_at"}),
            ({"starts_at": ""}, {"starts_at"}),
            ({"starts_at": "tomorrow", "ends_at": "x"}, {"starts_at", "ends_at"}),
            ({"starts_at": "2026-02-01T10:00", "ends_at": "2026-02-01T09:00"}, {"ends_at"}),
            ({"starts_at": "2026-02-01T10:00", "ends_at": "2026-02-01T09:00Z"}, {"ends_at"}),
            ({"starts_at": "2026-02-01T10:00", "ends_at": "2026-02-01T11:00",
              "duration_minutes": 5}, {"ends_at", "duration_minutes"}),
            ({"starts_at": "2199-12-31T23:30Z"}, {"starts_at"}),
            ({"starts_at": "2199-12-31T20:30"}, {"starts_at"}),
            ({"starts_at": "2026-02-01T10:00", "timezone": "Mars"}, {"timezone"}),
            ({"starts_at": "2026-02-01T10:00", "title": "x"}, {"title"}),
            ({"starts_at": "2026-01-02T10:00", "ends_at": "2026-01-01T10:00", "reason": 5},
             {"ends_at", "reason"}),
            ({"starts_at": "1969-12-31T20:00", "bogus": 1}, {"starts_at", "bogus"}),
        ],
    )  # fmt: skip
    def test_invalid_fields_are_refused_and_named(self, api, meeting, body, fields):
        answer = api.post(f"/meetings/{meeting['id']}/reschedule", json=body)

        assert (answer.status_code, set(answer.json["details"])) == (400, fields)
        assert get(api, meeting)["starts_at"] == meeting["starts_at"]

    def test_after_a_new_external_event_id_the_old_one_remains_an_alias(self, api, lead, meeting):
        moved = call(api, meeting, "reschedule", external_event_id="new").json["meeting"]
        assert moved["external_event_id"] == "new"

        late = api.post("/meetings", json=booking(title="late"))
        fresh = api.post(
            "/meetings", json=booking(external_event_id="new", title="fresh", timezone="UTC")
        )

        assert (late.status_code, late.json["meeting"]["id"]) == (200, meeting["id"])
        assert late.json["meeting"]["title"] == meeting["title"]
        assert late.json["meeting"]["starts_at"] == "2026-02-01T10:00:00Z"
        assert (fresh.status_code, fresh.json["meeting"]["title"]) == (200, "fresh")
        assert len(api.meetings(lead)) == 1

    def test_an_external_event_id_of_another_meeting_is_a_conflict(self, api, lead, meeting):
        other = api.post("/meetings", json=booking(external_event_id="taken")).json["meeting"]

        answer = call(api, meeting, "reschedule", external_event_id="taken")

        assert (answer.status_code, answer.json["code"]) == (409, "external_event_conflict")
        assert other["id"] in answer.json["message"]
        assert get(api, meeting)["starts_at"] == meeting["starts_at"]

    def test_a_missing_provider_is_reported_together_with_other_errors(self, api, lead):
        without_event = booking(external_calendar_provider=..., external_event_id=...)
        meeting = api.post("/meetings", json=without_event).json["meeting"]
        body = {"starts_at": "2026-01-02T10:00Z", "ends_at": "2026-01-01T10:00Z"}

        answer = api.post(
            f"/meetings/{meeting['id']}/reschedule", json=body | {"external_event_id": "x"}
        )

        assert set(answer.json["details"]) == {"ends_at", "external_event_id"}

    def test_an_external_event_id_requires_a_meeting_with_a_provider(self, api, lead):
        without_event = booking(external_calendar_provider=..., external_event_id=...)
        meeting = api.post("/meetings", json=without_event).json["meeting"]

        answer = call(api, meeting, "reschedule", external_event_id="x")

        assert set(answer.json["details"]) == {"external_event_id"}

    def test_a_replay_that_moves_the_meeting_is_listed_as_a_reschedule(self, api, lead, meeting):
        api.post("/meetings", json=booking(ends_at="2025-12-29T15:30:00", status=...))

        [move] = get(api, meeting)["reschedules"]
        assert move["to"]["ends_at"] == "2025-12-29T18:30:00Z"
        assert move["reason"] is None


class TestPreviousExternalEvent:
    def send(self, api, event_id, previous=None, **changes):
        body = booking(external_event_id=event_id, **changes)
        if previous:
            body["previous_external_event_id"] = previous
        return api.post("/meetings", json=body)

    def test_a_rescheduled_booking_stays_one_meeting(self, api, lead):
        first = self.send(api, "a").json["meeting"]
        moved = self.send(api, "b", "a", ends_at="2025-12-29T16:00:00", status="scheduled")

        assert (moved.status_code, moved.json["meeting"]["id"]) == (200, first["id"])
        assert moved.json["meeting"]["external_event_id"] == "b"
        entry = api.history(lead)[-1]
        assert entry["activity_type"] == "meeting_rescheduled"
        assert entry["changes"]["external_event_id"] == ["a", "b"]

    @pytest.mark.parametrize("order", ["abc", "cba", "bac", "bca", "acb"])
    def test_a_chain_of_ids_is_one_meeting_in_any_order_of_arrival(self, api, lead, order):
        previous = {"a": None, "b": "a", "c": "b"}
        if order == "acb":
            previous["c"] = "a"  # otherwise a and c are two meetings before b arrives

        for event_id in order * 2:
            answer = self.send(api, event_id, previous[event_id], title=event_id)
            assert answer.status_code in (200, 201), answer.json

        [meeting] = api.meetings(lead)
        last = "b" if order == "acb" else "c"
        assert (meeting["external_event_id"], meeting["title"]) == (last, last)

    def test_a_late_replay_of_the_old_booking_changes_nothing(self, api, lead):
        self.send(api, "a")
        self.send(api, "b", "a", title="moved")
        before, history = api.meetings(lead), api.history(lead)

        late = self.send(api, "a", title="late")

        assert (late.status_code, late.json["meeting"]["title"]) == (200, "moved")
        assert (api.meetings(lead), api.history(lead)) == (before, history)

    def test_a_previous_id_becomes_an_alias_even_if_no_meeting_had_it(self, api, lead):
        first = self.send(api, "b", "a")
        late = self.send(api, "a")

        assert (first.status_code, late.status_code) == (201, 200)
        assert late.json["meeting"] == first.json["meeting"]

    def test_a_booking_that_names_two_existing_meetings_is_a_conflict(self, api, lead):
        self.send(api, "a")
        newer = self.send(api, "b").json["meeting"]

        answer = self.send(api, "b", "a", title="changed")

        assert (answer.status_code, answer.json["code"]) == (409, "external_event_conflict")
        assert newer["id"] in answer.json["message"]
        assert {meeting["title"] for meeting in api.meetings(lead)} == {newer["title"]}

    def test_a_previous_id_of_another_leads_meeting_is_a_conflict_and_stores_no_alias(
        self, api, lead
    ):
        api.new_lead(email="other@example.com")
        self.send(api, "a")

        answer = self.send(api, "b", "a", lead_email="other@example.com")
        later = self.send(api, "b", lead_email="other@example.com")

        assert (answer.status_code, later.status_code) == (409, 201)

    def test_a_booking_for_an_unknown_lead_is_not_found_and_stores_no_alias(self, api, lead):
        answer = self.send(api, "b", "a", lead_email="nobody@example.com")

        assert answer.status_code == 404
        assert self.send(api, "a").status_code == self.send(api, "b").status_code == 201

    @pytest.mark.parametrize("missing", ["external_calendar_provider", "external_event_id"])
    def test_a_previous_id_requires_the_external_event_pair(self, api, lead, missing):
        answer = api.post(
            "/meetings", json=booking(previous_external_event_id="x", **{missing: ""})
        )

        assert (answer.status_code, set(answer.json["details"])) == (
            400,
            {"previous_external_event_id"},
        )

    def test_a_previous_id_equal_to_the_new_id_is_ignored(self, api, lead):
        assert self.send(api, "a", "a").status_code == 201
        assert self.send(api, "a", "a").status_code == 200

    def test_a_booking_may_name_an_alias_as_its_previous_id(self, api, lead):
        first = self.send(api, "a").json["meeting"]
        self.send(api, "b", "a")

        again = self.send(api, "c", "a").json["meeting"]

        assert (again["id"], again["external_event_id"]) == (first["id"], "c")
        assert self.send(api, "b", "a", title="late").json["meeting"] == again


@pytest.mark.parametrize("names", [("cancel", "complete"), ("no-show", "cancel")])
def test_of_two_concurrent_conflicting_calls_one_wins(app, api, lead, meeting, names):
    answers = {}
    begin = threading.Barrier(2)

    def send(name):
        http = app.test_client()
        begin.wait()
        path = f"/api/public/meetings/{meeting['id']}/{name}"
        answers[name] = http.post(path, headers={"X-API-Key": api.key})

    threads = [threading.Thread(target=send, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answer.status_code for answer in answers.values()) == [200, 409]
    winner = next(name for name in names if answers[name].status_code == 200)
    assert get(api, meeting)["status"] == RESULTING_STATUS[winner]
    assert api.history(lead)[-1]["activity_type"] == ACTIVITY_TYPE[winner]
