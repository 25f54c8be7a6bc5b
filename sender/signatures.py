"""The headers that sign a delivery, as Nexor and as Standard Webhooks do.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hashlib
import hmac
from datetime import datetime

from webhook_models import SIGNING_PREFIX, Webhook


def secrets_of(webhook: Webhook, now: datetime) -> list[str]:
    """Return the secrets that sign now: the present one, then perhaps the one before it."""
    until = webhook.previous_secret_until
    if webhook.previous_secret and until is not None and now < until:
        return [webhook.secret, webhook.previous_secret]
    return [webhook.secret]


def sign(body: bytes, event_id: str, secrets: list[str], now: datetime) -> dict[str, str]:
    """Return the headers that prove who sent a body, and when."""
    seconds = str(int(now.timestamp()))
    signed = f"{event_id}.{seconds}.".encode() + body
    return {
        "webhook-id": event_id,
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(_standard(secret, signed) for secret in secrets),
        "X-Nexor-Signature": hmac.new(secrets[0].encode(), body, hashlib.sha256).hexdigest(),
    }


def _standard(secret: str, signed: bytes) -> str:
    key = base64.b64decode(secret.removeprefix(SIGNING_PREFIX))
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()
