"""Sessions of the desk: a person signs in with an API key, for twelve hours."""

import secrets
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from database import transaction
from database.queries import Insert, compiled
from ids import new_id
from models import ApiKey, Client, DeskSession
from services import clients, pruning
from services.tokens import hash_secret
from times import utc_now

LASTS = timedelta(hours=12)
TOKEN_BYTES = 32

insert = Insert(DeskSession)


class SignedIn(NamedTuple):
    """The client of a session's key, and whether the key may only read."""

    client_id: str
    client_name: str
    read_only: bool


@compiled
def session_by_token(token_hash: Any, now: Any, today: Any) -> Any:
    """Return the client and the scope of a session, unless it or its key has ended."""
    is_valid = ApiKey.expires_on.is_null() | (ApiKey.expires_on >= today)
    return (
        DeskSession.select(ApiKey.client, Client.name, ApiKey.read_only)
        .join(ApiKey)
        .join(Client)
        .where(
            DeskSession.token_hash == token_hash,
            DeskSession.expires_at > now,
            ApiKey.revoked_at.is_null(),
            is_valid,
        )
    )


def start(api_key: str) -> str:
    """Start a session with a key; returns its token, which is not stored.

    Raises MissingApiKey, InvalidApiKey. Old sessions are deleted now and then.
    """
    key = clients.find_key(api_key)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    _insert(key.id, token, utc_now())
    pruning.delete_if_due("desk_sessions", "", lambda client_id: _delete_old())
    return token


@transaction
def _insert(key_id: str, token: str, now: datetime) -> None:
    row = {"id": new_id(), "key": key_id, "token_hash": hash_secret(token), "created_at": now}
    insert([DeskSession.of({**row, "expires_at": now + LASTS})])


def find_or_none(token: str) -> SignedIn | None:
    """Return the client and the scope of a session; None after it or its key has ended."""
    now = utc_now()
    found = session_by_token.tuples(
        token_hash=hash_secret(token), now=now, today=now.date().isoformat()
    )
    return SignedIn(found[0][0], found[0][1], bool(found[0][2])) if found else None


@transaction
def end(token: str) -> None:
    """End a session; its token is unknown from then on."""
    DeskSession.delete().where(DeskSession.token_hash == hash_secret(token)).execute()


# -------------------------------------------------------------------------------------- deletion


def prune() -> int:
    """Delete all sessions that have ended; returns how many."""
    count = 0
    while deleted := _delete_old():
        count += deleted
    return count


@transaction
def _delete_old() -> int:
    """Delete up to PRUNE_ROWS of the sessions that have ended."""
    old = (
        DeskSession.select(DeskSession.id)
        .where(DeskSession.expires_at <= utc_now())
        .order_by(DeskSession.expires_at)
        .limit(pruning.PRUNE_ROWS)
    )
    deleted: int = DeskSession.delete().where(DeskSession.id.in_(old)).execute()
    return deleted
