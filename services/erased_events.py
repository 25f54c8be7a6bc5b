"""Erased events: the pairs of provider and event id of erased leads, known only by their hash.

The booking system may still send webhooks about such a booking, which would store the erased person
again. So they are ignored for as long as receipts are kept.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from database import transaction
from database.queries import Insert, among, checked, compiled
from models import ErasedEvent
from services import pruning
from services.waiting import Pair
from times import utc_now

insert_unless_taken = Insert(ErasedEvent, unless_taken=True)


@compiled
def erased_events(client_id: Any, pair_hashes: Any) -> Any:
    """Return the client's erased events with any of these hashes."""
    return ErasedEvent.select().where(
        among(ErasedEvent.pair_hash, pair_hashes), checked(ErasedEvent.client == client_id)
    )


@compiled
def delete_hashes(client_id: Any, pair_hashes: Any) -> Any:
    """Delete the client's erased events with any of these hashes."""
    return ErasedEvent.delete().where(
        among(ErasedEvent.pair_hash, pair_hashes), checked(ErasedEvent.client == client_id)
    )


def hash_pair(client_id: str, pair: Pair) -> str:
    """Return the hash that is kept of a client's pair."""
    return sha256("\0".join((client_id, *pair)).encode("utf-8", "surrogatepass")).hexdigest()


def add(client_id: str, pairs: Iterable[Pair], expires_at: datetime | None) -> None:
    """Keep the hashes of pairs until a time, or forever; this replaces those kept so far."""
    hashes = sorted({hash_pair(client_id, pair) for pair in pairs})
    delete_hashes.run(client_id=client_id, pair_hashes=hashes)
    rows = [
        ErasedEvent.of({"client": client_id, "pair_hash": it, "expires_at": expires_at})
        for it in hashes
    ]
    insert_unless_taken(rows)


def expiry(keep_days: int) -> datetime | None:
    """Return the time until which the hash of a pair erased now is kept; None means forever."""
    return utc_now() + timedelta(days=keep_days) if keep_days else None


def find(client_id: str, pairs: Iterable[Pair]) -> dict[Pair, ErasedEvent]:
    """Return those of the pairs that were erased and whose hashes have not expired."""
    by_hash = {hash_pair(client_id, pair): pair for pair in pairs}
    if not by_hash:
        return {}
    now = utc_now()
    return {
        by_hash[row.pair_hash]: row
        for row in erased_events(client_id=client_id, pair_hashes=sorted(by_hash))
        if row.expires_at is None or row.expires_at > now
    }


def prune_if_due(client_id: str) -> None:
    """Delete some of the client's expired hashes, at most once a minute in each process."""
    pruning.delete_if_due("erased_events", client_id, _delete_expired)


def prune() -> int:
    """Delete all expired hashes of every client; returns how many."""
    return pruning.delete_all(_delete_expired)


@transaction
def _delete_expired(client_id: str) -> int:
    of_client = ErasedEvent.client == client_id
    expired = (
        ErasedEvent.select(ErasedEvent.pair_hash)
        .where(of_client, ErasedEvent.expires_at < utc_now())
        .limit(pruning.PRUNE_ROWS)
    )
    query = ErasedEvent.delete().where(of_client, ErasedEvent.pair_hash.in_(expired))
    deleted: int = query.execute()
    return deleted
