"""The routes of leads: save, list, find and change them, with their meetings and history."""

from uuid import UUID

from flask import Response, current_app, g

from bases import Query
from envelopes import (
    LeadAnswer,
    LeadErased,
    LeadExport,
    LeadHistory,
    LeadPage,
    LeadSaved,
    MeetingPage,
    StoredLead,
)
from lead_schemas import (
    ActivityResponse,
    HistoryQuery,
    LeadMatchQuery,
    LeadPatch,
    LeadRequest,
    LeadResponse,
    LeadsQuery,
    LeadSummary,
)
from routes.blueprint import api
from schemas import LeadMeetingsQuery, MeetingItem
from services import erasure, leads, meetings, personal_data, timeline
from services.errors import ExternalIdConflict, LeadNotFound, Unavailable
from web.answers import export, mark_existed, numbered_page, page, stored, success
from web.body import instance, load, load_query, load_rows
from web.describe import answers


@api.get("/leads/<uuid:lead_id>/meetings")
@answers(200, MeetingPage, query=LeadMeetingsQuery, raises=(LeadNotFound,))
def list_lead_meetings(lead_id: UUID) -> Response:
    """List the lead's meetings, latest start first."""
    query = load_query(LeadMeetingsQuery)
    return page(
        "meetings", MeetingItem, query, *meetings.list_of_lead(g.client_id, str(lead_id), query)
    )


@api.post("/leads")
@answers(
    {201: "new", 200: "updated"},
    LeadSaved,
    body=LeadRequest,
    query=LeadMatchQuery,
    row=StoredLead,
    raises=(Unavailable,),
)
def create_lead() -> Response:
    """Create a lead, or update the one with its external_id; or an array of them.

    Any other key becomes part of `metadata`. Without an `external_id` and `match`, every call
    creates a lead, even if the email already exists.
    """
    body = load_rows(LeadRequest, LeadMatchQuery)
    results = leads.save(g.client_id, body.rows, body.query.get("match"))
    return stored(body, results, "lead", LeadResponse, mark_existed)


@api.get("/leads")
@answers(200, LeadPage, query=LeadsQuery)
def list_leads() -> Response:
    """List the client's leads, latest updated first."""
    query = load_query(LeadsQuery)
    return numbered_page("leads", LeadResponse, query, *leads.list_leads(g.client_id, query))


@api.get("/leads/<uuid:lead_id>")
@answers(200, LeadAnswer, query=Query, raises=(LeadNotFound,))
def get_lead(lead_id: UUID) -> Response:
    """Get one lead."""
    load_query(Query)
    lead = leads.find(g.client_id, str(lead_id))
    return success(lead=instance(LeadResponse).dump(lead))


@api.route("/leads/<uuid:lead_id>", methods=["PATCH", "PUT"])
@answers(200, LeadAnswer, body=LeadPatch, raises=(LeadNotFound, ExternalIdConflict))
def update_lead(lead_id: UUID) -> Response:
    """Replace the given fields of a lead.

    PATCH and PUT behave the same. Null clears a field, except `first_name`. `metadata` is merged
    key by key, and any other key becomes part of it.
    """
    lead = leads.update(g.client_id, str(lead_id), load(LeadPatch))
    return success(lead=instance(LeadResponse).dump(lead))


@api.delete("/leads/<uuid:lead_id>")
@answers(200, LeadErased, query=Query, raises=(LeadNotFound,))
def erase_lead(lead_id: UUID) -> Response:
    """Permanently erase a lead with everything that is stored about it.

    Its meetings, notes, history and receipts are deleted in one transaction, with its feeds and the
    stored responses about it. Its external ids can be used again, but webhooks about its bookings
    are ignored for as long as receipts are kept.
    """
    load_query(Query)
    keep_days = current_app.config["SETTINGS"].receipt_days
    return success(erased=erasure.erase(g.client_id, str(lead_id), keep_days))


@api.get("/leads/<uuid:lead_id>/export")
@answers(200, LeadExport, query=Query, raises=(LeadNotFound,))
def export_lead(lead_id: UUID) -> Response:
    """Return everything that is stored about a lead, as it is at one moment."""
    load_query(Query)
    return export(personal_data.export(g.client_id, str(lead_id)))


@api.get("/leads/<uuid:lead_id>/history")
@answers(200, LeadHistory, query=HistoryQuery, raises=(LeadNotFound,))
def get_lead_history(lead_id: UUID) -> Response:
    """List what happened to the lead, oldest first."""
    query = load_query(HistoryQuery)
    lead = leads.find(g.client_id, str(lead_id))
    activities = timeline.list_activities(g.client_id, str(lead_id), query)
    return success(
        lead=instance(LeadSummary).dump(lead),
        history=instance(ActivityResponse).dump(activities, many=True),
    )
