"""Parse dates and times, convert wall-clock times to instants, and format instants."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones, reset_tzpath

# Time zones come only from the tzdata package, so that results do not depend on the host.
reset_tzpath(to=[])
TIMEZONES = frozenset(available_timezones())
get_zone = lru_cache(maxsize=None)(ZoneInfo)  # its argument is always one of TIMEZONES

EARLIEST, TOO_LATE = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
OUT_OF_RANGE = "Must lie between 1970 and 2199."
LONGEST_MINUTES = 31 * 24 * 60
SHORTEST, LONGEST = timedelta(minutes=1), timedelta(minutes=LONGEST_MINUTES)

DATE_TIME = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})-([0-9]{2})|([0-9]{2})([0-9]{2}))"  # 2026-04-20 or 20260420
    r"[Tt ]"
    r"([01][0-9]|2[0-3])(?::([0-5][0-9])(?::([0-5][0-9])(?:[.,][0-9]+)?)?"  # 14:00, 14:00:00.0
    r"|([0-5][0-9])(?:([0-5][0-9])(?:[.,][0-9]+)?)?)"  # 1400, 140000
    r"([Zz]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)?"  # Z, +03:00, +0300, +03
)


def utc_now() -> datetime:
    """Return the current instant in UTC, to the microsecond."""
    return datetime.now(UTC)


def format_instant(at: datetime | None) -> str | None:
    """Return an instant as callers see it everywhere: `2025-12-29T17:00:00Z`."""
    return None if at is None else at.isoformat()[:19] + "Z"


def read_date_time(text: str) -> datetime:
    """Parse an ISO 8601 date and time: aware if it has an offset, else wall-clock time.

    Fractions of a second are dropped. Raises ValueError for any other text, and OverflowError for a
    year that is outside 1970 to 2199 with every offset.
    """
    match = DATE_TIME.fullmatch(text)
    if match is None:
        raise ValueError("not an ISO 8601 date and time")
    year, m1, d1, m2, d2, hour, minute1, second1, minute2, second2, offset = match.groups()
    written = datetime(
        int(year),
        int(m1 or m2),
        int(d1 or d2),
        int(hour),
        int(minute1 or minute2),
        int(second1 or second2 or 0),
        tzinfo=_offset(offset.upper()) if offset else None,
    )
    # One year of margin, since the offset may matter. The years 1 and 9999 could overflow later.
    if not EARLIEST.year - 1 <= written.year <= TOO_LATE.year:
        raise OverflowError("out of range")
    return written


@lru_cache(maxsize=4096)  # there are 2,880 offsets, each in a few spellings
def _offset(written: str) -> tzinfo | None:
    return datetime.fromisoformat(f"2000-01-01T00:00{written}").tzinfo


def to_instant(written: datetime, zone_name: str = "UTC") -> datetime:
    """Return a time's UTC instant; a time without an offset is wall-clock time in the zone.

    A wall-clock time that occurs twice means the first occurrence. A skipped one is read with the
    offset from before the change (RFC 5545, section 3.3.5; Temporal's "compatible"). `fold=0` does
    both (PEP 495).
    """
    aware = written if written.tzinfo else written.replace(tzinfo=get_zone(zone_name))
    return aware.astimezone(UTC)


def start_of_day(day: date, zone_name: str) -> datetime:
    """Return the first instant of a day in a zone, even if clocks change at midnight."""
    return to_instant(datetime.combine(day, time()), zone_name)


def resolve_times(
    given: Mapping[str, Any], loaded: dict[str, Any], zone_name: str | None
) -> dict[str, list[str]]:
    """Convert the times of a body to UTC instants, in place; returns field → list of faults.

    `given` holds the fields as sent, `loaded` the valid ones. If `ends_at` is absent, it is
    computed from `duration_minutes`, which is removed. Without a zone, wall-clock times stay as
    they are, and so does `duration_minutes`.
    """
    wrong: dict[str, list[str]] = {}
    for field in ("starts_at", "ends_at"):
        written = loaded.get(field)
        if written is None or not (zone_name or written.tzinfo):
            continue
        loaded[field] = to_instant(written, zone_name or "UTC")
        if not EARLIEST <= loaded[field] < TOO_LATE:
            del loaded[field]
            wrong[field] = [OUT_OF_RANGE]
    starts_at, ends_at = loaded.get("starts_at"), loaded.get("ends_at")
    if (starts_at and not starts_at.tzinfo) or (ends_at and not ends_at.tzinfo):
        return wrong
    minutes = loaded.pop("duration_minutes", None)
    if starts_at is None:
        return wrong
    if ends_at is not None:
        return wrong | _span_faults(starts_at, ends_at, minutes)
    if minutes is not None and given.get("ends_at") is None:
        loaded["ends_at"] = starts_at + timedelta(minutes=minutes)
        if loaded["ends_at"] >= TOO_LATE:
            wrong["duration_minutes"] = ["The meeting must end before the year 2200."]
    return wrong


def _span_faults(
    starts_at: datetime, ends_at: datetime, minutes: int | None
) -> dict[str, list[str]]:
    span = ends_at - starts_at
    wrong = {}
    if minutes is not None and span // SHORTEST != minutes:
        sentence = f"The times are {span // SHORTEST} minutes apart; duration_minutes is {minutes}."
        wrong = {"ends_at": [sentence], "duration_minutes": [sentence]}
    if span <= timedelta(0):
        wrong["ends_at"] = ["Must be after starts_at."]
    elif not SHORTEST <= span <= LONGEST:
        wrong["ends_at"] = ["Must be from 1 minute to 31 days after starts_at."]
    return wrong
