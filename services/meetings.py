"""Meetings as they are stored: finding one, changing its fields, listing many, counting them."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Literal

from peewee import JOIN, Tuple, fn

from database import db, transaction
from database.queries import Compiled, Update, checked, compiled, literal, locking
from models import BOOKING_STATUSES, LATEST_START, ExternalEvent, Lead, Meeting, MeetingType, User
from services import leads, meeting_types, timeline, users
from services.errors import InvalidRequest, MeetingNotFound
from services.results import Details, Key, Loaded, RowResult, page_of
from services.timeline import ChangeSet, insert_activities
from times import format_instant, utc_now

MICROSECOND = timedelta(microseconds=1)  # the precision of stored instants
# The columns that stay as they were when the meeting was logged.
FIXED = {"id", "client", "lead", "external_calendar_provider", "source", "created_at"}
# The columns that responses show.
LISTED = [field for field in Meeting._meta.sorted_fields if field is not Meeting.matched_emails]

update_rows = Update(Meeting, FIXED)
latest_change = timeline.latest_change(Meeting)


def _with_host_and_type() -> Any:
    """Select meetings, each with its host and its type."""
    return (
        Meeting.select(
            *LISTED,
            User.id,
            User.email,
            User.first_name,
            User.last_name,
            MeetingType.id,
            MeetingType.name,
        )
        .join(User, JOIN.LEFT_OUTER, on=(Meeting.host == User.id))
        .switch(Meeting)
        .join(MeetingType, JOIN.LEFT_OUTER, on=(Meeting.meeting_type == MeetingType.id))
    )


@compiled
def meeting_by_id(client_id: Any, meeting_id: Any) -> Any:
    """Return the client's meeting with an id, with its host and type."""
    return _with_host_and_type().where(
        checked(Meeting.client == client_id), Meeting.id == meeting_id
    )


@compiled
def meeting_by_id_locked(client_id: Any, meeting_id: Any) -> Any:
    """Return the client's meeting with an id, locked until the transaction ends."""
    return locking(
        Meeting.select().where(checked(Meeting.client == client_id), Meeting.id == meeting_id)
    )


def find(client_id: str, meeting_id: str) -> Meeting:
    """Return the client's meeting with an id, with its host and type; raises MeetingNotFound."""
    meeting: Meeting | None = meeting_by_id.first(client_id=client_id, meeting_id=meeting_id)
    if meeting is None:
        raise MeetingNotFound(f"id {meeting_id}")
    return meeting


def find_locked(client_id: str, meeting_id: str) -> Meeting:
    """Return the client's meeting with an id, locked until the transaction ends.

    Its host and type come with it. Raises MeetingNotFound.
    """
    meeting: Meeting | None = meeting_by_id_locked.first(client_id=client_id, meeting_id=meeting_id)
    if meeting is None:
        raise MeetingNotFound(f"id {meeting_id}")
    add_host_and_type(client_id, [meeting], {})
    return meeting


def add_host_and_type(client_id: str, locked: list[Meeting], known: dict[str, Any]) -> None:
    """Give locked meetings their hosts and types; `known` has some of these by id.

    They are read after the lock. Joined to the locking query, they could be out of date: after
    waiting for the lock, PostgreSQL reads the meeting again, but not the joined rows.
    """
    for name, noun in (("host", users), ("meeting_type", meeting_types)):
        ids = {meeting.__data__[name] for meeting in locked} - {None} - known.keys()
        found = noun.find_by_id(client_id, sorted(ids)) if ids else {}
        for meeting in locked:
            key = meeting.__data__[name]
            meeting.__rel__[name] = found.get(key) or known.get(key)


# ----------------------------------------------------------------------------- what bookings set


def defaults_for(lead: Lead) -> dict[str, Any]:
    """The columns that a booking sets and a replay changes, each with its default for a lead.

    This is the only list of them, apart from times, host, type and status.
    """
    return {
        "title": None,
        "timezone": "UTC",
        "meeting_url": None,
        "location_type": "video",
        "location_details": None,
        "description": None,
        "attendee_name": lead.full_name,
        "attendee_email": lead.email,
        "attendee_phone": lead.phone,
        "additional_attendees": [],
    }


BOOKED = tuple(defaults_for(Lead.of({})))


def unknown_names(
    given: dict[str, Any],
    host: User | None,
    meeting_type: MeetingType | None,
    meeting: Meeting | None,
    may_be_inactive: bool = False,
) -> Details:
    """Return the faults of the fields that name a host or a meeting type, as field → sentences.

    The host must be active, unless the meeting has that host already.
    """
    found: Details = {}
    if given.get("host_email"):
        is_hosting = meeting is not None and host is not None and host.id == meeting.host_id
        if host is None or not (host.active or may_be_inactive or is_hosting):
            found["host_email"] = ["No active user of yours has this email."]
    if given.get("meeting_type_id") and meeting_type is None:
        found["meeting_type_id"] = ["No meeting type of yours has this id."]
    return found


def values(
    given: dict[str, Any],
    host: User | None,
    meeting_type: MeetingType | None,
    defaults: dict[str, Any],
) -> dict[str, Any]:
    """Return the columns that the fields given set, with the default for an explicit null."""
    columns = {
        name: default if given[name] is None else given[name]
        for name, default in defaults.items()
        if name in given
    }
    if "host_email" in given:
        columns["host"] = host
    if "meeting_type_id" in given:
        columns["meeting_type"] = meeting_type
    return columns


@transaction
def update(client_id: str, meeting_id: str, patch: Loaded) -> RowResult:
    """Change the fields given, in any status; None sets a field to its default.

    Raises InvalidRequest with the schema's findings and an unknown host or meeting type, and
    MeetingNotFound.
    """
    given, wrong = patch
    email, type_id = given.get("host_email"), given.get("meeting_type_id")
    host = users.find_or_none(client_id, email) if email else None
    meeting_type = meeting_types.find_by_id(client_id, [type_id]).get(type_id) if type_id else None
    try:
        meeting = find_locked(client_id, meeting_id)
    except MeetingNotFound as error:
        faults = unknown_names(given, host, meeting_type, None) | wrong
        raise InvalidRequest(faults) if faults else error from None
    if faults := unknown_names(given, host, meeting_type, meeting) | wrong:
        raise InvalidRequest(faults)
    after = meeting.copy()
    defaults = defaults_for(leads.find(client_id, meeting.lead_id))
    after.set_all(values(given, host, meeting_type, defaults))
    changes = ChangeSet(client_id, latest_change)
    result = change(meeting, after, None, changes)
    update_rows([*changes.rows.values()])
    insert_activities(changes)
    return result


def change(meeting: Meeting, after: Meeting, reason: str | None, changes: ChangeSet) -> RowResult:
    """Add what differs between a meeting and its changed copy to the changes, with an activity.

    A move of the times is added to the meeting's reschedules, with its reason.
    """
    if after.__data__ == meeting.__data__:
        return RowResult(meeting, "unchanged")
    changes.rows[after.id] = after
    differences = timeline.changes_between(_described(meeting), _described(after))
    if not differences:  # only `matched_emails` changed, which callers do not see
        return RowResult(after, "unchanged")
    after.updated_at = changes.time_of(utc_now())
    verb: Literal["updated", "rescheduled"] = "updated"
    if "starts_at" in differences or "ends_at" in differences:
        verb = "rescheduled"
        after.reschedules = [*meeting.reschedules, _move(meeting, after, reason)]
    changes.record(
        meeting.lead_id,
        f"meeting_{verb}",
        f"Meeting {verb}: {after.title}",
        after.updated_at,
        description=reason,
        meeting_id=meeting.id,
        changes=differences,
        meeting=after,
    )
    return RowResult(after, verb)


def _move(before: Meeting, after: Meeting, reason: str | None) -> dict[str, Any]:
    return {
        "from": _times(before),
        "to": _times(after),
        "reason": reason,
        "at": format_instant(after.updated_at),
    }


def _times(meeting: Meeting) -> dict[str, Any]:
    return {
        "starts_at": format_instant(meeting.starts_at),
        "ends_at": format_instant(meeting.ends_at),
    }


def _described(meeting: Meeting) -> dict[str, Any]:
    """The fields of a meeting that a replay may change, as callers name and see them."""
    return {
        **{name: meeting.__data__[name] for name in BOOKED},
        **_times(meeting),
        "host_email": meeting.host and meeting.host.email,
        "meeting_type_id": meeting.meeting_type_id,
        "external_event_id": meeting.external_event_id,
        "status": meeting.shown_status,
    }


# --------------------------------------------------------------------------------- lists, counts


def _is_external_event(client_id: Any, external_event_id: Any) -> Any:
    """Meetings by their booking's id, present or past, also if logged without a provider."""
    half = Meeting.alias()
    return Meeting.id.in_(
        ExternalEvent.select(ExternalEvent.meeting).where(
            ExternalEvent.client == client_id, ExternalEvent.event_id == external_event_id
        )
        | half.select(half.id).where(
            checked(half.client == client_id),
            half.external_event_id == external_event_id,
            half.external_calendar_provider.is_null(),
        )
    )


def _is_of_host(client_id: Any, host_email: Any) -> Any:
    host = User.alias()
    return Meeting.host == host.select(host.id).where(
        host.client == client_id, host.email_key == host_email
    )


def _is_of_lead_email(client_id: Any, lead_email: Any) -> Any:
    return Meeting.lead.in_(
        Lead.select(Lead.id).where(checked(Lead.client == client_id), Lead.email_key == lead_email)
    )


# The condition of each filter, made of placeholders for the client and for the filter's value.
FILTERS: dict[str, Callable[[Any, Any], Any]] = {
    "lead_id": lambda client_id, value: Meeting.lead == value,
    "host_id": lambda client_id, value: Meeting.host == value,
    "lead_email": _is_of_lead_email,
    "host_email": _is_of_host,
    "external_calendar_provider": lambda client_id, value: (
        Meeting.external_calendar_provider == value
    ),
    "external_event_id": _is_external_event,
    # COALESCE hides the column's statistics. With them, PostgreSQL would expect few meetings. It
    # would read and sort all of them instead of reading in order up to the first match.
    "meeting_url": lambda client_id, value: fn.COALESCE(Meeting.meeting_url, "") == value,
    "starts_after": lambda client_id, value: Meeting.starts_at >= value,
    "starts_before": lambda client_id, value: Meeting.starts_at < value,
    "updated_after": lambda client_id, value: Meeting.updated_at >= value,
    "settled_before": lambda client_id, value: Meeting.updated_at < value,
}
# These filters leave few of a client's meetings, so queries find the meetings by these, whatever
# the other filters are. A host may hold most of the meetings.
SELECTIVE = {"lead_id", "lead_email", "external_event_id"}
ORDERS = {
    "starts_at": (Meeting.starts_at, False),
    LATEST_START: (Meeting.starts_at, True),
    "updated_at": (Meeting.updated_at, False),
}


def list_meetings(client_id: str, query: dict[str, Any]) -> tuple[list[Meeting], Key | None]:
    """Return a page of the client's meetings, and the key to go on from if there are more.

    `query` has `limit`, and perhaps `order` (`-starts_at` by default), `cursor` (the key of the
    last row seen), `status` (as shown) and the filters above. In the order of `updated_at`, the
    page ends before any change that a transaction in progress could still precede. So a caller that
    continues from the last row misses no change.
    """
    order, limit = query.get("order", LATEST_START), query["limit"]
    values = _filter_values(query)
    if order == "updated_at" and (settled_before := db.settled_before()):
        values["settled_before"] = settled_before
    page = _page(frozenset(values), query.get("status"), order, "cursor" in query)
    if "cursor" in query:
        _, values["cursor_at"], values["cursor_id"] = query["cursor"]
    rows = page(client_id=client_id, limit=limit + 1, **values)
    listed_by = ORDERS[order][0].name
    return page_of(rows, limit, lambda row: (order, getattr(row, listed_by), row.id))


def add_leads(client_id: str, found: list[Meeting]) -> list[Meeting]:
    """Give meetings their leads, with one query, and return them.

    The lead is None if it was erased since the meetings were read.
    """
    known = leads.find_by_id(client_id, sorted({meeting.lead_id for meeting in found}))
    for meeting in found:
        meeting.__rel__["lead"] = known.get(meeting.lead_id)
    return found


def stream(client_id: str, query: dict[str, Any]) -> Iterator[Meeting]:
    """Yield the client's meetings that pass the filters, earliest start first, of one snapshot.

    Each has its host, its type and its lead. `query` is that of `list_meetings`, without a page.
    """
    filters, statuses = _filter_values(query), query.get("status")
    conditions = _conditions(client_id, frozenset(filters), statuses, filters)
    rows = _with_host_and_type().select_extend(Lead.id, Lead.email).switch(Meeting).join(Lead)
    ordered = rows.where(*conditions).order_by(Meeting.starts_at, Meeting.id)
    return Compiled(lambda: ordered).stream()


def first(client_id: str, order: str, filters: dict[str, Any]) -> Meeting | None:
    """Return the first of the client's meetings that pass the filters, in an order."""
    values = _filter_values(filters)
    page = _page(frozenset(values), None, order, False)
    meeting: Meeting | None = page.first(client_id=client_id, limit=1, **values)
    return meeting


def nearest(
    client_id: str, at: datetime, filters: dict[str, Any], within: timedelta | None = None
) -> Meeting | None:
    """Return the meeting that starts nearest to a time, of those that pass the filters.

    The index of a client's meetings by their start is read outward from the time.
    """
    bounds = {} if within is None else {"starts_before": at + within + MICROSECOND}
    after = first(client_id, "starts_at", {**filters, "starts_after": at, **bounds})
    within = after.starts_at - at if after else within
    bounds = {} if within is None else {"starts_after": at - within}
    before = first(client_id, LATEST_START, {**filters, "starts_before": at, **bounds})
    found = [meeting for meeting in (after, before) if meeting]
    return min(found, key=lambda meeting: abs(meeting.starts_at - at), default=None)


def list_of_lead(
    client_id: str, lead_id: str, query: dict[str, Any]
) -> tuple[list[Meeting], Key | None]:
    """Return a page of a lead's meetings like `list_meetings`; raises LeadNotFound."""
    rows, next_key = list_meetings(client_id, {**query, "lead_id": lead_id})
    if not rows:  # the lead may have no meetings, or may not exist
        leads.find(client_id, lead_id)
    return rows, next_key


def count_by_status(client_id: str, query: dict[str, Any]) -> dict[str, int]:
    """Count the meetings that pass the filters by the status shown."""
    values = _filter_values(query)
    counts: dict[str, int] = {}
    rows = _counts(frozenset(values), query.get("status")).tuples(client_id=client_id, **values)
    for status, is_confirmed, count in rows:
        shown = "confirmed" if status == "scheduled" and is_confirmed else status
        counts[shown] = counts.get(shown, 0) + count
    return counts


def _filter_values(query: dict[str, Any]) -> dict[str, Any]:
    """The values of the filters, with emails as they are compared."""
    values = {name: query[name] for name in FILTERS if name in query}
    for name in ("lead_email", "host_email"):
        if name in values:
            values[name] = values[name].lower()
    return values


# Few of the possible queries are used in practice; the least used of them is built again.
@lru_cache(maxsize=256)
def _page(
    filters: frozenset[str], statuses: frozenset[str] | None, order: str, after_cursor: bool
) -> Compiled:
    def build(client_id: Any, limit: Any, **values: Any) -> Any:
        column, descending = ORDERS[order]
        keys = (column, Meeting.id)
        query = _with_host_and_type().where(*_conditions(client_id, filters, statuses, values))
        if after_cursor:
            key, cursor = Tuple(*keys), Tuple(values["cursor_at"], values["cursor_id"])
            query = query.where(key < cursor if descending else key > cursor)
        return query.order_by(*(key.desc() if descending else key for key in keys)).limit(limit)

    cursor = ("cursor_at", "cursor_id") if after_cursor else ()
    return Compiled(build, ("client_id", "limit", *filters, *cursor))


@lru_cache(maxsize=256)
def _counts(filters: frozenset[str], statuses: frozenset[str] | None) -> Compiled:
    def build(client_id: Any, **values: Any) -> Any:
        return (
            Meeting.select(Meeting.status, Meeting.confirmed_by_lead, fn.COUNT(Meeting.id))
            .where(*_conditions(client_id, filters, statuses, values))
            .group_by(Meeting.status, Meeting.confirmed_by_lead)
        )

    return Compiled(build, ("client_id", *filters))


def _conditions(
    client_id: Any,
    filters: frozenset[str],
    statuses: frozenset[str] | None,
    values: dict[str, Any],
) -> list[Any]:
    of_client = Meeting.client == client_id
    conditions = [checked(of_client) if filters & SELECTIVE else of_client]
    conditions += [FILTERS[name](client_id, values[name]) for name in sorted(filters)]
    if statuses is not None:
        conditions.append(_is_shown_as(statuses))
        if statuses.isdisjoint(BOOKING_STATUSES):
            # Repeats the condition of the index that holds only these meetings.
            conditions.append(Meeting.status != literal("scheduled"))
    return conditions


def _is_shown_as(statuses: frozenset[str]) -> Any:
    condition = Meeting.status.in_(sorted(statuses.difference(BOOKING_STATUSES)))
    for status, confirmed in (("scheduled", False), ("confirmed", True)):
        if status in statuses:
            condition |= (Meeting.status == "scheduled") & (Meeting.confirmed_by_lead == confirmed)
    return condition
