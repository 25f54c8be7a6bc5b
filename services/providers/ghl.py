"""GoHighLevel's webhooks, which a workflow sends.

https://help.gohighlevel.com, "Workflow Action - Webhook"
"""

from collections.abc import Mapping
from typing import Any

from intake_models import Source
from services.providers.events import Action, ReportedEvent, event_name, find, is_blank, plain_text
from services.providers.signatures import is_same

# By the status of the appointment in lower case. A booking is confirmed when it is made, so the
# status says nothing about the lead's confirmation.
ACTIONS: dict[str, Action] = {
    "booked": "log",
    "new": "log",
    "confirmed": "log",
    "rescheduled": "log",
    "cancelled": "cancel",
    "canceled": "cancel",
    "invalid": "cancel",
    "deleted": "cancel",
    "noshow": "no_show",
    "no_show": "no_show",
    "no-show": "no_show",
    "showed": "complete",
    "completed": "complete",
}
# The first is how GoHighLevel spells it.
STATUS_KEYS = ("appoinmentStatus", "appointmentStatus", "status")


def is_signed(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Check `X-Webhook-Secret: <secret>`: workflows do not sign, but can send a header."""
    return is_same(headers.get("X-Webhook-Secret"), secret)


def read(payload: dict[str, Any], source: Source) -> ReportedEvent:
    """Return what a payload reports about a booking."""
    found = (find(payload, "calendar", key) for key in STATUS_KEYS)
    status = next((value for value in found if not is_blank(value)), None)
    name, action = event_name(status), _action(status)
    sentence = f'The status "{name}" is unknown.' if name else "The status is not a text."
    return ReportedEvent(
        name=name,
        action=action,
        booking=_booking(payload, source),
        timezone=source.timezone,
        details={"status": [sentence]} if action == "refuse" else {},
    )


def _action(status: Any) -> Action:
    if status is None:
        return "log"
    return ACTIONS.get((plain_text(status) or "").lower(), "refuse")


def _booking(payload: dict[str, Any], source: Source) -> dict[str, Any]:
    calendar = payload.get("calendar")
    names = [plain_text(payload.get(name)) for name in ("first_name", "last_name")]
    return {
        "external_calendar_provider": source.event_provider,
        "external_event_id": find(calendar, "appointmentId"),
        "lead_email": payload.get("email"),
        "attendee_name": (payload.get("full_name"), " ".join(filter(None, names))),
        "attendee_phone": payload.get("phone"),
        "title": (find(calendar, "title"), find(calendar, "calendarName")),
        # Wall-clock times in the zone.
        "starts_at": find(calendar, "startTime"),
        "ends_at": find(calendar, "endTime"),
        "timezone": (
            find(calendar, "selectedTimezone"),
            payload.get("timezone"),
            source.timezone,
        ),
        "location": find(calendar, "address"),  # or the link to join
        "host_email": find(payload, "customData", "host_email"),
        "description": (payload.get("notes"), find(calendar, "notes")),
    }
