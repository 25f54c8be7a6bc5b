"""Arrivals: list what booking systems sent, unmatched and refused first; process it again."""

from typing import Any
from uuid import UUID

from flask import g, render_template, request

from desk.blueprint import desk
from desk.forms import Form, go_to
from desk.leads import LEAD_FIELDS
from fields import write_cursor
from intake_schemas import ReceiptsQuery
from lead_schemas import LeadRequest
from services import intake, receipts, sources


@desk.get("/arrivals")
def list_arrivals() -> Any:
    """List the unmatched and refused receipts, then all receipts."""
    names = ("cursor", "outcome", "source_id", "lead_email")
    form = Form("filters", {n: request.args[n] for n in names if n in request.args})
    rows: list[Any] = []
    to_settle: list[Any] = []
    next_key = more_to_settle = None
    with form.errors():
        query = form.load(ReceiptsQuery)
        rows, next_key = receipts.list_receipts(g.client_id, query)
        if not form.given:
            first = {"limit": query["limit"], "outcome": receipts.TO_SETTLE}
            to_settle, more_to_settle = receipts.list_receipts(g.client_id, first)
    page = render_template(
        "desk/arrivals.html",
        form=form,
        to_settle=to_settle,
        has_more_to_settle=more_to_settle is not None,
        receipts=rows,
        next_cursor=write_cursor(next_key),
        sources={source.id: source for source in sources.list_all(g.client_id)},
    )
    return page, form.status


@desk.get("/arrivals/<uuid:receipt_id>")
def show_arrival(receipt_id: UUID) -> Any:
    """Show a receipt with its payload and its outcome."""
    return _arrival_page(str(receipt_id), Form())


def _arrival_page(receipt_id: str, form: Form) -> Any:
    receipt = receipts.find(g.client_id, receipt_id)
    page = render_template(
        "desk/arrival.html",
        receipt=receipt,
        form=form,
        is_settled=receipt.outcome not in receipts.TO_SETTLE,
    )
    return page, form.status


@desk.get("/arrivals/<uuid:receipt_id>/<any(retry, resolve):change>")
def show_changed_arrival(receipt_id: UUID, change: str) -> Any:
    """Redirect to the receipt if a browser opens the form's address as a page."""
    return go_to("desk.show_arrival", receipt_id=receipt_id)


@desk.post("/arrivals/<uuid:receipt_id>/retry")
def retry_arrival(receipt_id: UUID) -> Any:
    """Process a receipt again, with the current leads, hosts and mapping."""
    intake.retry(g.client_id, str(receipt_id))
    return go_to("desk.show_arrival", receipt_id=receipt_id, done="retried")


@desk.post("/arrivals/<uuid:receipt_id>/resolve")
def resolve_arrival(receipt_id: UUID) -> Any:
    """Create the lead that a receipt lacks, and process the receipt again."""
    form = Form.sent("resolve", LEAD_FIELDS)
    with form.errors():
        intake.resolve(g.client_id, str(receipt_id), form.load_partly(LeadRequest))
    if form.is_refused:
        return _arrival_page(str(receipt_id), form)
    return go_to("desk.show_arrival", receipt_id=receipt_id, done="retried")
