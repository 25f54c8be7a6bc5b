"""The command `feeds`."""

from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup

from cli.command import LEAD_ID, NAME, Output, command, state_of
from models import Feed
from services import clients, feeds

feed_group = AppGroup("feeds", help="Manage calendar addresses that need no key.")


@feed_group.command("create")
@click.argument("client", type=NAME)
@click.option(
    "--host", "host_email", type=NAME, help="Email of a host: only the meetings of that host."
)
@click.option(
    "--lead", "lead_id", type=LEAD_ID, help="Id of a lead: only the meetings of that lead."
)
@command
def create_feed(client: str, host_email: str | None, lead_id: str | None) -> Any:
    """Create a calendar address for CLIENT (id or name), which is shown only once."""
    if host_email is not None and lead_id is not None:
        raise click.UsageError("Give --host or --lead, not both.")
    owner = clients.find(client)
    feed, token = feeds.create(owner.id, host_email, lead_id)
    url = f"{current_app.config['SETTINGS'].base_url}/feeds/{token}.ics"
    return _feed_output(feed) | {"url": url}, lambda made: f"{made['id']}  {made['url']}"


@feed_group.command("list")
@click.argument("client", type=NAME)
@command
def list_feeds(client: str) -> Any:
    """List the feeds of CLIENT (id or name)."""
    return [_feed_output(row) for row in feeds.list_all(clients.find(client).id)], _feed_line


@feed_group.command("revoke")
@click.argument("feed_id", type=NAME)
@command
def revoke_feed(feed_id: str) -> Any:
    """Revoke a feed at once, in every process."""
    return _feed_output(feeds.revoke(feed_id)), _feed_line


def _feed_output(feed: Feed) -> Output:
    return {
        "id": feed.id,
        "host_id": feed.host_id,
        "lead_id": feed.lead_id,
        "created_at": feed.created_at,
        "revoked": feed.revoked_at is not None,
        "revoked_at": feed.revoked_at,
    }


def _feed_line(row: Output) -> str:
    owner = next((f"{of} {row[f'{of}_id']}" for of in ("host", "lead") if row[f"{of}_id"]), "all")
    return f"{row['id']}  {owner}  {state_of(row)}"
