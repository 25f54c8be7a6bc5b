"""Clients and their API keys."""

import secrets
import time
from contextlib import suppress
from datetime import date
from typing import Any

from peewee import IntegrityError, PeeweeException

from database import transaction
from database.group_commit import GroupCommit
from database.pool import PoolTimeout
from database.queries import Insert, among, compiled, rows_of
from ids import is_uuid, new_id
from models import ApiKey, Client
from scheduling import run_later
from services.errors import (
    InvalidApiKey,
    InvalidRequest,
    MissingApiKey,
    NameTaken,
    UnknownName,
)
from services.tokens import hash_secret
from times import utc_now

KEY_PREFIX = "nxr_live_"
KEY_BYTES = 32
NOTE_AGAIN_SECONDS = 60.0  # after this, a failed write of a key's last use is tried again

insert_clients = Insert(Client)
insert_keys = Insert(ApiKey)


@compiled
def valid_keys(key_hashes: Any) -> Any:
    """Return the keys with any of these hashes, unless they are revoked."""
    return ApiKey.select(
        ApiKey.id,
        ApiKey.key_hash,
        ApiKey.client,
        ApiKey.read_only,
        ApiKey.expires_on,
        ApiKey.last_used_on,
    ).where(among(ApiKey.key_hash, key_hashes), ApiKey.revoked_at.is_null())


def find_key(api_key: str | None) -> ApiKey:
    """Return a valid key, and note its use. Raises MissingApiKey, InvalidApiKey.

    The database is asked each time, so that a revoked key stops working at once in every process.
    """
    if not api_key:
        raise MissingApiKey()
    [key] = _find_keys("", [hash_secret(api_key)])
    if key is None or has_expired(key.expires_on):
        raise InvalidApiKey()
    today = _today()
    if key.last_used_on != today:
        _note_use(key.key_hash, today)
    return key


def has_expired(last_day: str | None) -> bool:
    """Return whether a key has expired: whether its last valid day, if any, is past."""
    return last_day is not None and last_day < _today()


def _today() -> str:
    return utc_now().isoformat()[:10]


def _keys_of_hashes(_: str, key_hashes: list[str]) -> list[ApiKey | None]:
    keys = {key.key_hash: key for key in valid_keys(key_hashes=key_hashes)}
    return [keys.get(key_hash) for key_hash in key_hashes]


# Every request looks up its key. With one query for all that arrive together, the look-up takes 7 %
# of the worker's time for a list on PostgreSQL, instead of 15 %.
_find_keys: GroupCommit[str, ApiKey | None] = GroupCommit(_keys_of_hashes)


@compiled
def set_last_use(key_hash: Any, today: Any) -> Any:
    """Store the day on which a key was used, unless another process has done so."""
    is_earlier = ApiKey.last_used_on.is_null() | (ApiKey.last_used_on < today)
    return ApiKey.update({ApiKey.last_used_on: today}).where(
        ApiKey.key_hash == key_hash, is_earlier
    )


# The hash of each key whose use was noted last by this process → the day, and when.
_noted: dict[str, tuple[str, float]] = {}


def _note_use(key_hash: str, today: str) -> None:
    """Store that a key is used today: one write per key and day, for which no request waits.

    The look-up of the key has shown that its last use was on another day. Until the write ends,
    other requests with the key start no second write.
    """
    day, at = _noted.get(key_hash, ("", 0.0))
    if day != today or time.monotonic() - at > NOTE_AGAIN_SECONDS:
        _noted[key_hash] = today, time.monotonic()
        run_later(_store_use, key_hash, today)


def _store_use(key_hash: str, today: str) -> None:
    # A locked or read-only database must not prevent reads.
    with suppress(PeeweeException, PoolTimeout):
        _write_use(key_hash, today)


@transaction
def _write_use(key_hash: str, today: str) -> None:
    set_last_use.run(key_hash=key_hash, today=today)


@transaction
def create(name: str) -> tuple[Client, str]:
    """Make a client with its first key; returns both. The key cannot be read again.

    Raises NameTaken.
    """
    client = Client.of({"id": new_id(), "name": name, "created_at": utc_now()})
    try:
        insert_clients([client])
    except IntegrityError as error:
        raise NameTaken(f"There is a client named {name!r} already.") from error
    return client, _insert_key(client.id)[1]


def list_all() -> list[Client]:
    """Return every client by name."""
    return rows_of(Client.select().order_by(Client.name))


def get(client_id: str) -> Client:
    """Return the client that a valid key belongs to."""
    [client] = rows_of(Client.select().where(Client.id == client_id))
    found: Client = client
    return found


def find(id_or_name: str) -> Client:
    """Return the client with a name or else an id; raises UnknownName."""
    named = rows_of(Client.select().where(Client.name == id_or_name))
    if not named and is_uuid(id_or_name):
        named = rows_of(Client.select().where(Client.id == id_or_name.lower()))
    if not named:
        raise UnknownName(f"There is no client with the id or name {id_or_name!r}.")
    client: Client = named[0]
    return client


@transaction
def create_key(
    client_id: str,
    label: str | None = None,
    *,
    name: str | None = None,
    read_only: bool = False,
    expires_on: date | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; returns its row and the key itself, which cannot be read again.

    It is valid through the day `expires_on`, in UTC; raises InvalidRequest if that day is past.
    With a label it replaces the client's earlier keys of that label: those are revoked.
    """
    last_day = expires_on.isoformat() if expires_on else None
    if has_expired(last_day):
        raise InvalidRequest({"expires": [f"Must not be in the past; today is {_today()} in UTC."]})
    if label:
        _revoke(ApiKey.client == client_id, ApiKey.label == label)
    given = {"label": label, "name": name, "read_only": read_only, "expires_on": last_day}
    return _insert_key(client_id, **given)


def list_keys(client_id: str) -> list[ApiKey]:
    """Return the client's keys, oldest first, revoked ones included."""
    keys = ApiKey.select().where(ApiKey.client == client_id)
    return rows_of(keys.order_by(ApiKey.created_at, ApiKey.id))


@transaction
def revoke_key(key_id: str) -> ApiKey:
    """Revoke a key, at once and in every process; raises UnknownName.

    A key that is revoked already stays as it was.
    """
    keys = []
    if is_uuid(key_id):
        _revoke(ApiKey.id == key_id.lower())
        keys = rows_of(ApiKey.select().where(ApiKey.id == key_id.lower()))
    if not keys:
        raise UnknownName(f"There is no key with the id {key_id!r}.")
    key: ApiKey = keys[0]
    return key


def _revoke(*conditions: Any) -> None:
    revocation = ApiKey.update(revoked_at=utc_now())
    revocation.where(*conditions, ApiKey.revoked_at.is_null()).execute()


def _insert_key(client_id: str, **given: Any) -> tuple[ApiKey, str]:
    api_key = KEY_PREFIX + secrets.token_hex(KEY_BYTES)
    row = ApiKey.of(
        {
            "id": new_id(),
            "client": client_id,
            "key_hash": hash_secret(api_key),
            "prefix": KEY_PREFIX,
            "last_four": api_key[-4:],
            "label": None,
            "name": None,
            "read_only": False,
            "expires_on": None,
            "last_used_on": None,
            "created_at": utc_now(),
            "revoked_at": None,
            **given,
        }
    )
    insert_keys([row])
    return row, api_key
