"""How a booking of another system is repaired, and which of its faults stay."""

import json
from copy import deepcopy
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from payload_files import FOLDER, source_of

from decoding import decode_json
from schemas import MeetingRequest
from services.payloads import FIELDS, reason_of, repair
from services.providers import PROVIDERS
from services.providers.events import ReportedEvent

GIVEN = {
    "lead_email": "Nora.Lind@example.com",
    "title": "Discovery Call",
    "starts_at": "2026-01-12T15:00:00Z",
    "ends_at": "2026-01-12T15:30:00Z",
    "external_calendar_provider": "calendly",
    "external_event_id": "b3a1f7c4",
}
ENDS_AT = datetime(2026, 1, 12, 15, 30, tzinfo=UTC)
ODD = [None, "", " ", True, 7, 1.5, 10**30, "odd", "\x00\ud800", [], ["x"], {}, {"x": 1}]
HUGE = 10**299  # has as many digits as are read of a number


def repair_of(reason=None, **changes):
    """Repair a booking with changes; a field of ... is left out."""
    booking = {name: value for name, value in (GIVEN | changes).items() if value is not ...}
    return repair(ReportedEvent("invitee.created", "log", booking, reason=reason))


def value_and_repairs(field, value):
    """Return what becomes of a field that may be left out: its value, and its repairs."""
    result = repair_of(**{field: value})
    assert not result.booking.wrong
    assert result.repairs.keys() <= {field}
    return result.booking.valid.get(field), result.repairs.get(field)


def faults(**changes):
    result = repair_of(**changes)
    assert not result.repairs
    return result.booking.wrong


def test_a_valid_booking_is_loaded_as_it_is():
    result = repair_of()

    assert result.booking.valid == MeetingRequest().load(GIVEN)
    assert (result.booking.wrong, result.repairs) == ({}, {})
    assert result.lead_email == "Nora.Lind@example.com"


OPTIONAL = sorted(FIELDS.keys() - GIVEN.keys() - {"duration_minutes"})


@pytest.mark.parametrize("blank", [None, "", " \t\n", "\x00", "\ud800 "])
@pytest.mark.parametrize("field", [*OPTIONAL, "duration_minutes"])
def test_a_blank_value_counts_as_absent(field, blank):
    assert value_and_repairs(field, blank) == (None, None)


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("attendee_phone", 4722123456, "4722123456"),
        ("description", 1.5, "1.5"),
        ("description", " text\n", "text"),
        ("duration_minutes", " 30 ", None),  # which is the end that is given
    ],
)
def test_a_number_counts_as_its_text_and_white_space_is_dropped(field, value, kept):
    assert value_and_repairs(field, value) == (kept, None)


def test_a_number_as_an_event_id_counts_as_its_text():
    for number in ("4711", "1" * 30, "2" * 255):
        booking = repair_of(external_event_id=decode_json(number)).booking
        assert booking.valid["external_event_id"] == number


@pytest.mark.parametrize("value", [True, {}, {"a": 1}, [], ["text"]])
def test_a_value_of_another_type_than_text_is_left_out(value):
    assert value_and_repairs("description", value) == (None, ["Left out: Must be text."])


def test_control_characters_and_unpaired_surrogates_are_removed():
    assert value_and_repairs("attendee_name", "No\x00ra\x1b Lind\ud800 ") == (
        "Nora Lind",
        ["Characters that cannot be stored were removed."],
    )


@pytest.mark.parametrize("field", ["attendee_name", "description", "external_event_id", "title"])
def test_a_text_that_is_too_long_is_cut_to_the_limit_of_its_field(field):
    longest = FIELDS[field].validators[0].max

    result = repair_of(**{field: "ä" * (longest + 1)})

    assert result.booking.valid[field] == "ä" * longest
    assert result.repairs == {field: [f"Cut to {longest} characters, from {longest + 1}."]}


def test_a_cut_text_does_not_end_with_white_space():
    value, _ = value_and_repairs("attendee_phone", "1" * 49 + " 2")

    assert value == "1" * 49


def test_a_provider_is_cut_in_lower_case_which_may_be_longer():
    result = repair_of(external_calendar_provider="İ" * 64)

    assert result.booking.valid["external_calendar_provider"] == "i̇" * 32


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host_email", "nobody"),
        ("attendee_email", "a@b@c"),
        ("host_email", "x" * 250 + "@example.com"),
        ("timezone", "Mars/Olympus"),
        ("timezone", "europe/oslo"),
        ("location_type", "zoom"),
        ("status", "cancelled"),
        ("lead_id", "4711"),
        ("meeting_type_id", "demo"),
        ("additional_attendees", "ida@example.com"),
        ("additional_attendees", {"email": "ida@example.com"}),
    ],
)
def test_an_optional_value_that_is_invalid_is_left_out(field, value):
    kept, repairs = value_and_repairs(field, value)

    assert kept is None
    assert len(repairs) == 1
    assert repairs[0].startswith("Left out: ")


def test_an_email_is_not_cut():
    assert value_and_repairs("host_email", "a@" + "x" * 60 + ".example.com" * 20)[0] is None


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"title": ...}, {"title": ["Required."]}),
        ({"title": "\x00"}, {"title": ["Required."]}),
        ({"title": {}}, {"title": ["Must be text."]}),
        ({"starts_at": ...}, {"starts_at": ["Required."]}),
        ({"ends_at": ...}, {"ends_at": ["Required unless duration_minutes is given."]}),
        ({"ends_at": "2026-01-12T14:00:00Z"}, {"ends_at": ["Must be after starts_at."]}),
        ({"starts_at": "2250-01-01T00:00Z"}, {"starts_at": ["Must lie between 1970 and 2199."]}),
        ({"lead_email": ""}, {"lead_email": ["Required."]}),
        ({"external_event_id": None}, {"external_event_id": ["Required."]}),
        ({"external_event_id": ["x"]}, {"external_event_id": ["Must be text."]}),
        ({"external_calendar_provider": ...}, {"external_calendar_provider": ["Required."]}),
    ],
)
def test_a_fault_of_a_field_that_a_booking_needs_stays(changes, wrong):
    assert faults(**changes) == wrong


@pytest.mark.parametrize("value", ["tomorrow", 1768230000, "2026-01-12", {}])
@pytest.mark.parametrize("field", ["starts_at", "ends_at"])
def test_a_time_that_is_invalid_is_a_fault(field, value):
    assert faults(**{field: value}).keys() == {field}


def test_an_invalid_email_of_the_lead_is_a_fault_and_all_faults_are_named():
    result = repair_of(lead_email="nora", title=..., ends_at="later")

    assert result.booking.wrong.keys() == {"lead_email", "title", "ends_at"}
    assert result.lead_email is None


def test_the_email_of_the_lead_is_known_although_other_fields_are_wrong():
    assert repair_of(title=..., starts_at=...).lead_email == "Nora.Lind@example.com"


# ------------------------------------------------------------------------ one of several values


def test_the_first_valid_value_of_several_counts():
    result = repair_of(title=("", {}, "Second", "Third"))

    assert result.booking.valid["title"] == "Second"
    assert result.repairs == {"title": ["Left out: Must be text."]}


def test_a_fault_is_that_of_the_first_of_several_values():
    assert faults(title=(None, {}, [])) == {"title": ["Must be text."]}


@pytest.mark.parametrize(
    ("changes", "dropped", "sentence"),
    [
        ({"ends_at": "later", "duration_minutes": 30}, "ends_at", "Must be an ISO 8601"),
        ({"ends_at": "2026-01-01T00:00Z", "duration_minutes": 30}, "ends_at", "Must be after"),
        ({"duration_minutes": "half an hour"}, "duration_minutes", "Must be a whole number"),
        ({"duration_minutes": 0}, "duration_minutes", "Must be a whole number"),
        ({"duration_minutes": HUGE}, "duration_minutes", "Must be"),
        ({"duration_minutes": 45}, "duration_minutes", "The times are 30 minutes apart"),
    ],
)
def test_of_an_end_and_a_duration_that_disagree_or_of_which_one_is_wrong_one_is_kept(
    changes, dropped, sentence
):
    result = repair_of(**changes)

    assert not result.booking.wrong
    assert result.booking.valid["ends_at"] == ENDS_AT
    assert result.repairs.keys() == {dropped}
    assert len(result.repairs[dropped]) == 1
    assert result.repairs[dropped][0].startswith(f"Left out: {sentence}")


def test_an_end_and_a_duration_that_are_both_wrong_are_both_faults():
    assert faults(ends_at="later", duration_minutes="long").keys() == {
        "ends_at",
        "duration_minutes",
    }


def test_an_id_of_the_lead_stands_for_its_email():
    lead_id = "0198c0de-0000-7000-8000-000000000000"

    absent, invalid = (
        repair_of(lead_id=lead_id, lead_email=...),
        repair_of(lead_id=lead_id, lead_email="x"),
    )

    assert absent.booking.valid["lead_id"] == invalid.booking.valid["lead_id"] == lead_id
    assert absent.booking.wrong == invalid.booking.wrong == {}
    assert (absent.repairs.keys(), invalid.repairs.keys()) == (set(), {"lead_email"})


# ------------------------------------------------------------------------------------- the zone


def test_times_without_an_offset_and_without_a_valid_zone_are_in_the_zone_of_the_source():
    wall_clock = {"starts_at": "2026-01-12T15:00", "ends_at": "2026-01-12T15:30"}

    for changes in (wall_clock, wall_clock | {"timezone": "Mars"}):
        event = ReportedEvent("x", "log", GIVEN | changes, timezone="America/Santiago")
        booking = repair(event).booking.valid

        assert booking["timezone"] == "America/Santiago"
        assert booking["starts_at"] == datetime(2026, 1, 12, 18, tzinfo=UTC)


def test_a_time_that_needs_repair_is_in_the_zone_of_the_source_too():
    changes = {"starts_at": "2026-01-12T15:00\x00", "ends_at": None, "duration_minutes": 30}
    event = ReportedEvent("x", "log", GIVEN | changes, timezone="America/Santiago")

    assert repair(event).booking.valid["starts_at"] == datetime(2026, 1, 12, 18, tzinfo=UTC)


def test_the_zone_of_the_source_is_not_that_of_a_booking_with_offsets_or_with_a_zone():
    with_offsets = ReportedEvent("x", "log", GIVEN, timezone="America/Santiago")
    zone = {"timezone": "Europe/Oslo", "starts_at": "2026-01-12T15:00"}
    with_zone = ReportedEvent("x", "log", GIVEN | zone, timezone="America/Santiago")

    assert "timezone" not in repair(with_offsets).booking.valid
    assert repair(with_zone).booking.valid["timezone"] == "Europe/Oslo"
    assert repair(with_zone).booking.valid["starts_at"].hour == 14


# --------------------------------------------------------------------------------- the location


def location_of(**changes):
    result = repair_of(**changes)
    assert not result.booking.wrong
    fields = ("location_type", "meeting_url", "location_details")
    return tuple(result.booking.valid.get(field) for field in fields), result.repairs


def test_a_join_link_that_is_not_a_url_goes_to_the_location_details():
    assert location_of(meeting_url="zoom.us/j/5") == (
        (None, None, "zoom.us/j/5"),
        {"meeting_url": ["Not a valid URL, so it was moved to location_details."]},
    )


def test_a_join_link_that_is_not_a_url_is_left_out_if_there_are_location_details():
    location, repairs = location_of(meeting_url="ask me", location_details="Room 4")

    assert location == (None, None, "Room 4")
    assert repairs["meeting_url"][0].startswith("Left out: Must be a URL")


def test_a_join_link_that_is_no_text_is_left_out():
    location, repairs = location_of(meeting_url={"href": "https://x.example"})

    assert location == (None, None, None)
    assert repairs.keys() == {"meeting_url"}


def test_a_join_link_that_is_a_phone_number_makes_the_meeting_a_call():
    location, repairs = location_of(meeting_url="+47 22 12 34 56")

    assert location == ("phone", None, "+47 22 12 34 56")
    assert repairs.keys() == {"meeting_url"}


URL = "https://meet.example.com/" + "x" * 300  # longer than details may be


def test_a_location_that_is_a_url_is_the_meeting_url():
    assert location_of(location=URL) == (("video", URL, None), {})
    assert location_of(location_details=URL, location_type="in_person") == (
        ("in_person", URL, None),
        {"location_details": ["A URL, so it was moved to meeting_url."]},
    )


@pytest.mark.parametrize("field", ["location", "location_details"])
def test_a_location_that_is_also_the_join_link_is_kept_once(field):
    assert location_of(**{field: URL, "meeting_url": URL}) == (("video", URL, None), {})


def test_a_location_that_is_another_url_than_the_join_link_stays():
    location, repairs = location_of(meeting_url="https://a.example", location="https://b.example")

    assert location == ("video", "https://a.example", "https://b.example")
    assert not repairs


@pytest.mark.parametrize(
    "number",
    ["+47 22 12 34 56", "(512) 555-0111", "tel:+1-512-555-0111", "512.555.0111 ext. 12", 15125550],
)
def test_a_location_that_is_a_phone_number_makes_the_meeting_a_call(number):
    assert location_of(location=number) == (("phone", None, str(number)), {})
    assert location_of(location_details=number, location_type="phone")[1] == {}
    assert location_of(location_details=number, location_type="video") == (
        ("phone", None, str(number)),
        {"location_type": ["The location is a phone number, so this is a call."]},
    )


@pytest.mark.parametrize("place", ["Room 4", "4.12", "1 Main Street, Austin TX 73301", "(((((((("])
def test_any_other_location_is_a_place_where_people_meet(place):
    assert location_of(location=place) == (("in_person", None, place), {})


@pytest.mark.parametrize("blank", [None, "", "\x00"])
def test_a_blank_location_says_nothing(blank):
    assert location_of(location=blank) == ((None, None, None), {})


def test_a_location_that_is_no_text_is_left_out():
    left_out = {"location_details": ["Left out: Must be text."]}

    assert location_of(location={"city": "Austin"}) == ((None, None, None), left_out)
    assert location_of(location=[], meeting_url="Room 4") == (
        (None, None, "Room 4"),
        left_out | {"meeting_url": ["Not a valid URL, so it was moved to location_details."]},
    )


def test_location_details_do_not_change_the_kind_of_the_meeting():
    assert location_of(location_details="Room 4") == ((None, None, "Room 4"), {})
    assert location_of(location_details="Room 4", location_type="video")[0][0] == "video"


def test_a_long_place_is_cut():
    location, repairs = location_of(location="x" * 300)

    assert location == ("in_person", None, "x" * 255)
    assert repairs == {"location_details": ["Cut to 255 characters, from 300."]}


# ----------------------------------------------------------------------------------- the guests


def test_guests_without_a_valid_email_are_left_out():
    guests = [{"email": "ida@example.com"}, {"email": "ida"}, {"name": "Ida"}, 7, None, ["x"]]

    assert value_and_repairs("additional_attendees", guests) == (
        [{"email": "ida@example.com"}],
        ["Left out: 5 without a valid email."],
    )


def test_a_guest_may_be_an_email():
    guests = ["ida@example.com", " jon@example.com "]

    assert value_and_repairs("additional_attendees", guests) == (
        [{"email": "ida@example.com"}, {"email": "jon@example.com"}],
        None,
    )


def test_each_email_of_a_guest_is_kept_once_in_any_case():
    guests = ["Ida@example.com", {"email": "ida@Example.com", "name": "Ida"}]

    assert value_and_repairs("additional_attendees", guests) == (
        [{"email": "Ida@example.com"}],
        None,
    )


def test_the_first_hundred_guests_are_kept():
    guests = ["odd", "g0@example.com", *(f"g{number}@example.com" for number in range(120))]

    kept, repairs = value_and_repairs("additional_attendees", guests)

    assert [guest["email"] for guest in kept] == [f"g{number}@example.com" for number in range(100)]
    assert repairs == ["Left out: 1 without a valid email.", "Cut to the first 100."]


def test_the_name_of_a_guest_is_repaired():
    guests = [{"email": "ida@example.com", "name": "I\x00da" + "a" * 300, "role": "buyer"}]

    kept, repairs = value_and_repairs("additional_attendees", guests)

    assert kept == [{"email": "ida@example.com", "name": "Ida" + "a" * 252}]
    assert repairs[1] == "The name of ida@example.com: Cut to 255 characters, from 303."


@pytest.mark.parametrize("name", [None, "", {}, True])
def test_a_guest_without_a_valid_name_has_none(name):
    kept, _ = value_and_repairs(
        "additional_attendees", [{"email": "ida@example.com", "name": name}]
    )

    assert kept == [{"email": "ida@example.com"}]


def test_an_empty_list_of_guests_says_that_there_are_none():
    assert value_and_repairs("additional_attendees", []) == ([], None)


# ----------------------------------------------------------------------------------- the reason


@pytest.mark.parametrize(
    ("given", "reason", "repairs"),
    [
        (None, None, []),
        (" ", None, []),
        (" ill\x00 ", "ill", ["Characters that cannot be stored were removed."]),
        (7, "7", []),
        ("x" * 1001, "x" * 1000, ["Cut to 1000 characters, from 1001."]),
        ({}, None, ["Left out: Must be text."]),
    ],
)
def test_a_reason_is_repaired_like_the_other_fields(given, reason, repairs):
    result = repair_of(reason=given)

    assert reason_of(ReportedEvent("x", "cancel", {}, reason=given)) == reason
    assert result.repairs.get("reason", []) == repairs


# -------------------------------------------------------------------------------- damaged payloads

PAYLOADS = {
    str(path.relative_to(FOLDER)): json.loads(path.read_text())
    for path in sorted(FOLDER.glob("*/*.json"))
    if path.stem != "mapping"
}
odd_values = st.one_of(
    st.sampled_from([*ODD, HUGE, -1, "x" * 3000, "https://x.example", "+47 22 12 34 56", "Mars"]),
    st.text(st.characters(), max_size=20),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_infinity=True) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=6,
    ),
)


def places_of(value):
    """Return every object and list within a value with each of its keys or indexes."""
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        return [place for key in keys for place in [(value, key), *places_of(value[key])]]
    return []


@st.composite
def damaged_payloads(draw):
    """Return the name of a file and its payload with keys missing and values swapped."""
    name = draw(st.sampled_from(sorted(PAYLOADS)))
    payload = json.loads(json.dumps(PAYLOADS[name]))
    for _ in range(draw(st.integers(1, 6))):
        places = places_of(payload)
        if not places:
            break
        at, key = draw(st.sampled_from(places))
        if draw(st.booleans()):
            at[key] = deepcopy(draw(odd_values))
        elif isinstance(at, list) or draw(st.booleans()):
            del at[key]
        else:
            at[draw(st.sampled_from(["", "email", "payload", "calendar"]))] = at.pop(key)
    return name, payload


def assert_repaired(name, payload):
    provider = name.partition("/")[0]
    event = PROVIDERS[provider].read(payload, source_of(provider, timezone="America/Santiago"))
    booking, repairs, lead_email = repair(event)
    reason = reason_of(event)

    assert lead_email == booking.valid.get("lead_email")
    assert reason is None or 0 < len(reason) <= 1000
    assert event.name is None or 0 < len(event.name) <= 255
    assert (event.action == "refuse") == bool(event.details)
    # Whatever is shown or stored is text that a database can hold.
    json.dumps([repairs, event.details, booking.wrong], ensure_ascii=False).encode()
    if not booking.wrong:
        written = {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in booking.valid.items()
        }
        assert MeetingRequest().load(written) == booking.valid


@given(damaged_payloads())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_payload_is_read_and_what_is_valid_satisfies_the_schema(damaged):
    assert_repaired(*damaged)


@pytest.mark.parametrize("odd", [*ODD, HUGE, float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["calendly/invitee.created.json", "ghl/confirmed.json"])
def test_each_value_of_a_payload_may_be_odd(name, odd):
    for number in range(len(places_of(PAYLOADS[name]))):
        payload = json.loads(json.dumps(PAYLOADS[name]))
        at, key = places_of(payload)[number]
        at[key] = deepcopy(odd)

        assert_repaired(name, payload)


def test_a_payload_of_deep_objects_is_read():
    deep = "x"
    for _ in range(60):
        deep = [{"email": deep}]
    for name, payload in PAYLOADS.items():
        assert_repaired(name, {**payload, "payload": deep, "calendar": deep, "guests": deep})
