"""Examples of responses about webhooks, for the documentation."""

from typing import Any

from marshmallow import Schema

import webhook_schemas
from reference.examples import LEAD, MEETING_ITEM

WEBHOOK: dict[str, Any] = {
    "id": "019b6a5c-7c00-7a44-9d51-3b0e5f6a7b8c",
    "name": "CRM",
    "url": "https://crm.example.com/hooks/meetings",
    "events": ["meeting.scheduled", "meeting.cancelled"],
    "enabled": True,
    "disabled_reason": None,
    "created_at": "2026-03-02T13:00:00Z",
    "updated_at": "2026-03-02T13:00:00Z",
}
LAST_DELIVERY = {"status": "delivered", "at": "2026-03-02T14:00:01Z", "status_code": 200}
DELIVERY: dict[str, Any] = {
    "id": "019b6a5c-8d10-7b55-8e62-4c1f607b8c9d",
    "event_id": "019b6a5c-8d0f-7b54-8e61-4c1f607b8c9c",
    "event_type": "meeting.rescheduled",
    "meeting_id": MEETING_ITEM["id"],
    "lead_id": LEAD["id"],
    "test": False,
    "status": "delivered",
    "attempts": 1,
    "next_attempt_at": None,
    "last_status_code": 200,
    "last_error": None,
    "created_at": "2026-03-02T14:00:00Z",
    "delivered_at": "2026-03-02T14:00:01Z",
}
ATTEMPT: dict[str, Any] = {
    "at": "2026-03-02T14:00:00Z",
    "status_code": 200,
    "error": None,
    "milliseconds": 84,
    "response": "ok",
}
LEAD_FIELDS = ("id", "first_name", "last_name", "email", "phone", "company", "source")
PAYLOAD: dict[str, Any] = {
    "event_type": DELIVERY["event_type"],
    "event_id": DELIVERY["event_id"],
    "webhook_id": WEBHOOK["id"],
    "delivery_id": DELIVERY["id"],
    "timestamp": "2026-03-02T14:00:00.123Z",
    "client_id": "019b6a5a-1c20-7e00-8b1d-1a6c4d5e7f00",
    "test": False,
    "data": {
        "meeting": {name: MEETING_ITEM[name] for name in ("id", "title", "starts_at", "ends_at")},
        "lead": {name: LEAD[name] for name in LEAD_FIELDS},
        "host": None,
        "meeting_type": None,
        "changes": {"starts_at": ["2025-12-22T17:00:00Z", "2025-12-29T17:00:00Z"]},
        "sequence": 4711,
    },
}
SIGNING_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="  # noqa: S105

WEBHOOK_EXAMPLES: dict[type[Schema], dict[str, Any]] = {
    webhook_schemas.WebhookItem: WEBHOOK,
    webhook_schemas.WebhookDetails: {**WEBHOOK, "last_delivery": LAST_DELIVERY},
    webhook_schemas.LastDelivery: LAST_DELIVERY,
    webhook_schemas.DeliveryItem: DELIVERY,
    webhook_schemas.Attempt: ATTEMPT,
    webhook_schemas.DeliveryDetails: {**DELIVERY, "payload": PAYLOAD, "tries": [ATTEMPT]},
    webhook_schemas.WebhookCreated: {
        "success": True,
        "webhook": WEBHOOK,
        "signing_secret": SIGNING_SECRET,
    },
}
