"""Meetings as iCalendar (RFC 5545), for calendar programs."""

from __future__ import annotations

from datetime import date, datetime
from functools import cache, lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from models import LATEST_START, Meeting
from scheduling import in_turns
from services import meetings
from times import get_zone

if TYPE_CHECKING:
    from icalendar import Event, Timezone, vCalAddress

EVENTS_PER_TURN = 25  # written before other requests run: 5 to 10 ms
END = b"END:VCALENDAR\r\n"
MOST_MEETINGS = 5000  # in a calendar: those that start last
PRODUCT = "-//Meetings//Self-hosted meetings service//EN"
STATUSES = {"scheduled": "TENTATIVE", "cancelled": "CANCELLED"}  # the others are CONFIRMED


@cache
def _icalendar() -> Any:
    """Import the library with the first calendar: it takes 4 MiB that few servers need."""
    return import_module("icalendar")


def of_meeting(client_id: str, meeting_id: str) -> bytes:
    """Write a calendar of one meeting; raises MeetingNotFound."""
    return write("Meeting", [meetings.find(client_id, meeting_id)])


def of_many(client_id: str, name: str, filters: dict[str, Any]) -> bytes:
    """Write a calendar of the meetings that pass the filters of `meetings.list_meetings`."""
    query = {**filters, "order": LATEST_START, "limit": MOST_MEETINGS}
    return write(name, meetings.list_meetings(client_id, query)[0])


def write(name: str, rows: list[Meeting]) -> bytes:
    """Write a calendar of meetings, with the rules of the time zones they name, in UTF-8."""
    calendar = _icalendar().Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add("x-wr-calname", name)
    if rows:
        # Only the years of the meetings: some zones have changed their rules for a century.
        first = min(row.starts_at for row in rows).year - 1
        last = max(row.ends_at for row in rows).year + 2
        for zone in sorted({row.timezone for row in rows} - {"UTC"}):
            calendar.add_component(_zone_rules(zone, first, last))
    parts = [calendar.to_ical().removesuffix(END)]
    for some in in_turns(rows, EVENTS_PER_TURN):  # some readers want the zones first
        parts += [_event(row).to_ical() for row in some]
    return b"".join([*parts, END])


@lru_cache(maxsize=1024)  # by zone and years
def _zone_rules(zone: str, first_year: int, last_year: int) -> Timezone:
    rules: Timezone = _icalendar().Timezone.from_tzid(
        zone, first_date=date(first_year, 1, 1), last_date=date(last_year, 1, 1)
    )
    return rules


def _event(meeting: Meeting) -> Event:
    event: Event = _icalendar().Event()
    event.add("uid", f"{meeting.id}@meetings")
    event.add("sequence", len(meeting.reschedules))
    event.add("dtstamp", meeting.updated_at)
    event.add("created", meeting.created_at)
    event.add("last-modified", meeting.updated_at)
    _add_time(event, "dtstart", meeting.starts_at, meeting.timezone)
    _add_time(event, "dtend", meeting.ends_at, meeting.timezone)
    event.add("status", STATUSES.get(meeting.shown_status, "CONFIRMED"))
    for name, value in (
        ("summary", meeting.title),
        ("description", meeting.description),
        ("location", meeting.location_details or meeting.meeting_url),
        ("url", meeting.meeting_url),
    ):
        if value is not None:
            event.add(name, value)
    _add_people(event, meeting)
    return event


def _add_time(event: Event, name: str, at: datetime, zone: str) -> None:
    """Add a time in the meeting's zone, or in UTC if the zone's clock shows the time again.

    RFC 5545 (section 3.3.5) reads a wall-clock time that occurs twice as the first of the two.
    """
    local = at.astimezone(get_zone(zone))
    if zone == "UTC" or local.fold:
        event.add(name, at)
    else:
        # The zone is given by name: icalendar takes every zone on GMT for UTC.
        event.add(name, local.replace(tzinfo=None), parameters={"TZID": zone})


def _add_people(event: Event, meeting: Meeting) -> None:
    if meeting.host:
        event.add("organizer", _person(meeting.host.email, meeting.host.full_name))
    if meeting.attendee_email:
        confirmed = "ACCEPTED" if meeting.confirmed_by_lead else "NEEDS-ACTION"
        lead = _person(meeting.attendee_email, meeting.attendee_name, PARTSTAT=confirmed)
        event.add("attendee", lead)
    for attendee in meeting.additional_attendees:
        event.add("attendee", _person(attendee["email"], attendee.get("name")))


def _person(email: str, name: str | None, **parameters: Any) -> vCalAddress:
    address: vCalAddress = _icalendar().vCalAddress(f"mailto:{email}")
    if name:
        parameters["CN"] = name
    address.params.update(parameters)
    return address
