"""Intake: what arrives from booking systems is stored as receipts and processed.

A receipt and its effect commit together.
"""

import logging
from collections.abc import Collection
from typing import Any

from database import db, is_unavailable, transaction
from database.group_commit import GroupCommit
from database.queries import among, compiled
from decoding import decode_json
from ids import new_id
from intake_models import RECEIPT_OUTCOMES, Receipt, Source
from scheduling import in_turns
from services import erased_events, leads, receipts, waiting
from services.errors import (
    InvalidSignature,
    ReceiptNotFound,
    TryAgainLater,
    Unavailable,
)
from services.processing import UNKEPT, Item, Processing
from services.providers import PROVIDERS
from services.providers.events import ReportedEvent
from services.rehearsal import rehearse
from services.results import Loaded, require_row
from services.waiting import Pair
from times import utc_now

log = logging.getLogger("meetings")

# The outcomes after which a receipt is not processed again.
SUCCEEDED = frozenset(RECEIPT_OUTCOMES) - {"ignored", "unmatched", "refused"}
DONE = "Processed before; it was not applied again."
MOST_RELEASED = 100  # waiting receipts that one change processes again
RETRIED, RETRIED_A_TURN = 1000, 100  # receipts of one call, and of one transaction


# ---------------------------------------------------------------------------------------- arrival


def unavailable(token: str) -> Unavailable:
    """Return the error for the sender if the database is unavailable; the token names its kind."""
    kind = TryAgainLater if token.startswith("ghl_") else Unavailable
    return kind("The database is not available just now. Please try again.")


def check_signature(source: Source, headers: Any, body: bytes) -> None:
    """Raise InvalidSignature unless the source has no secret or the body is signed with it."""
    secret = source.signing_secret
    if secret and not PROVIDERS[source.provider].is_signed(secret, headers, body):
        raise InvalidSignature()


def receive(source: Source, payload_text: str, payload: Any, keep_days: int) -> Receipt:
    """Store a payload that arrived at a source, and apply what it reports; returns the receipt.

    `payload` is the value of the JSON text. Old receipts are deleted now and then.
    """
    client_id = source.client_id
    receipts.prune_if_due(client_id, keep_days)
    erased_events.prune_if_due(client_id)
    item = _new_item(source, payload_text, payload)
    [receipt] = _receive_together(client_id, [item])
    return receipt


def _new_item(source: Source, payload_text: str, payload: Any) -> Item:
    receipt = Receipt.of(
        {
            **dict.fromkeys(Receipt._meta.fields),
            "id": new_id(),
            "client": source.client_id,
            "source": source.id,
            "provider": source.provider,
            "payload": payload_text,
            "attempts": 1,
            "received_at": utc_now(),
        }
    )
    return Item(receipt, source, _read(source, payload))


def _read(source: Source, payload: Any) -> ReportedEvent:
    if not isinstance(payload, dict):
        return ReportedEvent(None, "refuse", details={"body": ["Must be a JSON object."]})
    event: ReportedEvent = PROVIDERS[source.provider].read(payload, source)
    return event


@transaction
def _receive(client_id: str, items: list[Item]) -> list[Receipt]:
    db.lock_client(client_id, shared=True)
    db.queue_receipts(client_id)
    processing = Processing(client_id)
    processing.run(items)
    receipts.insert([item.receipt for item in items])
    _release(processing)
    return [item.receipt for item in items]


_receive_together: GroupCommit[Item, Receipt] = GroupCommit(_receive)


def try_out(source: Source, payload: Any) -> Receipt:
    """Return the receipt that a payload would get; nothing is stored."""
    item = _new_item(source, "", payload)
    rehearse(lambda: _receive(source.client_id, [item]))
    return item.receipt


# ---------------------------------------------------------------------------------------- retries


@transaction
def retry(client_id: str, receipt_id: str) -> Receipt:
    """Process a receipt again with the current leads, hosts and mapping.

    A receipt that has succeeded is returned as `unchanged`. Raises ReceiptNotFound.
    """
    results = _retry(client_id, [receipt_id])
    if not results:
        raise ReceiptNotFound(receipt_id)
    return results[0]


def resolve(client_id: str, receipt_id: str, lead: Loaded) -> Receipt:
    """Save the lead that a receipt lacks, and process the receipt again.

    A lead with the same email is updated instead, so that the same call may be made twice. Raises
    ReceiptNotFound, InvalidRequest.
    """
    receipts.find(client_id, receipt_id)
    [result] = leads.save(client_id, [lead], frozenset({"email"}))
    require_row(result)
    return retry(client_id, receipt_id)


def retry_many(client_id: str, query: dict[str, Any]) -> tuple[dict[str, int], int]:
    """Process again the oldest 1,000 receipts that pass the filters `outcome`, `source_id`, …

    Returns how many had each outcome, and how many receipts are left.
    """
    ids, left = receipts.list_ids(client_id, query, RETRIED)
    counts: dict[str, int] = {}
    for part in in_turns(ids, RETRIED_A_TURN):
        for receipt in _retry(client_id, part):
            counts[receipt.outcome] = counts.get(receipt.outcome, 0) + 1
    return counts, left


@transaction
def _retry(client_id: str, ids: list[str]) -> list[Receipt]:
    db.lock_client(client_id, shared=True)
    db.queue_receipts(client_id)
    locked = receipts.receipts_locked(client_id=client_id, ids=ids)
    failed = [receipt for receipt in locked if receipt.outcome not in SUCCEEDED]
    again = [receipt for receipt in failed if receipt.payload != UNKEPT]
    processing = Processing(client_id)
    processing.run(_stored_items(client_id, again))
    receipts.update_rows(again)
    _release(processing)
    return [receipt if receipt in failed else _as_unchanged(receipt) for receipt in locked]


def _as_unchanged(receipt: Receipt) -> Receipt:
    shown = receipt.copy()
    shown.set_all({"outcome": "unchanged", "message": DONE})
    return shown


def _stored_items(client_id: str, stored: list[Receipt]) -> list[Item]:
    """Read the payloads of stored receipts again, for another attempt."""
    sources = {
        source.id: source
        for source in sources_by_id(client_id=client_id, ids=[r.source_id for r in stored])
    }
    items = []
    for receipt in stored:
        receipt.attempts += 1
        source = sources[receipt.source_id]
        items.append(Item(receipt, source, _read(source, decode_json(receipt.payload))))
    return items


@compiled
def sources_by_id(client_id: Any, ids: Any) -> Any:
    """Return the client's sources with any of these ids, deleted ones included."""
    return Source.select().where(among(Source.id, ids), Source.client == client_id)


def _release(processing: Processing) -> None:
    process_waiting(processing.client_id, processing.email_keys, processing.pairs)


@waiting.processes_receipts
def process_waiting(client_id: str, email_keys: Collection[str], pairs: Collection[Pair]) -> None:
    """Process again the unmatched receipts that wait for these emails or pairs, 100 at most."""
    left = MOST_RELEASED
    while left and (email_keys or pairs):
        found = receipts.find_waiting(client_id, email_keys, pairs, left)
        left -= len(found)
        processing = Processing(client_id)
        for item in _stored_items(client_id, found) if found else []:
            _process_again(processing, item)
        email_keys, pairs = processing.email_keys, processing.pairs


def _process_again(processing: Processing, item: Item) -> None:
    """Process a waiting receipt under a savepoint: its failure must not undo what released it."""
    try:
        with db.atomic():
            processing.run([item])
            receipts.update_rows([item.receipt])
    except Exception as error:  # a bug, which is logged like any other
        if is_unavailable(error):
            raise
        log.error("Bug while receipt %s was processed again", item.receipt.id, exc_info=error)
