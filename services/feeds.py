"""Feeds: calendar addresses that carry their own secret, since calendar programs send no header."""

import secrets
from hashlib import sha256

from database import Param, Prepared, Row, insert, transaction
from models import Feed, is_uuid, new_id
from services import calendars, leads, users
from services.errors import NotFound, UnknownName
from times import utc_now

TOKEN_BYTES = 32

INSERT_FEED = insert(Feed)
FEED_BY_ID = Prepared(lambda: Feed.select().where(Feed.id == Param(Feed.id)))
FEED_BY_TOKEN = Prepared(
    lambda: Feed.select().where(
        Feed.token_hash == Param(Feed.token_hash), Feed.revoked_at.is_null()
    )
)
FEEDS_OF_CLIENT = Prepared(
    lambda: (
        Feed.select().where(Feed.client == Param(Feed.client)).order_by(Feed.created_at, Feed.id)
    )
)
REVOKE_FEED = Prepared(
    lambda: Feed.update({Feed.revoked_at: Param(Feed.revoked_at)}).where(
        Feed.id == Param(Feed.id), Feed.revoked_at.is_null()
    )
)


@transaction
def create(client_id: str, host_email: str | None, lead_id: str | None) -> tuple[Row, str]:
    """Make a feed of the client, or of one host or lead; returns it and its token, shown this once.

    Raises UnknownName, LeadNotFound.
    """
    host = None
    if host_email is not None:
        host = users.find_or_none(client_id, host_email)
        if host is None:
            raise UnknownName(f"There is no user with the email {host_email!r}.")
    lead = leads.find(client_id, lead_id) if lead_id is not None else None
    token = secrets.token_urlsafe(TOKEN_BYTES)
    feed = {
        "id": new_id(),
        "client_id": client_id,
        "token_hash": _hash(token),
        "host_id": host and host["id"],
        "lead_id": lead and lead["id"],
        "created_at": utc_now(),
        "revoked_at": None,
    }
    INSERT_FEED.run(**feed)
    return feed, token


def list_all(client_id: str) -> list[Row]:
    """The client's feeds, oldest first, revoked ones too."""
    return FEEDS_OF_CLIENT.rows(client_id=client_id)


@transaction
def revoke(feed_id: str) -> Row:
    """Revoke a feed, from now on and everywhere; no-op on a revoked one. Raises UnknownName."""
    feed = None
    if is_uuid(feed_id):
        REVOKE_FEED.run(id=feed_id.lower(), revoked_at=utc_now())
        feed = FEED_BY_ID.row_or_none(id=feed_id.lower())
    if feed is None:
        raise UnknownName(f"There is no feed with the id {feed_id!r}.")
    return feed


def read(token: str) -> tuple[str, bytes]:
    """The client a feed belongs to, and its calendar; raises NotFound, also where it is revoked."""
    feed = FEED_BY_TOKEN.row_or_none(token_hash=_hash(token))
    if feed is None:
        raise NotFound()
    filters = {name: feed[name] for name in ("host_id", "lead_id") if feed[name] is not None}
    return feed["client_id"], calendars.of_many(feed["client_id"], "Meetings", filters)


def _hash(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
