"""Meetings as calendar programs read them: iCalendar (RFC 5545)."""

from __future__ import annotations

from datetime import date, datetime
from functools import cache, lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from database import Row, release
from models import LATEST_START, full_name, shown_status
from scheduling import in_turns
from services import meetings
from times import get_zone

if TYPE_CHECKING:
    from icalendar import Event, Timezone, vCalAddress

EVENTS_A_TURN = 25  # that are written before other requests have a turn: 5 to 10 ms
END = b"END:VCALENDAR\r\n"
MEETINGS_SHOWN = 5000  # of a calendar, those that start last
PRODUCT = "-//Meetings//Self-hosted meetings service//EN"
STATUSES = {"scheduled": "TENTATIVE", "cancelled": "CANCELLED"}  # any other took or takes place


@cache
def _icalendar() -> Any:
    """The library, loaded when the first calendar is asked for: 4 MiB that few servers need."""
    return import_module("icalendar")


def of_meeting(client_id: str, meeting_id: str) -> bytes:
    """A calendar of one meeting; raises MeetingNotFound."""
    return write("Meeting", [meetings.find(client_id, meeting_id)])


def of_many(client_id: str, name: str, filters: Row) -> bytes:
    """A calendar of the meetings that pass the filters of `meetings.list_meetings`."""
    query = {**filters, "order": LATEST_START, "limit": MEETINGS_SHOWN}
    return write(name, meetings.list_meetings(client_id, query)[0])


def write(name: str, rows: list[Row]) -> bytes:
    """A calendar of meetings, with the rules of the time zones they name, in UTF-8."""
    calendar = _icalendar().Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add("x-wr-calname", name)
    if rows:
        # Only the years that matter: some zones have changed their rules for a century.
        first = min(row["starts_at"] for row in rows).year - 1
        last = max(row["ends_at"] for row in rows).year + 2
        for zone in sorted({row["timezone"] for row in rows} - {"UTC"}):
            calendar.add_component(_zone_rules(zone, first, last))
    release()
    parts = [calendar.to_ical().removesuffix(END)]
    for some in in_turns(rows, EVENTS_A_TURN):  # after the zones, which some readers want first
        parts += [_event(row).to_ical() for row in some]
    return b"".join([*parts, END])


@lru_cache(maxsize=1024)  # of what calendars have named, in the years they had
def _zone_rules(zone: str, first_year: int, last_year: int) -> Timezone:
    rules: Timezone = _icalendar().Timezone.from_tzid(
        zone, first_date=date(first_year, 1, 1), last_date=date(last_year, 1, 1)
    )
    return rules


def _event(meeting: Row) -> Event:
    event: Event = _icalendar().Event()
    event.add("uid", f"{meeting['id']}@meetings")
    event.add("sequence", len(meeting["reschedules"]))
    event.add("dtstamp", meeting["updated_at"])
    event.add("created", meeting["created_at"])
    event.add("last-modified", meeting["updated_at"])
    _add_time(event, "dtstart", meeting["starts_at"], meeting["timezone"])
    _add_time(event, "dtend", meeting["ends_at"], meeting["timezone"])
    event.add("status", STATUSES.get(shown_status(meeting), "CONFIRMED"))
    for name, value in (
        ("summary", meeting["title"]),
        ("description", meeting["description"]),
        ("location", meeting["location_details"] or meeting["meeting_url"]),
        ("url", meeting["meeting_url"]),
    ):
        if value is not None:
            event.add(name, value)
    _add_people(event, meeting)
    return event


def _add_time(event: Event, name: str, at: datetime, zone: str) -> None:
    """Add a time in the meeting's zone; in UTC where the zone's clock shows it for a second time.

    A wall-clock time that happens twice is, in RFC 5545 (section 3.3.5), always the first.
    """
    local = at.astimezone(get_zone(zone))
    if zone == "UTC" or local.fold:
        event.add(name, at)
    else:
        # The zone by name: by itself, icalendar takes every zone on GMT for UTC.
        event.add(name, local.replace(tzinfo=None), parameters={"TZID": zone})


def _add_people(event: Event, meeting: Row) -> None:
    if meeting["host_email"]:
        name = full_name(meeting["host_first_name"], meeting["host_last_name"])
        event.add("organizer", _person(meeting["host_email"], name))
    if meeting["attendee_email"]:
        confirmed = "ACCEPTED" if meeting["confirmed_by_lead"] else "NEEDS-ACTION"
        lead = _person(meeting["attendee_email"], meeting["attendee_name"], PARTSTAT=confirmed)
        event.add("attendee", lead)
    for attendee in meeting["additional_attendees"]:
        event.add("attendee", _person(attendee["email"], attendee.get("name")))


def _person(email: str, name: str | None, **parameters: Any) -> vCalAddress:
    address: vCalAddress = _icalendar().vCalAddress(f"mailto:{email}")
    if name:
        parameters["CN"] = name
    address.params.update(parameters)
    return address
