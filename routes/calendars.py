"""The routes of calendars: meetings as iCalendar, for calendar programs."""

from uuid import UUID

from flask import Response, g

from bases import Query
from routes.blueprint import api
from schemas import CalendarQuery
from services import calendars, feeds, leads
from services.errors import LeadNotFound, MeetingNotFound, NotFound, Unavailable
from web.answers import calendar
from web.body import load_query
from web.describe import answers


@api.get("/meetings/<uuid:meeting_id>.ics")
@answers(200, None, query=Query, raises=(MeetingNotFound,))
def get_meeting_calendar(meeting_id: UUID) -> Response:
    """Get one meeting as iCalendar."""
    load_query(Query)
    return calendar(calendars.of_meeting(g.client_id, str(meeting_id)))


@api.get("/leads/<uuid:lead_id>/meetings.ics")
@answers(200, None, query=Query, raises=(LeadNotFound,))
def get_lead_calendar(lead_id: UUID) -> Response:
    """Get the lead's meetings as iCalendar."""
    load_query(Query)
    lead = leads.find(g.client_id, str(lead_id))
    return calendar(calendars.of_many(g.client_id, "Meetings", {"lead_id": lead.id}))


@api.get("/meetings.ics")
@answers(200, None, query=CalendarQuery)
def get_host_calendar() -> Response:
    """Get the meetings of one host, or of all, as iCalendar."""
    query = load_query(CalendarQuery)
    return calendar(calendars.of_many(g.client_id, "Meetings", query))


@answers(200, None, query=Query, raises=(NotFound, Unavailable))
def get_feed(token: str) -> Response:
    """Get the calendar of a feed; its address is the secret, so no key is needed.

    `flask feeds create` makes the address.
    """
    load_query(Query)
    g.client_id, text = feeds.read(token)
    return calendar(text)
