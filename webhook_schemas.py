"""The schemas of webhooks to other systems: their requests, responses and envelopes."""

from marshmallow.fields import UUID, Boolean, DateTime, Dict, Integer, List, Nested, String
from marshmallow.validate import OneOf, Range

import fields
from bases import OptionalRequest, Query, Request, ResponseSchema
from envelopes import UNKEPT, Answer, CursorPagination
from schemas import NOT_NULL
from webhook_models import DELIVERY_STATUSES, EVENT_TYPES, SIGNING_PREFIX

WEBHOOK_URL = (
    "A public https address. Addresses in networks that the setting `WEBHOOK_ALLOW_NETWORKS` lists"
    " may be local, and use http."
)
ALL_EVENTS = "The event types to send; all if absent or empty."
MOST_EVENTS = 100
SECRET = {
    "description": f"`{SIGNING_PREFIX}` and 32 random bytes in base64.",
    "pattern": f"^{SIGNING_PREFIX}",
}


class WebhookRequest(Request):
    """A webhook to add."""

    EXAMPLE = {
        "url": "https://crm.example.com/hooks/meetings",
        "name": "CRM",
        "events": ["meeting.scheduled", "meeting.cancelled"],
    }

    url = fields.Url(required=True, about=WEBHOOK_URL)
    name = fields.Text(255)
    events = fields.ShortList(
        fields.Choice(EVENT_TYPES, **NOT_NULL), "events", MOST_EVENTS, about=ALL_EVENTS
    )


class WebhookPatch(WebhookRequest):
    """Changes to a webhook."""

    EXAMPLE = {"enabled": True}

    url = fields.Url(about=WEBHOOK_URL, **NOT_NULL)
    enabled = fields.Boolean(about="`true` clears `disabled_reason`.", **NOT_NULL)


class TestEvent(OptionalRequest):
    """The kind of a sample event."""

    EXAMPLE = {"event_type": "meeting.cancelled"}

    event_type = fields.Choice(EVENT_TYPES, about="`meeting.scheduled` by default.")


class DeliveriesQuery(Query):
    """Parameters of GET /webhooks/{id}/deliveries."""

    status = fields.Choice(DELIVERY_STATUSES)
    event_type = fields.Choice(EVENT_TYPES)
    meeting_id = fields.Id()
    limit = fields.Integer(1, 200, load_default=50)
    cursor = fields.Cursor("deliveries")


class RedeliverRequest(Request):
    """Which deliveries to send again."""

    EXAMPLE = {"since": "2026-03-02T14:00:00Z", "status": "failed"}

    since = fields.Instant(required=True, about="Inclusive; with an offset or `Z`.")
    status = fields.Choice(DELIVERY_STATUSES, about="`failed` by default.")


class WebhookItem(ResponseSchema):
    """A webhook."""

    id = UUID()
    name = String(allow_none=True)
    url = String()
    events = List(String(validate=OneOf(EVENT_TYPES)))
    enabled = Boolean()
    disabled_reason = String(allow_none=True)
    created_at = DateTime()
    updated_at = DateTime()


class LastDelivery(ResponseSchema):
    """The result of the last try."""

    status = String(validate=OneOf(DELIVERY_STATUSES))
    at = DateTime()
    status_code = Integer(allow_none=True)


class WebhookDetails(WebhookItem):
    """A webhook with its last try."""

    last_delivery = Nested(LastDelivery, allow_none=True)


class DeliveryItem(ResponseSchema):
    """A delivery of an event to a webhook."""

    id = UUID()
    event_id = UUID()
    event_type = String(validate=OneOf(EVENT_TYPES))
    meeting_id = UUID(allow_none=True)
    lead_id = UUID(allow_none=True)
    test = Boolean()
    status = String(validate=OneOf(DELIVERY_STATUSES))
    attempts = Integer(validate=Range(0))
    next_attempt_at = DateTime(allow_none=True)
    last_status_code = Integer(allow_none=True)
    last_error = String(allow_none=True)
    created_at = DateTime()
    delivered_at = DateTime(allow_none=True)


class Attempt(ResponseSchema):
    """One try of a delivery."""

    at = DateTime()
    status_code = Integer(allow_none=True)
    error = String(allow_none=True)
    milliseconds = Integer(validate=Range(0))
    response = String(allow_none=True)


class DeliveryDetails(DeliveryItem):
    """A delivery with what it sent and every try."""

    payload = Dict(metadata={"description": "The JSON object that is sent at every try."})
    tries = List(Nested(Attempt))


class WebhookCreated(Answer):
    """The webhook and its signing secret, which is shown only this once."""

    UNREPEATABLE = UNKEPT

    webhook = Nested(WebhookItem)
    signing_secret = String(metadata=SECRET)


class WebhookChanged(Answer):
    """The webhook after the call."""

    webhook = Nested(WebhookItem)


class WebhookDeleted(Answer):
    """The webhook was deleted."""


class WebhookAnswer(Answer):
    """One webhook, with its last try."""

    webhook = Nested(WebhookDetails)


class WebhookList(Answer):
    """The client's webhooks."""

    webhooks = List(Nested(WebhookItem))


class DeliveryAnswer(Answer):
    """One delivery, with what it sent and every try."""

    delivery = Nested(DeliveryDetails)


class DeliveryQueued(Answer):
    """A delivery as it is now."""

    delivery = Nested(DeliveryItem)


class DeliveryTested(DeliveryQueued):
    """The test, with its result if a sender took it in time."""

    UNREPEATABLE = "Not possible here: a test waits for the sender, outside any transaction."


class DeliveryPage(Answer):
    """A page of the log of a webhook."""

    deliveries = List(Nested(DeliveryItem))
    pagination = Nested(CursorPagination)


class Redelivering(Answer):
    """How many deliveries are sent again."""

    redelivering = Integer(validate=Range(0))
