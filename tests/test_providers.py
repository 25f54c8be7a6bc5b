"""What each booking system's payloads report, and how their signatures are checked.

The files under `payloads/` are complete payloads as the systems send them.
"""

import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest
from freezegun import freeze_time
from payload_files import FOLDER, booking_of, payload, read, repaired
from werkzeug.datastructures import Headers

from services.payloads import reason_of
from services.providers import PROVIDERS, calcom, calendly, generic, ghl
from services.providers.events import find
from services.providers.generic import mapping_faults

FILES = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/*.json"))
SECRET = "a shared secret"
BODY = b'{"event": "invitee.created"}'
NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def at(*arguments):
    return datetime(*arguments, tzinfo=UTC)


def faults_of(name, changes, **source):
    return repaired(name, changes, **source).booking.wrong


@pytest.mark.parametrize("name", FILES)
def test_a_payload_file_is_formatted(name):
    text = (FOLDER / name).read_text()

    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"


def test_every_provider_of_a_source_has_a_module():
    assert {"calendly": calendly, "calcom": calcom, "ghl": ghl, "generic": generic} == PROVIDERS


def test_a_path_of_which_a_step_is_missing_or_of_another_type_finds_nothing():
    value = {"a": [{"b": 1}], "c": "text"}

    assert find(value, "a", 0, "b") == 1
    for path in (("a", 1, "b"), ("a", "0"), ("c", 0), ("c", "a"), ("x", "y"), (0,)):
        assert find(value, *path) is None


# ------------------------------------------------------------------------------------- Calendly


def test_calendly_books_a_meeting():
    assert booking_of("calendly/invitee.created") == {
        "external_calendar_provider": "calendly",
        "external_event_id": "b3a1f7c4-6e0d-4f0a-8a55-1d2c3e4f5a66",
        "lead_email": "nora.lind@example.com",
        "attendee_name": "Nora Lind",
        "attendee_phone": "+47 22 12 34 56",
        "title": "Discovery Call",
        "starts_at": at(2026, 1, 12, 15),
        "ends_at": at(2026, 1, 12, 15, 30),
        "timezone": "Europe/Oslo",
        "meeting_url": "https://us02web.zoom.us/j/81234567890?pwd=c2Vj",
        "location_type": "video",
        "host_email": "hugo.berg@seller.example",
        "additional_attendees": [{"email": "ida.moe@example.com"}],
    }


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("invitee.created", "log"),
        ("invitee.created-rescheduled", "log"),
        ("invitee.canceled", "cancel"),
        ("invitee.canceled-rescheduled", "ignore"),
        ("invitee_no_show.created", "no_show"),
        ("invitee_no_show.deleted", "reopen"),
        ("routing_form_submission.created", "ignore"),
    ],
)
def test_an_event_of_calendly_has_its_action_and_its_name(name, action):
    event = read(f"calendly/{name}")

    assert (event.action, event.name) == (action, name.partition("-")[0])


def test_calendly_names_the_previous_booking_when_it_is_rescheduled():
    booking = booking_of("calendly/invitee.created-rescheduled")

    assert booking["previous_external_event_id"] == "b3a1f7c4-6e0d-4f0a-8a55-1d2c3e4f5a66"
    assert booking["external_event_id"] == "c4b2a8d5-7f1e-4a1b-9b66-2e3d4f5a6b77"


def test_calendly_gives_the_reason_of_a_cancellation():
    assert reason_of(read("calendly/invitee.canceled")) == "I am ill."
    assert reason_of(read("calendly/invitee.created")) is None


def test_a_cancellation_and_a_no_show_of_calendly_hold_the_whole_booking():
    expected = booking_of("calendly/invitee.created")

    assert booking_of("calendly/invitee.canceled") == expected
    assert booking_of("calendly/invitee_no_show.created") == expected


def test_an_older_sender_of_calendly_nests_the_invitee():
    expected = booking_of("calendly/invitee.created")
    nested = payload("calendly/invitee.created-nested")["payload"]
    inside = {"invitee": nested["invitee"] | {"scheduled_event": nested["scheduled_event"]}}

    assert booking_of("calendly/invitee.created-nested") == expected
    assert booking_of("calendly/invitee.created", {"payload": inside}) == expected


def test_a_null_in_the_nested_invitee_of_calendly_does_not_hide_what_is_beside_it():
    changes = {"payload/invitee/scheduled_event": None}

    assert booking_of("calendly/invitee.created-nested", changes)["title"] == "Discovery Call"


def test_times_of_calendly_without_an_offset_or_a_zone_are_in_that_of_the_source():
    event = {"start_time": "2026-01-12T15:00:00", "end_time": "2026-01-12T15:30:00", "name": "A"}
    changes = {"payload/scheduled_event": event, "payload/timezone": None}

    booking = booking_of("calendly/invitee.created", changes, timezone="Europe/Oslo")

    assert (booking["timezone"], booking["starts_at"]) == ("Europe/Oslo", at(2026, 1, 12, 14))


def test_a_nested_invitee_of_calendly_that_was_rescheduled_is_ignored():
    change = {"event": "invitee.canceled", "payload/invitee/rescheduled": True}

    assert read("calendly/invitee.created-nested", change).action == "ignore"


def test_a_bare_no_show_of_calendly_names_its_invitee():
    uri = payload("calendly/invitee.created")["payload"]["uri"]
    bare = {"uri": "https://api.calendly.com/invitee_no_shows/d5c3b9e6", "invitee": uri}

    booking, _, lead_email = repaired("calendly/invitee_no_show.created", {"payload": bare})

    assert booking.valid["external_event_id"] == "b3a1f7c4-6e0d-4f0a-8a55-1d2c3e4f5a66"
    assert booking.wrong.keys() == {"title", "starts_at", "ends_at", "lead_email"}
    assert lead_email is None


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ({"type": "physical", "location": "Storgata 1, Oslo"}, ("in_person", "Storgata 1, Oslo")),
        ({"type": "outbound_call", "location": "+47 22 12 34 56"}, ("phone", "+47 22 12 34 56")),
        ({"type": "inbound_call", "location": "ask the desk"}, ("phone", "ask the desk")),
        ({"type": "google_conference", "status": "processing", "join_url": None}, ("video", None)),
        ({"type": "custom", "location": "The usual room"}, ("video", "The usual room")),
        (None, (None, None)),
    ],
)
def test_the_location_of_calendly_gives_the_kind_and_the_details(location, expected):
    booking = booking_of("calendly/invitee.created", {"payload/scheduled_event/location": location})

    assert (booking.get("location_type"), booking.get("location_details")) == expected
    assert "meeting_url" not in booking


def test_a_location_of_calendly_that_is_a_url_is_the_meeting_url():
    location = {"type": "custom", "location": "https://meet.example.com/nora"}
    change = {"payload/scheduled_event/location": location}

    booking, repairs, _ = repaired("calendly/invitee.created", change)

    assert booking.valid["meeting_url"] == "https://meet.example.com/nora"
    assert booking.valid["location_type"] == "video"
    assert "location_details" not in booking.valid
    assert repairs.keys() == {"location_details"}


@pytest.mark.parametrize(
    ("uri", "event_id"),
    [
        ("https://api.calendly.com/scheduled_events/A/invitees/B/?x=1#y", "B"),
        ("B", "B"),
        (4711, "4711"),
    ],
)
def test_the_last_part_of_a_uri_of_calendly_is_the_event_id(uri, event_id):
    booking = booking_of("calendly/invitee.created", {"payload/uri": uri})

    assert booking["external_event_id"] == event_id


@pytest.mark.parametrize("uri", [..., None, "", "http://[", "https://api.calendly.com/"])
def test_an_invitee_of_calendly_without_an_id_is_a_fault(uri):
    wrong = faults_of("calendly/invitee.created", {"payload/uri": uri})

    assert wrong == {"external_event_id": ["Required."]}


# -------------------------------------------------------------------------------------- Cal.com


def test_calcom_books_a_meeting():
    assert booking_of("calcom/BOOKING_CREATED") == {
        "external_calendar_provider": "calcom",
        "external_event_id": "bFJeNb2uX8ANpT3JL5EfXw",
        "lead_email": "mateo.rojas@example.com",
        "attendee_name": "Mateo Rojas",
        "attendee_phone": "+56 2 2345 6789",
        "title": "Discovery Call",
        "starts_at": at(2026, 1, 14, 14),
        "ends_at": at(2026, 1, 14, 14, 45),
        "timezone": "America/Santiago",
        "meeting_url": "https://app.cal.com/video/bFJeNb2uX8ANpT3JL5EfXw",
        "location_type": "video",
        "host_email": "hugo.berg@seller.example",
        "additional_attendees": [
            {"email": "lucia.vera@example.com", "name": "Lucia Vera"},
            {"email": "pedro.soto@example.com"},
        ],
        "description": "We use three systems today.",
    }


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("BOOKING_CREATED", "log"),
        ("BOOKING_CREATED-flattened", "log"),
        ("BOOKING_RESCHEDULED", "log"),
        ("BOOKING_REQUESTED", "log"),
        ("BOOKING_PAID", "log"),
        ("BOOKING_LOCATION_UPDATED", "log"),
        ("BOOKING_CANCELLED", "cancel"),
        ("BOOKING_CANCELLED-reschedule-requested", "ignore"),
        ("BOOKING_REJECTED", "cancel"),
        ("BOOKING_NO_SHOW_UPDATED", "no_show"),
        ("MEETING_ENDED", "ignore"),
    ],
)
def test_an_event_of_calcom_has_its_action_and_its_name(name, action):
    event = read(f"calcom/{name}")

    assert (event.action, event.name) == (action, name.partition("-")[0])


def test_a_payload_of_calcom_may_be_flattened():
    expected = booking_of("calcom/BOOKING_CREATED")

    assert booking_of("calcom/BOOKING_CREATED-flattened") == expected


def test_calcom_names_the_previous_booking_when_it_is_rescheduled():
    booking = booking_of("calcom/BOOKING_RESCHEDULED")

    assert booking["previous_external_event_id"] == "bFJeNb2uX8ANpT3JL5EfXw"
    assert booking["external_event_id"] == "kQ7wZr9mY4CVsH6DT2GpLa"


def test_calcom_gives_the_reason_of_a_cancellation_and_of_a_rejection():
    assert reason_of(read("calcom/BOOKING_CANCELLED")) == "We chose another supplier."
    assert reason_of(read("calcom/BOOKING_REJECTED")) == "Our offices are closed that day."
    assert reason_of(read("calcom/BOOKING_CREATED")) is None


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({"payload/attendees/0/noShow": False}, "reopen"),
        ({"payload/attendees": [], "payload/noShow": True}, "no_show"),
        # The payload's own flag comes first.
        ({"payload/noShow": False}, "reopen"),
        ({"payload/noShow": "yes"}, "no_show"),
        ({"payload/noShow": "false"}, "reopen"),
    ],
)
def test_calcom_sets_and_undoes_a_no_show(changes, action):
    assert read("calcom/BOOKING_NO_SHOW_UPDATED", changes).action == action


@pytest.mark.parametrize("no_show", [..., None, "yes", 1])
def test_a_no_show_of_calcom_that_is_no_boolean_is_refused(no_show):
    change = {"payload/attendees/0/noShow": no_show}

    event = read("calcom/BOOKING_NO_SHOW_UPDATED", change)

    assert event.action == "refuse"
    assert event.details == {"status": ["noShow must be true or false."]}


def test_a_no_show_of_calcom_names_its_booking_and_its_lead():
    booking, _, lead_email = repaired("calcom/BOOKING_NO_SHOW_UPDATED")

    assert booking.valid["external_event_id"] == "bFJeNb2uX8ANpT3JL5EfXw"
    assert booking.wrong.keys() == {"title", "starts_at", "ends_at", "lead_email"}
    assert lead_email is None  # the event may list only a guest


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"attendees": []}, "lead_email", "mateo.rojas@example.com"),
        ({"attendees/0/email": ""}, "lead_email", "mateo.rojas@example.com"),
        ({"eventTitle": None}, "title", "Discovery Call between Hugo Berg and Mateo Rojas"),
        ({"additionalNotes": ...}, "description", "A first call"),
        (
            {"videoCallData/url": "https://x.example"},
            "meeting_url",
            "https://app.cal.com/video/bFJeNb2uX8ANpT3JL5EfXw",
        ),
        ({"metadata": {}}, "meeting_url", "https://app.cal.com/video/bFJeNb2uX8ANpT3JL5EfXw"),
        ({"metadata": {}, "videoCallData": ...}, "meeting_url", None),
        ({"attendees": []}, "timezone", None),
        ({"organizer": None}, "host_email", None),
        (
            {"attendees": ...},
            "additional_attendees",
            [{"email": "lucia.vera@example.com"}, {"email": "pedro.soto@example.com"}],
        ),
        ({"attendees": ..., "responses/guests": ...}, "additional_attendees", None),
    ],
)
def test_calcom_has_a_second_place_for_some_values(changes, field, expected):
    changes = {f"payload/{path}": value for path, value in changes.items()}

    assert booking_of("calcom/BOOKING_CREATED", changes).get(field) == expected


def test_calcom_without_any_email_has_no_lead():
    changes = {"payload/attendees": [], "payload/responses": {}}

    assert faults_of("calcom/BOOKING_CREATED", changes).keys() == {"lead_email"}


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("integrations:google:meet", ("video", None, None)),
        ("Alameda 123, Santiago", ("in_person", None, "Alameda 123, Santiago")),
        ("+56 2 2345 6789", ("phone", None, "+56 2 2345 6789")),
        ("https://meet.example.com/m", ("video", "https://meet.example.com/m", None)),
        (None, (None, None, None)),
    ],
)
def test_the_location_of_calcom_gives_the_kind_the_link_and_the_details(location, expected):
    changes = {"location": location, "metadata": {}, "videoCallData": None}
    changes = {f"payload/{path}": value for path, value in changes.items()}

    booking = booking_of("calcom/BOOKING_CREATED", changes)

    fields = ("location_type", "meeting_url", "location_details")
    assert tuple(booking.get(field) for field in fields) == expected


@pytest.mark.parametrize("provider", ["calendly", "calcom"])
@pytest.mark.parametrize("name", [None, "", {}, True])
def test_a_payload_that_names_no_event_is_refused(provider, name):
    file, key = {
        "calendly": ("calendly/invitee.created", "event"),
        "calcom": ("calcom/BOOKING_CREATED", "triggerEvent"),
    }[provider]

    event = read(file, {key: name})

    assert (event.name, event.action) == (None, "refuse")
    assert event.details == {"event": ["The payload does not name an event."]}


def test_the_name_of_an_event_is_cleaned_and_cut():
    event = read("calcom/MEETING_ENDED", {"triggerEvent": "\x00ping\ud800" + "x" * 300})

    assert event.name == "ping" + "x" * 251


# ---------------------------------------------------------------------------------- GoHighLevel


def test_ghl_books_a_meeting():
    assert booking_of("ghl/confirmed") == {
        "external_calendar_provider": "ghl",
        "external_event_id": "vGd3YZQ1tQ9XyXcPzN2k",
        "lead_email": "amara.okafor@example.com",
        "attendee_name": "Amara Okafor",
        "attendee_phone": "+12025550143",
        "title": "Strategy Session with Amara Okafor",
        "starts_at": at(2026, 1, 16, 15),
        "ends_at": at(2026, 1, 16, 15, 45),
        "timezone": "America/New_York",
        "meeting_url": "https://meet.google.com/abc-defg-hij",
        "location_type": "video",
        "host_email": "hugo.berg@seller.example",
        "description": "Asked about the annual plan.",
    }


@pytest.mark.parametrize(
    ("status", "action"),
    [
        ("booked", "log"),
        ("new", "log"),
        ("confirmed", "log"),
        ("rescheduled", "log"),
        ("cancelled", "cancel"),
        ("canceled", "cancel"),
        ("invalid", "cancel"),
        ("deleted", "cancel"),
        ("noshow", "no_show"),
        ("no_show", "no_show"),
        ("no-show", "no_show"),
        ("NoShow", "no_show"),
        ("showed", "complete"),
        ("completed", "complete"),
    ],
)
@pytest.mark.parametrize("key", ["appoinmentStatus", "appointmentStatus", "status"])
def test_a_status_of_ghl_has_its_action_under_each_key(status, action, key):
    event = read("ghl/no-status", {f"calendar/{key}": status})

    assert (event.action, event.name) == (action, status)


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("booked", "log"),
        ("new", "log"),
        ("confirmed", "log"),
        ("rescheduled", "log"),
        ("cancelled", "cancel"),
        ("invalid", "cancel"),
        ("noshow", "no_show"),
        ("showed", "complete"),
    ],
)
def test_a_file_of_ghl_has_its_action(name, action):
    event = read(f"ghl/{name}")

    assert (event.action, event.name) == (action, name)


def test_the_misspelt_status_of_ghl_comes_before_the_others():
    changes = {"appoinmentStatus": "showed", "appointmentStatus": "new", "status": "booked"}
    changes = {f"calendar/{key}": value for key, value in changes.items()}

    assert read("ghl/no-status", changes).action == "complete"
    assert read("ghl/no-status", changes | {"calendar/appoinmentStatus": ""}).action == "log"


def test_ghl_without_a_status_is_a_booking():
    event = read("ghl/no-status")

    assert (event.action, event.name) == ("log", None)


@pytest.mark.parametrize(
    ("status", "name", "sentence"),
    [
        ("on hold", "on hold", 'The status "on hold" is unknown.'),
        (7, "7", 'The status "7" is unknown.'),
        ({}, None, "The status is not a text."),
    ],
)
def test_an_unknown_status_of_ghl_is_refused(status, name, sentence):
    event = read("ghl/confirmed", {"calendar/appoinmentStatus": status})

    assert (event.action, event.name) == ("refuse", name)
    assert event.details == {"status": [sentence]}


@pytest.mark.parametrize(
    ("changes", "zone", "hour"),
    [
        ({}, "America/New_York", 15),
        ({"calendar/selectedTimezone": ""}, "America/Denver", 17),
        ({"calendar/selectedTimezone": ..., "timezone": None}, "Europe/Oslo", 9),
        # An offset counts, whatever the zone.
        ({"calendar/startTime": "2026-01-16T10:00:00+05:00"}, "America/New_York", 5),
    ],
)
def test_ghl_means_wall_clock_times_in_the_first_zone_it_has(changes, zone, hour):
    changes = changes | {"calendar/endTime": "2026-01-16T23:45:00"}

    booking = booking_of("ghl/confirmed", changes, timezone="Europe/Oslo")

    assert booking["timezone"] == zone
    assert booking["starts_at"] == at(2026, 1, 16, hour)


def test_the_zone_of_ghl_is_that_of_the_source_although_its_times_have_offsets():
    times = {"calendar/startTime": "2026-01-16T10:00:00Z", "calendar/endTime": "2026-01-16T11:00Z"}
    changes = times | {"calendar/selectedTimezone": ..., "timezone": ...}

    assert booking_of("ghl/confirmed", changes, timezone="Asia/Tokyo")["timezone"] == "Asia/Tokyo"


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"full_name": ""}, "attendee_name", "Amara Okafor"),
        ({"full_name": ..., "last_name": ...}, "attendee_name", "Amara"),
        ({"full_name": ..., "first_name": 7, "last_name": " Okafor "}, "attendee_name", "7 Okafor"),
        ({"full_name": ..., "first_name": {}, "last_name": None}, "attendee_name", None),
        ({"calendar/title": None}, "title", "Strategy Session"),
        ({"customData": ...}, "host_email", None),
        ({"notes": ...}, "description", "Booked from the website"),
        ({"calendar/appointmentId": 123}, "external_event_id", "123"),
    ],
)
def test_ghl_has_a_second_place_for_some_values(changes, field, expected):
    assert booking_of("ghl/confirmed", changes).get(field) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://zoom.us/j/5551234567", ("video", "https://zoom.us/j/5551234567", None)),
        ("(512) 555-0111", ("phone", None, "(512) 555-0111")),
        (15125550111, ("phone", None, "15125550111")),
        ("1 Main Street, Austin", ("in_person", None, "1 Main Street, Austin")),
        ("Room 4.12", ("in_person", None, "Room 4.12")),
        ("", (None, None, None)),
    ],
)
def test_the_address_of_ghl_is_a_link_a_number_or_a_place(address, expected):
    booking = booking_of("ghl/confirmed", {"calendar/address": address})

    fields = ("location_type", "meeting_url", "location_details")
    assert tuple(booking.get(field) for field in fields) == expected


def test_ghl_without_a_calendar_is_no_booking():
    wrong = faults_of("ghl/confirmed", {"calendar": ...})

    assert wrong.keys() == {"title", "starts_at", "ends_at", "external_event_id"}


# -------------------------------------------------------------------------------------- generic


def test_a_mapping_books_a_meeting():
    assert booking_of("generic/scheduled") == {
        "external_calendar_provider": "acuity",
        "external_event_id": "90210455",
        "lead_email": "carla.ruiz@example.com",
        "attendee_name": "Carla Ruiz",
        "attendee_phone": "+34 912 345 678",
        "title": "Product Demo",
        "starts_at": at(2026, 1, 20, 12, 30),
        "ends_at": at(2026, 1, 20, 13, 30),
        "timezone": "Europe/Madrid",
        "meeting_url": "https://video.example/r/90210455",
        "location_type": "video",
        "host_email": "hugo.berg@seller.example",
        "additional_attendees": [{"name": "Jon Vidal", "email": "jon.vidal@example.com"}],
        "description": "Interested in the reports.",
    }


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("scheduled", "log"),
        ("rescheduled", "log"),
        ("canceled", "cancel"),
        ("done", "complete"),
        ("missed", "no_show"),
        ("viewed", "ignore"),
    ],
)
def test_a_mapping_gives_each_word_its_action(name, action):
    event = read(f"generic/{name}")

    assert (event.action, event.name) == (action, name)


@pytest.mark.parametrize(
    ("word", "name", "sentence"),
    [
        ("Scheduled", "Scheduled", 'The mapping does not list the event "Scheduled".'),
        ("sched", "sched", 'The mapping does not list the event "sched".'),
        ({}, None, "The payload names no event."),
        (True, None, "The payload names no event."),
        (..., None, "The payload names no event."),
    ],
)
def test_a_word_that_no_list_of_the_mapping_holds_is_refused(word, name, sentence):
    event = read("generic/scheduled", {"action": word})

    assert (event.action, event.name, event.details) == ("refuse", name, {"event": [sentence]})


def test_a_number_is_compared_as_its_text():
    mapping = payload("generic/mapping", {"event/log": ["1"]})

    assert read("generic/scheduled", {"action": 1}, mapping=mapping).action == "log"


def test_a_mapping_without_event_logs_every_payload():
    mapping = payload("generic/mapping", {"event": ...})

    event = read("generic/canceled", mapping=mapping)

    assert (event.action, event.name) == ("log", None)


def test_a_mapping_finds_the_previous_id_and_the_reason():
    moved = booking_of("generic/rescheduled")

    assert (moved["previous_external_event_id"], moved["external_event_id"]) == (
        "90210455",
        "90210501",
    )
    assert reason_of(read("generic/canceled")) == "Budget was cut."


@pytest.mark.parametrize(
    "pointer",
    [
        *("/nothing", "/appointment/nothing", "/", "/action/0", "/appointment/id/0"),
        *("/guests/-", "/guests/-/x", "/guests/7", "/guests/01", "/guests/" + "9" * 900),
    ],
)
def test_a_pointer_that_finds_nothing_is_a_missing_value(pointer):
    mapping = payload("generic/mapping", {"description": pointer})

    assert mapping_faults(mapping) == []
    assert "description" not in booking_of("generic/scheduled", mapping=mapping)


def test_the_provider_of_a_mapping_may_be_a_pointer_and_is_else_that_of_the_source():
    at_calendar = payload("generic/mapping", {"external_calendar_provider": "/system"})
    without = payload("generic/mapping", {"external_calendar_provider": ...})
    name, own = "external_calendar_provider", {"event_provider": "my source"}

    assert booking_of("generic/scheduled", {"system": "Setmore"}, mapping=at_calendar)[name] == (
        "setmore"
    )
    assert booking_of("generic/scheduled", mapping=at_calendar, **own)[name] == "my source"
    assert booking_of("generic/scheduled", mapping=without, **own)[name] == "my source"


def test_a_mapping_may_name_the_lead_by_the_email_of_the_attendee():
    mapping = payload("generic/mapping", {"lead_email": "", "attendee_email": "/client/email"})

    booking = booking_of("generic/scheduled", mapping=mapping)

    assert booking["lead_email"] == booking["attendee_email"] == "carla.ruiz@example.com"


def test_times_of_a_mapping_without_a_zone_are_in_that_of_the_source():
    mapping = payload("generic/mapping", {"timezone": ...})

    booking = booking_of("generic/scheduled", mapping=mapping, timezone="America/Santiago")

    assert booking["timezone"] == "America/Santiago"
    assert booking["starts_at"] == at(2026, 1, 20, 16, 30)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"event": ...},
        {"duration_minutes": ..., "ends_at": "/end"},
        {"duration_minutes": "30"},
        {"timezone": "Europe/Madrid", "status": "confirmed", "reason": "unknown"},
        {"description": "", "timezone": " ", "lead_id": "/lead"},
    ],
)
def test_a_mapping_that_can_work_has_no_fault(changes):
    assert mapping_faults(payload("generic/mapping", changes)) == []


@pytest.mark.parametrize(
    ("changes", "field", "part"),
    [
        ({"titel": "/x"}, "titel", "Unknown field."),
        ({"create_lead": "true"}, "create_lead", "Unknown field."),
        ({"external_event_id": ...}, "external_event_id", "Required."),
        ({"title": " "}, "title", "Required."),
        ({"starts_at": ...}, "starts_at", "Required."),
        ({"duration_minutes": ...}, "ends_at", "Required unless duration_minutes is mapped."),
        ({"lead_email": ...}, "lead_email", "Required unless attendee_email is mapped."),
        ({"duration_minutes": 30}, "duration_minutes", "Must be text"),
        ({"description": None}, "description", "Must be text"),
        ({"description": "/a~2"}, "description", "Must be a JSON Pointer"),
        ({"description": "/a~"}, "description", "Must be a JSON Pointer"),
        ({"description": "/" + "a" * 1000}, "description", "at most 1000 characters"),
        ({"description": "/a\ud800"}, "description", "control characters"),
        ({"description": "\ud800"}, "description", "control characters"),
        ({"timezone": "Mars"}, "timezone", "IANA time zone"),
        ({"duration_minutes": "an hour"}, "duration_minutes", "whole number"),
        ({"location_type": "zoom"}, "location_type", "Must be one of"),
        ({"external_event_id": "id"}, "external_event_id", "its own id"),
        ({"previous_external_event_id": "id"}, "previous_external_event_id", "its own id"),
        ({"event": ["/type"]}, "event", "Must be an object"),
        ({"event/at": ...}, "event", "at must be a JSON Pointer."),
        ({"event/at": "action"}, "event", "at must be a JSON Pointer."),
        ({"event/at": "/a~2"}, "event", "at: Must be a JSON Pointer"),
        ({"event/reopen": ["back"]}, "event", '"reopen" is none of'),
        ({"event/log": "scheduled"}, "event", "log must be a list of words."),
        ({"event/log": [1]}, "event", "log must be a list of words."),
        ({"event/log": [""]}, "event", "log must be a list of words."),
        ({"event/cancel": ["scheduled"]}, "event", 'The word "scheduled" is in two lists.'),
        ({"event": {"at": "/action", "log": []}}, "event", "at least one word"),
    ],
)
def test_a_mapping_that_cannot_work_has_a_fault_that_names_the_field(changes, field, part):
    [fault] = mapping_faults(payload("generic/mapping", changes))

    assert fault is not None
    assert fault.startswith(f"{field}: ")
    assert part in fault


@pytest.mark.parametrize("mapping", [None, [], "text", 7])
def test_a_mapping_is_an_object(mapping):
    assert mapping_faults(mapping) == ["Must be an object of fields and JSON Pointers."]


def test_a_mapping_is_limited_in_size():
    mapping = payload("generic/mapping", {"event/log": ["x" * 64 * 1024]})

    assert mapping_faults(mapping) == ["Must be at most 65536 bytes of JSON."]


# ----------------------------------------------------------------------------------- signatures


def hmac_of(message, secret=SECRET):
    return hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def calendly_header(seconds_ago=0, body=BODY, secret=SECRET):
    signed_at = str(int(NOW.timestamp()) - seconds_ago)
    return f"t={signed_at},v1={hmac_of(signed_at.encode() + b'.' + body, secret)}"


def is_signed(provider, headers, body=BODY):
    with freeze_time(NOW):
        return PROVIDERS[provider].is_signed(SECRET, Headers(headers), body)


@pytest.mark.parametrize("seconds_ago", [0, 24 * 3600, -300])
def test_calendly_signs_the_time_and_the_body(seconds_ago):
    assert is_signed("calendly", {"calendly-webhook-signature": calendly_header(seconds_ago)})


@pytest.mark.parametrize("seconds_ago", [24 * 3600 + 1, -301, 10**9, -(10**11)])
def test_a_signature_of_calendly_that_is_too_old_or_too_far_ahead_is_wrong(seconds_ago):
    assert not is_signed("calendly", {"Calendly-Webhook-Signature": calendly_header(seconds_ago)})


def test_one_of_several_signatures_of_calendly_is_enough():
    signed_at, _, signature = calendly_header().partition(",")
    header = f"{signed_at}, v1={'0' * 64}, {signature}, v0=x"

    assert is_signed("calendly", {"Calendly-Webhook-Signature": header})


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=,v1=",
        "nonsense",
        "t=x,v1=" + hmac_of(b"x." + BODY),
        "t=-5,v1=" + hmac_of(b"-5." + BODY),
        "t=" + "9" * 400 + ",v1=0",
        "t=\u0661,v1=0",
        calendly_header().partition(",")[0],
        calendly_header().partition(",")[2],
        calendly_header().replace("v1=", "v1=0"),
        calendly_header().replace("v1=", "v2="),
        calendly_header(body=b"{}"),
        calendly_header(secret="another secret"),
        calendly_header() + "é",
        calendly_header() + "日",
    ],
)
def test_a_wrong_signature_of_calendly_is_refused(header):
    assert not is_signed("calendly", {"Calendly-Webhook-Signature": header})


def test_calcom_signs_the_body():
    header = {"x-cal-signature-256": hmac_of(BODY)}

    assert is_signed("calcom", header)
    assert not is_signed("calcom", header, BODY + b" ")


def test_a_generic_sender_signs_the_body():
    header = {"x-hub-signature-256": f"sha256={hmac_of(BODY)}"}

    assert is_signed("generic", header)
    assert not is_signed("generic", header, BODY + b" ")


@pytest.mark.parametrize("provider", ["ghl", "generic"])
def test_a_sender_may_send_the_secret(provider):
    assert is_signed(provider, {"x-webhook-secret": SECRET})


@pytest.mark.parametrize(
    ("provider", "headers"),
    [
        ("calendly", {}),
        ("calcom", {}),
        ("calcom", {"X-Cal-Signature-256": ""}),
        ("calcom", {"X-Cal-Signature-256": "no-secret-provided"}),
        ("calcom", {"X-Cal-Signature-256": hmac_of(BODY, "another secret")}),
        ("calcom", {"X-Cal-Signature-256": "é日"}),
        ("ghl", {}),
        ("ghl", {"X-Webhook-Secret": ""}),
        ("ghl", {"X-Webhook-Secret": "another secret"}),
        ("ghl", {"X-Webhook-Secret": SECRET + "日"}),
        ("generic", {}),
        ("generic", {"X-Webhook-Secret": "another secret"}),
        ("generic", {"X-Hub-Signature-256": hmac_of(BODY)}),
        ("generic", {"X-Hub-Signature-256": "sha256="}),
        ("generic", {"X-Hub-Signature-256": "sha1=" + hmac_of(BODY)}),
    ],
)
def test_a_missing_or_wrong_signature_is_refused(provider, headers):
    assert not is_signed(provider, headers)


def test_a_secret_may_hold_any_characters():
    as_wsgi_decodes_it = "pässwörd 日".encode().decode("latin-1")

    assert ghl.is_signed("pässwörd 日", {"X-Webhook-Secret": as_wsgi_decodes_it}, b"")
