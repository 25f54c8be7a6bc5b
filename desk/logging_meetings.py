"""The form that logs a meeting, for a lead that is found by search or is new."""

from typing import Any
from uuid import uuid4

from flask import g, render_template, request

from desk.blueprint import desk
from desk.forms import Form, go_to, once
from desk.meetings import find_leads
from schemas import MeetingRequest
from services import bookings, leads, meeting_types, users
from services.errors import ReadOnlyKey
from services.results import require_row
from web.observe import count_bookings


@desk.get("/meetings/new")
def show_new_meeting() -> Any:
    """Show the form for a lead, or else a search for leads; raises ReadOnlyKey."""
    if g.read_only:
        raise ReadOnlyKey()
    given = {name: request.args[name] for name in ("lead_id", "lead_email") if name in request.args}
    return _page(Form("new-meeting", given | {"timezone": g.zone_name}))


def _page(form: Form) -> Any:
    search, choices = Form("search", {"search": request.args.get("search", "")}), []
    with search.errors():
        choices = find_leads(search.given["search"]) if search.given["search"].strip() else []
    lead_id = form.load_partly(MeetingRequest).valid.get("lead_id")
    page = render_template(
        "desk/new_meeting.html",
        form=form,
        form_id=uuid4(),
        lead=leads.find(g.client_id, lead_id) if lead_id else None,
        search=search,
        choices=choices,
        hosts=users.list_all(g.client_id),
        types=meeting_types.list_all(g.client_id),
    )
    return page, form.status


@desk.post("/meetings/new")
def log_meeting() -> Any:
    """Log a meeting, once however often the form is sent."""
    form = Form.sent("new-meeting")

    def log() -> tuple[dict[str, Any], str]:
        [result] = bookings.log(g.client_id, [form.load_partly(MeetingRequest)])
        count_bookings([result])
        row = require_row(result).row
        return {"meeting": {"id": row.id, "lead_id": row.lead_id}}, row.id

    meeting_id = ""
    with form.errors():
        meeting_id = once(log)
    if form.is_refused:
        return _page(form)
    return go_to("desk.show_meeting", meeting_id=meeting_id, done="logged")
