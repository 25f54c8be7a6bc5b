"""Figures: how many meetings had which outcome, by week, by host and by the lead's source."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from peewee import SQL, Case, fn

from database.queries import Compiled, checked, literal
from models import Lead, Meeting
from services import users
from times import get_zone, start_of_day

WEEKS = 12
WEEK = timedelta(weeks=1)
MOST_GROUPS = 25  # hosts or sources, those with the most meetings


def share(part: int, rest: int) -> float | None:
    """Return part / (part + rest); None if both are 0."""
    return part / (part + rest) if part + rest else None


class Counts(NamedTuple):
    """How many meetings of a group have each shown status."""

    name: Any  # the first day of a week, a host's name or None, or a lead's source
    scheduled: int
    confirmed: int
    completed: int
    cancelled: int
    no_show: int

    @property
    def total(self) -> int:
        """All meetings of the group."""
        return sum(self[1:])

    @property
    def show_rate(self) -> float | None:
        """The share of leads who showed up, of the meetings that were held or missed."""
        return share(self.completed, self.no_show)


NOTHING = Counts(None, 0, 0, 0, 0, 0)


class Figures(NamedTuple):
    """The counts of some weeks: week by week, oldest first, by host, by source, and in total."""

    weeks: list[Counts]
    hosts: list[Counts]
    sources: list[Counts]
    total: Counts
    starts_after: datetime  # inclusive
    starts_before: datetime  # exclusive


def _count(condition: Any) -> Any:
    return fn.SUM(Case(None, [(condition, SQL("1"))], SQL("0")))


def _is(status: str) -> Any:
    return Meeting.status == literal(status)


COUNTS = (
    _count(_is("scheduled") & ~Meeting.confirmed_by_lead),
    _count(_is("scheduled") & Meeting.confirmed_by_lead),
    *(_count(_is(status)) for status in ("completed", "cancelled", "no_show")),
)


def read(client_id: str, now: datetime, zone_name: str) -> Figures:
    """Return the figures of the week of a time and the eleven before; weeks begin on Monday."""
    today = now.astimezone(get_zone(zone_name)).date()
    monday = today - timedelta(days=today.weekday())
    days = [monday + number * WEEK for number in range(1 - WEEKS, 2)]
    bounds = [start_of_day(day, zone_name) for day in days]
    period = (
        Meeting.client == client_id,
        Meeting.starts_at >= bounds[0],
        Meeting.starts_at < bounds[-1],
    )
    counted = _count_groups(client_id, period, bounds)
    weeks = _sum_by(counted, 0)
    names = {user.id: user.full_name for user in users.list_all(client_id)}
    total = _sum_by([(None, *row[1:]) for row in counted], 0).get(None, NOTHING)
    return Figures(
        [weeks.get(number, NOTHING)._replace(name=day) for number, day in enumerate(days[:-1])],
        [row._replace(name=names.get(row.name)) for row in _largest(_sum_by(counted, 1))],
        _largest(_sum_by(counted, 2)),
        total,
        bounds[0],
        bounds[-1],
    )


def _count_groups(
    client_id: str, period: tuple[Any, ...], bounds: list[datetime]
) -> list[tuple[Any, ...]]:
    """Count the meetings of each week, host and source: `(week's number, host id, source, …)`.

    One query reads the meetings once for all three lists.
    """
    number = Case(
        None,
        [(Meeting.starts_at < end, SQL(str(n))) for n, end in enumerate(bounds[1:-1])],
        SQL(str(WEEKS - 1)),
    )
    query = (
        Meeting.select(number.alias("week"), Meeting.host, Lead.source, *COUNTS)
        .join(Lead)
        .where(*period, checked(Lead.client == client_id))
        .group_by(SQL("week"), Meeting.host, Lead.source)
    )
    return Compiled(lambda: query).tuples()


def _sum_by(counted: list[tuple[Any, ...]], column: int) -> dict[Any, Counts]:
    """Add up the counts of the groups that have the same value in a column."""
    sums: dict[Any, Counts] = {}
    for row in counted:
        before = sums.get(row[column], NOTHING)
        added = (one + more for one, more in zip(before[1:], row[3:], strict=True))
        sums[row[column]] = Counts(row[column], *added)
    return sums


def _largest(sums: dict[Any, Counts]) -> list[Counts]:
    return sorted(sums.values(), key=lambda row: -row.total)[:MOST_GROUPS]
