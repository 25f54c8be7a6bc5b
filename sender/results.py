"""The results of tries: the log, the schedule of the next try, and webhooks that are disabled.

A result names the lease under which it was tried. If that lease expired and another sender has the
delivery by now, the result is dropped.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from peewee import fn

from database.queries import Update, rows_of
from ids import new_id
from sender.client import ReceiverResponse
from sender.queue import Job
from times import format_instant
from webhook_models import Delivery, Sender, Webhook

LONGEST_RETRY_AFTER = 24 * 3600.0
SPREAD = 0.1  # by which a delay may be longer, so that retries do not arrive all at once
GONE = 410
SAYING_WHEN = {429, 503}  # the statuses whose Retry-After counts
# A webhook is disabled after so many failed tries and so long without a success.
FAILED_TRIES, FAILING = 10, timedelta(days=5)
GONE_REASON = "The receiver answered 410 Gone."

store_rows = Update(
    Delivery,
    fixed={
        "number",
        "id",
        "webhook",
        "event",
        "event_type",
        "meeting",
        "lead",
        "subject",
        "test",
        "lease",
        "created_at",
    },
    names=("id", "lease"),
)


@dataclass(frozen=True)
class DeliveryResult:
    """The result of a try; without an answer, the delivery was not tried and is given back."""

    job: Job
    at: datetime  # when the try began
    answer: ReceiverResponse | None


def store(
    results: Sequence[DeliveryResult], now: datetime, retry_seconds: Sequence[float], sender_id: str
) -> dict[str, str]:
    """Store the results of tries; call it in a transaction.

    Returns the ids of the webhooks that this disabled, each with the reason. The caller then ends
    their waiting deliveries.
    """
    tried = [result for result in results if result.answer is not None]
    disabled = _count_by_webhook(tried, now)
    ids = sorted({result.job.webhook.id for result in tried})
    found = rows_of(Webhook.select().where(Webhook.id.in_(ids))) if ids else []
    enabled = {webhook.id for webhook in found if webhook.enabled}
    rows = [_row_after(result, now, retry_seconds, enabled) for result in results]
    store_rows(rows)
    _set_last_deliveries([*zip(tried, _rows_of(tried, rows), strict=True)])
    count(sender_id, now, [row for row, result in zip(rows, results, strict=True) if result.answer])
    return disabled


def _rows_of(tried: list[DeliveryResult], rows: list[Delivery]) -> list[Delivery]:
    by_id = {row.id: row for row in rows}
    return [by_id[result.job.delivery.id] for result in tried]


def _count_by_webhook(tried: list[DeliveryResult], now: datetime) -> dict[str, str]:
    """Count successes and failures of webhooks; returns those that are to be disabled, and why."""
    outcomes: dict[str, list[DeliveryResult]] = defaultdict(list)
    for result in tried:
        outcomes[result.job.webhook.id].append(result)
    disabled = {}
    for webhook_id in sorted(outcomes):
        answers = [result.answer for result in outcomes[webhook_id] if result.answer]
        if any(answer.is_success for answer in answers):
            _forget_failures(webhook_id)
            failures = 0
        else:
            failures = len(answers)
            _add_failures(webhook_id, failures, outcomes[webhook_id][0].at)
        if any(answer.status_code == GONE for answer in answers):
            reason: str | None = GONE_REASON
        else:
            reason = _why_to_disable(webhook_id, now) if failures else None
        if reason and _disable(webhook_id, reason, now):
            disabled[webhook_id] = reason
    return disabled


def _forget_failures(webhook_id: str) -> None:
    is_failing = Webhook.failing_since.is_null(False)
    forgetting = Webhook.update(failing_since=None, failed_tries=0)
    forgetting.where(Webhook.id == webhook_id, is_failing).execute()


def _add_failures(webhook_id: str, failures: int, at: datetime) -> None:
    adding = Webhook.update(
        failing_since=fn.COALESCE(Webhook.failing_since, at),
        failed_tries=Webhook.failed_tries + failures,
    )
    adding.where(Webhook.id == webhook_id).execute()


def _why_to_disable(webhook_id: str, now: datetime) -> str | None:
    [webhook] = rows_of(Webhook.select().where(Webhook.id == webhook_id))
    if webhook.failed_tries < FAILED_TRIES or now - webhook.failing_since < FAILING:
        return None
    since = format_instant(webhook.failing_since)
    return f"No try succeeded since {since}, for five days; {webhook.failed_tries} failed."


def _disable(webhook_id: str, reason: str, now: datetime) -> bool:
    disabling = Webhook.update(enabled=False, disabled_reason=reason, updated_at=now)
    is_enabled = Webhook.enabled == True  # noqa: E712
    return bool(disabling.where(Webhook.id == webhook_id, is_enabled).execute())


def _row_after(
    result: DeliveryResult, now: datetime, retry_seconds: Sequence[float], enabled: set[str]
) -> Delivery:
    """Return the delivery as it is after a try."""
    row, answer = result.job.delivery.copy(), result.answer
    row.leased_until = None
    if answer is None:
        return row
    row.attempts += 1
    row.tries = [*row.tries, _try_of(result, answer)]
    row.last_status_code, row.last_error = answer.status_code, answer.error
    row.next_attempt_at = None
    if answer.is_success:
        row.status, row.delivered_at = "delivered", now
    elif row.test or row.attempts > len(retry_seconds) or row.webhook_id not in enabled:
        row.status = "failed"
    else:
        seconds = retry_seconds[row.attempts - 1] * random.uniform(1, 1 + SPREAD)
        seconds = max(seconds, _seconds_asked_for(answer, now))
        row.next_attempt_at = now + timedelta(seconds=seconds)
    return row


def _try_of(result: DeliveryResult, answer: ReceiverResponse) -> dict[str, Any]:
    return {
        "at": format_instant(result.at),
        "status_code": answer.status_code,
        "error": answer.error,
        "milliseconds": answer.milliseconds,
        "response": answer.response,
    }


def _seconds_asked_for(answer: ReceiverResponse, now: datetime) -> float:
    """Return how long a busy receiver asks us to wait: in seconds, or until a date."""
    if answer.status_code not in SAYING_WHEN or not answer.retry_after:
        return 0.0
    text = answer.retry_after.strip()
    try:
        if text.isascii() and text.isdigit():
            seconds = float(text[:9])
        else:
            at = parsedate_to_datetime(text)
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            seconds = (at - now).total_seconds()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


def _set_last_deliveries(pairs: list[tuple[DeliveryResult, Delivery]]) -> None:
    latest: dict[str, tuple[DeliveryResult, Delivery]] = {}
    for result, row in pairs:
        known = latest.get(row.webhook_id)
        if known is None or known[0].at <= result.at:
            latest[row.webhook_id] = result, row
    for webhook_id, (result, row) in sorted(latest.items()):
        last = {
            "status": row.status,
            "at": format_instant(result.at),
            "status_code": row.last_status_code,
        }
        Webhook.update(last_delivery=last).where(Webhook.id == webhook_id).execute()


# -------------------------------------------------------------------------------------- senders


def register(now: datetime) -> str:
    """Add this process to the senders; returns its id. Call it in a transaction.

    It takes over the counts of senders that are gone for a day, so that their rows can go.
    """
    is_gone = Sender.seen_at < now - timedelta(days=1)
    gone = rows_of(Sender.select().where(is_gone))
    counts = {
        name: sum(getattr(sender, name) for sender in gone)
        for name in ("delivered", "failed", "failed_tries")
    }
    Sender.delete().where(Sender.id.in_([sender.id for sender in gone])).execute()
    sender_id = new_id()
    Sender.insert(id=sender_id, started_at=now, seen_at=now, **counts).execute()
    return sender_id


def count(sender_id: str, now: datetime, tried: Sequence[Delivery]) -> None:
    """Count tries, and record that the sender runs."""
    delivered = sum(row.status == "delivered" for row in tried)
    counting = Sender.update(
        seen_at=now,
        delivered=Sender.delivered + delivered,
        failed=Sender.failed + sum(row.status == "failed" for row in tried),
        failed_tries=Sender.failed_tries + len(tried) - delivered,
    )
    counting.where(Sender.id == sender_id).execute()
