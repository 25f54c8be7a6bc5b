"""The commands `users` and `meeting-types`."""

from typing import Any

import click
from flask.cli import AppGroup

from cli.command import EMAIL, NAME, Output, command
from models import MeetingType, User
from services import clients, meeting_types, users

user_group = AppGroup("users", help="Manage the people who host meetings.")
type_group = AppGroup("meeting-types", help="Manage the types of meetings.")


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
    user = users.create(owner.id, email, first_name, last_name, not inactive)
    return _user_output(user), _user_line


@user_group.command("list")
@click.argument("client", type=NAME)
@command
def list_users(client: str) -> Any:
    """List the hosts of CLIENT (id or name)."""
    return [_user_output(row) for row in users.list_all(clients.find(client).id)], _user_line


@user_group.command("deactivate")
@click.argument("client", type=NAME)
@click.argument("email", type=NAME)
@command
def deactivate_user(client: str, email: str) -> Any:
    """Stop a user from hosting new meetings."""
    return _user_output(users.set_active(clients.find(client).id, email, False)), _user_line


@user_group.command("activate")
@click.argument("client", type=NAME)
@click.argument("email", type=NAME)
@command
def activate_user(client: str, email: str) -> Any:
    """Let a user host new meetings again."""
    return _user_output(users.set_active(clients.find(client).id, email, True)), _user_line


@type_group.command("add")
@click.argument("client", type=NAME)
@click.argument("name", type=NAME)
@command
def add_meeting_type(client: str, name: str) -> Any:
    """Add a meeting type to CLIENT (id or name)."""
    return _type_output(meeting_types.create(clients.find(client).id, name)), _type_line


@type_group.command("list")
@click.argument("client", type=NAME)
@command
def list_meeting_types(client: str) -> Any:
    """List the meeting types of CLIENT (id or name)."""
    rows = meeting_types.list_all(clients.find(client).id)
    return [_type_output(row) for row in rows], _type_line


def _user_output(user: User) -> Output:
    return {
        "id": user.id,
        "email": user.email,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "active": user.active,
    }


def _user_line(row: Output) -> str:
    state = "active" if row["active"] else "inactive"
    return f"{row['id']}  {row['email']}  {row['first_name']} {row['last_name']}  {state}"


def _type_output(meeting_type: MeetingType) -> Output:
    return {"id": meeting_type.id, "name": meeting_type.name}


def _type_line(row: Output) -> str:
    return f"{row['id']}  {row['name']}"
