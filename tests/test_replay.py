"""Replays: a (provider, event id) pair is one meeting, however often its booking is sent."""

import threading

import pytest
from conftest import booking
from freezegun import freeze_time

import database
from database import db
from models import Meeting
from services import users


def set_status(meeting, status):
    """Set a meeting's status directly in the database."""
    db.execute(Meeting.update(status=status, confirmed_by_lead=False).where(Meeting.id == meeting["id"]))  # fmt: skip  # noqa: E501
    database.release()


def events(api, lead):
    return [(e["activity_type"], e["changes"]) for e in api.history(lead)][1:]


@pytest.fixture
def first(api, lead):
    return api.post("/meetings", json=booking()).json["meeting"]


def test_a_replay_updates_the_meeting_that_the_booking_created(api, lead, first):
    again = api.post("/meetings", json=booking(title="Intro, moved to Zoom"))

    assert again.status_code == 200
    assert again.headers["Location"] == f"/api/public/meetings/{first['id']}"
    assert again.json["meeting"] == first | {"title": "Intro, moved to Zoom"}
    assert len(api.meetings(lead)) == 1


def test_an_identical_replay_changes_nothing(api, lead, first):
    before = api.meetings(lead)

    with freeze_time("2031-01-01"):
        again = api.post("/meetings", json=booking())

    assert again.json["meeting"] == first
    assert api.meetings(lead) == before
    assert events(api, lead) == [("meeting_scheduled", None)]


def test_a_replay_with_the_same_values_written_differently_changes_nothing(api, lead, first):
    again = api.post(
        "/meetings",
        json=booking(
            lead_email="TONY.STARK@GMAIL.COM",
            title="  Discovery Call with Tony Stark ",
            starts_at="20251229T170000Z",
            ends_at=...,
            duration_minutes="60.0",
            external_calendar_provider="GHL",
        ),
    )

    assert again.json["meeting"] == first
    assert events(api, lead) == [("meeting_scheduled", None)]


def test_the_provider_is_case_insensitive_and_the_event_id_is_exact(api, lead, first):
    shouted = api.post("/meetings", json=booking(external_calendar_provider=" GhL "))
    other = api.post("/meetings", json=booking(external_event_id="1rzj24wy65vgqfyhn0vj"))
    elsewhere = api.post("/meetings", json=booking(external_calendar_provider="calendly"))

    assert shouted.json["meeting"]["id"] == first["id"]
    assert shouted.json["meeting"]["external_calendar_provider"] == "ghl"
    assert (other.status_code, elsewhere.status_code) == (201, 201)


def test_two_clients_may_use_the_same_external_event(api, lead, first, stranger):
    stranger.new_lead(email="tony.stark@gmail.com")

    theirs = stranger.post("/meetings", json=booking())

    assert theirs.status_code == 201
    assert theirs.json["meeting"]["id"] != first["id"]


FULL = {
    "meeting_url": "https://zoom.us/j/1",
    "location_type": "phone",
    "location_details": "call him",
    "description": "all of it",
    "attendee_name": "T. Stark",
    "attendee_email": "t@example.com",
    "attendee_phone": "1",
    "additional_attendees": [{"name": "Rhodey", "email": "rhodey@example.com"}],
    "timezone": "America/Santiago",
}
DEFAULTS = {
    "meeting_url": None,
    "location_type": "video",
    "location_details": None,
    "description": None,
    "attendee_name": "Tony Stark",
    "attendee_email": "Tony.Stark@gmail.com",
    "attendee_phone": "+1 (212) 970-4133",
    "additional_attendees": [],
    "timezone": "UTC",
}


@pytest.mark.parametrize("field", FULL)
@pytest.mark.parametrize("empty", [..., "", "  "])
def test_a_replay_without_a_field_keeps_its_stored_value(api, lead, field, empty):
    utc = {"starts_at": "2025-12-29T14:00Z", "ends_at": "2025-12-29T15:00Z"}
    api.post("/meetings", json=booking(**FULL | utc))

    api.post("/meetings", json=booking(**FULL | utc | {field: empty}))

    assert api.meetings(lead)[0][field] == FULL[field]
    assert len(events(api, lead)) == 1


@pytest.mark.parametrize("field", FULL)
def test_null_resets_a_field_to_its_default_and_the_timeline_records_it(api, lead, field):
    utc = {"starts_at": "2025-12-29T14:00Z", "ends_at": "2025-12-29T15:00Z"}
    api.post("/meetings", json=booking(**FULL | utc))

    api.post("/meetings", json=booking(**FULL | utc | {field: None}))

    assert api.meetings(lead)[0][field] == DEFAULTS[field]
    assert events(api, lead)[1] == ("meeting_updated", {field: [FULL[field], DEFAULTS[field]]})


def test_a_replay_can_keep_change_or_remove_the_host(api, lead):
    for name in ("Pepper", "Happy"):
        users.create(api.client_id, f"{name}@example.com", name, "P")
    database.release()

    def send(**changes):
        return api.post("/meetings", json=booking(**changes)).json["meeting"]

    names = [
        send(host_email="pepper@example.com")["host_name"],
        send()["host_name"],
        send(host_email="")["host_name"],
        send(host_email="happy@example.com")["host_name"],
        send(host_email=None)["host_name"],
    ]

    assert names == ["Pepper P", "Pepper P", "Pepper P", "Happy P", None]
    assert [changes for _, changes in events(api, lead)[1:]] == [
        {"host_email": ["Pepper@example.com", "Happy@example.com"]},
        {"host_email": ["Happy@example.com", None]},
    ]


def test_the_times_of_a_replay_are_read_in_its_own_timezone(api, lead, first):
    again = api.post("/meetings", json=booking(timezone=...))

    meeting = again.json["meeting"]
    assert meeting["starts_at"] == "2025-12-29T14:00:00Z"  # UTC, because the request names no zone
    assert meeting["timezone"] == "America/Santiago"
    assert events(api, lead)[1] == (
        "meeting_rescheduled",
        {
            "starts_at": ["2025-12-29T17:00:00Z", "2025-12-29T14:00:00Z"],
            "ends_at": ["2025-12-29T18:00:00Z", "2025-12-29T15:00:00Z"],
        },
    )


def test_a_move_with_other_changes_writes_one_timeline_entry(api, lead, first):
    api.post("/meetings", json=booking(ends_at="2025-12-29T15:30:00", title="Longer"))

    assert events(api, lead)[1:] == [
        (
            "meeting_rescheduled",
            {
                "title": ["Discovery Call with Tony Stark", "Longer"],
                "ends_at": ["2025-12-29T18:00:00Z", "2025-12-29T18:30:00Z"],
            },
        )
    ]


class TestStatus:
    @pytest.mark.parametrize(
        ("sent", "shown"),
        [("confirmed", "confirmed"), ("scheduled", "scheduled"), (None, "scheduled"),
         (..., "confirmed"), ("", "confirmed")],
    )  # fmt: skip
    def test_the_status_of_a_replay_sets_removes_or_keeps_the_confirmation(
        self, api, lead, first, sent, shown
    ):
        again = api.post("/meetings", json=booking(status=sent))

        assert again.json["meeting"]["status"] == shown
        removal = [("meeting_updated", {"status": ["confirmed", "scheduled"]})]
        assert events(api, lead)[1:] == (removal if shown == "scheduled" else [])

    @pytest.mark.parametrize("status", ["cancelled", "completed", "no_show"])
    @pytest.mark.parametrize("sent", ["confirmed", "scheduled", None, ...])
    def test_a_late_replay_does_not_reactivate_a_meeting_with_an_outcome(
        self, api, lead, first, status, sent
    ):
        set_status(first, status)

        same = api.post("/meetings", json=booking(status=sent))
        changed = api.post("/meetings", json=booking(status=sent, title="Later"))

        assert same.json["meeting"]["status"] == changed.json["meeting"]["status"] == status
        assert changed.json["meeting"]["title"] == "Later"
        assert not api.meetings(lead)[0]["confirmed_by_lead"]
        assert [kind for kind, _ in events(api, lead)] == ["meeting_scheduled", "meeting_updated"]


class TestLead:
    def test_a_newer_lead_with_the_same_email_does_not_take_over_the_meeting(
        self, api, lead, first
    ):
        api.new_lead(email="tony.stark@gmail.com")

        again = api.post("/meetings", json=booking(title="Again"))

        assert again.status_code == 200
        assert again.json["meeting"]["lead_id"] == lead["id"]

    def test_both_the_first_matched_and_the_current_email_find_the_meeting(self, api, lead, first):
        api.patch(f"/leads/{lead['id']}", json={"email": "tony@stark.com"})

        assert api.post("/meetings", json=booking()).json["meeting"]["id"] == first["id"]
        present = api.post("/meetings", json=booking(lead_email="TONY@stark.com"))
        assert present.json["meeting"]["id"] == first["id"]

    def test_the_first_matched_email_finds_the_meeting_even_if_another_lead_has_it_now(
        self, api, lead, first
    ):
        api.patch(f"/leads/{lead['id']}", json={"email": "tony@stark.com"})
        api.new_lead(email="tony.stark@gmail.com")

        assert api.post("/meetings", json=booking()).json["meeting"]["lead_id"] == lead["id"]

    def test_a_replay_may_name_the_lead_by_id(self, api, lead, first):
        again = api.post("/meetings", json=booking(lead_id=lead["id"], lead_email=...))

        assert again.json["meeting"]["id"] == first["id"]

    @pytest.mark.parametrize("by", ["email", "id"])
    def test_a_replay_for_another_lead_is_a_conflict_and_changes_nothing(
        self, api, lead, first, by
    ):
        other = api.new_lead(email="other@example.com")
        named = {"lead_id": other["id"]} if by == "id" else {"lead_email": "other@example.com"}

        answer = api.post("/meetings", json=booking(title="Stolen", **named))

        assert answer.status_code == 409
        assert answer.json["code"] == "external_event_conflict"
        assert answer.json["error"] == "External event conflict"
        assert first["id"] in answer.json["message"]
        assert api.meetings(lead)[0]["title"] == first["title"]
        assert not api.meetings(other)
        assert len(events(api, other)) == 0

    @pytest.mark.parametrize(
        "named",
        [
            {"lead_email": "nobody@example.com"},
            {"lead_id": "0198c0de-0000-7000-8000-000000000000"},
        ],
    )
    def test_a_replay_for_an_unknown_lead_is_not_found_and_changes_nothing(
        self, api, lead, first, named
    ):
        answer = api.post("/meetings", json=booking(title="Stolen", **named))

        assert (answer.status_code, answer.json["code"]) == (404, "lead_not_found")
        assert api.meetings(lead)[0]["title"] == first["title"]

    def test_a_request_that_succeeded_is_never_refused_later(self, api, lead, first):
        api.patch(f"/leads/{lead['id']}", json={"email": "tony@stark.com"})
        with_new_email = booking(lead_email="tony@stark.com")
        assert api.post("/meetings", json=with_new_email).status_code == 200
        api.patch(f"/leads/{lead['id']}", json={"email": "tony@avengers.org"})
        api.new_lead(email="tony@stark.com")

        for email in ("tony.stark@gmail.com", "tony@stark.com", "tony@avengers.org"):
            again = api.post("/meetings", json=booking(lead_email=email))
            assert (again.status_code, again.json["meeting"]["id"]) == (200, first["id"])
        assert [kind for kind, _ in events(api, lead) if kind.startswith("meeting")] == [
            "meeting_scheduled"
        ]

    def test_a_meeting_logged_by_lead_id_is_found_by_the_leads_current_email(self, api, lead):
        by_id = booking(lead_id=lead["id"], lead_email="someone.else@example.com")
        first = api.post("/meetings", json=by_id).json["meeting"]

        by_email = api.post("/meetings", json=booking())
        unrelated = api.post("/meetings", json=booking(lead_email="someone.else@example.com"))

        assert by_email.json["meeting"]["id"] == first["id"]
        assert unrelated.status_code == 404

    def test_defaults_come_from_the_meetings_own_lead(self, api, lead, first):
        api.new_lead(first_name="Impostor", email="tony.stark@gmail.com")
        api.patch(f"/leads/{lead['id']}", json={"last_name": "Stark Jr."})

        again = api.post("/meetings", json=booking(attendee_name=None, attendee_phone=None))

        assert again.json["meeting"]["attendee_name"] == "Tony Stark Jr."


def test_concurrent_replays_that_set_a_host_write_one_timeline_entry(app, api, lead):
    """Replays that wait for the first must see the host it set, or each would set it again."""
    users.create(api.client_id, "pepper@example.com", "Pepper", "Potts")
    database.release()
    for n in range(10):
        event = {"external_event_id": str(n)}
        first = api.post("/meetings", json=booking(status="scheduled", **event)).json["meeting"]
        body = booking(status=..., host_email="pepper@example.com", **event)
        calls = [("/meetings", body)] * 5 + [(f"/meetings/{first['id']}/confirm", {})] * 3
        answers = []

        def send(path, json, answers=answers):
            headers = {"X-API-Key": api.key}
            http = app.test_client()
            answers.append(http.post(f"/api/public{path}", json=json, headers=headers).json)

        threads = [threading.Thread(target=send, args=call) for call in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        entries = [e for e in api.history(lead) if e["meeting_id"] == first["id"]]
        assert sorted(e["activity_type"] for e in entries) == [
            "meeting_confirmed",
            "meeting_scheduled",
            "meeting_updated",
        ]
        for meeting in (answer["meeting"] for answer in answers):
            if meeting.get("host"):
                assert meeting["host"]["email"] == "pepper@example.com"


def test_an_invalid_replay_changes_nothing(api, lead, first):
    api.post("/meetings", json=booking(title="Changed", ends_at="nonsense"))

    assert api.meetings(lead)[0]["title"] == first["title"]


def test_a_replay_is_applied_after_the_clock_stepped_back(api, lead):
    with freeze_time("2030-01-01T12:00"):
        api.post("/meetings", json=booking())
    with freeze_time("2030-01-01T11:00"):
        api.post("/meetings", json=booking(title="An hour ago"))

    assert api.meetings(lead)[0]["title"] == "An hour ago"
    assert [kind for kind, _ in events(api, lead)] == ["meeting_scheduled", "meeting_updated"]
