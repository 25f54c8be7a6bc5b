"""The command `demo`."""

import json
import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from cli.command import command
from lead_schemas import LeadRequest
from models import Client
from schemas import MeetingRequest
from services import clients, leads, meeting_types, users
from services.errors import NameTaken, ServiceError
from services.results import Loaded, RowResult
from web.pages import pages_on

DEMO_CLIENT, DEMO_LABEL = "Demo", "demo"
DEMO_HOST = ("pepper.potts@example.com", "Pepper", "Potts")
DEMO_MEETING_TYPE = "Discovery Call"
DEMO_LEAD, DEMO_BOOKING = LeadRequest.EXAMPLE, MeetingRequest.EXAMPLE


@click.command("demo")
@with_appcontext
@command
def demo() -> Any:
    """Create a demo client with a lead, a host and a meeting type, and print a curl command.

    It is safe to run again: the key stays the same as long as it is valid.
    """
    owner = _demo_client()
    api_key = _demo_key(owner, current_app.config["SETTINGS"].state_dir / "demo.key")
    [lead] = leads.save(owner.id, [Loaded(DEMO_LEAD, {})])
    assert isinstance(lead, RowResult)
    host = users.find_or_none(owner.id, DEMO_HOST[0]) or users.create(owner.id, *DEMO_HOST)
    types = meeting_types.list_all(owner.id)
    meeting_type = next((row for row in types if row.name == DEMO_MEETING_TYPE), None)
    meeting_type = meeting_type or meeting_types.create(owner.id, DEMO_MEETING_TYPE)
    base_url = current_app.config["SETTINGS"].base_url
    curl = _curl(base_url, api_key)
    pages = {page: f"{base_url}/{page}" for page in pages_on(current_app)}
    return (
        {
            "client_id": owner.id,
            "name": owner.name,
            "api_key": api_key,
            "lead_id": lead.row.id,
            "host_email": host.email,
            "meeting_type_id": meeting_type.id,
            "curl": curl,
            "pages": pages,
        },
        lambda made: (
            f"Client {made['name']}, key {made['api_key']}."
            f" Log a meeting, once or as often as you like:\n\n{curl}\n"
            + "".join(f"\nIn a browser: {url}\n" for url in pages.values())
        ),
    )


def _demo_client() -> Client:
    try:
        # The first key is not shown, so nobody has it.
        client, _ = clients.create(DEMO_CLIENT)
    except NameTaken:
        return clients.find(DEMO_CLIENT)
    clients.revoke_key(clients.list_keys(client.id)[0].id)
    return client


def _demo_key(owner: Client, file: Path) -> str:
    """Return the key in a file if it is a key of the client; else a new one, written there."""
    with suppress(OSError, ValueError, ServiceError):
        api_key = file.read_text().strip()
        key = clients.find_key(api_key)
        if key.client_id == owner.id and not key.read_only:
            file.chmod(0o600)  # a copied file may be readable by others
            return api_key
    _, api_key = clients.create_key(owner.id, DEMO_LABEL, name="demo")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)  # another user's file may be readable by that user
        with open(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as own:
            own.write(f"{api_key}\n")
    except OSError as error:
        raise click.ClickException(
            f"STATE_DIR: {file} cannot be written: {error.strerror}."
        ) from error
    return api_key


def _curl(base_url: str, api_key: str) -> str:
    return (
        f"curl -X POST {base_url}/api/public/meetings"
        f" -H 'Content-Type: application/json' -H 'X-API-Key: {api_key}'"
        f" -d {shlex.quote(json.dumps(DEMO_BOOKING))}"
    )
