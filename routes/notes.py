"""The routes of notes about meetings."""

from uuid import UUID

from flask import Response, g

from envelopes import NotePage, NoteSaved
from intake_schemas import MeetingNoteRequest, MeetingNoteResponse, NotesQuery
from routes.blueprint import api
from services import notes
from services.errors import MeetingNotFound, Unavailable
from web.answers import page, saved
from web.body import load, load_query
from web.describe import answers


@api.post("/meeting-notes")
@answers(
    {201: "new", 200: "updated"},
    NoteSaved,
    body=MeetingNoteRequest,
    raises=(MeetingNotFound, Unavailable),
)
def save_note() -> Response:
    """Store a note about a meeting, or update the one that the tool has sent before.

    The first of `calendar_event_id`, `external_calendar_event_id`, `meeting_url` and `lead_email`
    that is given identifies the meeting. With `external_meeting_id` the note can be sent again:
    given fields replace those stored, null clears a field, and the note keeps its meeting.
    """
    result = notes.save(g.client_id, load(MeetingNoteRequest))
    return saved(result, "note", MeetingNoteResponse)


@api.get("/meetings/<uuid:meeting_id>/notes")
@answers(200, NotePage, query=NotesQuery, raises=(MeetingNotFound,))
def list_notes(meeting_id: UUID) -> Response:
    """List the notes about a meeting, oldest first."""
    query = load_query(NotesQuery)
    found = notes.list_of_meeting(g.client_id, str(meeting_id), query)
    return page("notes", MeetingNoteResponse, query, *found)
