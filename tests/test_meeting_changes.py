"""PATCH /meetings/{id}: given fields replace those of the meeting, in any status."""

import threading

import pytest
from conftest import booking
from freezegun import freeze_time
from test_lead_meetings import ITEM_KEYS
from test_outcomes import BODIES, CALLS_TO_REACH, UNKNOWN_ID

import database
from services import meeting_types, users


@pytest.fixture
def meeting(api, lead):
    shown = api.post("/meetings", json=booking(status="scheduled")).json["meeting"]
    return api.get(f"/meetings/{shown['id']}").json["meeting"]


@pytest.fixture
def host(api):
    user = users.create(api.client_id, "Host@example.com", "Hope", "Host")
    database.release()
    return user


@pytest.fixture
def meeting_type(api):
    row = meeting_types.create(api.client_id, "Demo")
    database.release()
    return row


def patch(api, meeting, **changes):
    return api.patch(f"/meetings/{meeting['id']}", json=changes)


def get(api, meeting):
    return api.get(f"/meetings/{meeting['id']}").json["meeting"]


def test_given_fields_are_replaced_and_the_others_are_kept(api, lead, meeting, host, meeting_type):
    changes = {
        "title": "New title",
        "meeting_url": "https://zoom.example.com/1",
        "location_type": "in_person",
        "location_details": "Room 4",
        "description": "Bring the suit",
        "attendee_name": "Pepper",
        "attendee_email": "pepper@example.com",
        "attendee_phone": "5",
        "additional_attendees": [{"name": "Happy", "email": "happy@example.com"}],
    }

    with freeze_time("2031-01-01T12:00:00Z"):
        answer = patch(
            api, meeting, **changes, host_email="HOST@example.com", meeting_type_id=meeting_type.id
        )

    assert answer.status_code == 200, answer.json
    assert list(answer.json) == ["success", "meeting"]
    assert list(answer.json["meeting"]) == ITEM_KEYS
    hosted = {"id": host.id, "name": "Hope Host", "email": "Host@example.com"}
    assert answer.json["meeting"] == meeting | changes | {
        "host": hosted,
        "host_name": "Hope Host",
        "meeting_type": "Demo",
        "meeting_type_id": meeting_type.id,
        "updated_at": "2031-01-01T12:00:00Z",
    }
    assert get(api, meeting) == answer.json["meeting"]
    entries = api.history(lead)[2:]
    assert [entry["activity_type"] for entry in entries] == ["meeting_updated"]
    assert entries[0]["meeting_id"] == meeting["id"]
    assert entries[0]["changes"] == {
        **{name: [meeting[name], value] for name, value in changes.items()},
        "host_email": [None, "Host@example.com"],
        "meeting_type_id": [None, meeting_type.id],
    }


def test_null_sets_a_field_to_its_default(api, lead, meeting, host, meeting_type):
    names = ("meeting_url", "location_details", "description", "host_email", "meeting_type_id")
    patch(
        api,
        meeting,
        location_type="phone",
        location_details="x",
        attendee_name="X",
        attendee_email="x@example.com",
        attendee_phone="5",
        additional_attendees=[{"email": "a@example.com"}],
        host_email=host.email,
        meeting_type_id=meeting_type.id,
    )
    api.patch(f"/leads/{lead['id']}", json={"phone": "77"})
    more = ("location_type", "attendee_name", "attendee_email", "attendee_phone")

    answer = patch(api, meeting, **dict.fromkeys((*names, *more, "additional_attendees")))

    shown = answer.json["meeting"]
    assert (shown["host"], shown["host_name"], shown["meeting_type"]) == (None, None, None)
    assert [shown[name] for name in ("meeting_url", "location_details", "description")] == [
        None
    ] * 3
    assert [shown[name] for name in more] == ["video", "Tony Stark", "Tony.Stark@gmail.com", "77"]
    assert shown["additional_attendees"] == []


@pytest.mark.parametrize(
    "body",
    [{}, {"title": "Discovery Call with Tony Stark"}, {"title": ""}, {"host_email": None}],
)
def test_a_change_of_nothing_is_idempotent_and_writes_nothing(api, lead, meeting, body):
    with freeze_time("2031-01-01"):
        answer = patch(api, meeting, **body)

    assert answer.json == {
        "success": True,
        "meeting": meeting | {"idempotent": True},
        "idempotent": True,
    }
    assert get(api, meeting) == meeting
    assert len(api.history(lead)) == 2


@pytest.mark.parametrize("state", CALLS_TO_REACH)
def test_a_meeting_can_be_changed_in_any_status(api, meeting, state):
    for step in CALLS_TO_REACH[state]:
        api.post(f"/meetings/{meeting['id']}/{step}", json=BODIES[step])
    before = get(api, meeting)

    answer = patch(api, meeting, title="New title")

    shown = answer.json["meeting"]
    assert shown == before | {"title": "New title", "updated_at": shown["updated_at"]}
    assert shown["status"] == state


@pytest.mark.parametrize(
    ("field", "value", "calls"),
    [
        ("starts_at", "2026-02-01T10:00:00Z", ["reschedule"]),
        ("ends_at", "nonsense", ["reschedule"]),
        ("duration_minutes", 30, ["reschedule"]),
        ("timezone", None, ["reschedule"]),
        ("status", "confirmed", ["confirm", "cancel", "complete", "no-show", "reopen"]),
    ],
)
def test_a_field_that_another_call_changes_is_refused_and_the_call_named(
    api, meeting, field, value, calls
):
    answer = patch(api, meeting, **{field: value})

    assert (answer.status_code, set(answer.json["details"])) == (400, {field})
    [sentence] = answer.json["details"][field]
    assert all(f"/{call}" in sentence for call in calls)
    assert "POST /meetings/{id}/" in sentence
    assert get(api, meeting) == meeting


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", None),
        ("title", "x" * 256),
        ("meeting_url", "ftp://example.com"),
        ("location_type", "moon"),
        ("location_details", "x" * 256),
        ("description", "x" * 10_001),
        ("attendee_name", 5),
        ("attendee_email", "nope"),
        ("attendee_phone", "x" * 51),
        ("additional_attendees", [{"email": "a@example.com"}] * 101),
        ("lead_email", "tony.stark@gmail.com"),
        ("external_event_id", "x"),
        ("titel", "x"),
    ],
)
def test_an_invalid_field_is_refused(api, meeting, field, value):
    answer = patch(api, meeting, **{field: value})

    assert (answer.status_code, set(answer.json["details"])) == (400, {field})
    assert get(api, meeting) == meeting


def test_one_error_names_every_wrong_field(api, meeting):
    answer = api.patch(
        f"/meetings/{meeting['id']}?x=1",
        json={
            "host_email": "nobody@example.com",
            "meeting_type_id": UNKNOWN_ID,
            "title": None,
            "status": "confirmed",
            "surprise": 1,
        },
    )

    assert answer.status_code == 400
    assert set(answer.json["details"]) == {
        "host_email", "meeting_type_id", "title", "status", "surprise", "x",
    }  # fmt: skip


def test_a_wrong_body_is_reported_before_an_unknown_meeting(api):
    unknown = {"id": UNKNOWN_ID}

    assert patch(api, unknown, title=None).status_code == 400
    assert patch(api, unknown, host_email="nobody@example.com").status_code == 400
    answer = patch(api, unknown, title="x")
    assert (answer.status_code, answer.json["code"]) == (404, "meeting_not_found")


def test_an_inactive_user_may_only_stay_the_host(api, meeting, host):
    users.set_active(api.client_id, host.email, False)
    database.release()
    assert set(patch(api, meeting, host_email=host.email).json["details"]) == {"host_email"}

    users.set_active(api.client_id, host.email, True)
    database.release()
    patch(api, meeting, host_email=host.email)
    users.set_active(api.client_id, host.email, False)
    database.release()

    assert patch(api, meeting, host_email=host.email, title="x").status_code == 200
    patch(api, meeting, host_email=None)
    assert patch(api, meeting, host_email=host.email).status_code == 400


def test_hosts_and_types_of_another_client_are_unknown(api, meeting, stranger):
    users.create(stranger.client_id, "theirs@example.com", "A", "B")
    theirs = meeting_types.create(stranger.client_id, "Theirs")
    database.release()

    answer = patch(api, meeting, host_email="theirs@example.com", meeting_type_id=theirs.id)

    assert set(answer.json["details"]) == {"host_email", "meeting_type_id"}


def test_another_clients_meeting_is_not_found(api, meeting, stranger):
    answer = patch(stranger, meeting, title="Mine")

    assert (answer.status_code, answer.json["code"]) == (404, "meeting_not_found")
    assert get(api, meeting) == meeting


def test_an_array_is_refused(api, meeting):
    assert api.patch(f"/meetings/{meeting['id']}", json=[{}]).status_code == 400


def test_concurrent_changes_of_different_fields_are_all_kept(app, api, lead, meeting):
    changes = [
        {"title": "T"},
        {"description": "D"},
        {"location_details": "L"},
        {"attendee_name": "N"},
    ]

    def send(body):
        http = app.test_client()
        path = f"/api/public/meetings/{meeting['id']}"
        assert http.patch(path, json=body, headers={"X-API-Key": api.key}).status_code == 200

    threads = [threading.Thread(target=send, args=(body,)) for body in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    after = get(api, meeting)
    for body in changes:
        assert after | body == after
    assert len(api.history(lead)) == 2 + len(changes)


def test_a_replay_after_a_change_sets_the_fields_that_it_carries(api, lead, meeting):
    patch(api, meeting, title="New title", location_details="Room 4")

    again = api.post("/meetings", json=booking(status="scheduled")).json["meeting"]

    assert (again["title"], again["location_details"]) == (meeting["title"], "Room 4")
