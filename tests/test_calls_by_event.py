"""POST /meetings/confirm and the like: the booking system's id names the meeting."""

import json
from functools import partial

import pytest
from conftest import CALLERS, booking, call_at_once
from test_outcomes import BODIES, RESULTING_STATUS

import database
from models import ExternalEvent
from services import external_events, waiting

EVENT = {"external_calendar_provider": "ghl", "external_event_id": "1RZJ24WY65VGQFyhN0vJ"}
NEW_TIME = {"starts_at": "2026-02-01T10:00:00Z"}
each_call = pytest.mark.parametrize("name", BODIES)


@pytest.fixture
def meeting(api, lead):
    return api.post("/meetings", json=booking(status="scheduled")).json["meeting"]


def call(api, name, **changes):
    return api.post(f"/meetings/{name}", json=EVENT | (BODIES[name] or {}) | changes)


def wait_for(client_id, event_id):
    """Store the pair of a receipt that waits for its booking."""
    data = {"client": client_id, "provider": "ghl", "event_id": event_id, "meeting": None}
    stamps = {"booking_stamp": None, "outcome_stamp": None}
    external_events.insert_unless_taken([ExternalEvent.of(data | stamps)])
    database.release()


@each_call
def test_a_call_does_what_the_call_by_the_meetings_id_does(api, lead, meeting, name):
    other = api.post("/meetings", json=booking(external_event_id="other", status="scheduled"))
    path = f"/meetings/{other.json['meeting']['id']}/{name}"

    answer, expected = call(api, name), api.post(path, json=BODIES[name])

    assert answer.status_code == expected.status_code == 200, answer.json
    shown, same = answer.json["meeting"], expected.json["meeting"]
    assert shown["id"] == meeting["id"]
    assert shown["status"] == same["status"] == RESULTING_STATUS[name]
    assert api.get(f"/meetings/{meeting['id']}").json["meeting"] == {
        key: value for key, value in shown.items() if key != "idempotent"
    }
    skip = {"id", "created_at", "updated_at", "external_event_id", "cancelled_at", "outcome_at"}
    skip.add("reschedules")
    assert {k: v for k, v in shown.items() if k not in skip} == {
        k: v for k, v in same.items() if k not in skip
    }


@each_call
def test_a_repeated_call_is_a_no_op(api, lead, meeting, name):
    call(api, name)
    history = api.history(lead)

    assert call(api, name).json["idempotent"] is True
    assert api.history(lead) == history


@each_call
def test_the_provider_is_compared_in_any_case_and_an_earlier_id_still_names_the_meeting(
    api, lead, meeting, name
):
    api.post("/meetings", json=booking(external_event_id="new", previous_external_event_id=EVENT["external_event_id"], status="scheduled"))  # fmt: skip  # noqa: E501

    answer = call(api, name, external_calendar_provider="GHL")

    assert (answer.status_code, answer.json["meeting"]["id"]) == (200, meeting["id"])
    assert answer.json["meeting"]["external_event_id"] == "new"


@each_call
@pytest.mark.parametrize(
    "changes", [{"external_event_id": "unknown"}, {"external_calendar_provider": "calendly"}]
)
def test_an_unknown_pair_is_not_found_and_named(api, lead, meeting, name, changes):
    answer = call(api, name, **changes)

    provider, event_id = (EVENT | changes).values()
    assert (answer.status_code, answer.json["code"]) == (404, "meeting_not_found")
    assert answer.json["message"] == f"No meeting with the external event {provider} / {event_id}."


@each_call
def test_another_clients_meeting_is_not_found(api, lead, meeting, stranger, name):
    before = api.get(f"/meetings/{meeting['id']}").json

    answer = call(stranger, name)

    assert (answer.status_code, answer.json["code"]) == (404, "meeting_not_found")
    assert api.get(f"/meetings/{meeting['id']}").json == before


@each_call
def test_a_pair_that_only_a_receipt_waits_for_names_no_meeting(api, name):
    wait_for(api.client_id, EVENT["external_event_id"])

    assert call(api, name).json["code"] == "meeting_not_found"


@each_call
@pytest.mark.parametrize("half", [*EVENT])
@pytest.mark.parametrize("value", [..., None, "", 5, "x" * 256])
def test_both_halves_of_the_pair_are_required(api, lead, meeting, name, half, value):
    body = EVENT | (BODIES[name] or {}) | {half: value, "surprise": 1}
    body = {key: value for key, value in body.items() if value is not ...}

    answer = api.post(f"/meetings/{name}?x=1", json=body)

    assert (answer.status_code, set(answer.json["details"])) == (400, {half, "surprise", "x"})


@each_call
def test_a_call_takes_one_query_more_than_by_the_meetings_id(
    api, lead, meeting, count_queries, name
):
    with count_queries() as by_id:
        api.post(f"/meetings/{meeting['id']}/{name}", json=BODIES[name])
    other = booking(external_event_id="other", status="scheduled")
    api.post("/meetings", json=other)
    with count_queries() as by_event:
        call(api, name, external_event_id="other")

    assert len(by_event) == len(by_id) + 1


def test_a_state_that_forbids_the_call_is_a_conflict(api, lead, meeting):
    call(api, "cancel")

    answer = call(api, "complete")

    assert (answer.status_code, answer.json["code"]) == (409, "invalid_transition")


class TestReschedule:
    def test_the_new_id_names_the_meeting_and_the_old_one_stays_an_alias(self, api, lead, meeting):
        moved = call(api, "reschedule", new_external_event_id="new", reason="ill")

        assert moved.json["meeting"]["external_event_id"] == "new"
        assert moved.json["meeting"]["reschedules"][0]["reason"] == "ill"
        for event_id in (EVENT["external_event_id"], "new"):
            found = call(api, "confirm", external_event_id=event_id)
            assert found.json["meeting"]["id"] == meeting["id"]

    def test_a_new_id_that_is_taken_is_a_conflict(self, api, lead, meeting):
        other = api.post("/meetings", json=booking(external_event_id="taken")).json["meeting"]

        answer = call(api, "reschedule", new_external_event_id="taken")

        assert (answer.status_code, answer.json["code"]) == (409, "external_event_conflict")
        assert other["id"] in answer.json["message"]

    def test_one_error_names_the_faults_of_the_body_and_of_the_move(self, api, lead, meeting):
        times = {"starts_at": "2026-02-01T10:00", "ends_at": "2026-02-01T09:00"}

        answer = call(api, "reschedule", **times, reason=5, external_event="x")

        assert set(answer.json["details"]) == {"ends_at", "reason", "external_event"}

    def test_a_wrong_body_is_reported_before_an_unknown_pair(self, api):
        answer = call(api, "reschedule", reason=5)

        assert (answer.status_code, set(answer.json["details"])) == (400, {"reason"})

    @pytest.mark.parametrize("by_event", [True, False])
    def test_an_id_that_a_receipt_waits_for_becomes_the_meetings(
        self, api, lead, meeting, monkeypatch, by_event
    ):
        released = []
        monkeypatch.setattr(waiting, "release", lambda _, *, pairs: released.append(pairs))
        wait_for(api.client_id, "waiting")

        if by_event:
            answer = call(api, "reschedule", new_external_event_id="waiting")
        else:
            body = NEW_TIME | {"external_event_id": "waiting"}
            answer = api.post(f"/meetings/{meeting['id']}/reschedule", json=body)

        assert answer.json["meeting"]["external_event_id"] == "waiting"
        found = call(api, "confirm", external_event_id="waiting").json["meeting"]
        assert found["id"] == meeting["id"]
        assert released == [[("ghl", "waiting")]]

    def test_a_refused_move_leaves_the_waiting_id_free(self, api, lead, meeting):
        wait_for(api.client_id, "waiting")
        call(api, "cancel")

        assert call(api, "reschedule", new_external_event_id="waiting").status_code == 409
        answer = call(api, "confirm", external_event_id="waiting")
        assert answer.json["code"] == "meeting_not_found"

    def test_of_several_meetings_one_gets_an_id_that_a_receipt_waits_for(
        self,
        api,
        callers,
        lead,
    ):
        wait_for(api.client_id, "waiting")
        meetings = {
            api.post("/meetings", json=booking(external_event_id=f"{n}")).json["meeting"]["id"]
            for n in range(CALLERS)
        }
        statuses = []

        def move(caller, number):
            answer = call(caller, "reschedule", external_event_id=f"{number}", new_external_event_id="waiting")  # fmt: skip  # noqa: E501
            statuses.append(answer.status_code)

        call_at_once(*[partial(move, *of) for of in zip(callers, range(CALLERS), strict=True)])

        assert sorted(statuses) == [200] + [409] * (CALLERS - 1)
        owners = [
            shown["id"]
            for shown in (
                api.get(f"/meetings/{meeting_id}").json["meeting"] for meeting_id in meetings
            )
            if shown["external_event_id"] == "waiting"
        ]
        found = call(api, "reopen", external_event_id="waiting").json["meeting"]["id"]
        assert owners == [found]


def test_the_body_is_documented_as_required(app):
    document = json.loads(app.test_client().get("/openapi.json").data)

    for name in BODIES:
        operation = document["paths"][f"/api/public/meetings/{name}"]["post"]
        assert operation["requestBody"]["required"] is True
        assert operation["tags"] == ["A meeting's life"]
