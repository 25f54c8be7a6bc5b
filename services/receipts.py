"""Receipts: what arrived at the sources, and the outcome of each."""

from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from typing import Any

from peewee import Tuple

from database import transaction
from database.queries import (
    Compiled,
    Insert,
    Update,
    among,
    checked,
    compiled,
    literal,
    locking,
    rows_of,
    write_instant,
)
from intake_models import LATEST_RECEIVED, Receipt
from models import Meeting
from services import external_events, pruning
from services.errors import ReceiptNotFound
from services.results import Key, page_of
from services.waiting import Pair
from times import utc_now

KEPT_LONGER = ("unmatched", "refused")  # twice as long as others
TO_SETTLE = frozenset(KEPT_LONGER)  # a person has to look at these
LISTED = [field for field in Receipt._meta.sorted_fields if field is not Receipt.payload]

insert = Insert(Receipt)
update_rows = Update(
    Receipt, fixed={"id", "client", "source", "provider", "payload", "received_at"}
)


def _waiting(column: Any) -> Compiled:
    """Make a query for the unmatched receipts whose column has one of the values.

    They come oldest first, locked.
    """
    return Compiled(
        lambda client_id, values, limit: locking(
            Receipt.select()
            .where(
                Receipt.outcome == literal("unmatched"),
                among(column, values),
                checked(Receipt.client == client_id),
            )
            .order_by(Receipt.received_at, Receipt.id)
            .limit(limit)
        )
    )


waiting_for_email = _waiting(Receipt.email_key)
waiting_for_event = _waiting(Receipt.external_event_id)
waiting_for_previous_event = _waiting(Receipt.previous_event_id)


@compiled
def receipts_locked(client_id: Any, ids: Any) -> Any:
    """Return the client's receipts with any of these ids, oldest first, locked."""
    query = Receipt.select().where(among(Receipt.id, ids), checked(Receipt.client == client_id))
    return locking(query.order_by(Receipt.received_at, Receipt.id))


def _about(*conditions: Any) -> Any:
    """Select the receipts, without payloads, that meet conditions."""
    return Receipt.select(*LISTED).where(*conditions)


@compiled
def receipts_of_lead(client_id: Any, lead_id: Any) -> Any:
    """Return the receipts that say that they are about a lead."""
    return _about(Receipt.lead == lead_id, checked(Receipt.client == client_id))


def _without_lead(column: Any) -> Compiled:
    """Make a query for the receipts without a lead whose column has one of the values."""
    return Compiled(
        lambda client_id, values: _about(
            among(column, values), Receipt.lead.is_null(), checked(Receipt.client == client_id)
        )
    )


without_lead_by_email = _without_lead(Receipt.email_key)
without_lead_by_event = _without_lead(Receipt.external_event_id)
without_lead_by_previous_event = _without_lead(Receipt.previous_event_id)


@compiled
def receipts_by_id(client_id: Any, ids: Any) -> Any:
    """Return the client's receipts with any of these ids, oldest first, with their payloads."""
    query = Receipt.select().where(among(Receipt.id, ids), checked(Receipt.client == client_id))
    return query.order_by(Receipt.received_at, Receipt.id)


def find_by_id(client_id: str, ids: list[str]) -> list[Receipt]:
    """Return the client's receipts with any of the ids, oldest first, with their payloads."""
    return receipts_by_id(client_id=client_id, ids=ids)


def list_about(
    client_id: str, lead_id: str | None, email_keys: Iterable[str], pairs: Iterable[Pair]
) -> list[Receipt]:
    """Return the receipts of a lead, and those without a lead that have an email or a pair."""
    found = receipts_of_lead(client_id=client_id, lead_id=lead_id) if lead_id else []
    if emails := sorted(email_keys):
        found += without_lead_by_email(client_id=client_id, values=emails)
    wanted = set(pairs)
    if event_ids := sorted({event_id for _, event_id in wanted}):
        for query in (without_lead_by_event, without_lead_by_previous_event):
            for receipt in query(client_id=client_id, values=event_ids):
                if wanted.intersection(pairs_of(receipt)):
                    found.append(receipt)
    return found


def list_of_meeting(client_id: str, meeting: Meeting, limit: int) -> list[Receipt]:
    """Return the latest receipts about a meeting, without payloads; the lead's index finds them."""
    about = _about(
        Receipt.lead == meeting.lead_id,
        Receipt.meeting == meeting.id,
        checked(Receipt.client == client_id),
    )
    return rows_of(about.order_by(Receipt.received_at.desc(), Receipt.id.desc()).limit(limit))


def find(client_id: str, receipt_id: str) -> Receipt:
    """Return the client's receipt with an id, with its payload; raises ReceiptNotFound."""
    query = Receipt.select().where(Receipt.id == receipt_id, checked(Receipt.client == client_id))
    found = rows_of(query)
    if not found:
        raise ReceiptNotFound(receipt_id)
    receipt: Receipt = found[0]
    return receipt


def find_waiting(
    client_id: str, email_keys: Iterable[str], pairs: Iterable[Pair], limit: int
) -> list[Receipt]:
    """Return the unmatched receipts that wait for one of the emails or pairs, oldest first.

    They are locked until the transaction ends.
    """
    found: dict[str, Receipt] = {}
    if emails := sorted(email_keys):
        rows = waiting_for_email(client_id=client_id, values=emails, limit=limit)
        found |= {receipt.id: receipt for receipt in rows}
    wanted = set(pairs)
    if event_ids := sorted({event_id for _, event_id in wanted}):
        for query in (waiting_for_event, waiting_for_previous_event):
            for receipt in query(client_id=client_id, values=event_ids, limit=limit):
                if wanted.intersection(pairs_of(receipt)):
                    found[receipt.id] = receipt
    oldest_first = sorted(found.values(), key=lambda receipt: (receipt.received_at, receipt.id))
    return oldest_first[:limit]


def pairs_of(receipt: Receipt) -> list[Pair]:
    """Return the pairs that name the booking of a receipt."""
    return external_events.pairs_of(
        receipt.event_provider, receipt.external_event_id, receipt.previous_event_id
    )


# --------------------------------------------------------------------------------- lists, counts


def list_receipts(client_id: str, query: dict[str, Any]) -> tuple[list[Receipt], Key | None]:
    """Return a page of receipts, latest first, and the key to go on from if there are more.

    `query` has `limit`, and perhaps `cursor` and the filters `outcome` (a set), `source_id`,
    `lead_email` and `received_after` (inclusive). The rows have no payload.
    """
    conditions = _conditions(client_id, query)
    if "cursor" in query:
        _, at, receipt_id = query["cursor"]
        conditions.append(
            Tuple(Receipt.received_at, Receipt.id) < Tuple(write_instant(at), receipt_id)
        )
    select = Receipt.select(*LISTED).where(*conditions)
    limit = query["limit"]
    rows = rows_of(select.order_by(Receipt.received_at.desc(), Receipt.id.desc()).limit(limit + 1))
    return page_of(rows, limit, lambda row: (LATEST_RECEIVED, row.received_at, row.id))


def list_ids(client_id: str, query: dict[str, Any], limit: int) -> tuple[list[str], int]:
    """Return the ids of the oldest receipts that pass the filters, and how many more there are."""
    conditions = _conditions(client_id, query)
    select = Receipt.select(Receipt.id).where(*conditions)
    rows = rows_of(select.order_by(Receipt.received_at, Receipt.id).limit(limit))
    count = Receipt.select().where(*conditions).count() if len(rows) == limit else len(rows)
    return [receipt.id for receipt in rows], count - len(rows)


def _conditions(client_id: str, query: dict[str, Any]) -> list[Any]:
    of_client = Receipt.client == client_id
    is_selective = "source_id" in query or "lead_email" in query
    conditions = [checked(of_client) if is_selective else of_client]
    if "outcome" in query:
        conditions.append(Receipt.outcome.in_(sorted(query["outcome"])))
        if query["outcome"] <= TO_SETTLE:
            # Repeats the condition of the index that holds only these receipts.
            conditions.append(Receipt.outcome.in_([literal("unmatched"), literal("refused")]))
    if "source_id" in query:
        conditions.append(Receipt.source == query["source_id"])
    if "lead_email" in query:
        conditions.append(Receipt.email_key == query["lead_email"].lower())
    if "received_after" in query:
        conditions.append(Receipt.received_at >= query["received_after"])
    return conditions


# -------------------------------------------------------------------------------------- deletion


def prune_if_due(client_id: str, keep_days: int) -> None:
    """Delete some of the client's old receipts, at most once a minute in each process."""
    pruning.delete_if_due("receipts", client_id, partial(_delete_old, keep_days=keep_days))


def prune(keep_days: int) -> int:
    """Delete all old receipts of every client; returns how many."""
    return pruning.delete_all(partial(_delete_old, keep_days=keep_days))


@transaction
def _delete_old(client_id: str, keep_days: int) -> int:
    """Delete up to PRUNE_ROWS of the client's receipts older than the days given; 0 keeps all."""
    if not keep_days:
        return 0
    now, kept = utc_now(), timedelta(days=keep_days)
    old = (
        Receipt.select(Receipt.id)
        .where(
            Receipt.client == client_id,
            Receipt.received_at < now - kept,
            Receipt.outcome.not_in(KEPT_LONGER) | (Receipt.received_at < now - 2 * kept),
        )
        .order_by(Receipt.received_at)
        .limit(pruning.PRUNE_ROWS)
    )
    deleted: int = Receipt.delete().where(Receipt.id.in_(old)).execute()
    return deleted
