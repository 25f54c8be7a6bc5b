"""Clients and their API keys."""

import secrets
from hashlib import sha256

from peewee import IntegrityError

from database import Param, Prepared, Row, among, insert, transaction
from models import ApiKey, Client, is_uuid, new_id
from services.errors import InvalidApiKey, MissingApiKey, NameTaken, ServiceError, UnknownName
from services.many import ANYONE, Together
from times import utc_now

KEY_PREFIX = "nxr_live_"
KEY_BYTES = 32

INSERT_CLIENT = insert(Client)
INSERT_KEY = insert(ApiKey)
ALL_CLIENTS = Prepared(lambda: Client.select().order_by(Client.name))
CLIENT_BY_ID = Prepared(lambda: Client.select().where(Client.id == Param(Client.id)))
CLIENT_BY_NAME = Prepared(lambda: Client.select().where(Client.name == Param(Client.name)))
VALID_KEYS = Prepared(
    lambda: ApiKey.select(ApiKey.key_hash, ApiKey.client).where(
        among(ApiKey.key_hash), ApiKey.revoked_at.is_null()
    )
)
KEYS_OF_CLIENT = Prepared(
    lambda: (
        ApiKey.select()
        .where(ApiKey.client == Param(ApiKey.client))
        .order_by(ApiKey.created_at, ApiKey.id)
    )
)
REVOKE_KEY = Prepared(
    lambda: ApiKey.update({ApiKey.revoked_at: Param(ApiKey.revoked_at)}).where(
        ApiKey.id == Param(ApiKey.id), ApiKey.revoked_at.is_null()
    )
)
REVOKE_LABEL = Prepared(
    lambda: ApiKey.update({ApiKey.revoked_at: Param(ApiKey.revoked_at)}).where(
        ApiKey.client == Param(ApiKey.client),
        ApiKey.label == Param(ApiKey.label),
        ApiKey.revoked_at.is_null(),
    )
)
KEY_BY_ID = Prepared(lambda: ApiKey.select().where(ApiKey.id == Param(ApiKey.id)))


def authenticate(api_key: str | None) -> str:
    """The id of the client a key belongs to; raises MissingApiKey or InvalidApiKey.

    Asked of the database each time, so that a revoked key stops working at once in every process.
    """
    if not api_key:
        raise MissingApiKey()
    return CLIENT_OF_KEY(ANYONE, _hash(api_key))


def _clients_of_keys(_: str, key_hashes: list[str]) -> list[str | ServiceError]:
    valid = VALID_KEYS.rows_among("key_hash", key_hashes)
    clients = {key["key_hash"]: key["client_id"] for key in valid}
    return [clients.get(key_hash) or InvalidApiKey() for key_hash in key_hashes]


CLIENT_OF_KEY = Together(_clients_of_keys)


@transaction
def create(name: str) -> tuple[Row, str]:
    """Make a client with its first key; returns both, the key for the only time.

    Raises NameTaken.
    """
    client: Row = {"id": new_id(), "name": name, "created_at": utc_now()}
    try:
        INSERT_CLIENT.run(**client)
    except IntegrityError as error:
        raise NameTaken(f"There is a client named {name!r} already.") from error
    return client, _insert_key(client["id"], None)[1]


def list_all() -> list[Row]:
    """Every client, by name."""
    return ALL_CLIENTS.rows()


def find(id_or_name: str) -> Row:
    """The client of an id or else of a name; raises UnknownName."""
    client = CLIENT_BY_NAME.row_or_none(name=id_or_name)
    if client is None and is_uuid(id_or_name):
        client = CLIENT_BY_ID.row_or_none(id=id_or_name.lower())
    if client is None:
        raise UnknownName(f"There is no client with the id or name {id_or_name!r}.")
    return client


@transaction
def create_key(client_id: str, label: str | None = None) -> tuple[Row, str]:
    """Make a key; returns its row and the key itself, for the only time.

    With a label, it takes the place of the client's earlier keys of that label: those are revoked.
    """
    if label:
        REVOKE_LABEL.run(client_id=client_id, label=label, revoked_at=utc_now())
    return _insert_key(client_id, label)


def list_keys(client_id: str) -> list[Row]:
    """The client's keys, oldest first, revoked ones too."""
    return KEYS_OF_CLIENT.rows(client_id=client_id)


@transaction
def revoke_key(key_id: str) -> Row:
    """Revoke a key, from now on and everywhere; no-op on a revoked one. Raises UnknownName."""
    key = None
    if is_uuid(key_id):
        REVOKE_KEY.run(id=key_id.lower(), revoked_at=utc_now())
        key = KEY_BY_ID.row_or_none(id=key_id.lower())
    if key is None:
        raise UnknownName(f"There is no key with the id {key_id!r}.")
    return key


def _insert_key(client_id: str, label: str | None) -> tuple[Row, str]:
    api_key = KEY_PREFIX + secrets.token_hex(KEY_BYTES)
    row = {
        "id": new_id(),
        "client_id": client_id,
        "key_hash": _hash(api_key),
        "prefix": KEY_PREFIX,
        "last_four": api_key[-4:],
        "label": label,
        "created_at": utc_now(),
        "revoked_at": None,
    }
    INSERT_KEY.run(**row)
    return row, api_key


def _hash(api_key: str) -> str:
    # A key has 256 random bits, so a fast hash without salt gives nothing away.
    return sha256(api_key.encode("utf-8", "surrogatepass")).hexdigest()
