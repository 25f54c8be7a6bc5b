"""Webhooks: the addresses of other systems that are sent the events of a client."""

import base64
import secrets
import time
from datetime import timedelta
from typing import Any

from database import db, transaction
from database.queries import Insert, rows_of
from ids import is_uuid, new_id
from services import deliveries, network, outbox, samples
from services.errors import InvalidRequest, TooManyWebhooks, UnknownName, WebhookNotFound
from services.network import AddressRefused, Networks
from services.outbox import Subscription
from times import utc_now
from webhook_models import SIGNING_PREFIX, Delivery, Webhook

Fields = dict[str, Any]

SECRET_BYTES = 32
BOTH_SIGN = timedelta(hours=24)  # for which the secret before a rotation signs too
SAMPLE_TYPE = "meeting.scheduled"
MOST_WEBHOOKS = 20  # of a client
SETTLE_POLL_SECONDS = 0.005

insert = Insert(Webhook)


def create(client_id: str, given: Fields, allowed: Networks) -> tuple[Webhook, str]:
    """Make a webhook; returns it and its signing secret.

    The webhook gets all events that are committed from now on. Raises InvalidRequest for an address
    that no webhook may reach, and TooManyWebhooks.
    """
    _check_url(given["url"], allowed)
    webhook = _insert(client_id, given)
    _wait_for_earlier_transactions()
    return webhook, webhook.secret


@transaction
def _insert(client_id: str, given: Fields) -> Webhook:
    _lock_webhooks_of(client_id)
    if len(list_all(client_id)) >= MOST_WEBHOOKS:
        raise TooManyWebhooks(MOST_WEBHOOKS)
    now = utc_now()
    webhook = Webhook.of(
        {
            "id": new_id(),
            "client": client_id,
            "url": given["url"],
            "name": given.get("name"),
            "events": _without_repeats(given.get("events")),
            "enabled": True,
            "disabled_reason": None,
            "secret": _new_secret(),
            "previous_secret": None,
            "previous_secret_until": None,
            "last_delivery": None,
            "failing_since": None,
            "failed_tries": 0,
            "created_at": now,
            "updated_at": now,
            "deleted_at": None,
        }
    )
    insert([webhook])
    return webhook


def list_all(client_id: str) -> list[Webhook]:
    """Return the client's webhooks, oldest first."""
    webhooks = _in_use().where(Webhook.client == client_id)
    return rows_of(webhooks.order_by(Webhook.created_at, Webhook.id))


def most_urgent(webhooks: list[Webhook]) -> Webhook:
    """Return the webhook that has failed for the longest time, or else the first."""
    failing = [webhook for webhook in webhooks if webhook.failing_since]
    return min(failing, key=lambda webhook: webhook.failing_since, default=webhooks[0])


def find(client_id: str, webhook_id: str) -> Webhook:
    """Return the client's webhook with an id; raises WebhookNotFound."""
    found = rows_of(_in_use().where(Webhook.client == client_id, Webhook.id == webhook_id))
    if not found:
        raise WebhookNotFound(webhook_id)
    webhook: Webhook = found[0]
    return webhook


def update(client_id: str, webhook_id: str, given: Fields, allowed: Networks) -> Webhook:
    """Change the fields given; raises InvalidRequest, WebhookNotFound.

    Enabling a webhook clears the reason why it was disabled. Disabling it ends its waiting
    deliveries.
    """
    if "url" in given:
        _check_url(given["url"], allowed)
    if not given:
        return find(client_id, webhook_id)
    changes = dict(given)
    if "events" in given:
        changes["events"] = _without_repeats(given["events"])
    if given.get("enabled"):
        changes |= {"disabled_reason": None, "failing_since": None, "failed_tries": 0}
    _update(client_id, webhook_id, changes)
    _wait_for_earlier_transactions()
    if given.get("enabled") is False:
        deliveries.end_waiting(webhook_id, outbox.DISABLED)
    return find(client_id, webhook_id)


def delete(client_id: str, webhook_id: str) -> None:
    """Delete a webhook; its waiting deliveries are not sent. Raises WebhookNotFound."""
    now = utc_now()
    _update(client_id, webhook_id, {"enabled": False, "deleted_at": now})
    _wait_for_earlier_transactions()
    deliveries.end_waiting(webhook_id, outbox.DELETED, with_tests=True)


def rotate_secret(client_id: str, webhook_id: str) -> tuple[Webhook, str]:
    """Give a webhook another secret; for 24 hours both sign. Raises WebhookNotFound."""
    secret = _new_secret()
    _rotate(client_id, webhook_id, secret)
    return find(client_id, webhook_id), secret


@transaction
def _rotate(client_id: str, webhook_id: str, secret: str) -> None:
    _lock_webhooks_of(client_id)
    webhook = find(client_id, webhook_id)
    changes = {
        "secret": secret,
        "previous_secret": webhook.secret,
        "previous_secret_until": utc_now() + BOTH_SIGN,
    }
    _update(client_id, webhook_id, changes)


def send_test(client_id: str, webhook_id: str, given: Fields, seconds: float) -> Delivery:
    """Queue a sample event ahead of all others, and wait for the sender for some seconds.

    Returns the delivery as it is by then; raises WebhookNotFound.
    """
    delivery = _queue_test(client_id, webhook_id, given.get("event_type") or SAMPLE_TYPE)
    return deliveries.wait_for(webhook_id, delivery.id, seconds)


@transaction
def _queue_test(client_id: str, webhook_id: str, event_type: str) -> Delivery:
    webhook = find(client_id, webhook_id)
    sample = samples.sample_of(event_type)
    meeting, lead = sample.get("meeting"), sample["lead"]
    event = outbox.new_event(
        client_id,
        event_type,
        sample,
        utc_now(),
        meeting_id=meeting and meeting["id"],
        lead_id=lead["id"],
        test=True,
    )
    [delivery] = outbox.store([event], [subscription_of(webhook)])
    return delivery


def redeliver(client_id: str, webhook_id: str, delivery_id: str) -> Delivery:
    """Send the event of a delivery again, as a new delivery.

    Raises WebhookNotFound, DeliveryNotFound.
    """
    webhook = find(client_id, webhook_id)
    return deliveries.redeliver(subscription_of(webhook), delivery_id)


def redeliver_all(client_id: str, webhook_id: str, given: Fields) -> int:
    """Send again all deliveries of a `status` made `since` then; returns how many.

    Raises WebhookNotFound.
    """
    webhook = find(client_id, webhook_id)
    status = given.get("status") or "failed"
    return deliveries.redeliver_all(subscription_of(webhook), given["since"], status)


def subscription_of(webhook: Webhook) -> Subscription:
    """Return what the outbox needs to know of a webhook."""
    return Subscription(webhook.id, webhook.events, webhook.enabled)


def delete_by_id(webhook_id: str) -> Webhook:
    """Delete a webhook of any client, for the command line; raises UnknownName."""
    found = []
    if is_uuid(webhook_id):
        found = rows_of(_in_use().where(Webhook.id == webhook_id.lower()))
    if not found:
        raise UnknownName(f"There is no webhook with the id {webhook_id!r}.")
    webhook: Webhook = found[0]
    delete(webhook.client_id, webhook.id)
    return webhook


def _in_use() -> Any:
    return Webhook.select().where(Webhook.deleted_at.is_null())


@transaction
def _update(client_id: str, webhook_id: str, changes: dict[str, Any]) -> None:
    changed = (
        Webhook.update({**changes, "updated_at": utc_now()})
        .where(Webhook.client == client_id, Webhook.id == webhook_id, Webhook.deleted_at.is_null())
        .execute()
    )
    if not changed:
        raise WebhookNotFound(webhook_id)


def _lock_webhooks_of(client_id: str) -> None:
    """Lock the client's webhooks against counting and rotation until this transaction ends.

    SQLite needs no lock, because it has one writer.
    """
    db.lock_names([f"webhooks of {client_id}"])


def _wait_for_earlier_transactions() -> None:
    """Wait until no transaction is in progress that began before the webhook was committed.

    On PostgreSQL, such a transaction may have read the webhooks without this one. On SQLite, no
    such transaction exists.
    """
    committed_at = db.clock()
    deadline = time.monotonic() + 2 * db.timeout_seconds
    while (settled := db.settled_before()) and settled < committed_at:
        if time.monotonic() > deadline:
            return  # no statement may take that long
        time.sleep(SETTLE_POLL_SECONDS)


def _check_url(url: str, allowed: Networks) -> None:
    try:
        network.check(url, allowed)
    except AddressRefused as refused:
        raise InvalidRequest({"url": [str(refused)]}) from None


def _without_repeats(events: list[str] | None) -> list[str]:
    return list(dict.fromkeys(events or []))


def _new_secret() -> str:
    return SIGNING_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
