"""Hypothesis: no request, whatever its content, is answered with 500."""

import json

import pytest
from conftest import booking
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ids import is_uuid
from intake_schemas import MeetingNoteRequest

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(alphabet=st.characters(), max_size=40)
    | st.sampled_from(["", " ", "\ud800", "\u0000", "UTC", "a@b.co", "2026-04-20T14:00", "60"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=8,
)
FIELDS = [*booking(), "lead_id", "duration_minutes", "host_email", "meeting_type_id",
          "attendee_email", "attendee_phone", "additional_attendees", "location_details",
          "first_name", "last_name", "email", "phone", "metadata", "external_id"]  # fmt: skip
fuzzed = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def check(answer):
    assert answer.status_code < 500, answer.text
    assert answer.mimetype == "application/json"
    if "results" in answer.json:
        assert all(result["status"] < 500 for result in answer.json["results"])
        return
    assert answer.json["success"] is (answer.status_code < 400)
    if answer.status_code >= 400:
        assert answer.json["code"]
        assert answer.json["message"]


@fuzzed
@given(body=anything)
@pytest.mark.parametrize("path", ["/meetings", "/leads"])
def test_no_json_body_causes_a_500(api, path, body):
    check(api.post(path, data=json.dumps(body)))


@fuzzed
@given(changes=st.dictionaries(st.sampled_from(FIELDS), anything, max_size=4))
def test_no_value_in_a_field_of_a_booking_causes_a_500(api, lead, changes):
    check(api.post("/meetings", data=json.dumps(booking() | changes)))


@fuzzed
@given(changes=st.dictionaries(st.sampled_from(FIELDS) | st.text(), anything, max_size=4))
def test_no_value_in_a_field_of_a_lead_causes_a_500(api, lead, changes):
    check(api.post("/leads", data=json.dumps({"first_name": "Tony"} | changes)))
    check(api.patch(f"/leads/{lead['id']}", data=json.dumps(changes)))


@fuzzed
@given(
    changes=st.dictionaries(
        st.sampled_from(
            [
                "starts_at",
                "ends_at",
                "duration_minutes",
                "timezone",
                "reason",
                "notes",
                "external_event_id",
            ]
        ),
        anything,
        max_size=3,
    )
)
@pytest.mark.parametrize("call", ["reschedule", "cancel", "no-show", "complete", "reopen"])
def test_no_value_in_a_change_of_a_meeting_causes_a_500(api, lead, call, changes):
    meeting = api.post("/meetings", json=booking()).json["meeting"]

    check(api.post(f"/meetings/{meeting['id']}/{call}", data=json.dumps(changes)))
    assert api.get(f"/meetings/{meeting['id']}.ics").status_code == 200


NOTE_FIELDS = [*MeetingNoteRequest().fields]


@fuzzed
@given(changes=st.dictionaries(st.sampled_from(NOTE_FIELDS), anything, max_size=4))
def test_no_value_in_a_field_of_a_note_causes_a_500(api, lead, changes):
    api.post("/meetings", json=booking())

    check(api.post("/meeting-notes", data=json.dumps({"lead_email": lead["email"]} | changes)))


@fuzzed
@given(changes=st.dictionaries(st.sampled_from([*FIELDS, *NOTE_FIELDS]), anything, max_size=4))
def test_no_value_in_a_change_of_a_meetings_fields_causes_a_500(api, lead, changes):
    meeting = api.post("/meetings", json=booking()).json["meeting"]

    check(api.patch(f"/meetings/{meeting['id']}", data=json.dumps(changes)))


@fuzzed
@given(
    changes=st.dictionaries(
        st.sampled_from(["email", "first_name", "last_name", "active", "name"]), anything
    )
)
def test_no_value_in_a_field_of_a_user_or_meeting_type_causes_a_500(api, changes):
    body = json.dumps({"email": "a@b.co", "first_name": "A", "last_name": "B"} | changes)

    check(api.post("/users", data=body))
    check(api.post("/meeting-types", data=body))


@fuzzed
@given(changes=st.dictionaries(st.sampled_from(FIELDS) | st.text(), anything, max_size=4))
@pytest.mark.parametrize("match", ["email", "phone", "email,phone"])
def test_no_value_in_a_field_of_a_lead_that_is_matched_causes_a_500(api, lead, match, changes):
    row = {"first_name": "Tony", "email": lead["email"], "phone": lead["phone"]} | changes

    check(api.post(f"/leads?match={match}", data=json.dumps([row, row, changes])))


@fuzzed
@given(body=st.binary(max_size=200))
def test_no_bytes_in_a_body_cause_a_500(api, body):
    check(api.post("/meetings", data=body))


@fuzzed
@given(
    query=st.dictionaries(
        st.sampled_from(
            [
                "limit",
                "page",
                "search",
                "email",
                "phone",
                "external_id",
                "status",
                "cursor",
                "offset",
                "x",
                "order",
                "starts_after",
                "updated_after",
                "host_email",
                "lead_email",
                "external_event_id",
                "external_calendar_provider",
                "lead_id",
            ]
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.integers().map(str),
        max_size=3,
    )
)
@pytest.mark.parametrize(
    "path",
    ["/leads", "/users", "/leads/{}/meetings", "/leads/{}/history", "/meetings", "/meetings/stats"],
)
def test_no_query_causes_a_500(api, lead, path, query):
    assert is_uuid(lead["id"])
    check(api.get(path.format(lead["id"]), query_string=query))
