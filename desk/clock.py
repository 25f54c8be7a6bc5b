"""Days and times as a person reads them, in the zone that the person has chosen.

The zone is remembered in a cookie, since a server cannot see it and scripts may be off.
"""

import re
from datetime import datetime, tzinfo
from itertools import groupby
from typing import Any

from flask import g

from times import TIMEZONES, format_instant, get_zone

COOKIE = "desk_zone"
COOKIE_SECONDS = 365 * 86_400
HOME = "UTC"
WRITTEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")  # an instant as the service writes it


def zone_of_cookie(value: str | None) -> str:
    """Return the zone in the cookie; UTC if the cookie has no valid one."""
    return value if value in TIMEZONES else HOME


def local(at: datetime, zone_name: str | None = None) -> datetime:
    """Return an instant as local time, in the person's zone unless another is named."""
    return at.astimezone(get_zone(zone_name or g.zone_name))


def day(at: Any) -> str:
    """Write the day of an instant, or a date: `Tue 3 Mar 2026`."""
    when = local(at) if isinstance(at, datetime) else at
    return f"{when:%a} {when.day} {when:%b %Y}"


def clock(when: datetime) -> str:
    """Write the time of day of a local time: `14:30`.

    In the hour that occurs twice when clocks go back, the offset says which is meant: `02:30
    UTC+02:00`.
    """
    other = when.replace(fold=1 - when.fold)
    is_twice = other.utcoffset() != when.utcoffset() and _exists(other, when.tzinfo)
    return f"{when:%H:%M} {_offset(when)}" if is_twice else f"{when:%H:%M}"


def _exists(when: datetime, zone: tzinfo | None) -> bool:
    from_utc = when.astimezone(get_zone("UTC")).astimezone(zone)
    return from_utc.replace(tzinfo=None) == when.replace(tzinfo=None)


def _offset(when: datetime) -> str:
    offset = f"{when:%z}"
    return f"UTC{offset[:3]}:{offset[3:5]}"


def moment(at: datetime) -> str:
    """Write the day and the time of an instant."""
    return f"{day(at)}, {clock(local(at))}"


def span(meeting: Any, zone_name: str | None = None) -> str:
    """Write from when to when a meeting lasts; an end on a later day comes with its day."""
    begin, end = local(meeting.starts_at, zone_name), local(meeting.ends_at, zone_name)
    ends = clock(end)
    if end.date() != begin.date():
        ends = f"{end:%a} {end.day} {end:%b}, {ends}"
    return f"{clock(begin)} – {ends}"  # noqa: RUF001


def own_span(meeting: Any) -> str | None:
    """Write when a meeting is in its own zone, with the day if that differs; None if all agree."""
    begin, theirs = local(meeting.starts_at), local(meeting.starts_at, meeting.timezone)
    if begin.replace(tzinfo=None) == theirs.replace(tzinfo=None):
        return None
    first = f"{theirs:%a} {theirs.day} {theirs:%b}, " if theirs.date() != begin.date() else ""
    return f"{first}{span(meeting, meeting.timezone)} {meeting.timezone}"


def by_day(meetings: list[Any]) -> list[tuple[str, list[Any]]]:
    """Group meetings, in their order, by the day on which they start."""
    return [(name, list(group)) for name, group in groupby(meetings, lambda m: day(m.starts_at))]


def localised(text: str) -> str:
    """Write the instants in an activity's text as a person reads them."""
    return WRITTEN.sub(lambda found: moment(datetime.fromisoformat(found[0])), text)


def instant(at: datetime | str) -> str | None:
    """Write an instant for programs, as the API does."""
    return at if isinstance(at, str) else format_instant(at)
