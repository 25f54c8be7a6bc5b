"""Meetings: logging a booking exactly once, and listing a lead's meetings."""

from datetime import timedelta
from functools import lru_cache
from typing import Any

from peewee import JOIN, Tuple

from database import Count, Param, Prepared, Row, insert, transaction
from models import (
    SOURCE,
    ExternalEvent,
    Lead,
    Meeting,
    MeetingType,
    User,
    full_name,
    new_id,
    shown_status,
)
from services import leads, meeting_types, timeline, users
from services.errors import ExternalEventConflict, InvalidRequest, LeadNotFound
from times import format_instant, utc_now

# What a booking carries and a replay may change, beside the instants, the host and the status.
PLAIN_FIELDS = (
    "title",
    "timezone",
    "meeting_url",
    "location_type",
    "location_details",
    "description",
    "attendee_name",
    "attendee_email",
    "attendee_phone",
    "additional_attendees",
)
UPDATABLE = (
    *PLAIN_FIELDS,
    "starts_at",
    "ends_at",
    "host_id",
    "meeting_type_id",
    "confirmed_by_lead",
    "updated_at",
)


def _meetings_with(*extra: Any) -> Any:
    """Meetings, each with its host and its type, whatever either is."""
    return (
        Meeting.select(
            *Meeting._meta.sorted_fields,
            User.email.alias("host_email"),
            User.first_name.alias("host_first_name"),
            User.last_name.alias("host_last_name"),
            MeetingType.name.alias("meeting_type_name"),
            *extra,
        )
        .join(User, JOIN.LEFT_OUTER, on=(Meeting.host == User.id))
        .switch(Meeting)
        .join(MeetingType, JOIN.LEFT_OUTER, on=(Meeting.meeting_type == MeetingType.id))
    )


INSERT_EXTERNAL_EVENT = insert(ExternalEvent, unless_taken=True)
INSERT_MEETING = insert(Meeting)
UPDATE_MEETING = Prepared(
    lambda: Meeting.update(
        {
            field: Param(field)
            for field in Meeting._meta.sorted_fields
            if field.column_name in UPDATABLE
        }
    ).where(Meeting.client == Param(Meeting.client), Meeting.id == Param(Meeting.id))
)
MEETING_OF_EXTERNAL_EVENT = Prepared(
    lambda: (
        _meetings_with(
            Lead.email.alias("lead_email"),
            Lead.first_name.alias("lead_first_name"),
            Lead.last_name.alias("lead_last_name"),
            Lead.phone.alias("lead_phone"),
        )
        .switch(Meeting)
        .join(ExternalEvent, on=(ExternalEvent.meeting == Meeting.id))
        .switch(Meeting)
        .join(Lead, on=(Meeting.lead == Lead.id))
        .where(
            ExternalEvent.client == Param(ExternalEvent.client),
            ExternalEvent.provider == Param(ExternalEvent.provider),
            ExternalEvent.event_id == Param(ExternalEvent.event_id),
        )
    ),
    lock=True,
)


@lru_cache(maxsize=64)  # of each combination there is one
def _meetings_of_lead(statuses: frozenset[str] | None, after_cursor: bool) -> Prepared:
    def build() -> Any:
        query = _meetings_with().where(
            Meeting.client == Param(Meeting.client), Meeting.lead == Param(Meeting.lead)
        )
        if statuses is not None:
            query = query.where(_is_shown_as(statuses))
        if after_cursor:
            query = query.where(
                Tuple(Meeting.starts_at, Meeting.id)
                < Tuple(Param(Meeting.starts_at, "cursor_at"), Param(Meeting.id, "cursor_id"))
            )
        return query.order_by(Meeting.starts_at.desc(), Meeting.id.desc()).limit(Count("limit"))

    return Prepared(build)


def _is_shown_as(statuses: frozenset[str]) -> Any:
    condition = Meeting.status.in_(sorted(statuses - {"scheduled", "confirmed"}))
    for status, confirmed in (("scheduled", False), ("confirmed", True)):
        if status in statuses:
            condition |= (Meeting.status == "scheduled") & (Meeting.confirmed_by_lead == confirmed)
    return condition


def list_of_lead(client_id: str, lead_id: str, query: Row) -> tuple[list[Row], list[Any] | None]:
    """A page of a lead's meetings, latest start first, and the key to go on from, if there is more.

    `query` has limit and perhaps status (as shown) and cursor, the key of the last row seen.
    """
    limit = query["limit"]
    cursor_at, cursor_id = query.get("cursor", (None, None))
    prepared = _meetings_of_lead(query.get("status"), "cursor" in query)
    rows = prepared.rows(
        client_id=client_id,
        lead_id=lead_id,
        limit=limit + 1,
        cursor_at=cursor_at,
        cursor_id=cursor_id,
    )
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], [rows[limit - 1]["starts_at"], rows[limit - 1]["id"]]


def wrong_references(client_id: str, booking: Row) -> dict[str, list[str]]:
    """What only the database knows to be wrong with a booking: field → sentences.

    `booking` may be part of one, where the rest was refused already.
    """
    return _references(client_id, booking)[1]


@transaction
def log(client_id: str, booking: Row) -> tuple[Row, bool]:
    """Log a booking as a meeting of its lead, or update the meeting it was logged as before.

    `booking` holds the fields given, None for those to be set to their default, with instants for
    times. Returns the meeting and whether it is new. Raises InvalidRequest for an unknown host or
    meeting type, LeadNotFound, ExternalEventConflict.
    """
    references, wrong = _references(client_id, booking)
    if wrong:
        raise InvalidRequest(wrong)
    try:
        lead = leads.find_named(client_id, booking.get("lead_id"), booking.get("lead_email"))
    except LeadNotFound:
        # The lead may have another email by now; the booking is still its booking.
        meeting = _of_external_event_or_none(client_id, booking)
        if meeting is None or not _names_lead_of(meeting, booking):
            raise
        return _replay(meeting, booking, references), False
    meeting = _new_meeting(lead, booking, references)
    if _claim_external_event(meeting):
        INSERT_MEETING.run(**meeting)
        timeline.record(
            client_id,
            lead["id"],
            "meeting_scheduled",
            f"Meeting scheduled: {meeting['title']}",
            meeting["created_at"],
            description=_span(meeting),
            meeting_id=meeting["id"],
        )
        return meeting, True
    stored = _of_external_event_or_none(client_id, booking)
    assert stored is not None  # the key is taken, and never given up
    if not (lead["id"] == stored["lead_id"] or _names_lead_of(stored, booking)):
        raise ExternalEventConflict(*_external_event(booking), meeting_id=stored["id"])
    return _replay(stored, booking, references), False


def _external_event(booking: Row) -> tuple[str, str]:
    return booking["external_calendar_provider"], booking["external_event_id"]


def _claim_external_event(meeting: Row) -> bool:
    """Whether the meeting's pair was free and is now its own; a meeting without a pair needs none.

    The table's key decides, however many ask at once: on PostgreSQL the others wait here until the
    first has committed, on SQLite they wait for the transaction to begin.
    """
    provider, event_id = _external_event(meeting)
    if provider is None or event_id is None:
        return True
    return bool(
        INSERT_EXTERNAL_EVENT.run(
            client_id=meeting["client_id"],
            provider=provider,
            event_id=event_id,
            meeting_id=meeting["id"],
        )
    )


def _of_external_event_or_none(client_id: str, booking: Row) -> Row | None:
    provider = booking.get("external_calendar_provider")
    event_id = booking.get("external_event_id")
    if provider is None or event_id is None:
        return None
    return MEETING_OF_EXTERNAL_EVENT.row_or_none(
        client_id=client_id, provider=provider, event_id=event_id
    )


def _names_lead_of(meeting: Row, booking: Row) -> bool:
    """Whether a replay names the meeting's lead: by id, by its present email or by the first."""
    if booking.get("lead_id") is not None:
        return bool(booking["lead_id"] == meeting["lead_id"])
    email = booking["lead_email"].lower()
    return email in ((meeting["lead_email"] or "").lower(), meeting["matched_email"])


def _references(client_id: str, booking: Row) -> tuple[Row, dict[str, list[str]]]:
    """The columns that a booking's host and type set or clear, and what is wrong with the two."""
    columns: Row = {}
    wrong: dict[str, list[str]] = {}
    if "host_email" in booking:
        email = booking["host_email"]
        host = users.find_or_none(client_id, email) if email else None
        columns |= {
            "host_id": host and host["id"],
            "host_email": host and host["email"],
            "host_first_name": host and host["first_name"],
            "host_last_name": host and host["last_name"],
        }
        if email and (host is None or not (host["active"] or _hosts(client_id, host, booking))):
            wrong["host_email"] = ["No active user of yours has this email."]
    if "meeting_type_id" in booking:
        type_id = booking["meeting_type_id"]
        meeting_type = meeting_types.find_or_none(client_id, type_id) if type_id else None
        columns |= {
            "meeting_type_id": meeting_type and meeting_type["id"],
            "meeting_type_name": meeting_type and meeting_type["name"],
        }
        if type_id and meeting_type is None:
            wrong["meeting_type_id"] = ["No meeting type of yours has this id."]
    return columns, wrong


def _hosts(client_id: str, host: Row, booking: Row) -> bool:
    """Whether the booking is a replay of a meeting which the host, though inactive now, has."""
    meeting = _of_external_event_or_none(client_id, booking)
    return meeting is not None and meeting["host_id"] == host["id"]


def _defaults(lead: Row) -> Row:
    return {
        "timezone": "UTC",
        "meeting_url": None,
        "location_type": "video",
        "location_details": None,
        "description": None,
        "attendee_name": full_name(lead["first_name"], lead["last_name"]),
        "attendee_email": lead["email"],
        "attendee_phone": lead["phone"],
        "additional_attendees": [],
    }


def _given(booking: Row, defaults: Row) -> Row:
    """The plain fields a booking carries, the default in place of None."""
    return {
        field: defaults[field] if booking[field] is None else booking[field]
        for field in PLAIN_FIELDS
        if field in booking
    }


def _new_meeting(lead: Row, booking: Row, references: Row) -> Row:
    now = utc_now()
    defaults = _defaults(lead)
    by_email = booking.get("lead_id") is None
    return {
        "id": new_id(),
        "client_id": lead["client_id"],
        "lead_id": lead["id"],
        "starts_at": booking["starts_at"],
        "ends_at": booking["ends_at"],
        "status": "scheduled",
        "confirmed_by_lead": booking.get("status") == "confirmed",
        "host_id": None,
        "host_email": None,
        "host_first_name": None,
        "host_last_name": None,
        "meeting_type_id": None,
        "meeting_type_name": None,
        "external_calendar_provider": booking.get("external_calendar_provider"),
        "external_event_id": booking.get("external_event_id"),
        "matched_email": booking["lead_email"].lower() if by_email else None,
        "source": SOURCE,
        "cancelled_at": None,
        "cancellation_reason": None,
        "no_show_reason": None,
        "outcome_at": None,
        "outcome_notes": None,
        "created_at": now,
        "updated_at": now,
        **defaults,
        **_given(booking, defaults),
        **references,
    }


def _replay(meeting: Row, booking: Row, references: Row) -> Row:
    """Update a meeting with what a replay carries; an identical replay writes nothing."""
    lead = {
        "first_name": meeting["lead_first_name"],
        "last_name": meeting["lead_last_name"],
        "email": meeting["lead_email"],
        "phone": meeting["lead_phone"],
    }
    after = {
        **meeting,
        "starts_at": booking["starts_at"],
        "ends_at": booking["ends_at"],
        **_given(booking, _defaults(lead)),
        **references,
    }
    if meeting["status"] == "scheduled" and "status" in booking:
        after["confirmed_by_lead"] = booking["status"] == "confirmed"
    changes = _changes(meeting, after)
    if not changes:
        return meeting
    after["updated_at"] = max(utc_now(), meeting["updated_at"] + timedelta(microseconds=1))
    UPDATE_MEETING.run(**after)
    moved = "starts_at" in changes or "ends_at" in changes
    timeline.record(
        meeting["client_id"],
        meeting["lead_id"],
        "meeting_rescheduled" if moved else "meeting_updated",
        f"Meeting {'rescheduled' if moved else 'updated'}: {after['title']}",
        after["updated_at"],
        meeting_id=meeting["id"],
        changes=changes,
    )
    return after


def _changes(before: Row, after: Row) -> timeline.Changes:
    shown_before, shown_after = _as_told(before), _as_told(after)
    return {
        field: [shown_before[field], shown_after[field]]
        for field in shown_before
        if shown_before[field] != shown_after[field]
    }


def _as_told(meeting: Row) -> Row:
    """The fields of a meeting that a replay may change, as callers name and see them."""
    return {
        **{field: meeting[field] for field in PLAIN_FIELDS},
        "starts_at": format_instant(meeting["starts_at"]),
        "ends_at": format_instant(meeting["ends_at"]),
        "host_email": meeting["host_email"],
        "meeting_type_id": meeting["meeting_type_id"],
        "status": shown_status(meeting),
    }


def _span(meeting: Row) -> str:
    starts_at, ends_at = format_instant(meeting["starts_at"]), format_instant(meeting["ends_at"])
    return f"{starts_at} to {ends_at} ({meeting['timezone']})"
