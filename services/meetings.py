"""Meetings as they are stored: finding one, listing many, counting them."""

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

from peewee import JOIN, Tuple, fn

from database import Param, Plain, Prepared, Row, checked, db, literal, locked
from models import ExternalEvent, Lead, Meeting, MeetingType, User
from services import leads, timeline
from services.errors import MeetingNotFound
from services.many import Joint

Key = tuple[str, Any, str]  # of a row in a list: the order, the instant it goes by, the id


class LockedMeeting(Meeting):
    """The meetings that a statement has locked first, under the name it gives them."""

    class Meta:
        table_name = "locked"


# The columns of a meeting that answers are made of.
ANSWERED = [field for field in Meeting._meta.sorted_fields if field is not Meeting.matched_emails]


def with_host_and_type(model: Any, columns: list[Any], *more: Any) -> Any:
    """A query of meetings, each with its host and its type, whatever either is."""
    return (
        model.select(
            *columns,
            User.email.alias("host_email"),
            User.first_name.alias("host_first_name"),
            User.last_name.alias("host_last_name"),
            MeetingType.name.alias("meeting_type_name"),
            *more,
        )
        .join(User, JOIN.LEFT_OUTER, on=(model.host == User.id))
        .switch(model)
        .join(MeetingType, JOIN.LEFT_OUTER, on=(model.meeting_type == MeetingType.id))
    )


def locked_with_lead(query: Any) -> Any:
    """The meetings of a query, locked until the transaction ends, with host, type and lead.

    They are locked before anything is joined to them, so that what is joined fits them as they are
    once whoever held the lock is done.
    """
    return (
        with_host_and_type(
            LockedMeeting,
            LockedMeeting._meta.sorted_fields,
            Lead.email.alias("lead_email"),
            Lead.first_name.alias("lead_first_name"),
            Lead.last_name.alias("lead_last_name"),
            Lead.phone.alias("lead_phone"),
        )
        .switch(LockedMeeting)
        .join(Lead, on=(LockedMeeting.lead == Lead.id))
        .with_cte(locked(query).cte("locked"))
    )


MEETING_BY_ID = Joint(
    lambda: (
        with_host_and_type(Meeting, ANSWERED)
        .where(checked(Meeting.client == Param(Meeting.client)), Meeting.id == Param(Meeting.id))
        .limit(1)
    )
)
MEETING_BY_ID_LOCKED = Prepared(
    lambda: locked_with_lead(
        Meeting.select().where(
            checked(Meeting.client == Param(Meeting.client)), Meeting.id == Param(Meeting.id)
        )
    )
)


LATEST_CHANGE = timeline.latest_change(Meeting)


def instant_of_change(client_id: str) -> datetime:
    """The `updated_at` of a meeting that changes now: later than that of any other."""
    return timeline.instant_of_change(LATEST_CHANGE, client_id)


def find(client_id: str, meeting_id: str, lock: bool = False) -> Row:
    """The client's meeting with an id, with `lock` until the transaction ends.

    Raises MeetingNotFound.
    """
    prepared = MEETING_BY_ID_LOCKED if lock else MEETING_BY_ID
    meeting = prepared.row_or_none(client_id=client_id, id=meeting_id)
    if meeting is None:
        raise MeetingNotFound(meeting_id)
    return meeting


# --------------------------------------------------------------------------------- lists, counts


def _of_external_event() -> Any:
    """Meetings by the id of their booking elsewhere, present or past, and by half a pair."""
    half = Meeting.alias()
    return Meeting.id.in_(
        ExternalEvent.select(ExternalEvent.meeting).where(
            ExternalEvent.client == Param(ExternalEvent.client),
            ExternalEvent.event_id == Param(ExternalEvent.event_id, "external_event_id"),
        )
        | half.select(half.id).where(
            checked(half.client == Param(Meeting.client)),
            half.external_event_id == Param(Meeting.external_event_id),
            half.external_calendar_provider.is_null(),
        )
    )


def _of_host() -> Any:
    host = User.alias()
    return Meeting.host == host.select(host.id).where(
        host.client == Param(User.client), host.email_key == Param(User.email_key, "host_email")
    )


FILTERS: dict[str, Callable[[], Any]] = {
    "lead_id": lambda: Meeting.lead == Param(Meeting.lead),
    "host_id": lambda: Meeting.host == Param(Meeting.host),
    "lead_email": lambda: Meeting.lead.in_(
        Lead.select(Lead.id).where(
            checked(Lead.client == Param(Lead.client)),
            Lead.email_key == Param(Lead.email_key, "lead_email"),
        )
    ),
    "host_email": _of_host,
    "external_calendar_provider": lambda: (
        Meeting.external_calendar_provider == Param(Meeting.external_calendar_provider)
    ),
    "external_event_id": _of_external_event,
    "starts_after": lambda: Meeting.starts_at >= Param(Meeting.starts_at, "starts_after"),
    "starts_before": lambda: Meeting.starts_at < Param(Meeting.starts_at, "starts_before"),
    "updated_after": lambda: Meeting.updated_at >= Param(Meeting.updated_at, "updated_after"),
    "settled_before": lambda: Meeting.updated_at < Param(Meeting.updated_at, "settled_before"),
}
# What leaves few of a client's meetings: they are found by this, whatever else is asked of them. A
# host may have most of them.
FEW = {"lead_id", "lead_email", "external_event_id"}
ORDERS = {
    "starts_at": (Meeting.starts_at, False),
    "-starts_at": (Meeting.starts_at, True),
    "updated_at": (Meeting.updated_at, False),
}


def list_meetings(client_id: str, query: Row) -> tuple[list[Row], Key | None]:
    """A page of the client's meetings, and the key to go on from where there are more.

    `query` has `order` and `limit`, and perhaps `cursor` (the key of the last row seen), `status`
    (as shown) and the filters above. In the order of `updated_at` nothing is shown that a change
    still under way could come before, so whoever reads on from the last row misses none.
    """
    order, limit = query["order"], query["limit"]
    values = {**query, "client_id": client_id, "limit": limit + 1}
    if order == "updated_at" and (settled_before := db.settled_before()):
        values["settled_before"] = settled_before
    _, values["cursor_at"], values["cursor_id"] = query.get("cursor", (order, None, None))
    filters = frozenset(values.keys() & FILTERS.keys())
    rows = _page(filters, query.get("status"), order, "cursor" in query).rows(**_keyed(values))
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], (order, last[ORDERS[order][0].name], last["id"])


def list_of_lead(client_id: str, lead_id: str, query: Row) -> tuple[list[Row], Key | None]:
    """A page of a lead's meetings, as `list_meetings` returns it; raises LeadNotFound."""
    rows, next_key = list_meetings(client_id, {**query, "lead_id": lead_id})
    if not rows:  # the lead has no meeting, or there is no such lead
        leads.find(client_id, lead_id)
    return rows, next_key


def count_by_status(client_id: str, query: Row) -> dict[str, int]:
    """How many of the meetings that pass the filters are shown with each status."""
    prepared = _counts(frozenset(query.keys() & FILTERS.keys()), query.get("status"))
    counts: dict[str, int] = {}
    for row in prepared.rows(**_keyed({**query, "client_id": client_id})):
        confirmed = row["status"] == "scheduled" and row["confirmed_by_lead"]
        shown = "confirmed" if confirmed else row["status"]
        counts[shown] = counts.get(shown, 0) + row["count"]
    return counts


def _keyed(values: Row) -> Row:
    """The values with the emails as they are compared."""
    for name in ("lead_email", "host_email"):
        if name in values:
            values[name] = values[name].lower()
    return values


# The shapes a query can take are few in practice; of the rest, the least used is built again.
@lru_cache(maxsize=256)
def _page(
    filters: frozenset[str], statuses: frozenset[str] | None, order: str, after_cursor: bool
) -> Prepared:
    def build() -> Any:
        field, descending = ORDERS[order]
        query = with_host_and_type(Meeting, ANSWERED).where(*_conditions(filters, statuses))
        if after_cursor:
            key = Tuple(field, Meeting.id)
            cursor = Tuple(Param(field, "cursor_at"), Param(Meeting.id, "cursor_id"))
            query = query.where(key < cursor if descending else key > cursor)
        keys = (field, Meeting.id)
        return query.order_by(*(key.desc() if descending else key for key in keys)).limit(
            Plain("limit")
        )

    # A lead's latest or next are read off an index, however many it has.
    return Joint(build) if filters == {"lead_id"} and statuses is None else Prepared(build)


@lru_cache(maxsize=256)
def _counts(filters: frozenset[str], statuses: frozenset[str] | None) -> Prepared:
    return Prepared(
        lambda: (
            Meeting.select(
                Meeting.status, Meeting.confirmed_by_lead, fn.COUNT(Meeting.id).alias("count")
            )
            .where(*_conditions(filters, statuses))
            .group_by(Meeting.status, Meeting.confirmed_by_lead)
        )
    )


def _conditions(filters: frozenset[str], statuses: frozenset[str] | None) -> list[Any]:
    of_client = Meeting.client == Param(Meeting.client)
    conditions = [checked(of_client) if filters & FEW else of_client]
    conditions += [FILTERS[name]() for name in sorted(filters)]
    if statuses is not None:
        conditions.append(_is_shown_as(statuses))
        if not statuses & {"scheduled", "confirmed"}:
            # Says so in the words of the index that holds only those.
            conditions.append(Meeting.status != literal("scheduled"))
    return conditions


def _is_shown_as(statuses: frozenset[str]) -> Any:
    condition = Meeting.status.in_(sorted(statuses - {"scheduled", "confirmed"}))
    for status, confirmed in (("scheduled", False), ("confirmed", True)):
        if status in statuses:
            condition |= (Meeting.status == "scheduled") & (Meeting.confirmed_by_lead == confirmed)
    return condition
