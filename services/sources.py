"""Sources: the addresses of this service that booking systems post to."""

import secrets
from typing import Any

from peewee import IntegrityError

from database import transaction
from database.group_commit import GroupCommit
from database.queries import Insert, Update, among, checked, compiled, locking
from ids import is_uuid, new_id
from intake_models import Receipt, Source
from services.errors import InvalidRequest, NameTaken, NotFound, SourceNotFound
from services.providers import generic
from services.results import Details
from services.tokens import hash_secret
from times import utc_now

# The fields that callers set, each with the value that null stands for.
DEFAULTS: dict[str, Any] = {
    "name": None,
    "signing_secret": None,
    "create_leads": True,
    "timezone": "UTC",
    "mapping": None,
}
TOKEN_BYTES = 32
EVENT_PROVIDER_LENGTH = 64

insert = Insert(Source)
update_rows = Update(Source, fixed={"id", "client", "provider", "event_provider", "created_at"})


def _by_id(client_id: Any, source_id: Any) -> Any:
    is_known = (Source.id == source_id) & Source.deleted_at.is_null()
    return Source.select().where(checked(Source.client == client_id), is_known)


@compiled
def source_by_id(client_id: Any, source_id: Any) -> Any:
    """Return the client's source with an id, unless it is deleted."""
    return _by_id(client_id, source_id)


@compiled
def source_by_id_locked(client_id: Any, source_id: Any) -> Any:
    """Return the client's source with an id, locked until the transaction ends."""
    return locking(_by_id(client_id, source_id))


@compiled
def source_of_any_client(source_id: Any) -> Any:
    """Return the source with an id, whose client is not known yet."""
    return Source.select().where(Source.id == source_id, Source.deleted_at.is_null())


@compiled
def sources_by_token(token_hashes: Any) -> Any:
    """Return the sources whose addresses have the tokens with any of these hashes."""
    return Source.select().where(among(Source.token_hash, token_hashes))


@compiled
def sources_of_client(client_id: Any) -> Any:
    """Return the client's sources, without deleted ones."""
    return Source.select().where(Source.client == client_id, Source.deleted_at.is_null())


@compiled
def latest_receipts(source_ids: Any) -> Any:
    """Return the latest receipt of each of these sources: its source and its time."""
    one = Receipt.alias()
    latest = (
        one.select(one.id)
        .where(one.source == Source.id)
        .order_by(one.received_at.desc(), one.id.desc())
        .limit(1)
    )
    of_sources = Receipt.select(Receipt.source, Receipt.received_at).join(Source)
    return of_sources.where(among(Source.id, source_ids), Receipt.id == latest)


@transaction
def create(
    client_id: str, given: dict[str, Any], wrong: Details | None = None
) -> tuple[Source, str]:
    """Make a source; returns it and the token of its address, for the only time.

    `wrong` holds the faults found so far, so that one error names all. Raises InvalidRequest,
    NameTaken.
    """
    provider = given.get("provider")
    faults = dict(wrong or {})
    if provider and "mapping" not in faults:
        faults |= _mapping_faults(provider, given.get("mapping"))
    if faults:
        raise InvalidRequest(faults)
    token = _new_token(given["provider"])
    source = Source.of(
        {
            "id": new_id(),
            "client": client_id,
            "provider": provider,
            "event_provider": _event_provider(given["provider"], given["name"]),
            "token_hash": hash_secret(token),
            "created_at": utc_now(),
            "deleted_at": None,
            **DEFAULTS,
            **_values(given),
        }
    )
    try:
        insert([source])
    except IntegrityError as error:
        raise _name_taken(source) from error
    return source, token


def list_all(client_id: str) -> list[Source]:
    """Return the client's sources by name."""
    sources = sources_of_client(client_id=client_id)
    return _with_last_received(sorted(sources, key=lambda source: source.name))


def find(client_id: str, source_id: str) -> Source:
    """Return the client's source with an id; raises SourceNotFound."""
    return _one(source_by_id(client_id=client_id, source_id=source_id), source_id)


def find_of_any_client(source_id: str) -> Source:
    """Return the source with an id, for the command line; raises SourceNotFound."""
    is_id = is_uuid(source_id)
    return _one(source_of_any_client(source_id=source_id.lower()) if is_id else [], source_id)


def find_by_token(token: str) -> Source:
    """Return the source whose address has the token; raises NotFound.

    The database compares hashes, so the time it takes reveals nothing about a token.
    """
    [source] = _find_by_hash("", [hash_secret(token)])
    if source is None:
        raise NotFound()
    return source


def _sources_of_tokens(_: str, token_hashes: list[str]) -> list[Source | None]:
    found = {row.token_hash: row for row in sources_by_token(token_hashes=token_hashes)}
    return [found.get(token_hash) for token_hash in token_hashes]


# Every webhook looks up its source: one query for all that arrive together, as with API keys.
_find_by_hash: GroupCommit[str, Source | None] = GroupCommit(_sources_of_tokens)


@transaction
def update(
    client_id: str, source_id: str, given: dict[str, Any], wrong: Details | None = None
) -> Source:
    """Change the fields given; None sets the default.

    `wrong` holds the faults found so far, so that one error names all. Raises InvalidRequest,
    SourceNotFound, NameTaken.
    """
    found = source_by_id_locked(client_id=client_id, source_id=source_id)
    faults = dict(wrong or {})
    if found and "mapping" in given:
        faults |= _mapping_faults(found[0].provider, given["mapping"])
    if faults:
        raise InvalidRequest(faults)
    source = _one(found, source_id)
    source.set_all(_values(given))
    try:
        update_rows([source])
    except IntegrityError as error:
        raise _name_taken(source) from error
    return source


@transaction
def rotate(client_id: str, source_id: str) -> tuple[Source, str]:
    """Give a source a new token, and forget the old one; raises SourceNotFound."""
    source = _find_locked(client_id, source_id)
    token = _new_token(source.provider)
    source.token_hash = hash_secret(token)
    update_rows([source])
    return source, token


@transaction
def delete(client_id: str, source_id: str) -> Source:
    """Make a source unknown, and forget its secrets; its receipts stay. Raises SourceNotFound."""
    source = _find_locked(client_id, source_id)
    source.set_all({"deleted_at": utc_now(), "token_hash": None, "signing_secret": None})
    update_rows([source])
    return source


def _find_locked(client_id: str, source_id: str) -> Source:
    return _one(source_by_id_locked(client_id=client_id, source_id=source_id), source_id)


def _one(found: list[Source], source_id: str) -> Source:
    if not found:
        raise SourceNotFound(source_id)
    return _with_last_received(found)[0]


def _with_last_received(sources: list[Source]) -> list[Source]:
    if sources:
        receipts = latest_receipts(source_ids=[source.id for source in sources])
        received_at = {receipt.source_id: receipt.received_at for receipt in receipts}
        for source in sources:
            source.last_received_at = received_at.get(source.id)
    return sources


def _values(given: dict[str, Any]) -> dict[str, Any]:
    return {
        name: default if given[name] is None else given[name]
        for name, default in DEFAULTS.items()
        if name in given
    }


def _mapping_faults(provider: str, mapping: dict[str, Any] | None) -> Details:
    if provider != "generic":
        faults = [] if mapping is None else [f"Must be absent for the provider {provider}."]
    elif mapping is None:
        faults = ["Required for the provider generic."]
    else:
        faults = generic.mapping_faults(mapping)
    return {"mapping": faults} if faults else {}


def _event_provider(provider: str, name: str) -> str:
    """Return the provider of a source's external events, unless its mapping names another."""
    return name.lower()[:EVENT_PROVIDER_LENGTH].strip() if provider == "generic" else provider


def _new_token(provider: str) -> str:
    return f"{provider}_{secrets.token_urlsafe(TOKEN_BYTES)}"


def _name_taken(source: Source) -> NameTaken:
    return NameTaken(f"There is a source named {source.name!r} already.")
