"""Calendly's webhooks, version 2.

https://developer.calendly.com/api-docs, "Webhook Payload" and "Webhook Signatures"
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from intake_models import Source
from services.providers.events import Action, ReportedEvent, event_name, find, flag, unnamed
from services.providers.signatures import is_same, sign
from times import utc_now

OLDEST_SECONDS, EARLIEST_SECONDS = 24 * 60 * 60, 5 * 60  # how old, or ahead, a signature may be
SECONDS = re.compile(r"[0-9]{1,12}")

ACTIONS: dict[str | None, Action] = {
    "invitee.created": "log",
    "invitee.canceled": "cancel",
    "invitee_no_show.created": "no_show",
    "invitee_no_show.deleted": "reopen",
}


def is_signed(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Check `Calendly-Webhook-Signature: t=<unix seconds>,v1=<hex>`; several v1 are allowed."""
    header = headers.get("Calendly-Webhook-Signature", "")
    parts = [part.strip().partition("=") for part in header.split(",")]
    signed_at = next((value for key, _, value in parts if key == "t"), "")
    if not SECONDS.fullmatch(signed_at):
        return False
    age = utc_now().timestamp() - int(signed_at)
    expected = sign(secret, signed_at.encode() + b"." + body)
    is_recent = -EARLIEST_SECONDS <= age <= OLDEST_SECONDS
    return is_recent and any(is_same(value, expected) for key, _, value in parts if key == "v1")


def read(payload: dict[str, Any], source: Source) -> ReportedEvent:
    """Return what a payload reports about a booking."""
    name, invitee = event_name(payload.get("event")), _invitee(payload.get("payload"))
    action: Action = ACTIONS.get(name, "ignore") if name else "refuse"
    booking = {**_booking(invitee), "external_calendar_provider": source.event_provider}
    if action == "cancel" and flag(invitee.get("rescheduled")):
        message = "belongs to a move, which the new booking reports."
        return ReportedEvent(name, "ignore", booking, message=message)
    return ReportedEvent(
        name=name,
        action=action,
        booking=booking,
        timezone=source.timezone,
        reason=find(invitee, "cancellation", "reason"),
        at=payload.get("created_at"),
        details={} if name else unnamed("event"),
    )


def _invitee(payload: Any) -> dict[str, Any]:
    """Return the invitee; older senders nest it, with `scheduled_event` inside or beside it."""
    outer = payload if isinstance(payload, dict) else {}
    inner = outer.get("invitee")
    if isinstance(inner, str):  # a bare no-show names its invitee by URI
        return {**outer, "uri": inner}
    if not isinstance(inner, dict):
        return outer
    return outer | {key: value for key, value in inner.items() if value is not None}


def _booking(invitee: dict[str, Any]) -> dict[str, Any]:
    scheduled = invitee.get("scheduled_event")
    location = find(scheduled, "location")
    return {
        "external_event_id": _last_part(invitee.get("uri")),
        "previous_external_event_id": _last_part(invitee.get("old_invitee")),
        "lead_email": invitee.get("email"),
        "attendee_name": invitee.get("name"),
        "attendee_phone": invitee.get("text_reminder_number"),
        "title": find(scheduled, "name"),
        "starts_at": find(scheduled, "start_time"),
        "ends_at": find(scheduled, "end_time"),
        "timezone": invitee.get("timezone"),
        "meeting_url": find(scheduled, "location", "join_url"),
        "location_type": _location_type(find(scheduled, "location", "type")),
        "location_details": location if isinstance(location, str) else find(location, "location"),
        "host_email": find(scheduled, "event_memberships", 0, "user_email"),
        "additional_attendees": find(scheduled, "event_guests"),
    }


def _last_part(uri: Any) -> Any:
    """Return the last part of a URI's path, which is the id."""
    try:
        return urlsplit(uri).path.rstrip("/").rpartition("/")[2] if isinstance(uri, str) else uri
    except ValueError:  # not a URI, such as "http://["
        return None


def _location_type(kind: Any) -> str | None:
    if not isinstance(kind, str):
        return None
    if kind == "physical":
        return "in_person"
    return "phone" if kind.endswith("_call") else "video"
