"""Examples of response contents, for the documentation."""

from typing import Any

from marshmallow import Schema

import envelopes
import intake_schemas
import lead_schemas
import schemas
from config.version import VERSION
from models import CHANNEL

HOST: dict[str, Any] = {
    "id": "019b6a5a-70a8-7f10-9c1e-2b7d5e6f8a01",
    "name": "Pepper Potts",
    "email": "pepper.potts@example.com",
}
USER: dict[str, Any] = {
    "id": HOST["id"],
    "email": HOST["email"],
    "first_name": "Pepper",
    "last_name": "Potts",
    "active": True,
}
MEETING_TYPE: dict[str, Any] = {
    "id": "019b6a5a-7f30-7b21-8a44-90f1c2d3e4f5",
    "name": "Discovery Call",
}
TIMES: dict[str, Any] = {"starts_at": "2025-12-29T17:00:00Z", "ends_at": "2025-12-29T18:00:00Z"}
MOVE: dict[str, Any] = {
    "from": {"starts_at": "2025-12-22T17:00:00Z", "ends_at": "2025-12-22T18:00:00Z"},
    "to": TIMES,
    "reason": "double-booked",
    "at": "2025-12-21T09:00:00Z",
}
MEETING: dict[str, Any] = {
    "id": "019b6a5c-5d60-7d5f-a1c3-6a1f0c1b7a11",
    "lead_id": "019b6a5b-0f10-7c52-8d2e-1f5b7a9c3d20",
    "title": "Discovery Call with Tony Stark",
    "starts_at": "2025-12-29T17:00:00Z",
    "ends_at": "2025-12-29T18:00:00Z",
    "duration_minutes": 60,
    "timezone": "America/Santiago",
    "status": "confirmed",
    "meeting_url": "https://meet.google.com/oki-fjnk-oyu",
    "location_type": "video",
    "location_details": None,
    "host_name": None,
    "meeting_type": None,
    "attendee_name": "Tony Stark",
    "attendee_email": "tony.stark@gmail.com",
    "external_calendar_provider": "ghl",
    "external_event_id": "1RZJ24WY65VGQFyhN0vJ",
    "source": "api",
    "created_at": "2025-12-20T12:00:00Z",
}
MEETING_ITEM: dict[str, Any] = {
    **MEETING,
    "host_name": "Pepper Potts",
    "meeting_type": MEETING_TYPE["name"],
    "confirmed_by_lead": True,
    "cancelled_at": None,
    "cancellation_reason": None,
    "no_show_reason": None,
    "outcome_at": None,
    "outcome_notes": None,
    "updated_at": "2025-12-21T09:00:00Z",
    "host": HOST,
    "description": "Confirmation and reminder emails",
    "attendee_phone": "+1 212 970 4133",
    "additional_attendees": [schemas.Attendee.EXAMPLE],
    "meeting_type_id": MEETING_TYPE["id"],
    "reschedules": [MOVE],
}
NOTE: dict[str, Any] = {
    "id": "019b6a5d-1c00-7a3e-9b55-3e2d1c0b9a87",
    "meeting_id": MEETING["id"],
    "lead_id": MEETING["lead_id"],
    "provider": "fathom",
    "external_meeting_id": "fathom-4711",
    "notes": None,
    "summary": "Tony wants a demo of the Mark III.",
    "manual_ai_summary": None,
    "transcript_text": None,
    "action_items": ["Send the price list", "Book the demo"],
    "matched_by": "external_calendar_event_id",
    "created_at": "2025-12-29T18:05:00Z",
    "updated_at": "2025-12-29T18:05:00Z",
}
LEAD_SUMMARY: dict[str, Any] = {
    "id": "019b6a5b-0f10-7c52-8d2e-1f5b7a9c3d20",
    "first_name": "Tony",
    "last_name": "Stark",
    "phone": "+1 212 970 4133",
    "email": "tony.stark@gmail.com",
    "source": "api",
    "created_at": "2025-12-20T11:00:00Z",
}
LEAD: dict[str, Any] = {
    **LEAD_SUMMARY,
    "company": "Stark Industries",
    "title": None,
    "external_id": "demo-tony-stark",
    "metadata": {"utm_source": "webinar"},
    "updated_at": "2025-12-20T11:00:00Z",
}
ACTIVITY: dict[str, Any] = {
    "type": "activity",
    "channel": CHANNEL,
    "activity_type": "meeting_updated",
    "title": "Meeting updated: Discovery Call with Tony Stark",
    "description": "Changed: location_type",
    "actor_type": "api",
    "meeting_id": MEETING["id"],
    "changes": {"location_type": ["video", "phone"]},
    "timestamp": "2025-12-21T09:00:00Z",
}
SOURCE: dict[str, Any] = {
    "id": "019b6a5a-9c40-7e11-b0a2-4d5e6f708192",
    "name": "Calendly",
    "provider": "calendly",
    "signed": True,
    "create_leads": True,
    "timezone": "UTC",
    "mapping": None,
    "created_at": "2025-12-20T10:00:00Z",
    "last_received_at": "2025-12-21T09:00:00Z",
}
RECEIPT: dict[str, Any] = {
    "id": "019b6a5c-5d60-7d5f-a1c3-6a1f0c1b7a22",
    "source_id": SOURCE["id"],
    "provider": "calendly",
    "event": "invitee.created",
    "outcome": "logged",
    "message": "Logged a new meeting.",
    "details": {"host_email": ["Left out: no active user of yours has the email x@example.com."]},
    "meeting_id": MEETING["id"],
    "lead_id": MEETING["lead_id"],
    "lead_email": "tony.stark@gmail.com",
    "received_at": "2025-12-20T12:00:00Z",
    "attempts": 1,
}
PAYLOAD = {"event": "invitee.created", "payload": {"email": "tony.stark@gmail.com"}}
HOOK_URL = "https://meetings.example.com/hooks/calendly_y3k0Fq…"
CURSOR_PAGINATION: dict[str, Any] = {"limit": 50, "has_more": False, "next_cursor": None}
STATS: dict[str, Any] = {
    "total": 9,
    "scheduled": 2,
    "confirmed": 1,
    "completed": 3,
    "cancelled": 2,
    "no_show": 1,
    "show_rate": 0.75,
    "no_show_rate": 0.25,
}
PAGE_PAGINATION: dict[str, Any] = {"page": 0, "limit": 50, "has_more": False}

EXAMPLES: dict[type[Schema], dict[str, Any]] = {
    envelopes.HealthAnswer: {"version": VERSION},
    schemas.Host: HOST,
    schemas.Times: TIMES,
    schemas.Move: MOVE,
    schemas.MeetingResponse: MEETING,
    schemas.MeetingItem: MEETING_ITEM,
    lead_schemas.LeadSummary: LEAD_SUMMARY,
    lead_schemas.LeadResponse: LEAD,
    lead_schemas.ActivityResponse: ACTIVITY,
    intake_schemas.MeetingNoteResponse: NOTE,
    schemas.UserResponse: USER,
    schemas.MeetingTypeResponse: MEETING_TYPE,
    intake_schemas.SourceResponse: SOURCE,
    intake_schemas.ReceiptResponse: RECEIPT,
    envelopes.ReceiptWithPayload: {**RECEIPT, "payload": PAYLOAD},
    envelopes.ReceiptsRetried: {"retried": 3, "outcomes": {"logged": 2, "unmatched": 1}, "left": 0},
    envelopes.SourceWithUrl: {"url": HOOK_URL},
    envelopes.CursorPagination: CURSOR_PAGINATION,
    envelopes.Stats: STATS,
    envelopes.PagePagination: PAGE_PAGINATION,
}
