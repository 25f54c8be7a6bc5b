"""Cal.com's webhooks: https://cal.com/docs/developing/guides/automation/webhooks"""

from collections.abc import Mapping
from typing import Any

from intake_models import Source
from services.providers.events import Action, ReportedEvent, event_name, find, flag, unnamed
from services.providers.signatures import is_same, sign

ACTIONS: dict[str, Action] = {
    "BOOKING_CREATED": "log",
    "BOOKING_RESCHEDULED": "log",
    "BOOKING_REQUESTED": "log",
    "BOOKING_PAID": "log",
    "BOOKING_LOCATION_UPDATED": "log",
    "BOOKING_CANCELLED": "cancel",
    "BOOKING_REJECTED": "cancel",
}
REASONS = {"BOOKING_CANCELLED": "cancellationReason", "BOOKING_REJECTED": "rejectionReason"}
NO_SHOW = "BOOKING_NO_SHOW_UPDATED"


def is_signed(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Check `X-Cal-Signature-256: <hex>`."""
    return is_same(headers.get("X-Cal-Signature-256"), sign(secret, body))


def read(payload: dict[str, Any], source: Source) -> ReportedEvent:
    """Return what a payload reports about a booking."""
    name, inner = event_name(payload.get("triggerEvent")), payload.get("payload")
    body = inner if isinstance(inner, dict) else payload  # a flattened payload
    action, details = _action(name, body)
    booking = {**_booking(name, body), "external_calendar_provider": source.event_provider}
    if name == "BOOKING_CANCELLED" and flag(body.get("requestReschedule")):
        message = "only says that the host asks for another time."
        return ReportedEvent(name, "ignore", booking, message=message)
    return ReportedEvent(
        name=name,
        action=action,
        booking=booking,
        timezone=source.timezone,
        reason=body.get(REASONS.get(name or "", "")),
        at=payload.get("createdAt"),
        details=details,
    )


def _action(name: str | None, body: dict[str, Any]) -> tuple[Action, dict[str, list[str]]]:
    if name is None:
        return "refuse", unnamed("event")
    if name == NO_SHOW:
        for no_show in (body.get("noShow"), find(body, "attendees", 0, "noShow")):
            if (came_not := flag(no_show)) is not None:
                return "no_show" if came_not else "reopen", {}
        return "refuse", {"status": ["noShow must be true or false."]}
    return ACTIONS.get(name, "ignore"), {}


def _booking(name: str | None, body: dict[str, Any]) -> dict[str, Any]:
    uid = body.get("uid")
    emails: tuple[Any, ...] = (
        find(body, "attendees", 0, "email"),
        find(body, "responses", "email", "value"),
    )
    if name == NO_SHOW and body.get("startTime") is None:
        emails = ()  # it may list only a guest who did not come
    return {
        "external_event_id": (body.get("bookingUid"), uid) if name == NO_SHOW else uid,
        "previous_external_event_id": body.get("rescheduleUid"),
        "lead_email": emails,
        "attendee_name": find(body, "attendees", 0, "name"),
        "attendee_phone": find(body, "attendees", 0, "phoneNumber"),
        "title": (body.get("eventTitle"), body.get("title")),
        "starts_at": body.get("startTime"),
        "ends_at": body.get("endTime"),
        "timezone": find(body, "attendees", 0, "timeZone"),
        "meeting_url": (
            find(body, "metadata", "videoCallUrl"),
            find(body, "videoCallData", "url"),
        ),
        **_location(body.get("location")),
        "host_email": find(body, "organizer", "email"),
        "additional_attendees": _guests(body),
        "description": (body.get("additionalNotes"), body.get("description")),
    }


def _location(location: Any) -> dict[str, Any]:
    """Return the fields of a location: a video call (`integrations:zoom`), else a place."""
    if isinstance(location, str) and location.strip().startswith("integrations:"):
        return {"location_type": "video"}
    return {"location": location}


def _guests(body: dict[str, Any]) -> list[Any] | None:
    attendees, guests = body.get("attendees"), find(body, "responses", "guests", "value")
    if not isinstance(attendees, list) and not guests:
        return None
    others = attendees[1:] if isinstance(attendees, list) else []
    return others + (guests if isinstance(guests, list) else [guests] if guests else [])
