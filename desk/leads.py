"""Leads: searching them, one lead with its history and meetings, changing and erasing it."""

from typing import Any
from uuid import UUID

from flask import current_app, g, render_template, request

import fields
from bases import Request
from desk.blueprint import desk
from desk.forms import Form, go_to
from desk.templating import FEW
from lead_schemas import HistoryQuery, LeadPatch, LeadsQuery
from services import erasure, leads, meetings, timeline

LATEST_FIRST = {"order": "-starts_at", "limit": FEW}
LEAD_FIELDS = (
    "first_name",
    "last_name",
    "email",
    "phone",
    "company",
    "title",
    "source",
    "external_id",
)
WORD = "erase"  # must be typed, so that nobody erases a lead by mistake


class Erasure(Request):
    """The word that confirms the erasure of a lead."""

    confirmation = fields.Choice((WORD,), required=True)


@desk.get("/leads")
def list_leads() -> Any:
    """List the client's leads that a search finds, latest updated first."""
    form = Form("search", {n: request.args[n] for n in ("search", "page") if n in request.args})
    rows: list[Any] = []
    query, has_more = {"page": 0}, False
    with form.errors():
        query = form.load(LeadsQuery)
        rows, has_more = leads.list_leads(g.client_id, query)
    page = render_template(
        "desk/leads.html", form=form, leads=rows, page=query["page"], has_more=has_more
    )
    return page, form.status


@desk.get("/leads/<uuid:lead_id>")
def show_lead(lead_id: UUID) -> Any:
    """Show a lead with its meetings and its history, and the forms that change it."""
    return _lead_page(str(lead_id), Form())


def _lead_page(lead_id: str, form: Form) -> Any:
    """Show a lead; a form that was refused is shown with what is wrong."""
    lead = leads.find(g.client_id, lead_id)
    place = Form("history", {"offset": request.args.get("offset", "")})
    query = place.load(HistoryQuery)
    limit, offset = query["limit"], query["offset"]
    history = timeline.list_latest(g.client_id, lead_id, limit + 1, offset)
    page = render_template(
        "desk/lead.html",
        lead=lead,
        form=form,
        fields=LEAD_FIELDS,
        history=history[:limit],
        earlier=offset + limit if len(history) > limit else None,
        meetings=meetings.list_of_lead(g.client_id, lead_id, LATEST_FIRST)[0],
    )
    return page, form.status


@desk.get("/leads/<uuid:lead_id>/<any(change, erase):change>")
def show_changed_lead(lead_id: UUID, change: str) -> Any:
    """Redirect to the lead if a browser opens the form's address as a page."""
    return go_to("desk.show_lead", lead_id=lead_id)


@desk.post("/leads/<uuid:lead_id>/change")
def change_lead(lead_id: UUID) -> Any:
    """Replace the fields of a lead; an empty one is cleared."""
    form = Form.sent("lead", LEAD_FIELDS)
    with form.errors():
        leads.update(g.client_id, str(lead_id), form.load_cleared(LeadPatch))
    if form.is_refused:
        return _lead_page(str(lead_id), form)
    return go_to("desk.show_lead", lead_id=lead_id, done="saved")


@desk.post("/leads/<uuid:lead_id>/erase")
def erase_lead(lead_id: UUID) -> Any:
    """Erase a lead with everything stored about it, if the word is typed."""
    form = Form.sent("erase")
    with form.errors():
        form.load(Erasure)
    if form.is_refused:
        return _lead_page(str(lead_id), form)
    erasure.erase(g.client_id, str(lead_id), current_app.config["SETTINGS"].receipt_days)
    return go_to("desk.list_leads", done="erased")
