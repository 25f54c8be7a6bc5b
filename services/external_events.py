"""External events: which meeting a booking in another system is.

A pair of provider and event id names one meeting of a client, permanently. Several pairs may name
one meeting: the earlier ids of a rescheduled booking do. A pair that an unmatched receipt waits for
names no meeting yet.
"""

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from database.queries import Insert, among, compiled, locking, write_instant
from models import ExternalEvent, Meeting
from services.errors import MeetingNotFound
from services.waiting import Pair

insert_unless_taken = Insert(ExternalEvent, unless_taken=True)


def pairs_of(provider: str | None, event_id: str | None, previous_id: str | None) -> list[Pair]:
    """Return the pairs that name a booking: its own first, then that of its previous id.

    There are none without a provider or without an id of its own.
    """
    if not provider or not event_id:
        return []
    pairs = [(provider, event_id)]
    if previous_id and previous_id != event_id:
        pairs.append((provider, previous_id))
    return pairs


def _owners(client_id: Any, event_ids: Any) -> Any:
    return (
        ExternalEvent.select(
            ExternalEvent.provider,
            ExternalEvent.event_id,
            ExternalEvent.booking_stamp,
            ExternalEvent.outcome_stamp,
            *Meeting._meta.sorted_fields,
        )
        .join(Meeting)
        .where(ExternalEvent.client == client_id, among(ExternalEvent.event_id, event_ids))
        .order_by(Meeting.id)
    )


@compiled
def owners(client_id: Any, event_ids: Any) -> Any:
    """Return the client's external events with any of these ids, with their meetings."""
    return _owners(client_id, event_ids)


@compiled
def owners_locked(client_id: Any, event_ids: Any) -> Any:
    """Return the same, with the meetings locked until the transaction ends."""
    return locking(_owners(client_id, event_ids), Meeting)


def _is_pair(client_id: Any, provider: Any, event_id: Any) -> tuple[Any, ...]:
    return (
        ExternalEvent.client == client_id,
        ExternalEvent.provider == provider,
        ExternalEvent.event_id == event_id,
    )


@compiled
def awaited_locked(client_id: Any, event_ids: Any) -> Any:
    """Return the external events with any of these ids that receipts wait for, locked."""
    query = ExternalEvent.select().where(
        ExternalEvent.client == client_id,
        among(ExternalEvent.event_id, event_ids),
        ExternalEvent.meeting.is_null(),
    )
    return locking(query.order_by(ExternalEvent.provider, ExternalEvent.event_id))


@compiled
def owner_of_pair(client_id: Any, provider: Any, event_id: Any) -> Any:
    """Return the external event of a pair."""
    return ExternalEvent.select().where(*_is_pair(client_id, provider, event_id))


@compiled
def give_pair(client_id: Any, provider: Any, event_id: Any, meeting_id: Any) -> Any:
    """Make a pair name a meeting."""
    return ExternalEvent.update({ExternalEvent.meeting: meeting_id}).where(
        *_is_pair(client_id, provider, event_id)
    )


@compiled
def take_waiting_pair(client_id: Any, provider: Any, event_id: Any, meeting_id: Any) -> Any:
    """Make a pair that a receipt waits for, and that names no meeting yet, name a meeting."""
    return ExternalEvent.update({ExternalEvent.meeting: meeting_id}).where(
        *_is_pair(client_id, provider, event_id), ExternalEvent.meeting.is_null()
    )


@compiled
def set_booking_stamp(client_id: Any, provider: Any, event_id: Any, stamp: Any) -> Any:
    """Record the latest event that the booking system reported about a booking itself."""
    return ExternalEvent.update({ExternalEvent.booking_stamp: stamp}).where(
        *_is_pair(client_id, provider, event_id)
    )


@compiled
def set_outcome_stamp(client_id: Any, provider: Any, event_id: Any, stamp: Any) -> Any:
    """Record the latest event that the booking system reported about a booking's outcome."""
    return ExternalEvent.update({ExternalEvent.outcome_stamp: stamp}).where(
        *_is_pair(client_id, provider, event_id)
    )


@compiled
def release_pair(client_id: Any, provider: Any, event_id: Any) -> Any:
    """Delete a pair, so that it is free again."""
    return ExternalEvent.delete().where(*_is_pair(client_id, provider, event_id))


def find_meeting_id(client_id: str, given: dict[str, Any]) -> str:
    """Return the id of the meeting that a pair names, or named before; raises MeetingNotFound.

    `given` has `external_calendar_provider` and `external_event_id`. A pair that only a receipt
    waits for names no meeting.
    """
    provider, event_id = given["external_calendar_provider"], given["external_event_id"]
    event = owner_of_pair.first(client_id=client_id, provider=provider, event_id=event_id)
    if event is None or event.meeting_id is None:
        raise MeetingNotFound(f"external event {provider} / {event_id}")
    return str(event.meeting_id)


def claim(
    client_id: str, pairs: Mapping[Pair, str], stamps: Mapping[Pair, str] | None = None
) -> int:
    """Make each free pair name the meeting given; returns how many were free.

    `stamps` has the stamps of the bookings that are logged with the pairs.

    The table's key decides, however many transactions claim a pair at once: on PostgreSQL the
    others wait here until the first has committed, on SQLite until they may begin. All claim in
    one order, so that they wait for each other instead of deadlocking.
    """
    return _insert(client_id, pairs, stamps or {})


def find_or_none(client_id: str, pair: Pair) -> ExternalEvent | None:
    """Return the external event of a pair with its meeting, or None if it has no meeting."""
    events = owners(client_id=client_id, event_ids=[pair[1]])
    return next((event for event in events if event.provider == pair[0]), None)


def stamp_of(at: datetime, payload: str) -> str:
    """Return the stamp of an event that a booking system reported: its time and its payload."""
    return f"{write_instant(at)} {sha256(payload.encode()).hexdigest()[:16]}"


def is_outdated(stamp: str | None, latest: str | None) -> bool:
    """Whether an event is older than the latest one, or a repetition of it."""
    if stamp is None or latest is None:
        return False
    return stamp == latest or stamp.partition(" ")[0] < latest.partition(" ")[0]


def await_pairs(client_id: str, pairs: list[Pair]) -> None:
    """Mark the pairs that name no meeting as awaited by an unmatched receipt.

    A transaction that gives such a pair to a meeting then sees that a receipt waits for it. This
    call waits for transactions that are claiming the pair, so look for the meeting again after it.
    """
    _insert(client_id, dict.fromkeys(pairs), {})


def _insert(client_id: str, pairs: Mapping[Pair, str | None], stamps: Mapping[Pair, str]) -> int:
    events = [
        ExternalEvent.of(
            {
                "client": client_id,
                "provider": pair[0],
                "event_id": pair[1],
                "meeting": pairs[pair],
                "booking_stamp": stamps.get(pair),
                "outcome_stamp": None,
            }
        )
        for pair in sorted(pairs)
    ]
    return insert_unless_taken(events)
