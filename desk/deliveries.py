"""Deliveries: list what was sent to webhooks, failures first; send it again."""

from typing import Any
from uuid import UUID, uuid4

from flask import g, render_template, request

from desk.blueprint import desk
from desk.forms import Form, go_to, once
from fields import write_cursor
from services import deliveries, webhooks
from webhook_schemas import DeliveriesQuery


@desk.get("/deliveries")
def list_webhooks() -> Any:
    """Show the webhooks, with the deliveries of the one that fails longest, else of the first."""
    known = webhooks.list_all(g.client_id)
    if not known:
        return render_template("desk/webhooks.html")
    return _log_page(webhooks.most_urgent(known), known)


@desk.get("/deliveries/<uuid:webhook_id>")
def list_deliveries(webhook_id: UUID) -> Any:
    """List the deliveries of a webhook, the failed ones first."""
    webhook = webhooks.find(g.client_id, str(webhook_id))
    return _log_page(webhook, webhooks.list_all(g.client_id))


def _log_page(webhook: Any, known: list[Any]) -> Any:
    names = ("status", "event_type", "cursor")
    form = Form("filters", {n: request.args[n] for n in names if n in request.args})
    rows: list[Any] = []
    failed: list[Any] = []
    next_key = None
    with form.errors():
        query = form.load(DeliveriesQuery)
        rows, next_key = deliveries.list_log(webhook.id, query)
        if not form.given:
            failed, _ = deliveries.list_log(webhook.id, query | {"status": "failed"})
    page = render_template(
        "desk/deliveries.html",
        form=form,
        webhook=webhook,
        webhooks=known,
        failed=failed,
        deliveries=rows,
        next_cursor=write_cursor(next_key),
    )
    return page, form.status


@desk.get("/deliveries/<uuid:webhook_id>/<uuid:delivery_id>")
def show_delivery(webhook_id: UUID, delivery_id: UUID) -> Any:
    """Show what was sent, and what the receiver answered to each try."""
    webhook = webhooks.find(g.client_id, str(webhook_id))
    delivery = deliveries.find(webhook.id, str(delivery_id))
    return render_template(
        "desk/delivery.html",
        webhook=webhook,
        delivery=delivery,
        payload=deliveries.payload_of(delivery),
        form_id=uuid4(),
    )


@desk.get("/deliveries/<uuid:webhook_id>/<uuid:delivery_id>/redeliver")
def show_redelivered(webhook_id: UUID, delivery_id: UUID) -> Any:
    """Redirect to the delivery if a browser opens the form's address as a page."""
    return go_to("desk.show_delivery", webhook_id=webhook_id, delivery_id=delivery_id)


@desk.post("/deliveries/<uuid:webhook_id>/<uuid:delivery_id>/redeliver")
def redeliver(webhook_id: UUID, delivery_id: UUID) -> Any:
    """Send an event again, once however often the form is sent."""

    def send() -> tuple[dict[str, Any], str]:
        again = webhooks.redeliver(g.client_id, str(webhook_id), str(delivery_id))
        return {"delivery": {"id": again.id, "lead_id": again.__data__["lead"]}}, again.id

    again_id = once(send)
    return go_to("desk.show_delivery", webhook_id=webhook_id, delivery_id=again_id, done="queued")
