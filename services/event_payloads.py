"""The bodies of webhooks: what an event says about a meeting, a lead or a note."""

from typing import Any

import orjson

from models import Lead, Meeting, MeetingNote
from times import format_instant
from webhook_models import Delivery, Event

JSON_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS

MEETING_FIELDS = (
    "id",
    "title",
    "starts_at",
    "ends_at",
    "duration_minutes",
    "timezone",
    "location_type",
    "location_details",
    "meeting_url",
    "status",
    "source",
    "attendee_name",
    "attendee_email",
    "attendee_phone",
    "confirmed_by_lead",
    "cancelled_at",
    "cancellation_reason",
    "outcome_notes",
    "outcome_at",
    "no_show_reason",
    "external_calendar_provider",
    "external_event_id",
    "description",
    "additional_attendees",
    "reschedules",
    "created_at",
    "updated_at",
)
# What events of a meeting show of its lead; events of a lead itself show more.
SHORT_LEAD_FIELDS = (
    "id",
    "first_name",
    "last_name",
    "email",
    "phone",
    "company",
    "source",
    "external_id",
)
LEAD_FIELDS = (
    "id",
    "first_name",
    "last_name",
    "email",
    "phone",
    "source",
    "company",
    "title",
    "external_id",
    "metadata",
    "created_at",
    "updated_at",
)
NOTE_FIELDS = (
    "id",
    "meeting_id",
    "lead_id",
    "provider",
    "external_meeting_id",
    "notes",
    "summary",
    "manual_ai_summary",
    "transcript_text",
    "action_items",
    "matched_by",
    "created_at",
    "updated_at",
)
HOST_FIELDS, TYPE_FIELDS = ("id", "first_name", "last_name", "email"), ("id", "name")


def describe_meeting(meeting: Meeting, lead: Lead | None) -> dict[str, Any]:
    """Return what an event says about a meeting whose host and type have been read."""
    shown = meeting.__data__ | {
        "status": meeting.shown_status,
        "duration_minutes": meeting.duration_minutes,
    }
    related = meeting.__rel__
    return {
        "meeting": {name: shown[name] for name in MEETING_FIELDS},
        "lead": _fields_of(lead, SHORT_LEAD_FIELDS),
        "host": _fields_of(related.get("host"), HOST_FIELDS),
        "meeting_type": _fields_of(related.get("meeting_type"), TYPE_FIELDS),
    }


def describe_lead(lead: Lead) -> dict[str, Any]:
    """Return what an event of a lead itself says about it."""
    return {"lead": _fields_of(lead, LEAD_FIELDS)}


def describe_note(note: MeetingNote, meeting: Meeting) -> dict[str, Any]:
    """Return what an event says about a note of a meeting."""
    shown = note.__data__ | {"meeting_id": meeting.id, "lead_id": meeting.lead_id}
    return {"note": {name: shown[name] for name in NOTE_FIELDS}}


def _fields_of(row: Any, names: tuple[str, ...]) -> dict[str, Any] | None:
    return row and {name: row.__data__[name] for name in names}


def write_data(data: dict[str, Any]) -> str:
    """Return an event's `data` as JSON text; `body_of` adds the sequence."""
    return orjson.dumps(data, format_instant, JSON_OPTIONS).decode()


def body_of(delivery: Delivery, event: Event) -> bytes:
    """Return the body of a delivery. It is the same at every call, so at every try."""
    head = {
        "event_type": event.event_type,
        "event_id": event.id,
        "webhook_id": delivery.webhook_id,
        "delivery_id": delivery.id,
        "timestamp": event.created_at.isoformat("T", "milliseconds")[:23] + "Z",
        "client_id": event.client_id,
        "test": event.test,
    }
    start = orjson.dumps(head).decode().removesuffix("}")
    data = event.data.removesuffix("}")
    return f'{start},"data":{data},"sequence":{event.sequence}}}}}'.encode()
