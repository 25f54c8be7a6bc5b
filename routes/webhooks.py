"""The routes of webhooks to other systems: manage and test them, read and repeat deliveries."""

from uuid import UUID

from flask import Response, current_app, g

from bases import OptionalRequest, Query
from routes.blueprint import api
from services import deliveries, webhooks
from services.errors import DeliveryNotFound, TooManyWebhooks, WebhookNotFound
from web.answers import created, delivery_details, page, success
from web.body import instance, load, load_query
from web.describe import answers
from webhook_schemas import (
    DeliveriesQuery,
    DeliveryAnswer,
    DeliveryItem,
    DeliveryPage,
    DeliveryQueued,
    DeliveryTested,
    Redelivering,
    RedeliverRequest,
    TestEvent,
    WebhookAnswer,
    WebhookChanged,
    WebhookCreated,
    WebhookDeleted,
    WebhookDetails,
    WebhookItem,
    WebhookList,
    WebhookPatch,
    WebhookRequest,
)

TEST_SECONDS = 20.0  # for which a test waits for the sender


@api.post("/webhooks")
@answers(201, WebhookCreated, body=WebhookRequest, has_location=True, raises=(TooManyWebhooks,))
def create_webhook() -> Response:
    """Add a webhook.

    It gets the events that are committed from now on. The signing secret is shown only this once.
    """
    networks = current_app.config["SETTINGS"].webhook_allow_networks
    webhook, secret = webhooks.create(g.client_id, load(WebhookRequest), networks)
    return created(webhook=instance(WebhookItem).dump(webhook), signing_secret=secret)


@api.get("/webhooks")
@answers(200, WebhookList, query=Query)
def get_webhooks() -> Response:
    """List the webhooks, oldest first."""
    load_query(Query)
    return success(webhooks=instance(WebhookItem).dump(webhooks.list_all(g.client_id), many=True))


@api.get("/webhooks/<uuid:webhook_id>")
@answers(200, WebhookAnswer, query=Query, raises=(WebhookNotFound,))
def get_webhook(webhook_id: UUID) -> Response:
    """Get one webhook, with its last try."""
    load_query(Query)
    webhook = webhooks.find(g.client_id, str(webhook_id))
    return success(webhook=instance(WebhookDetails).dump(webhook))


@api.patch("/webhooks/<uuid:webhook_id>")
@answers(200, WebhookChanged, body=WebhookPatch, raises=(WebhookNotFound,))
def update_webhook(webhook_id: UUID) -> Response:
    """Change the given fields of a webhook.

    `enabled: true` clears `disabled_reason`. While the webhook is disabled, the deliveries of new
    events are recorded as failed.
    """
    networks = current_app.config["SETTINGS"].webhook_allow_networks
    webhook = webhooks.update(g.client_id, str(webhook_id), load(WebhookPatch), networks)
    return success(webhook=instance(WebhookItem).dump(webhook))


@api.delete("/webhooks/<uuid:webhook_id>")
@answers(200, WebhookDeleted, query=Query, raises=(WebhookNotFound,))
def delete_webhook(webhook_id: UUID) -> Response:
    """Delete a webhook; its waiting deliveries are not sent."""
    load_query(Query)
    webhooks.delete(g.client_id, str(webhook_id))
    return success()


@api.post("/webhooks/<uuid:webhook_id>/rotate-secret")
@answers(200, WebhookCreated, body=OptionalRequest, raises=(WebhookNotFound,))
def rotate_webhook_secret(webhook_id: UUID) -> Response:
    """Give a webhook a new signing secret; for 24 hours both sign."""
    load(OptionalRequest)
    webhook, secret = webhooks.rotate_secret(g.client_id, str(webhook_id))
    return success(webhook=instance(WebhookItem).dump(webhook), signing_secret=secret)


@api.post("/webhooks/<uuid:webhook_id>/test")
@answers(200, DeliveryTested, body=TestEvent, raises=(WebhookNotFound,))
def test_webhook(webhook_id: UUID) -> Response:
    """Send a sample event, ahead of all others, and wait up to 20 seconds for the result.

    The event has `test: true` and is tried once. The response is 200 whatever the receiver
    answers; the delivery is still `pending` if no sender takes it in time.
    """
    given = load(TestEvent)
    delivery = webhooks.send_test(g.client_id, str(webhook_id), given, TEST_SECONDS)
    return success(delivery=instance(DeliveryItem).dump(delivery))


@api.get("/webhooks/<uuid:webhook_id>/deliveries")
@answers(200, DeliveryPage, query=DeliveriesQuery, raises=(WebhookNotFound,))
def list_deliveries(webhook_id: UUID) -> Response:
    """List what was sent to a webhook, latest first."""
    query = load_query(DeliveriesQuery)
    webhook = webhooks.find(g.client_id, str(webhook_id))
    return page("deliveries", DeliveryItem, query, *deliveries.list_log(webhook.id, query))


@api.get("/webhooks/<uuid:webhook_id>/deliveries/<uuid:delivery_id>")
@answers(200, DeliveryAnswer, query=Query, raises=(WebhookNotFound, DeliveryNotFound))
def get_delivery(webhook_id: UUID, delivery_id: UUID) -> Response:
    """Get a delivery with its payload and every try."""
    load_query(Query)
    webhook = webhooks.find(g.client_id, str(webhook_id))
    return delivery_details(deliveries.find(webhook.id, str(delivery_id)))


@api.post("/webhooks/<uuid:webhook_id>/deliveries/<uuid:delivery_id>/redeliver")
@answers(200, DeliveryQueued, body=OptionalRequest, raises=(WebhookNotFound, DeliveryNotFound))
def redeliver(webhook_id: UUID, delivery_id: UUID) -> Response:
    """Send an event again, as a new delivery, whatever the status of this one."""
    load(OptionalRequest)
    delivery = webhooks.redeliver(g.client_id, str(webhook_id), str(delivery_id))
    return success(delivery=instance(DeliveryItem).dump(delivery))


@api.post("/webhooks/<uuid:webhook_id>/redeliver")
@answers(200, Redelivering, body=RedeliverRequest, raises=(WebhookNotFound,))
def redeliver_many(webhook_id: UUID) -> Response:
    """Send again all deliveries of a status that were made since a time."""
    given = load(RedeliverRequest)
    return success(redelivering=webhooks.redeliver_all(g.client_id, str(webhook_id), given))
