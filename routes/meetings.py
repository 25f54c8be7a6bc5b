"""The routes of meetings: log, list, count and find them, and change their state.

Each change is a route by the meeting's id, and another by the id of its booking.
"""

from uuid import UUID

from flask import Response, g

from bases import OptionalRequest, Query
from envelopes import (
    MeetingAnswer,
    MeetingChanged,
    MeetingLogged,
    MeetingPage,
    StatsAnswer,
    StoredMeeting,
)
from routes.blueprint import api
from schemas import (
    EventNotes,
    EventReason,
    EventReasonAndNotes,
    EventReschedule,
    MeetingFilters,
    MeetingItem,
    MeetingPatch,
    MeetingRequest,
    MeetingResponse,
    MeetingsQuery,
    NamedByEvent,
    Notes,
    Reason,
    ReasonAndNotes,
    RescheduleRequest,
)
from services import bookings, external_events, meetings, transitions
from services.errors import (
    ExternalEventConflict,
    InvalidTransition,
    LeadNotFound,
    MeetingNotFound,
)
from web.answers import booking_remarks, changed, page, stats, stored, success
from web.body import instance, load, load_partly, load_query, load_rows
from web.describe import answers
from web.observe import count_bookings


@api.post("/meetings")
@answers(
    {201: "new", 200: "replayed"},
    MeetingLogged,
    body=MeetingRequest,
    row=StoredMeeting,
    raises=(LeadNotFound, ExternalEventConflict),
)
def log_meeting() -> Response:
    """Log a meeting against a lead, or an array of them.

    The lead is found by `lead_id`, or else by `lead_email`; the end is given by `ends_at`, or by
    `duration_minutes`. Together, `external_calendar_provider` and `external_event_id` identify one
    meeting permanently: a request with the same pair updates that meeting with the fields it has.
    A field left out keeps its stored value; an explicit null resets it to its default.
    """
    body = load_rows(MeetingRequest)
    results = bookings.log(g.client_id, body.rows)
    count_bookings(results, is_array=body.is_array)
    return stored(body, results, "meeting", MeetingResponse, booking_remarks)


@api.get("/meetings")
@answers(200, MeetingPage, query=MeetingsQuery)
def list_meetings() -> Response:
    """List the client's meetings.

    With `order=updated_at` and `updated_after`, this is a change feed: a caller that reads until
    `has_more` is false and then polls from the last row misses no change.
    """
    query = load_query(MeetingsQuery)
    return page("meetings", MeetingItem, query, *meetings.list_meetings(g.client_id, query))


@api.get("/meetings/stats")
@answers(200, StatsAnswer, query=MeetingFilters)
def count_meetings() -> Response:
    """Count the meetings of each status, and the share of leads who showed up."""
    query = load_query(MeetingFilters)
    return stats(meetings.count_by_status(g.client_id, query))


@api.get("/meetings/<uuid:meeting_id>")
@answers(200, MeetingAnswer, query=Query, raises=(MeetingNotFound,))
def get_meeting(meeting_id: UUID) -> Response:
    """Get one meeting in full."""
    load_query(Query)
    meeting = meetings.find(g.client_id, str(meeting_id))
    return success(meeting=instance(MeetingItem).dump(meeting))


@api.patch("/meetings/<uuid:meeting_id>")
@answers(200, MeetingChanged, body=MeetingPatch, raises=(MeetingNotFound,))
def update_meeting(meeting_id: UUID) -> Response:
    """Replace the given fields of a meeting, in any status.

    Null sets a field to its default; `title` has none. Other calls change the times and the status.
    """
    patch = load_partly(MeetingPatch)
    return changed(meetings.update(g.client_id, str(meeting_id), patch))


@api.post("/meetings/<uuid:meeting_id>/confirm")
@answers(200, MeetingChanged, body=OptionalRequest, raises=(MeetingNotFound, InvalidTransition))
def confirm_meeting(meeting_id: UUID) -> Response:
    """Record that the lead has confirmed."""
    load(OptionalRequest)
    return changed(transitions.confirm(g.client_id, str(meeting_id)))


@api.post("/meetings/<uuid:meeting_id>/cancel")
@answers(200, MeetingChanged, body=Reason, raises=(MeetingNotFound, InvalidTransition))
def cancel_meeting(meeting_id: UUID) -> Response:
    """Cancel a meeting that will not take place."""
    return changed(transitions.cancel(g.client_id, str(meeting_id), load(Reason)))


@api.post("/meetings/<uuid:meeting_id>/complete")
@answers(200, MeetingChanged, body=Notes, raises=(MeetingNotFound, InvalidTransition))
def complete_meeting(meeting_id: UUID) -> Response:
    """Record that the meeting took place."""
    return changed(transitions.complete(g.client_id, str(meeting_id), load(Notes)))


@api.post("/meetings/<uuid:meeting_id>/no-show")
@answers(200, MeetingChanged, body=ReasonAndNotes, raises=(MeetingNotFound, InvalidTransition))
def mark_no_show(meeting_id: UUID) -> Response:
    """Record that the lead did not show up."""
    return changed(transitions.mark_no_show(g.client_id, str(meeting_id), load(ReasonAndNotes)))


@api.post("/meetings/<uuid:meeting_id>/reopen")
@answers(200, MeetingChanged, body=OptionalRequest, raises=(MeetingNotFound,))
def reopen_meeting(meeting_id: UUID) -> Response:
    """Make the meeting scheduled again, unconfirmed.

    This clears what the outcome had set; the timeline keeps it.
    """
    load(OptionalRequest)
    return changed(transitions.reopen(g.client_id, str(meeting_id)))


@api.post("/meetings/<uuid:meeting_id>/reschedule")
@answers(
    200,
    MeetingChanged,
    body=RescheduleRequest,
    raises=(MeetingNotFound, InvalidTransition, ExternalEventConflict),
)
def reschedule_meeting(meeting_id: UUID) -> Response:
    """Move the meeting to another time.

    With neither `ends_at` nor `duration_minutes` the duration stays. The confirmation is removed.
    """
    move = load_partly(RescheduleRequest)
    return changed(transitions.reschedule(g.client_id, str(meeting_id), move))


@api.post("/meetings/confirm")
@answers(200, MeetingChanged, body=NamedByEvent, raises=(MeetingNotFound, InvalidTransition))
def confirm_event() -> Response:
    """Record that the lead has confirmed the booking with this id."""
    given = load(NamedByEvent)
    return changed(
        transitions.confirm(g.client_id, external_events.find_meeting_id(g.client_id, given))
    )


@api.post("/meetings/cancel")
@answers(200, MeetingChanged, body=EventReason, raises=(MeetingNotFound, InvalidTransition))
def cancel_event() -> Response:
    """Cancel the meeting of the booking with this id."""
    given = load(EventReason)
    meeting_id = external_events.find_meeting_id(g.client_id, given)
    return changed(transitions.cancel(g.client_id, meeting_id, given))


@api.post("/meetings/complete")
@answers(200, MeetingChanged, body=EventNotes, raises=(MeetingNotFound, InvalidTransition))
def complete_event() -> Response:
    """Record that the meeting of the booking with this id took place."""
    given = load(EventNotes)
    meeting_id = external_events.find_meeting_id(g.client_id, given)
    return changed(transitions.complete(g.client_id, meeting_id, given))


@api.post("/meetings/no-show")
@answers(200, MeetingChanged, body=EventReasonAndNotes, raises=(MeetingNotFound, InvalidTransition))
def mark_event_no_show() -> Response:
    """Record that the lead did not show up to the booking with this id."""
    given = load(EventReasonAndNotes)
    meeting_id = external_events.find_meeting_id(g.client_id, given)
    return changed(transitions.mark_no_show(g.client_id, meeting_id, given))


@api.post("/meetings/reopen")
@answers(200, MeetingChanged, body=NamedByEvent, raises=(MeetingNotFound,))
def reopen_event() -> Response:
    """Make the meeting of the booking with this id scheduled again, unconfirmed.

    This clears what the outcome had set; the timeline keeps it.
    """
    given = load(NamedByEvent)
    return changed(
        transitions.reopen(g.client_id, external_events.find_meeting_id(g.client_id, given))
    )


@api.post("/meetings/reschedule")
@answers(
    200,
    MeetingChanged,
    body=EventReschedule,
    raises=(MeetingNotFound, InvalidTransition, ExternalEventConflict),
)
def reschedule_event() -> Response:
    """Move the meeting of the booking with this id to another time.

    With neither `ends_at` nor `duration_minutes` the duration stays. The confirmation is removed.
    """
    return changed(transitions.reschedule_by_event(g.client_id, load_partly(EventReschedule)))
