"""The command `demo`."""

import json
import shlex
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from cli.command import command
from models import Client
from schemas import LeadRequest, MeetingRequest
from services import clients, leads, meeting_types, users
from services.errors import NameTaken
from services.results import Loaded, RowResult

DEMO_CLIENT, DEMO_LABEL = "Demo", "demo"
DEMO_HOST = ("pepper.potts@example.com", "Pepper", "Potts")
DEMO_MEETING_TYPE = "Discovery Call"
DEMO_LEAD, DEMO_BOOKING = LeadRequest.EXAMPLE, MeetingRequest.EXAMPLE


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
