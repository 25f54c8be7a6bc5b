"""Reading times: offsets, wall-clock times, clock changes, and values that are not times."""

from datetime import datetime

import pytest
from conftest import booking
from marshmallow import ValidationError

import fields
import times
from schemas import MeetingRequest
from times import DATE_TIME, TIMEZONES

REQUEST = MeetingRequest()


def load(**changes):
    return REQUEST.load(fields.clean(booking(**changes)))


def errors(**changes):
    try:
        load(**changes)
    except ValidationError as error:
        return error.messages
    return {}


def starts_at(written, timezone="UTC"):
    loaded = load(starts_at=written, ends_at=..., duration_minutes=30, timezone=timezone)
    return loaded["starts_at"].strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("written", "timezone", "instant"),
    [
        ("2025-12-29T14:00:00", "America/Santiago", "2025-12-29T17:00:00Z"),
        ("2026-04-20T14:00:00", "America/Santiago", "2026-04-20T18:00:00Z"),
        # an offset takes precedence over the time zone
        ("2025-12-29T14:00:00Z", "America/Santiago", "2025-12-29T14:00:00Z"),
        ("2025-12-29T14:00:00+03:00", "America/Santiago", "2025-12-29T11:00:00Z"),
        # a time that occurs twice: the first; one that does not exist: the offset before the change
        ("2026-04-04T23:30", "America/Santiago", "2026-04-05T02:30:00Z"),
        ("2026-09-06T00:30", "America/Santiago", "2026-09-06T04:30:00Z"),
        # clock changes of half an hour, back and forward
        ("2026-04-05T01:45", "Australia/Lord_Howe", "2026-04-04T14:45:00Z"),
        ("2026-10-04T02:15", "Australia/Lord_Howe", "2026-10-03T15:45:00Z"),
        # a whole day that was skipped
        ("2011-12-30T12:00", "Pacific/Apia", "2011-12-30T22:00:00Z"),
        # aliases, and zones without a slash
        ("2025-12-29T14:00:00", "Chile/Continental", "2025-12-29T17:00:00Z"),
        ("2025-12-29T14:00:00", "EST5EDT", "2025-12-29T19:00:00Z"),
        ("2025-12-29T14:00:00", "Etc/GMT+5", "2025-12-29T19:00:00Z"),
    ],
)
def test_a_time_is_read_with_its_offset_or_in_its_time_zone(written, timezone, instant):
    assert starts_at(written, timezone) == instant


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2026-04-20 14:00:00", "2026-04-20T14:00:00Z"),
        ("2026-04-20t14:00:00z", "2026-04-20T14:00:00Z"),
        ("2026-04-20T14:00", "2026-04-20T14:00:00Z"),
        ("20260420T140000Z", "2026-04-20T14:00:00Z"),
        ("20260420T1400", "2026-04-20T14:00:00Z"),
        ("2026-04-20T14:00:59.999999999Z", "2026-04-20T14:00:59Z"),
        ("2026-04-20T14:00:00,5", "2026-04-20T14:00:00Z"),
        ("2026-04-20T14:00:00+0300", "2026-04-20T11:00:00Z"),
        ("2026-04-20T14:00:00+03", "2026-04-20T11:00:00Z"),
        ("2026-04-20T14:00:00-23:59", "2026-04-21T13:59:00Z"),
        ("2026-04-20T14:00:00-00:00", "2026-04-20T14:00:00Z"),
        ("  2026-04-20T14:00  ", "2026-04-20T14:00:00Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        ("1969-12-31T23:00:00-01:00", "1970-01-01T00:00:00Z"),
        ("2199-12-31T23:00:00Z", "2199-12-31T23:00:00Z"),
        ("2200-01-01T00:30:00+01:00", "2199-12-31T23:30:00Z"),
    ],
)
def test_several_notations_of_a_date_and_time_are_accepted(written, instant):
    if written.startswith(("2199", "2200")):
        loaded = load(starts_at=written, ends_at=..., duration_minutes=1, timezone="UTC")
        assert times.format_instant(loaded["starts_at"]) == instant
    else:
        assert starts_at(written) == instant


@pytest.mark.parametrize(
    "written",
    [
        "2026-04-20",
        "2026-04-20T",
        "2026-04-20T14",
        "2026-W17-1T14:00",
        "2026-W17",
        "2026-110T14:00",
        "2026110T1400",
        "2026-04-20T24:00:00",
        "2026-04-20T23:59:60",
        "2026-04-20T14:60",
        "2026-02-29T14:00",
        "2026-13-01T14:00",
        "2026-00-10T14:00",
        "0000-01-01T00:00",
        "2026-04-20T14:00:00+24:00",
        "2026-04-20T14:00:00+23:60",
        "2026-04-20T14:00:00+3",
        "2026-04-20T14:00:00 +03:00",
        "2026-04-20T14:00:00ZZ",
        "2026-04-20T14:00:00.Z",
        "2026-04-20  14:00",
        "2026-4-20T14:00",
        "٢٠٢٦-04-20T14:00",
        "1776700000",
        1776700000,
        "tomorrow",
        "now",
        True,
        [],
        {},
        1e400,
    ],
)
def test_an_invalid_date_and_time_is_refused_and_named(written):
    assert set(errors(starts_at=written)) == {"starts_at"}


@pytest.mark.parametrize(
    "written",
    [
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+00:01",
        "2200-01-01T00:00:00Z",
        "2199-12-31T23:59:59-00:01",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00",
        "9999-12-31T23:59:59",
    ],
)
def test_an_instant_outside_1970_to_2199_is_refused_and_named(written):
    wrong = errors(starts_at=written)

    assert wrong["starts_at"] == ["Must lie between 1970 and 2199."]
    assert set(errors(ends_at=written)) == {"ends_at"}


@pytest.mark.parametrize(
    "name",
    [
        "America",
        "america/santiago",
        "AMERICA/SANTIAGO",
        "../x",
        "/etc/localtime",
        "x" * 5000,
        "America/Santiago\u0000",
        "UTC+3",
        "Mars/Base",
        "posix/UTC",
        "tzdata.zi",
        5,
        ["UTC"],
    ],
)
def test_an_unknown_time_zone_is_refused_and_named(name):
    assert set(errors(timezone=name)) == {"timezone"}


def test_the_time_zones_come_from_the_tzdata_package_only():
    assert len(TIMEZONES) > 590
    assert {"UTC", "America/Santiago", "Asia/Calcutta", "GMT0"} <= TIMEZONES
    assert times.get_zone("UTC").key == "UTC"
    assert not __import__("zoneinfo").TZPATH


@pytest.mark.parametrize(
    ("ends_at", "minutes"),
    [
        ("2025-12-29T14:01:00", 1),
        ("2025-12-29T14:01:59", 1),
        ("2025-12-29T18:00:00Z", 60),
        ("2026-01-29T14:00:00", 44_640),
    ],
)
def test_an_end_and_a_duration_that_agree_are_accepted(ends_at, minutes):
    by_end = load(ends_at=ends_at)
    by_both = load(ends_at=ends_at, duration_minutes=minutes)

    assert by_both == by_end
    assert "duration_minutes" not in by_both


@pytest.mark.parametrize("minutes", [59, 61, 1])
def test_an_end_and_a_duration_that_disagree_are_both_refused(minutes):
    assert set(errors(duration_minutes=minutes)) == {"ends_at", "duration_minutes"}


@pytest.mark.parametrize("ends_at", ["2025-12-29T13:00:00", "2026-02-28T14:00:00"])
def test_an_invalid_end_and_a_duration_that_disagrees_are_both_reported(ends_at):
    assert set(errors(ends_at=ends_at, duration_minutes=60)) == {"ends_at", "duration_minutes"}


def test_a_duration_counts_elapsed_minutes_across_a_clock_change():
    loaded = load(
        starts_at="2026-04-04T23:30",  # the hour from 23:00 occurs twice that night
        ends_at=...,
        duration_minutes=120,
    )

    assert loaded["ends_at"] - loaded["starts_at"] == times.SHORTEST * 120
    assert errors(starts_at="2026-04-04T22:30", ends_at="2026-04-05T00:30", duration_minutes=120)


@pytest.mark.parametrize(
    "ends_at",
    [
        "2025-12-29T14:00:00",
        "2025-12-29T13:00:00",
        "2025-12-29T17:00:00Z",
        "2025-12-29T14:00:59",
        "2026-01-29T14:00:01",
    ],
)
def test_a_meeting_must_last_from_one_minute_to_31_days(ends_at):
    assert set(errors(ends_at=ends_at)) == {"ends_at"}


def test_a_nonexistent_start_is_refused_if_it_moves_past_the_end():
    # 00:30 does not exist and is read as 01:30, which is not before 01:00.
    wrong = errors(starts_at="2026-09-06T00:30", ends_at="2026-09-06T01:00")

    assert wrong == {"ends_at": ["Must be after starts_at."]}
    assert not errors(starts_at="2026-09-06T00:30", ends_at="2026-09-06T02:00")


@pytest.mark.parametrize(
    "minutes", [0, -1, 44_641, 60.5, "60.5", "1e3", True, "sixty", [], 10**30, 1e400, "6" * 9999]
)
def test_an_invalid_duration_is_refused_and_named(minutes):
    assert set(errors(ends_at=..., duration_minutes=minutes)) == {"duration_minutes"}


@pytest.mark.parametrize("minutes", [60, 60.0, "60", "60.0", " 60 "])
def test_a_duration_is_accepted_in_the_ways_forms_write_it(minutes):
    assert load(ends_at=..., duration_minutes=minutes) == load()


@pytest.mark.parametrize("value", [..., None, "", "  "])
def test_the_end_is_required_without_a_duration(value):
    assert errors(ends_at=value, duration_minutes=value) == {
        "ends_at": ["Required unless duration_minutes is given."]
    }


@pytest.mark.parametrize("value", [..., None, "", "  "])
def test_the_lead_email_is_required_without_a_lead_id(value):
    assert errors(lead_email=value, lead_id=value) == {
        "lead_email": ["Required unless lead_id is given."]
    }


def test_an_unknown_time_zone_and_invalid_times_are_all_reported():
    wrong = errors(timezone="Mars", starts_at="x", ends_at="y")
    assert set(wrong) == {"timezone", "starts_at", "ends_at"}

    wrong = errors(timezone="Mars", starts_at="2025-12-29T14:00Z", ends_at="2025-12-29T13:00Z")
    assert set(wrong) == {"timezone", "ends_at"}


def test_a_meeting_may_not_end_after_2199():
    wrong = errors(starts_at="2199-12-31T23:30Z", ends_at=..., duration_minutes=31)
    assert set(wrong) == {"duration_minutes"}


def test_the_pattern_accepts_notations_that_python_accepts():
    for written in ("2026-04-20T14:00:00+0300", "20260420T140000", "2026-04-20T14:00"):
        assert DATE_TIME.fullmatch(written)
        assert datetime.fromisoformat(written)
