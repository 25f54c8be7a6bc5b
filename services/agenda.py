"""The agenda of a day: the meetings that lack an outcome, those of the day, and the next ones."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from models import BOOKING_STATUSES, LATEST_START, Meeting
from services import meetings
from times import get_zone, start_of_day

LOOKS_BACK = timedelta(days=14)  # for meetings without an outcome
MOST_OPEN, MOST_TODAY, MOST_NEXT = 50, 100, 20
UNDECIDED = frozenset(BOOKING_STATUSES)


class Agenda(NamedTuple):
    """Meetings of each kind, with their leads, and whether there are more of that kind."""

    open: list[Meeting]
    has_more_open: bool
    today: list[Meeting]
    has_more_today: bool
    next: list[Meeting]
    has_more_next: bool


def read(client_id: str, now: datetime, zone_name: str) -> Agenda:
    """Return the client's agenda at a time; days begin at midnight in the zone.

    Meetings without an outcome are those that have begun in the last 14 days, the latest first.
    """
    today = now.astimezone(get_zone(zone_name)).date()
    begin = start_of_day(today, zone_name)
    end = start_of_day(today + timedelta(days=1), zone_name)
    has_begun = {"starts_after": now - LOOKS_BACK, "starts_before": now + meetings.MICROSECOND}
    undecided, more_open = _list(client_id, LATEST_START, MOST_OPEN, status=UNDECIDED, **has_begun)
    of_day, more_today = _list(
        client_id, "starts_at", MOST_TODAY, starts_after=begin, starts_before=end
    )
    later, more_next = _list(client_id, "starts_at", MOST_NEXT, starts_after=end, status=UNDECIDED)
    meetings.add_leads(client_id, [*undecided, *of_day, *later])
    return Agenda(undecided, more_open, of_day, more_today, later, more_next)


def _list(client_id: str, order: str, limit: int, **filters: Any) -> tuple[list[Meeting], bool]:
    query = {"order": order, "limit": limit, **filters}
    found, next_key = meetings.list_meetings(client_id, query)
    return found, next_key is not None
