"""Sample events: what a test delivery reports about a meeting and a lead that do not exist."""

from datetime import timedelta
from typing import Any

from ids import new_id
from models import Lead, Meeting, MeetingNote, MeetingType, User
from services import event_payloads
from times import utc_now

LEAD: dict[str, Any] = {
    "first_name": "Tony",
    "last_name": "Stark",
    "email": "tony.stark@example.com",
    "phone": "+1 212 970 4133",
    "source": "sample",
    "company": "Stark Industries",
    "title": "CEO",
    "external_id": "sample-lead",
    "metadata": {},
}
MEETING: dict[str, Any] = {
    "title": "Sample: Discovery Call with Tony Stark",
    "timezone": "UTC",
    "location_type": "video",
    "location_details": None,
    "meeting_url": "https://meet.example.com/sample",
    "status": "scheduled",
    "confirmed_by_lead": False,
    "source": "sample",
    "attendee_name": "Tony Stark",
    "attendee_email": "tony.stark@example.com",
    "attendee_phone": "+1 212 970 4133",
    "cancelled_at": None,
    "cancellation_reason": None,
    "outcome_notes": None,
    "outcome_at": None,
    "no_show_reason": None,
    "external_calendar_provider": "sample",
    "external_event_id": "sample-event",
    "description": "A test of your webhook.",
    "additional_attendees": [],
    "reschedules": [],
}
HOST = {"first_name": "Pepper", "last_name": "Potts", "email": "pepper.potts@example.com"}
NOTE: dict[str, Any] = {
    "provider": "manual",
    "external_meeting_id": None,
    "notes": "A sample note.",
    "summary": None,
    "manual_ai_summary": None,
    "transcript_text": None,
    "action_items": None,
    "matched_by": "calendar_event_id",
}


def sample_of(event_type: str) -> dict[str, Any]:
    """Return the `data` of a sample event of a type, without its sequence."""
    now = utc_now()
    times = {"created_at": now, "updated_at": now}
    lead = Lead.of({"id": new_id(), **LEAD, **times})
    if event_type == "lead.erased":
        return {"lead": {"id": lead.id}, "changes": None}
    if event_type.startswith("lead."):
        return event_payloads.describe_lead(lead) | {"changes": _changes(event_type)}
    starts_at = (now + timedelta(days=1)).replace(minute=0, second=0, microsecond=0)
    span = {"starts_at": starts_at, "ends_at": starts_at + timedelta(hours=1)}
    outcome = _outcome(event_type, now)
    data = {"id": new_id(), "lead": lead.id, **MEETING, **span, **times, **outcome}
    meeting = Meeting.of(data)
    meeting.__rel__["host"] = User.of({"id": new_id(), **HOST})
    meeting.__rel__["meeting_type"] = MeetingType.of({"id": new_id(), "name": "Discovery Call"})
    sample = event_payloads.describe_meeting(meeting, lead)
    if event_type == "note.added":
        note = MeetingNote.of({"id": new_id(), **NOTE, **times})
        sample |= event_payloads.describe_note(note, meeting)
    return sample | {"changes": _changes(event_type)}


def _outcome(event_type: str, now: Any) -> dict[str, Any]:
    return {
        "meeting.confirmed": {"confirmed_by_lead": True},
        "meeting.cancelled": {"status": "cancelled", "cancelled_at": now},
        "meeting.completed": {"status": "completed", "outcome_at": now},
        "meeting.no_show": {
            "status": "no_show",
            "outcome_at": now,
            "no_show_reason": "api_marked",
        },
    }.get(event_type, {})


def _changes(event_type: str) -> dict[str, Any] | None:
    changes: dict[str, Any] = {
        "meeting.updated": {"location_type": ["phone", "video"]},
        "meeting.rescheduled": {"starts_at": ["2026-03-02T14:00:00Z", "2026-03-03T14:00:00Z"]},
        "meeting.confirmed": {"status": ["scheduled", "confirmed"]},
        "meeting.cancelled": {"status": ["scheduled", "cancelled"]},
        "meeting.completed": {"status": ["scheduled", "completed"]},
        "meeting.no_show": {"status": ["scheduled", "no_show"]},
        "meeting.reopened": {"status": ["cancelled", "scheduled"]},
        "lead.updated": {"company": [None, "Stark Industries"]},
    }
    return changes.get(event_type)
