"""Meetings as calendar programs read them: iCalendar (RFC 5545)."""

from datetime import date, datetime, timedelta
from typing import Any

from icalendar import Calendar, Event, vCalAddress

from database import Row
from models import LATEST_START, full_name, shown_status
from services import meetings
from times import get_zone

MEETINGS_SHOWN = 1000  # of a calendar, those that start last
PRODUCT = "-//Meetings//Self-hosted meetings service//EN"
STATUSES = {"scheduled": "TENTATIVE", "cancelled": "CANCELLED"}  # any other took or takes place
A_YEAR = timedelta(days=366)


def of_meeting(client_id: str, meeting_id: str) -> bytes:
    """A calendar of one meeting; raises MeetingNotFound."""
    return write("Meeting", [meetings.find(client_id, meeting_id)])


def of_many(client_id: str, name: str, filters: Row) -> bytes:
    """A calendar of the meetings that pass the filters of `meetings.list_meetings`."""
    query = {**filters, "order": LATEST_START, "limit": MEETINGS_SHOWN}
    return write(name, meetings.list_meetings(client_id, query)[0])


def write(name: str, rows: list[Row]) -> bytes:
    """A calendar of meetings, with the rules of the time zones they name, in UTF-8."""
    calendar = Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add("x-wr-calname", name)
    for row in rows:
        calendar.add_component(_event(row))
    if rows:
        # Only the years that matter: some zones have changed their rules for a century.
        first = min(row["starts_at"] for row in rows) - A_YEAR
        last = max(row["ends_at"] for row in rows) + A_YEAR
        calendar.add_missing_timezones(_day(first), _day(last))
    return bytes(calendar.to_ical())


def _day(at: datetime) -> date:
    return at.date()


def _event(meeting: Row) -> Event:
    event = Event()
    event.add("uid", f"{meeting['id']}@meetings")
    event.add("sequence", len(meeting["reschedules"]))
    event.add("dtstamp", meeting["updated_at"])
    event.add("created", meeting["created_at"])
    event.add("last-modified", meeting["updated_at"])
    event.add("dtstart", _in_its_zone(meeting["starts_at"], meeting["timezone"]))
    event.add("dtend", _in_its_zone(meeting["ends_at"], meeting["timezone"]))
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


def _in_its_zone(at: datetime, timezone: str) -> datetime:
    """The time in the meeting's zone; in UTC where the zone's clock shows it for the second time.

    A wall-clock time that happens twice is, in RFC 5545 (section 3.3.5), always the first.
    """
    local = at.astimezone(get_zone(timezone))
    return at if local.fold else local


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
    address = vCalAddress(f"mailto:{email}")
    if name:
        parameters["CN"] = name
    address.params.update(parameters)
    return address
