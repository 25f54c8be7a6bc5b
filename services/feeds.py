"""Feeds: calendar addresses that contain a secret, since calendar programs send no header."""

import secrets
from hashlib import sha256
from typing import Any

from database import transaction
from database.queries import Insert, compiled
from models import Feed, is_uuid, new_id
from services import calendars, leads, users
from services.errors import NotFound, UnknownName
from times import utc_now

TOKEN_BYTES = 32

insert = Insert(Feed)


@compiled
def feed_by_id(feed_id: Any) -> Any:
    """Return the feed with an id."""
    return Feed.select().where(Feed.id == feed_id)


@compiled
def feed_by_token(token_hash: Any) -> Any:
    """Return the feed with the hash of a token, unless it is revoked."""
    return Feed.select().where(Feed.token_hash == token_hash, Feed.revoked_at.is_null())


@compiled
def feeds_of_client(client_id: Any) -> Any:
    """Return the client's feeds, oldest first."""
    return Feed.select().where(Feed.client == client_id).order_by(Feed.created_at, Feed.id)


@compiled
def revoke_by_id(feed_id: Any, revoked_at: Any) -> Any:
    """Revoke a feed, unless it is revoked already."""
    return Feed.update({Feed.revoked_at: revoked_at}).where(
        Feed.id == feed_id, Feed.revoked_at.is_null()
    )


@transaction
def create(client_id: str, host_email: str | None, lead_id: str | None) -> tuple[Feed, str]:
    """Make a feed of the client, or of one host or lead; returns it and its token (not stored).

    Raises UnknownName, LeadNotFound.
    """
    host = None
    if host_email is not None:
        host = users.find_or_none(client_id, host_email)
        if host is None:
            raise UnknownName(f"There is no user with the email {host_email!r}.")
    lead = leads.find(client_id, lead_id) if lead_id is not None else None
    token = secrets.token_urlsafe(TOKEN_BYTES)
    feed = Feed.of(
        {
            "id": new_id(),
            "client": client_id,
            "token_hash": _hash(token),
            "host": host and host.id,
            "lead": lead and lead.id,
            "created_at": utc_now(),
            "revoked_at": None,
        }
    )
    insert([feed])
    return feed, token


def list_all(client_id: str) -> list[Feed]:
    """Return the client's feeds, oldest first, revoked ones included."""
    return feeds_of_client(client_id=client_id)


@transaction
def revoke(feed_id: str) -> Feed:
    """Revoke a feed, at once and in every process; raises UnknownName.

    A feed that is revoked already stays as it was.
    """
    feed: Feed | None = None
    if is_uuid(feed_id):
        revoke_by_id.run(feed_id=feed_id.lower(), revoked_at=utc_now())
        feed = feed_by_id.first(feed_id=feed_id.lower())
    if feed is None:
        raise UnknownName(f"There is no feed with the id {feed_id!r}.")
    return feed


def read(token: str) -> tuple[str, bytes]:
    """Return the id of the client that a feed belongs to, and its calendar.

    Raises NotFound for an unknown or revoked token.
    """
    feed: Feed | None = feed_by_token.first(token_hash=_hash(token))
    if feed is None:
        raise NotFound()
    filters = {"host_id": feed.host_id, "lead_id": feed.lead_id}
    filters = {name: value for name, value in filters.items() if value is not None}
    return feed.client_id, calendars.of_many(feed.client_id, "Meetings", filters)


def _hash(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
