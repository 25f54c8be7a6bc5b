"""POST /meetings: its fields, their defaults and limits, and which lead gets the meeting."""

import json
import time
from uuid import uuid4

import pytest
from conftest import booking, using
from freezegun import freeze_time

import database
from services import meeting_types, users

MEETING_KEYS = [
    "id",
    "lead_id",
    "title",
    "starts_at",
    "ends_at",
    "duration_minutes",
    "timezone",
    "status",
    "meeting_url",
    "location_type",
    "location_details",
    "host_name",
    "meeting_type",
    "attendee_name",
    "attendee_email",
    "external_calendar_provider",
    "external_event_id",
    "source",
    "created_at",
]


def item(api, meeting):
    """Return the full meeting, as the lead's list shows it."""
    path = f"/leads/{meeting['lead_id']}/meetings"
    return next(m for m in api.get(path).json["meetings"] if m["id"] == meeting["id"])


@pytest.fixture
def host(api):
    row = users.create(api.client_id, "Pepper.Potts@example.com", "Pepper", "Potts")
    database.release()
    return row


@pytest.fixture
def meeting_type(api):
    row = meeting_types.create(api.client_id, "Discovery")
    database.release()
    return row


def test_the_documented_booking_returns_the_documented_meeting(api, lead):
    with freeze_time("2026-04-15T12:00:00.987654Z"):
        answer = api.post("/meetings", json=booking())

    meeting = answer.json["meeting"]
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/api/public/meetings/{meeting['id']}"
    assert list(answer.json) == ["success", "meeting"]
    assert list(meeting) == MEETING_KEYS
    assert meeting == {
        "id": meeting["id"],
        "lead_id": lead["id"],
        "title": "Discovery Call with Tony Stark",
        "starts_at": "2025-12-29T17:00:00Z",
        "ends_at": "2025-12-29T18:00:00Z",
        "duration_minutes": 60,
        "timezone": "America/Santiago",
        "status": "confirmed",
        "meeting_url": "https://meet.google.com/oki-fjnk-oyu",
        "location_type": "video",
        "location_details": None,
        "host_name": None,
        "meeting_type": None,
        "attendee_name": "Tony Stark",
        "attendee_email": "Tony.Stark@gmail.com",
        "external_calendar_provider": "ghl",
        "external_event_id": "1RZJ24WY65VGQFyhN0vJ",
        "source": "api",
        "created_at": "2026-04-15T12:00:00Z",
    }


@pytest.mark.parametrize("empty", [..., None, "", "  "])
def test_absent_and_empty_optional_fields_get_their_defaults(api, lead, empty):
    optional = dict.fromkeys(
        [
            "lead_id",
            "duration_minutes",
            "timezone",
            "meeting_url",
            "location_type",
            "location_details",
            "description",
            "host_email",
            "meeting_type_id",
            "attendee_name",
            "attendee_email",
            "attendee_phone",
            "additional_attendees",
            "external_calendar_provider",
            "external_event_id",
            "status",
        ],
        empty,
    )

    answer = api.post("/meetings", json=booking(**optional))

    assert answer.status_code == 201, answer.json
    assert "warnings" not in answer.json
    full = item(api, answer.json["meeting"])
    assert full["timezone"] == "UTC"
    assert full["starts_at"] == "2025-12-29T14:00:00Z"
    assert (full["location_type"], full["status"]) == ("video", "scheduled")
    assert full["attendee_name"] == "Tony Stark"
    assert full["attendee_email"] == "Tony.Stark@gmail.com"
    assert full["attendee_phone"] == "+1 (212) 970-4133"
    assert full["additional_attendees"] == []
    for field in ("meeting_url", "location_details", "description", "host", "meeting_type_id"):
        assert full[field] is None


def test_every_field_is_stored_and_returned(api, lead, host, meeting_type):
    answer = api.post(
        "/meetings",
        json=booking(
            location_type="in_person",
            location_details=" 200 Park Avenue ",
            host_email="pepper.POTTS@example.com",
            meeting_type_id=meeting_type.id,
            attendee_email="happy@example.com",
            attendee_phone="555",
            additional_attendees=[
                {"name": "Rhodey", "email": "rhodey@example.com"},
                {"email": "nobody@example.com"},
                {"name": "", "email": " x@example.com "},
                {"name": None, "email": "y@example.com"},
            ],
        ),
    )

    meeting = answer.json["meeting"]
    assert (meeting["host_name"], meeting["meeting_type"]) == ("Pepper Potts", "Discovery")
    full = item(api, meeting)
    assert {key: full[key] for key in MEETING_KEYS} == meeting
    assert full["host"] == {
        "id": host.id,
        "name": "Pepper Potts",
        "email": "Pepper.Potts@example.com",
    }
    assert full["meeting_type_id"] == meeting_type.id
    assert full["location_details"] == "200 Park Avenue"
    assert full["attendee_phone"] == "555"
    assert full["description"] == "Confirmation and reminder emails"
    assert full["additional_attendees"] == [
        {"name": "Rhodey", "email": "rhodey@example.com"},
        {"email": "nobody@example.com"},
        {"email": "x@example.com"},
        {"email": "y@example.com"},
    ]


@pytest.mark.parametrize("field", ["title", "starts_at"])
@pytest.mark.parametrize("value", [..., None, "", "   "])
def test_a_missing_required_field_is_named_in_the_error(api, field, value):
    answer = api.post("/meetings", json=booking(**{field: value}))

    assert answer.status_code == 400
    assert answer.json["details"][field] == ["Required."]


LONGEST = {
    "title": 255,
    "location_details": 255,
    "attendee_name": 255,
    "external_event_id": 255,
    "external_calendar_provider": 64,
    "attendee_phone": 50,
    "description": 10_000,
}


@pytest.mark.parametrize(("field", "longest"), LONGEST.items())
def test_text_length_is_limited_in_code_points(api, lead, field, longest):
    at_limit = api.post("/meetings", json=booking(**{field: " " + "😀" * longest + "\n"}))
    over = api.post("/meetings", json=booking(**{field: "x" * (longest + 1)}))

    assert at_limit.status_code == 201, at_limit.json
    assert item(api, at_limit.json["meeting"])[field] == "😀" * longest
    assert over.status_code == 400
    assert over.json["details"] == {
        field: [f"Must be at most {longest} characters long, not {longest + 1}."]
    }


def test_email_and_url_lengths_are_limited(api, lead):
    email = "a" * (254 - len("@example.com")) + "@example.com"
    url = "https://example.com/" + "a" * (2048 - len("https://example.com/"))

    assert api.post("/meetings", json=booking(attendee_email=email)).status_code == 201
    assert api.post("/meetings", json=booking(meeting_url=url)).status_code == 200
    wrong = api.post("/meetings", json=booking(attendee_email="a" + email, meeting_url=url + "a"))
    assert set(wrong.json["details"]) == {"attendee_email", "meeting_url"}


@pytest.mark.parametrize(
    "field", [*LONGEST, "lead_email", "lead_id", "timezone", "meeting_url", "location_type",
              "host_email", "meeting_type_id", "attendee_email", "status"]
)  # fmt: skip
@pytest.mark.parametrize(
    "value", [5, True, [], {}, ["x"], {"a": 1}, "\u0000", "a\u001fb", "\x7f", "\ud800", 1e400]
)
def test_text_fields_refuse_other_types_and_control_characters(api, lead, field, value):
    body = json.dumps(booking(**{field: value})).replace("Infinity", "1e400")

    answer = api.post("/meetings", data=body)

    assert answer.status_code == 400
    assert field in answer.json["details"]


def test_tabs_line_feeds_and_carriage_returns_are_allowed_in_text(api, lead):
    answer = api.post("/meetings", json=booking(description="a\tb\r\nc"))

    assert item(api, answer.json["meeting"])["description"] == "a\tb\r\nc"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("location_type", "Video"),
        ("location_type", "zoom"),
        ("status", "cancelled"),
        ("status", "completed"),
        ("status", "no_show"),
        ("meeting_url", "meet.google.com/x"),
        ("meeting_url", "HTTPS://meet.google.com/x"),
        ("meeting_url", "ftp://example.com/x"),
        ("meeting_url", "javascript:alert(1)"),
        ("meeting_url", "https://"),
        ("meeting_url", "https://a b.com"),
        ("lead_email", "tony"),
        ("lead_email", "tony@"),
        ("lead_email", "a@b@c.com"),
        ("attendee_email", "tony stark@example.com"),
        ("host_email", "nope"),
        ("lead_id", "1"),
        ("meeting_type_id", "not-a-uuid"),
        ("additional_attendees", {}),
        ("additional_attendees", "x@example.com"),
        ("additional_attendees", ["x@example.com"]),
        ("additional_attendees", [{"name": "No Email"}]),
        ("additional_attendees", [{"email": "x@example.com", "name": 5}]),
        ("additional_attendees", [{"email": "x@example.com", "role": "x"}]),
        ("additional_attendees", [{"email": "x@example.com"}] * 101),
    ],
)
def test_an_invalid_value_is_refused_and_its_field_named(api, lead, field, value):
    answer = api.post("/meetings", json=booking(**{field: value}))

    assert answer.status_code == 400
    assert set(answer.json["details"]) == {field}
    assert not api.meetings(lead)


@pytest.mark.parametrize(
    "url",
    ["http://localhost:3000/x", "https://zoom/j/1?pwd=a#b", "http://127.0.0.1", "http://[::1]/"],
)
def test_a_meeting_url_may_point_to_a_private_network(api, lead, url):
    assert api.post("/meetings", json=booking(meeting_url=url)).status_code == 201


def test_a_huge_list_of_attendees_is_refused_without_validating_each(api, lead):
    began = time.monotonic()

    answer = api.post("/meetings", json=booking(additional_attendees=[1] * 300_000))

    assert answer.json["details"] == {
        "additional_attendees": ["Must hold at most 100 attendees, not 300000."]
    }
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("item", ["x@example.com", 5, [], None])
def test_an_attendee_that_is_no_object_is_named_by_its_index(api, lead, item):
    answer = api.post("/meetings", json=booking(additional_attendees=[item]))

    sentence = "Must be an object with name and email."
    assert answer.json["details"] == {"additional_attendees": {"0": [sentence]}}


def test_a_hundred_additional_attendees_are_accepted(api, lead):
    everyone = [{"email": f"a{n}@example.com"} for n in range(100)]

    answer = api.post("/meetings", json=booking(additional_attendees=everyone))

    assert item(api, answer.json["meeting"])["additional_attendees"] == everyone


class TestHostAndMeetingType:
    def test_one_error_names_both_an_unknown_host_and_an_unknown_meeting_type(
        self, api, lead, stranger
    ):
        theirs = users.create(stranger.client_id, "host@example.com", "A", "B")
        their_type = meeting_types.create(stranger.client_id, "Theirs")
        database.release()

        answer = api.post(
            "/meetings",
            json=booking(host_email=theirs.email, meeting_type_id=their_type.id, title=""),
        )

        assert answer.status_code == 400
        assert set(answer.json["details"]) == {"host_email", "meeting_type_id", "title"}

    def test_an_unknown_host_is_reported_before_an_unknown_lead(self, api):
        answer = api.post("/meetings", json=booking(host_email="nobody@example.com"))

        assert answer.status_code == 400

    def test_an_inactive_host_gets_no_new_meetings_but_keeps_existing_ones(self, api, lead, host):
        with_host = booking(host_email=host.email)
        first = api.post("/meetings", json=with_host).json["meeting"]
        users.set_active(api.client_id, host.email, False)
        database.release()

        replay = api.post("/meetings", json=with_host | {"title": "Changed"})
        fresh = api.post("/meetings", json=with_host | {"external_event_id": "another"})
        without_pair = api.post("/meetings", json=with_host | {"external_event_id": ""})

        assert (replay.status_code, replay.json["meeting"]["id"]) == (200, first["id"])
        assert replay.json["meeting"]["host_name"] == "Pepper Potts"
        assert fresh.status_code == without_pair.status_code == 400
        assert set(fresh.json["details"]) == {"host_email"}

    def test_a_late_replay_succeeds_after_its_host_was_replaced_and_deactivated(
        self, api, lead, host
    ):
        users.create(api.client_id, "happy@example.com", "Happy", "Hogan")
        first = booking(external_event_id="a", host_email=host.email)
        api.post("/meetings", json=first)
        moved = booking(
            external_event_id="b", previous_external_event_id="a", host_email="happy@example.com"
        )
        after = api.post("/meetings", json=moved).json["meeting"]
        users.set_active(api.client_id, host.email, False)
        database.release()

        late = api.post("/meetings", json=first)

        assert (late.status_code, late.json["meeting"]) == (200, after)

    def test_an_inactive_host_is_kept_when_the_booking_gets_a_new_id(self, api, lead, host):
        with_host = booking(external_event_id="a", host_email=host.email)
        api.post("/meetings", json=with_host)
        users.set_active(api.client_id, host.email, False)
        database.release()

        moved = api.post(
            "/meetings",
            json=with_host | {"external_event_id": "b", "previous_external_event_id": "a"},
        )

        assert (moved.status_code, moved.json["meeting"]["host_name"]) == (200, "Pepper Potts")

    def test_a_replay_cannot_assign_an_inactive_host(self, api, lead, host):
        api.post("/meetings", json=booking())
        users.set_active(api.client_id, host.email, False)
        database.release()

        answer = api.post("/meetings", json=booking(host_email=host.email))

        assert answer.status_code == 400


class TestWhichLead:
    def test_a_lead_id_takes_precedence_over_the_lead_email(self, api, lead):
        other = api.new_lead(email="other@example.com")

        answer = api.post("/meetings", json=booking(lead_id=other["id"]))
        unknown = api.post("/meetings", json=booking(lead_id=str(uuid4()), external_event_id="x"))

        assert answer.json["meeting"]["lead_id"] == other["id"]
        assert (unknown.status_code, unknown.json["code"]) == (404, "lead_not_found")

    @pytest.mark.parametrize(
        "email", ["tony.stark@gmail.com", "TONY.STARK@GMAIL.COM", "  Tony.Stark@Gmail.com\t"]
    )
    def test_the_lead_email_is_matched_case_insensitively(self, api, lead, email):
        answer = api.post("/meetings", json=booking(lead_email=email))

        assert answer.json["meeting"]["lead_id"] == lead["id"]
        assert answer.json["meeting"]["attendee_email"] == "Tony.Stark@gmail.com"

    def test_the_most_recently_updated_lead_with_the_email_gets_the_meeting(self, api, lead):
        newer = api.new_lead(email="tony.stark@gmail.com")
        first = api.post("/meetings", json=booking(external_event_id="1"))
        api.patch(f"/leads/{lead['id']}", json={"company": "Stark Industries"})
        second = api.post("/meetings", json=booking(external_event_id="2"))

        assert first.json["meeting"]["lead_id"] == newer["id"]
        assert second.json["meeting"]["lead_id"] == lead["id"]

    def test_the_greatest_id_breaks_a_tie_between_leads_with_one_email(self, api):
        with freeze_time("2026-01-01"):
            twins = [api.new_lead(email="twin@example.com") for _ in range(5)]

        answer = api.post("/meetings", json=booking(lead_email="twin@example.com"))

        assert answer.json["meeting"]["lead_id"] == max(twin["id"] for twin in twins)

    def test_logging_a_meeting_does_not_change_the_lead(self, api, lead):
        with freeze_time("2030-01-01"):
            api.post("/meetings", json=booking())

        assert api.get(f"/leads/{lead['id']}").json["lead"] == lead

    @pytest.mark.parametrize("by", ["email", "id"])
    def test_another_clients_lead_is_not_found(self, api, lead, stranger, by):
        named = {"lead_id": lead["id"]} if by == "id" else {}

        answer = stranger.post("/meetings", json=booking(**named))

        assert answer.status_code == 404
        assert answer.json["error"] == "Lead not found"
        assert answer.json["code"] == "lead_not_found"
        assert (lead["id"] if by == "id" else "tony.stark@gmail.com") in answer.json["message"]
        assert "POST /api/public/leads" in answer.json["message"]

    def test_the_attendee_name_defaults_to_the_first_name_of_a_lead_without_last_name(self, api):
        api.new_lead(first_name="Pepper", email="pepper@example.com")

        answer = api.post(
            "/meetings", json=booking(lead_email="pepper@example.com", attendee_name=None)
        )

        assert answer.json["meeting"]["attendee_name"] == "Pepper"

    def test_the_longest_possible_lead_name_fits_as_attendee_name(self, api):
        api.new_lead(first_name="a" * 255, last_name="b" * 255, email="long@example.com")

        answer = api.post(
            "/meetings", json=booking(lead_email="long@example.com", attendee_name="")
        )

        assert answer.json["meeting"]["attendee_name"] == "a" * 255 + " " + "b" * 255


def test_a_booking_adds_an_entry_to_the_leads_timeline(api, lead):
    meeting = api.post("/meetings", json=booking()).json["meeting"]

    created, scheduled = api.history(lead)

    assert created["activity_type"] == "lead_created"
    assert scheduled["activity_type"] == "meeting_scheduled"
    assert scheduled["meeting_id"] == meeting["id"]
    assert scheduled["changes"] is None


@pytest.mark.parametrize("half", ["external_calendar_provider", "external_event_id"])
def test_half_an_external_event_pair_logs_a_new_meeting_each_time_with_a_warning(api, lead, half):
    first = api.post("/meetings", json=booking(**{half: ""}))
    second = api.post("/meetings", json=booking(**{half: None}))

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json["meeting"]["id"] != second.json["meeting"]["id"]
    assert list(first.json) == ["success", "meeting", "warnings"]
    [warning] = first.json["warnings"]
    assert half in warning
    assert len(api.meetings(lead)) == 2


def test_without_an_external_event_every_call_logs_a_new_meeting_without_a_warning(api, lead):
    without_event = booking(external_calendar_provider=..., external_event_id=...)

    answers = [api.post("/meetings", json=without_event) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [201, 201]
    assert "warnings" not in answers[0].json
    assert len(api.meetings(lead)) == 2


@pytest.mark.parametrize("public_url", ["https://meetings.example.com", "https://a.example/meet"])
def test_location_begins_with_public_url_where_it_is_set(api, lead, database_url, public_url):
    with using(database_url, public_url=public_url) as app:
        caller = api.on(app)
        answers = [
            (caller.post("/meetings", json=booking()), "meetings", "meeting"),
            (caller.post("/leads", json={"first_name": "Pepper"}), "leads", "lead"),
            (caller.post("/meeting-types", json={"name": "Call"}), "meeting-types", "meeting_type"),
            (caller.post("/webhooks", json={"url": "https://8.8.8.8/"}), "webhooks", "webhook"),
        ]

    for answer, path, noun in answers:
        row = answer.json[noun]
        assert answer.headers["Location"] == f"{public_url}/api/public/{path}/{row['id']}"
