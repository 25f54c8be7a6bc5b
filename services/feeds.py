"""Feeds: calendar addresses that contain a secret, since calendar programs send no header."""

import secrets

from database import transaction
from database.queries import Insert, rows_of
from ids import is_uuid, new_id
from models import Feed
from services import calendars, leads, users
from services.errors import NotFound, UnknownName
from services.tokens import hash_secret
from times import utc_now

TOKEN_BYTES = 32

insert = Insert(Feed)


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
            "token_hash": hash_secret(token),
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
    feeds = Feed.select().where(Feed.client == client_id)
    return rows_of(feeds.order_by(Feed.created_at, Feed.id))


@transaction
def revoke(feed_id: str) -> Feed:
    """Revoke a feed, at once and in every process; raises UnknownName.

    A feed that is revoked already stays as it was.
    """
    feeds = []
    if is_uuid(feed_id):
        is_feed = Feed.id == feed_id.lower()
        Feed.update(revoked_at=utc_now()).where(is_feed, Feed.revoked_at.is_null()).execute()
        feeds = rows_of(Feed.select().where(is_feed))
    if not feeds:
        raise UnknownName(f"There is no feed with the id {feed_id!r}.")
    feed: Feed = feeds[0]
    return feed


def read(token: str) -> tuple[str, bytes]:
    """Return the id of the client that a feed belongs to, and its calendar.

    Raises NotFound for an unknown or revoked token.
    """
    is_in_use = (Feed.token_hash == hash_secret(token)) & Feed.revoked_at.is_null()
    feeds = rows_of(Feed.select().where(is_in_use))
    if not feeds:
        raise NotFound()
    feed = feeds[0]
    filters = {"host_id": feed.host_id, "lead_id": feed.lead_id}
    filters = {name: value for name, value in filters.items() if value is not None}
    return feed.client_id, calendars.of_many(feed.client_id, "Meetings", filters)
