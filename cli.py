"""The `flask` commands: migrations, backup, clients and keys, hosts, meeting types, the demo."""

import json
import shlex
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any

import click
from flask import Flask, current_app
from flask.cli import AppGroup, with_appcontext
from marshmallow import Schema, ValidationError
from peewee import PeeweeException

import database
from fields import Email, Id, Text, clean
from models import ApiKey, Client, Feed, MeetingType, User
from schemas import LeadRequest, MeetingRequest
from services import backups, clients, feeds, leads, meeting_types, migrations, users
from services.errors import NameTaken, ServiceError
from services.results import Loaded, RowResult
from times import format_instant

Shown = dict[str, Any]  # a row as a command prints it

DEMO_CLIENT, DEMO_LABEL = "Demo", "demo"
DEMO_HOST = ("pepper.potts@example.com", "Pepper", "Potts")
DEMO_MEETING_TYPE = "Discovery Call"
DEMO_LEAD, DEMO_BOOKING = LeadRequest.EXAMPLE, MeetingRequest.EXAMPLE

db = AppGroup("db", help="Migrate and back up the database.")
client_group = AppGroup("clients", help="Manage clients, the owners of all rows.")
key_group = AppGroup("keys", help="Manage the API keys of a client.")
user_group = AppGroup("users", help="Manage the people who host meetings.")
type_group = AppGroup("meeting-types", help="Manage the types of meetings.")
feed_group = AppGroup("feeds", help="Manage calendar addresses that need no key.")


def register(app: Flask) -> None:
    """Add the commands to an application."""
    for command in (db, client_group, key_group, user_group, type_group, feed_group, demo):
        app.cli.add_command(command)


class Argument(click.ParamType):
    """Text on the command line, under the rules of a text field of the API."""

    def __init__(self, field: Any) -> None:
        self.name = "text"
        self.schema = Schema.from_dict({"value": field})()

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Return the cleaned text; ends the command if the field refuses it."""
        try:
            return str(self.schema.load(clean({"value": value}))["value"])
        except ValidationError as error:
            self.fail(" ".join(error.normalized_messages()["value"]), param, ctx)


NAME = Argument(Text(255, required=True))
EMAIL = Argument(Email(required=True))
LEAD_ID = Argument(Id(required=True))
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json` to a command, and turn an error into one line and an exit status.

    The command returns a result and a function that writes the result, or each row of it, as a
    line for people.
    """

    @as_json
    @wraps(function)
    def run(as_json: bool, **arguments: Any) -> None:
        database.select(current_app.extensions["database"])
        try:
            result, to_line = function(**arguments)
        except ServiceError as error:
            raise click.UsageError(error.message) from error
        except PeeweeException as error:
            raise click.ClickException(_database_fault(error)) from error
        finally:
            database.deselect()
        if as_json:
            click.echo(json.dumps(result, ensure_ascii=False, default=_instant))
        elif isinstance(result, list):
            for row in result:
                click.echo(to_line(row))
        else:
            click.echo(to_line(result))

    return run


def _instant(value: Any) -> str | None:
    assert isinstance(value, datetime)
    return format_instant(value)


def _database_fault(error: PeeweeException) -> str:
    if database.is_unavailable(error):
        return "The database cannot be reached: " + " ".join(str(error).split())
    try:
        migrations.check()
    except (ServiceError, PeeweeException) as behind:
        return " ".join(str(behind).split())
    return " ".join(str(error).split())


@db.command("upgrade")
@command
def upgrade() -> Any:
    """Apply the pending migrations."""
    applied = migrations.upgrade()
    return {"applied": applied}, lambda _: "\n".join(
        f"Applied {name}." for name in applied
    ) or "The database is up to date."  # fmt: skip


@db.command("status")
@command
def status() -> Any:
    """Show every migration and when it was applied."""
    return (
        migrations.status(),
        lambda step: f"{step['name']}  {format_instant(step['applied_at']) or 'pending'}",
    )


@db.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@command
def back_up(file: Path) -> Any:
    """Copy an SQLite database to FILE while it is in use; for PostgreSQL, name the command."""
    made = backups.back_up(file)
    made["file"] = click.format_filename(made["file"])
    return made, lambda made: f"Wrote {made['file']} ({made['bytes']} bytes)."


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


@user_group.command("add")
@click.argument("client", type=NAME)
@click.option("--email", required=True, type=EMAIL)
@click.option("--first-name", required=True, type=NAME)
@click.option("--last-name", required=True, type=NAME)
@click.option("--inactive", is_flag=True, help="The user cannot host new meetings.")
@command
def add_user(client: str, email: str, first_name: str, last_name: str, inactive: bool) -> Any:
    """Add a host to CLIENT (id or name)."""
    owner = clients.find(client)
    return _shown_user(users.add(owner.id, email, first_name, last_name, not inactive)), _user_line  # fmt: skip  # noqa: E501


@user_group.command("list")
@click.argument("client", type=NAME)
@command
def list_users(client: str) -> Any:
    """List the hosts of CLIENT (id or name)."""
    return [_shown_user(row) for row in users.list_all(clients.find(client).id)], _user_line


@user_group.command("deactivate")
@click.argument("client", type=NAME)
@click.argument("email", type=NAME)
@command
def deactivate_user(client: str, email: str) -> Any:
    """Stop a user from hosting new meetings."""
    return _shown_user(users.set_active(clients.find(client).id, email, False)), _user_line


@user_group.command("activate")
@click.argument("client", type=NAME)
@click.argument("email", type=NAME)
@command
def activate_user(client: str, email: str) -> Any:
    """Let a user host new meetings again."""
    return _shown_user(users.set_active(clients.find(client).id, email, True)), _user_line


@type_group.command("add")
@click.argument("client", type=NAME)
@click.argument("name", type=NAME)
@command
def add_meeting_type(client: str, name: str) -> Any:
    """Add a meeting type to CLIENT (id or name)."""
    return _shown_type(meeting_types.add(clients.find(client).id, name)), _type_line


@type_group.command("list")
@click.argument("client", type=NAME)
@command
def list_meeting_types(client: str) -> Any:
    """List the meeting types of CLIENT (id or name)."""
    rows = meeting_types.list_all(clients.find(client).id)
    return [_shown_type(row) for row in rows], _type_line


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
    return _shown_feed(feed) | {"url": url}, lambda made: f"{made['id']}  {made['url']}"


@feed_group.command("list")
@click.argument("client", type=NAME)
@command
def list_feeds(client: str) -> Any:
    """List the feeds of CLIENT (id or name)."""
    return [_shown_feed(row) for row in feeds.list_all(clients.find(client).id)], _feed_line


@feed_group.command("revoke")
@click.argument("feed_id", type=NAME)
@command
def revoke_feed(feed_id: str) -> Any:
    """Revoke a feed at once, in every process."""
    return _shown_feed(feeds.revoke(feed_id)), _feed_line


@click.command("demo")
@with_appcontext
@command
def demo() -> Any:
    """Create a demo client with a lead, a host and a meeting type, and print a curl command.

    It is safe to run again: each run creates a new key and revokes that of the run before.
    """
    owner = _demo_client()
    _, api_key = clients.create_key(owner.id, DEMO_LABEL)
    [lead] = leads.save(owner.id, [Loaded(DEMO_LEAD, {})])
    assert isinstance(lead, RowResult)
    host = users.find_or_none(owner.id, DEMO_HOST[0]) or users.add(owner.id, *DEMO_HOST)
    types = meeting_types.list_all(owner.id)
    meeting_type = next((row for row in types if row.name == DEMO_MEETING_TYPE), None)
    meeting_type = meeting_type or meeting_types.add(owner.id, DEMO_MEETING_TYPE)
    curl = _curl(current_app.config["SETTINGS"].base_url, api_key)
    return (
        {
            "id": owner.id,
            "name": owner.name,
            "api_key": api_key,
            "lead_id": lead.row.id,
            "host_email": host.email,
            "meeting_type_id": meeting_type.id,
            "curl": curl,
        },
        lambda made: (
            f"Client {made['name']}, key {made['api_key']}."
            f" Log a meeting, once or as often as you like:\n\n{curl}\n"
        ),
    )


def _demo_client() -> Client:
    try:
        # The first key is not shown. Each run prints a new key and revokes the previous one.
        client, _ = clients.create(DEMO_CLIENT)
    except NameTaken:
        return clients.find(DEMO_CLIENT)
    clients.revoke_key(clients.list_keys(client.id)[0].id)
    return client


def _curl(base_url: str, api_key: str) -> str:
    return (
        f"curl -X POST {base_url}/api/public/meetings"
        f" -H 'Content-Type: application/json' -H 'X-API-Key: {api_key}'"
        f" -d {shlex.quote(json.dumps(DEMO_BOOKING))}"
    )


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
    return f"{row['id']}  {row['prefix']}…{row['last_four']}  {_state(row)}"


def _state(row: Shown) -> str:
    state = f"revoked {format_instant(row['revoked_at'])}" if row["revoked"] else "in use"
    return f"created {format_instant(row['created_at'])}  {state}"


def _shown_feed(feed: Feed) -> Shown:
    return {
        "id": feed.id,
        "host_id": feed.host_id,
        "lead_id": feed.lead_id,
        "created_at": feed.created_at,
        "revoked": feed.revoked_at is not None,
        "revoked_at": feed.revoked_at,
    }


def _feed_line(row: Shown) -> str:
    owner = next((f"{of} {row[f'{of}_id']}" for of in ("host", "lead") if row[f"{of}_id"]), "all")
    return f"{row['id']}  {owner}  {_state(row)}"


def _shown_user(user: User) -> Shown:
    return {
        "id": user.id,
        "email": user.email,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "active": user.active,
    }


def _user_line(row: Shown) -> str:
    state = "active" if row["active"] else "inactive"
    return f"{row['id']}  {row['email']}  {row['first_name']} {row['last_name']}  {state}"


def _shown_type(meeting_type: MeetingType) -> Shown:
    return {"id": meeting_type.id, "name": meeting_type.name}


def _type_line(row: Shown) -> str:
    return f"{row['id']}  {row['name']}"
