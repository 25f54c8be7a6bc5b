"""The commands `clients` and `keys`."""

from datetime import datetime
from typing import Any

import click
from flask.cli import AppGroup

from cli.command import NAME, Output, command, state_of
from models import ApiKey
from services import clients

client_group = AppGroup("clients", help="Manage clients, the owners of all rows.")
key_group = AppGroup("keys", help="Manage the API keys of a client.")


@client_group.command("create")
@click.argument("name", type=NAME)
@command
def create_client(name: str) -> Any:
    """Create a client with its first key, which is shown only once."""
    client, api_key = clients.create(name)
    return (
        {"id": client.id, "name": client.name, "api_key": api_key},
        lambda made: (
            f"Client {made['name']} ({made['id']}). Its key, shown only once: {made['api_key']}"
        ),
    )


@client_group.command("list")
@command
def list_clients() -> Any:
    """List the clients."""
    return [
        {"id": row.id, "name": row.name, "created_at": row.created_at} for row in clients.list_all()
    ], lambda row: f"{row['id']}  {row['name']}"


@key_group.command("create")
@click.argument("client", type=NAME)
@click.option("--read-only", is_flag=True, help="The key may only read: GET and HEAD.")
@click.option("--name", type=NAME, help="Whose key it is, or what for.")
@click.option(
    "--expires",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="YYYY-MM-DD",
    help="The last day on which the key is valid, in UTC.",
)
@command
def create_key(client: str, read_only: bool, name: str | None, expires: datetime | None) -> Any:
    """Create another key for CLIENT (id or name), which is shown only once."""
    owner = clients.find(client)
    key, api_key = clients.create_key(
        owner.id, name=name, read_only=read_only, expires_on=expires and expires.date()
    )
    return (
        _key_output(key) | {"client_id": owner.id, "api_key": api_key},
        lambda made: (
            f"{_key_line(made)}\n"
            f"The key of the client {owner.name}, shown only once: {made['api_key']}"
        ),
    )


@key_group.command("list")
@click.argument("client", type=NAME)
@command
def list_keys(client: str) -> Any:
    """List the keys of CLIENT (id or name)."""
    return [_key_output(row) for row in clients.list_keys(clients.find(client).id)], _key_line


@key_group.command("revoke")
@click.argument("key_id", type=NAME)
@command
def revoke_key(key_id: str) -> Any:
    """Revoke a key at once, in every process."""
    return _key_output(clients.revoke_key(key_id)), _key_line


def _key_output(key: ApiKey) -> Output:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "last_four": key.last_four,
        "scope": "read_only" if key.read_only else "read_write",
        "created_at": key.created_at,
        "expires_on": key.expires_on,
        "last_used_on": key.last_used_on,
        "revoked": key.revoked_at is not None,
        "revoked_at": key.revoked_at,
    }


def _key_line(row: Output) -> str:
    return "  ".join(
        [
            row["id"],
            f"{row['prefix']}…{row['last_four']}",
            row["name"] or "(no name)",
            row["scope"],
            f"expires {row['expires_on'] or 'never'}",
            f"last used {row['last_used_on'] or 'never'}",
            state_of(row, clients.has_expired(row["expires_on"])),
        ]
    )
