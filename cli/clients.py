"""The commands `clients` and `keys`."""

from typing import Any

import click
from flask.cli import AppGroup

from cli.command import NAME, Shown, command, state_of
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
    return {"id": client.id, "name": client.name, "api_key": api_key}, _new_key_line


@client_group.command("list")
@command
def list_clients() -> Any:
    """List the clients."""
    return [
        {"id": row.id, "name": row.name, "created_at": row.created_at} for row in clients.list_all()
    ], lambda row: f"{row['id']}  {row['name']}"


@key_group.command("create")
@click.argument("client", type=NAME)
@command
def create_key(client: str) -> Any:
    """Create another key for CLIENT (id or name), which is shown only once."""
    owner = clients.find(client)
    key, api_key = clients.create_key(owner.id)
    return {"id": key.id, "name": owner.name, "api_key": api_key}, _new_key_line


@key_group.command("list")
@click.argument("client", type=NAME)
@command
def list_keys(client: str) -> Any:
    """List the keys of CLIENT (id or name)."""
    return [_shown_key(row) for row in clients.list_keys(clients.find(client).id)], _key_line


@key_group.command("revoke")
@click.argument("key_id", type=NAME)
@command
def revoke_key(key_id: str) -> Any:
    """Revoke a key at once, in every process."""
    return _shown_key(clients.revoke_key(key_id)), _key_line


def _new_key_line(made: Shown) -> str:
    return f"Client {made['name']} ({made['id']}). Its key, shown only once: {made['api_key']}"


def _shown_key(key: ApiKey) -> Shown:
    return {
        "id": key.id,
        "prefix": key.prefix,
        "last_four": key.last_four,
        "created_at": key.created_at,
        "revoked": key.revoked_at is not None,
        "revoked_at": key.revoked_at,
    }


def _key_line(row: Shown) -> str:
    return f"{row['id']}  {row['prefix']}…{row['last_four']}  {state_of(row)}"
