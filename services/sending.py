"""The state of sending to webhooks: waiting and sent deliveries, and running senders."""

import logging
from datetime import timedelta
from typing import Any

from peewee import PeeweeException, fn

from database.pool import PoolTimeout
from database.queries import compiled, literal, rows_of
from services import health
from times import utc_now
from webhook_models import Delivery, Sender, Webhook

SEEN = timedelta(seconds=60)  # a sender that was not seen for so long counts as gone
STUCK = timedelta(minutes=5)  # how long a delivery may be due before the log warns
STUCK_WARNING = (
    "A delivery to a webhook has waited for %d minutes, and no sender has been seen."
    " Run: flask --app app webhooks send"
)

log = logging.getLogger("meetings")


@compiled
def waiting() -> Any:
    """Return how many deliveries wait, and since when the oldest of them does."""
    return Delivery.select(fn.COUNT(Delivery.number), fn.MIN(Delivery.created_at)).where(
        Delivery.status == literal("pending")
    )


@compiled
def counts() -> Any:
    """Return what all senders have counted."""
    names = (Sender.delivered, Sender.failed, Sender.failed_tries)
    return Sender.select(*(fn.COALESCE(fn.SUM(name), 0) for name in names))


@compiled
def oldest_due(before: Any) -> Any:
    """Return since when the oldest delivery is due, among those that were due before a time."""
    return (
        Delivery.select(fn.MIN(Delivery.next_attempt_at))
        .join(Webhook)
        .where(
            Delivery.status == literal("pending"),
            Delivery.next_attempt_at < before,
            Webhook.enabled,
        )
    )


def _instant(value: Any) -> Any:
    return Delivery.created_at.python_value(value)


def status() -> dict[str, Any]:
    """Count the waiting and the sent deliveries, and list the running senders.

    `{"waiting", "oldest_waiting_seconds", "delivered", "failed", "failed_tries", "senders"}`;
    `senders` are the running ones, each as `{"id", "started_at", "seen_at"}`.
    """
    now = utc_now()
    [(count, oldest)] = waiting.tuples()
    [(delivered, failed, failed_tries)] = counts.tuples()
    alive = rows_of(Sender.select().where(Sender.seen_at >= now - SEEN).order_by(Sender.id))
    age = (now - _instant(oldest)).total_seconds() if count else 0.0
    return {
        "waiting": int(count),
        "oldest_waiting_seconds": round(max(age, 0.0), 1),
        "delivered": int(delivered),
        "failed": int(failed),
        "failed_tries": int(failed_tries),
        "senders": [
            {"id": row.id, "started_at": row.started_at, "seen_at": row.seen_at} for row in alive
        ],
    }


def status_or_none() -> dict[str, Any] | None:
    """Return `status()`, or None while the database does not answer."""
    try:
        return status()
    except (PeeweeException, PoolTimeout) as error:
        if health.unavailable_or_none(error) is None:
            raise
        return None


def warn_if_stuck() -> None:
    """Write a line to the log if deliveries wait and no sender runs."""
    try:
        minutes = stuck_minutes()
    except (PeeweeException, PoolTimeout):
        return  # the log lines of requests already say that the database does not answer
    if minutes is not None:
        log.warning(STUCK_WARNING, minutes)


def stuck_minutes() -> int | None:
    """Return for how many minutes a delivery has been due while no sender runs.

    None if a sender runs, or if nothing has been due for five minutes.
    """
    now = utc_now()
    if rows_of(Sender.select().where(Sender.seen_at >= now - SEEN).limit(1)):
        return None
    [(since,)] = oldest_due.tuples(before=now - STUCK)
    return None if since is None else round((now - _instant(since)).total_seconds() / 60)
