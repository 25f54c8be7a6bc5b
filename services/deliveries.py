"""Deliveries: list what was sent to webhooks, send it again, wait for results, delete old rows."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import orjson
from peewee import fn

from database import transaction
from database.queries import checked, literal, rows_of
from services import event_payloads, outbox
from services.errors import DeliveryNotFound
from services.outbox import Subscription
from services.results import Key, page_of
from times import utc_now
from webhook_models import Delivery, Event, Webhook

ORDER = "deliveries"  # of the log, in cursors
BATCH = 500  # rows that one transaction changes, so that others wait briefly
POLL_SECONDS = 0.1  # how often a waiting call looks at its delivery

WITH_EVENT = (*Delivery._meta.sorted_fields, *Event._meta.sorted_fields)


def find(webhook_id: str, delivery_id: str) -> Delivery:
    """Return a delivery of a webhook, with its event; raises DeliveryNotFound."""
    found = rows_of(
        Delivery.select(*WITH_EVENT)
        .join(Event)
        .where(Delivery.webhook == webhook_id, Delivery.id == delivery_id)
    )
    if not found:
        raise DeliveryNotFound(delivery_id)
    delivery: Delivery = found[0]
    return delivery


def payload_of(delivery: Delivery) -> Any:
    """Return the JSON object that a delivery, found with its event, sends at every try."""
    return orjson.loads(event_payloads.body_of(delivery, delivery.__rel__["event"]))


def list_log(webhook_id: str, query: dict[str, Any]) -> tuple[list[Delivery], Key | None]:
    """Return a page of a webhook's deliveries, latest first, and the key to go on from.

    `query` has `limit` and perhaps `cursor`, `status`, `event_type` and `meeting_id`.
    """
    conditions = _conditions(webhook_id, query)
    if "cursor" in query:
        last = Delivery.alias()
        is_last = last.id == query["cursor"][2]
        conditions.append(Delivery.number < last.select(last.number).where(is_last))
    select = Delivery.select().where(*conditions).order_by(Delivery.number.desc())
    rows = rows_of(select.limit(query["limit"] + 1))
    return page_of(rows, query["limit"], lambda row: (ORDER, row.created_at, row.id))


def list_of_meeting(client_id: str, meeting_id: str, limit: int) -> list[Delivery]:
    """Return the latest deliveries about a meeting, each with its webhook, deleted ones too."""
    about = (
        Delivery.select(*Delivery._meta.sorted_fields, *Webhook._meta.sorted_fields)
        .join(Webhook)
        .where(
            Delivery.subject == meeting_id,
            Delivery.meeting == meeting_id,
            checked(Webhook.client == client_id),
        )
    )
    return rows_of(about.order_by(Delivery.number.desc()).limit(limit))


def _conditions(webhook_id: str, query: dict[str, Any]) -> list[Any]:
    conditions = [Delivery.webhook == webhook_id]
    if "meeting_id" in query:
        meeting_id = query["meeting_id"]
        conditions += [Delivery.subject == meeting_id, Delivery.meeting == meeting_id]
    if "status" in query:
        conditions.append(Delivery.status == literal(query["status"]))
    if "event_type" in query:
        conditions.append(Delivery.event_type == query["event_type"])
    return conditions


@transaction
def redeliver(subscription: Subscription, delivery_id: str) -> Delivery:
    """Send an event again, as a new delivery; raises DeliveryNotFound."""
    event = find(subscription.webhook_id, delivery_id).__rel__["event"]
    delivery = outbox.new_delivery(event, subscription)
    outbox.insert_deliveries([delivery])
    return delivery


def redeliver_all(subscription: Subscription, since: datetime, status: str) -> int:
    """Send again all deliveries of a status that were made since then; returns how many.

    An event goes once, even if several deliveries of it have the status. Tests are left out,
    because a test is tried only once. Every part is a transaction of its own.
    """
    of_webhook = Delivery.select(Delivery.number).where(Delivery.webhook == subscription.webhook_id)
    latest = rows_of(of_webhook.order_by(Delivery.number.desc()).limit(1))
    count, number, end = 0, 0, latest[0].number if latest else 0
    later = Delivery.alias()
    later_of_event = later.select(later.number).where(
        later.event == Delivery.event,
        later.webhook == Delivery.webhook,
        later.number > Delivery.number,
        later.number <= end,
        later.status == literal(status),
    )
    while True:
        part = rows_of(
            Delivery.select(*WITH_EVENT)
            .join(Event)
            .where(
                Delivery.webhook == subscription.webhook_id,
                Delivery.number > number,
                Delivery.number <= end,
                Delivery.created_at >= since,
                Delivery.status == literal(status),
                ~Delivery.test,
                ~fn.EXISTS(later_of_event),
            )
            .order_by(Delivery.number)
            .limit(BATCH)
        )
        if not part:
            return count
        events = [delivery.__rel__["event"] for delivery in part]
        _insert([outbox.new_delivery(event, subscription) for event in events])
        count, number = count + len(part), part[-1].number


@transaction
def _insert(new: list[Delivery]) -> None:
    outbox.insert_deliveries(new)


def wait_for(webhook_id: str, delivery_id: str, seconds: float) -> Delivery:
    """Return a delivery as soon as it is not pending any more, or after some seconds as it is."""
    deadline = time.monotonic() + seconds
    while True:
        delivery = find(webhook_id, delivery_id)
        if delivery.status != "pending" or time.monotonic() >= deadline:
            return delivery
        time.sleep(POLL_SECONDS)


def end_waiting(webhook_id: str, reason: str, with_tests: bool = False) -> int:
    """Mark the waiting deliveries of a webhook as failed, with a reason; returns how many.

    A delivery that is being sent now is left to its sender.
    """
    count = 0
    while ended := _end_some(webhook_id, reason, with_tests):
        count += ended
    _end_last(webhook_id)
    return count


@transaction
def _end_last(webhook_id: str) -> None:
    """Correct the webhook's last delivery, whose next try has been given up."""
    [webhook] = rows_of(Webhook.select().where(Webhook.id == webhook_id))
    last = webhook.last_delivery
    if last and last["status"] == "pending":
        ended = Webhook.update(last_delivery={**last, "status": "failed"})
        ended.where(Webhook.id == webhook_id, Webhook.last_delivery == last).execute()


@transaction
def _end_some(webhook_id: str, reason: str, with_tests: bool) -> int:
    now = utc_now()
    is_free = Delivery.leased_until.is_null() | (Delivery.leased_until < now)
    conditions = [Delivery.webhook == webhook_id, Delivery.status == "pending", is_free]
    if not with_tests:
        conditions.append(~Delivery.test)
    some = Delivery.select(Delivery.number).where(*conditions).limit(BATCH)
    ending = Delivery.update(status="failed", next_attempt_at=None, last_error=reason)
    return int(ending.where(Delivery.number.in_(some)).execute())


def prune(days: int) -> dict[str, int]:
    """Delete all deliveries older than the days given, except waiting ones; 0 keeps them forever.

    Returns `{"deliveries", "events", "webhooks"}`, where `webhooks` counts the rows of webhooks
    deleted earlier.
    """
    pruned = {"deliveries": 0, "events": 0, "webhooks": 0}
    if days:
        before = utc_now() - timedelta(days=days)
        for kind, count in _prune_parts(before):
            pruned[kind] += count
        pruned["webhooks"] = _prune_webhooks(before)
    return pruned


def prune_some(days: int) -> None:
    """Delete a few of the oldest deliveries and events, for a sender with nothing else to do."""
    if days:
        before = utc_now() - timedelta(days=days)
        _prune_deliveries(before, 0)
        _prune_events(before, 0)


def _prune_parts(before: datetime) -> Iterator[tuple[str, int]]:
    for kind, prune_part in (("deliveries", _prune_deliveries), ("events", _prune_events)):
        after: int | None = 0
        while after is not None:
            count, after = prune_part(before, after)
            yield kind, count


def _prune_deliveries(before: datetime, after: int) -> tuple[int, int | None]:
    """Delete the old deliveries among the next BATCH; returns how many, and where to go on."""
    number = Delivery.number
    columns = number, Delivery.status, Delivery.created_at
    rows = rows_of(Delivery.select(*columns).where(number > after).order_by(number).limit(BATCH))
    old = [row.number for row in rows if row.created_at < before and row.status != "pending"]
    count = _delete(Delivery.delete().where(number.in_(old))) if old else 0
    goes_on = bool(rows) and rows[-1].created_at < before
    return count, rows[-1].number if goes_on else None


def _prune_events(before: datetime, after: int) -> tuple[int, int | None]:
    """Delete the old events without deliveries among the next BATCH.

    Returns how many, and where to go on.
    """
    sequence = Event.sequence
    columns = sequence, Event.created_at
    rows = rows_of(Event.select(*columns).where(sequence > after).order_by(sequence).limit(BATCH))
    old = [row.sequence for row in rows if row.created_at < before]
    needed = Delivery.select(Delivery.number).where(Delivery.event == Event.id)
    is_unneeded = sequence.in_(old), ~fn.EXISTS(needed)
    newest = Event.select(fn.MAX(sequence))
    count = 0
    if old:
        _empty_newest(is_unneeded)
        count = _delete(Event.delete().where(*is_unneeded, sequence < newest))
    goes_on = bool(rows) and rows[-1].created_at < before
    return count, rows[-1].sequence if goes_on else None


@transaction
def _empty_newest(conditions: tuple[Any, ...]) -> None:
    outbox.empty_newest(*conditions)


def _prune_webhooks(before: datetime) -> int:
    needed = Delivery.select(Delivery.number).where(Delivery.webhook == Webhook.id)
    is_old = Webhook.deleted_at < before
    return _delete(Webhook.delete().where(is_old, ~fn.EXISTS(needed)))


@transaction
def _delete(deletion: Any) -> int:
    return int(deletion.execute())
