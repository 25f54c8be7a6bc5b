"""Idempotency keys: a request sent again under its key gets the response to the first request.

A key is claimed, the request carried out and its response stored in one transaction. So a response
and its effect are stored together or not at all, and a killed process leaves no key behind.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import orjson
from peewee import PeeweeException

from database import db, is_lock_timeout, is_unavailable, transaction
from database.pool import PoolTimeout
from database.queries import Insert, checked, compiled
from database.turns import Turns, TurnTimeout
from models import IdempotencyKey
from services import pruning
from services.errors import IdempotencyKeyInProgress, IdempotencyKeyReused
from times import utc_now

KEPT = timedelta(hours=24, minutes=1)  # a response is committed a moment after its `created_at`

insert_unless_taken = Insert(IdempotencyKey, unless_taken=True)
turns = Turns()


class KeptAnswer(NamedTuple):
    """The stored part of a response, and whether it was stored for an earlier request."""

    status: int
    body: bytes  # a JSON object
    location: str | None
    is_replayed: bool = False


@dataclass
class KeyedRequest:
    """A request that was sent under a key."""

    client_id: str
    key: str
    request_hash: str
    has_begun: bool = False  # whether a transaction to carry it out has begun

    @property
    def named(self) -> dict[str, str]:
        """The values of a query for the row of the key."""
        return {"client_id": self.client_id, "key": self.key}


def _is_key(client_id: Any, key: Any) -> tuple[Any, ...]:
    return IdempotencyKey.key == key, checked(IdempotencyKey.client == client_id)


@compiled
def key_by_name(client_id: Any, key: Any) -> Any:
    """Return the row of a key."""
    return IdempotencyKey.select().where(*_is_key(client_id, key))


@compiled
def complete(
    client_id: Any,
    key: Any,
    status: Any,
    body: Any,
    location: Any,
    subject_id: Any,
    created_at: Any,
) -> Any:
    """Store the response to a request on the row of its key."""
    return IdempotencyKey.update(
        {
            IdempotencyKey.status: status,
            IdempotencyKey.body: body,
            IdempotencyKey.location: location,
            IdempotencyKey.subject: subject_id,
            IdempotencyKey.created_at: created_at,
        }
    ).where(*_is_key(client_id, key))


def answer_once(request: KeyedRequest, answer: Callable[[], KeptAnswer]) -> KeptAnswer:
    """Return the stored response to a request, or carry the request out and store its response.

    `answer` carries it out and may run several times, each in a transaction of its own; its errors
    are raised and nothing is stored. Raises IdempotencyKeyReused; IdempotencyKeyInProgress if the
    first request does not end in time.
    """
    pruning.delete_if_due("idempotency_keys", request.client_id, _delete_old)
    name = db.obj, request.client_id, request.key
    has_waited = False
    try:
        # Requests of the same process wait here, where they hold no connection.
        with turns.wait(name, db.timeout_seconds) as has_waited:
            return _stored_or_none(request) or _answer(request, answer)
    except TurnTimeout as error:
        raise IdempotencyKeyInProgress() from error
    except (PeeweeException, PoolTimeout) as error:
        # SQLite: this request waited for the first one, and then timed out at the write lock too.
        if has_waited and not request.has_begun and is_unavailable(error):
            raise IdempotencyKeyInProgress() from error
        raise


@transaction
def _answer(request: KeyedRequest, answer: Callable[[], KeptAnswer]) -> KeptAnswer:
    request.has_begun = True
    db.lock_client(request.client_id, shared=True)
    if not _claim(request):
        if (stored := _stored_or_none(request)) is None:  # it was just deleted
            raise IdempotencyKeyInProgress()
        return stored
    made = answer()
    complete.run(
        **request.named,
        status=made.status,
        body=made.body.decode(),
        location=made.location,
        subject_id=_subject_of(made),
        created_at=utc_now(),
    )
    return made


def _claim(request: KeyedRequest) -> bool:
    """Insert the row of the key, unless there is one; this waits for a first request."""
    row = {
        **dict.fromkeys(IdempotencyKey._meta.fields),
        "client": request.client_id,
        "key": request.key,
        "request_hash": request.request_hash,
        "created_at": utc_now(),
    }
    try:
        return bool(insert_unless_taken([IdempotencyKey.of(row)]))
    except PeeweeException as error:
        if is_lock_timeout(error):
            raise IdempotencyKeyInProgress() from error
        raise


def _stored_or_none(request: KeyedRequest) -> KeptAnswer | None:
    """Return the response stored under a key, if any; raises IdempotencyKeyReused."""
    row = key_by_name.first(**request.named)
    if row is None:
        return None
    if row.request_hash != request.request_hash:
        raise IdempotencyKeyReused()
    return KeptAnswer(row.status, row.body.encode(), row.location, is_replayed=True)


def _subject_of(answer: KeptAnswer) -> str | None:
    """Return the id of the lead that a response is about, or else of the row that it shows."""
    for shown in orjson.loads(answer.body).values():
        if isinstance(shown, dict) and "id" in shown:
            subject_id: str = shown.get("lead_id") or shown["id"]
            return subject_id
    return None


# -------------------------------------------------------------------------------------- deletion


def prune() -> int:
    """Delete all old keys of every client; returns how many."""
    return pruning.delete_all(_delete_old)


@transaction
def _delete_old(client_id: str) -> int:
    """Delete up to PRUNE_ROWS of the client's keys that have been kept long enough."""
    old = (
        IdempotencyKey.select(IdempotencyKey.key)
        .where(IdempotencyKey.client == client_id, IdempotencyKey.created_at < utc_now() - KEPT)
        .order_by(IdempotencyKey.created_at)
        .limit(pruning.PRUNE_ROWS)
    )
    deleted: int = (
        IdempotencyKey.delete()
        .where(IdempotencyKey.client == client_id, IdempotencyKey.key.in_(old))
        .execute()
    )
    return deleted
