"""Meetings: the list with its filters, one meeting, and the forms that change it."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from flask import g, redirect, render_template, request

from bases import OptionalRequest, Request
from desk.blueprint import desk
from desk.filters import MeetingList
from desk.forms import Form, go_back, go_to
from desk.templating import FEW, with_parameters
from fields import write_cursor
from lead_schemas import LeadsQuery
from schemas import Notes, Reason, ReasonAndNotes, RescheduleRequest
from services import deliveries, leads, meetings, notes, receipts, transitions, users

LEADS_TO_CHOOSE = 10
# The last word of a form's address, and what the page says after the form.
DONE = {
    "confirm": "confirmed",
    "cancel": "cancelled",
    "complete": "completed",
    "no-show": "no_show",
    "reopen": "reopened",
    "reschedule": "rescheduled",
}
CHANGES = ", ".join(f'"{word}"' for word in DONE)


@desk.get("/meetings")
def list_meetings() -> Any:
    """List the client's meetings that pass the filters, fifty to a page."""
    form = Form("filters", _filters_given())
    rows: list[Any] = []
    choices: list[Any] = []
    query: dict[str, Any] = {}
    next_key = None
    with form.errors():
        query = form.load(MeetingList)
        if "lead" in query and "lead_id" not in query:
            choices = find_leads(query["lead"])
            if len(choices) == 1:
                return redirect(with_parameters(lead=None, lead_id=choices[0].id, cursor=None))
        else:
            rows, next_key = meetings.list_meetings(g.client_id, query)
    meetings.add_leads(g.client_id, rows)
    lead = leads.find_by_id(g.client_id, [query["lead_id"]]) if "lead_id" in query else {}
    page = render_template(
        "desk/meetings.html",
        form=form,
        meetings=rows,
        next_cursor=write_cursor(next_key),
        choices=choices,
        lead=lead.get(query.get("lead_id", "")),
        hosts=users.list_all(g.client_id),
    )
    return page, form.status


def _filters_given() -> dict[str, str]:
    """Return the parameters of the address; of several statuses, a comma-separated list."""
    given = {name: ",".join(request.args.getlist(name)) for name in request.args}
    for name in ("done", "about"):
        given.pop(name, None)
    return {"zone": g.zone_name} | {name: text for name, text in given.items() if text}


def find_leads(search: str) -> list[Any]:
    """Return the leads to choose from, found by part of a name, an email or a phone."""
    given = {"search": search, "limit": str(LEADS_TO_CHOOSE)}
    return leads.list_leads(g.client_id, Form("search", given).load(LeadsQuery))[0]


@desk.get("/meetings/<uuid:meeting_id>")
def show_meeting(meeting_id: UUID) -> Any:
    """Show all about a meeting, and the forms that change it."""
    return _meeting_page(str(meeting_id), Form())


def _meeting_page(meeting_id: str, form: Form) -> Any:
    """Show a meeting; a form that was refused is shown with what is wrong."""
    meeting = meetings.find(g.client_id, meeting_id)
    meetings.add_leads(g.client_id, [meeting])
    query = {"limit": FEW}
    page = render_template(
        "desk/meeting.html",
        meeting=meeting,
        form=form,
        possible=transitions.possible(meeting),
        notes=notes.list_of_meeting(g.client_id, meeting_id, query)[0],
        receipts=receipts.list_of_meeting(g.client_id, meeting, FEW),
        deliveries=deliveries.list_of_meeting(g.client_id, meeting_id, FEW),
    )
    return page, form.status


@desk.get(f"/meetings/<uuid:meeting_id>/<any({CHANGES}):change>")
def show_changed_meeting(meeting_id: UUID, change: str) -> Any:
    """Redirect to the meeting if a browser opens the form's address as a page."""
    return go_to("desk.show_meeting", meeting_id=meeting_id)


@desk.post("/meetings/<uuid:meeting_id>/confirm")
def confirm(meeting_id: UUID) -> Any:
    """Record that the lead has confirmed."""
    return _change(
        meeting_id, "confirm", OptionalRequest, lambda c, i, given: transitions.confirm(c, i)
    )


@desk.post("/meetings/<uuid:meeting_id>/cancel")
def cancel(meeting_id: UUID) -> Any:
    """Cancel a meeting."""
    return _change(meeting_id, "cancel", Reason, transitions.cancel)


@desk.post("/meetings/<uuid:meeting_id>/complete")
def complete(meeting_id: UUID) -> Any:
    """Record that the lead showed up."""
    return _change(meeting_id, "complete", Notes, transitions.complete)


@desk.post("/meetings/<uuid:meeting_id>/no-show")
def mark_no_show(meeting_id: UUID) -> Any:
    """Record that the lead did not show up."""
    return _change(meeting_id, "no-show", ReasonAndNotes, transitions.mark_no_show)


@desk.post("/meetings/<uuid:meeting_id>/reopen")
def reopen(meeting_id: UUID) -> Any:
    """Set a meeting back to scheduled."""
    return _change(
        meeting_id, "reopen", OptionalRequest, lambda c, i, given: transitions.reopen(c, i)
    )


def _change(
    meeting_id: UUID, name: str, schema: type[Request], change: Callable[[str, str, Any], Any]
) -> Any:
    form = Form.sent(name)
    with form.errors():
        change(g.client_id, str(meeting_id), form.load(schema))
    if form.is_refused:
        return _meeting_page(str(meeting_id), form)
    return go_back(DONE[name], str(meeting_id))


@desk.post("/meetings/<uuid:meeting_id>/reschedule")
def reschedule(meeting_id: UUID) -> Any:
    """Move a meeting to another time."""
    form = Form.sent("reschedule")
    with form.errors():
        transitions.reschedule(g.client_id, str(meeting_id), form.load_partly(RescheduleRequest))
    if form.is_refused:
        return _meeting_page(str(meeting_id), form)
    return go_back(DONE["reschedule"], str(meeting_id))
