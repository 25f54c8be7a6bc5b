"""The queue of deliveries: which are due, and the leases under which senders try them.

A lease lets one sender try a delivery for 60 s. It is stored in the row, and needs no open
transaction. If a sender dies, its leases expire.
"""

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from peewee import fn

from database.queries import among, checked, claimed, compiled, literal
from ids import new_id
from webhook_models import Delivery, Event, Webhook

LEASE = timedelta(seconds=60)


@dataclass(frozen=True)
class Job:
    """A leased delivery, with its event and its webhook."""

    delivery: Delivery
    event: Event
    webhook: Webhook
    leased_at: float = field(default_factory=time.monotonic)


def _is_free(now: Any) -> Any:
    return Delivery.leased_until.is_null() | (Delivery.leased_until < now)


@compiled
def due_webhooks(now: Any) -> Any:
    """Return the webhooks that have a delivery to try, disabled and deleted ones included."""
    first_due = (
        Delivery.select(Delivery.number)
        .where(
            Delivery.webhook == Webhook.id,
            Delivery.status == literal("pending"),
            Delivery.next_attempt_at <= now,
        )
        .limit(1)
    )
    # PostgreSQL would turn EXISTS into a join, and read everything that is due.
    return Webhook.select().where(fn.COALESCE(first_due, 0) > 0)


@compiled
def due_deliveries(webhook_id: Any, now: Any, limit: Any) -> Any:
    """Return the numbers of a webhook's deliveries to try next.

    The first try of an event waits for that of the event before it, of the same meeting or lead.
    """
    earlier = Delivery.alias()
    untried_before = earlier.select(earlier.number).where(
        earlier.subject == Delivery.subject,
        earlier.number < Delivery.number,
        checked(earlier.webhook == Delivery.webhook),  # the index of the subject is the better one
        earlier.status == literal("pending"),
        earlier.attempts == 0,
    )
    return (
        Delivery.select(Delivery.number)
        .where(
            Delivery.webhook == webhook_id,
            Delivery.status == literal("pending"),
            ~Delivery.test,
            Delivery.next_attempt_at <= now,
            _is_free(now),
            (Delivery.attempts > 0) | ~fn.EXISTS(untried_before),
        )
        .order_by(Delivery.next_attempt_at, Delivery.number)
        .limit(limit)
    )


@compiled
def due_tests(now: Any, limit: Any) -> Any:
    """Return the numbers of tests to send, which go ahead of everything else."""
    return (
        Delivery.select(Delivery.number)
        .where(Delivery.status == literal("pending"), Delivery.test, _is_free(now))
        .order_by(Delivery.number)
        .limit(limit)
    )


@compiled
def take(numbers: Any, lease: Any, leased_until: Any, now: Any) -> Any:
    """Lease the deliveries, except those that another sender has leased meanwhile."""
    free = Delivery.select(Delivery.number).where(
        among(Delivery.number, numbers), Delivery.status == literal("pending"), _is_free(now)
    )
    leasing = {Delivery.leased_until: leased_until, Delivery.lease: lease}
    return Delivery.update(leasing).where(Delivery.number.in_(claimed(free)))


@compiled
def leased(numbers: Any, lease: Any) -> Any:
    """Return the deliveries of a lease, in their order, with their events and webhooks."""
    return (
        Delivery.select(
            *Delivery._meta.sorted_fields,
            *Event._meta.sorted_fields,
            *Webhook._meta.sorted_fields,
        )
        .join(Event)
        .switch(Delivery)
        .join(Webhook)
        .where(among(Delivery.number, numbers), Delivery.lease == lease)
        .order_by(Delivery.number)
    )


def lease(numbers: list[int], now: datetime) -> list[Job]:
    """Lease deliveries, as far as they are free; call it in a transaction."""
    lease_id = new_id()
    if not take.run(numbers=numbers, lease=lease_id, leased_until=now + LEASE, now=now):
        return []
    rows = leased(numbers=numbers, lease=lease_id)
    return [Job(row, row.__rel__["event"], row.__rel__["webhook"]) for row in rows]
