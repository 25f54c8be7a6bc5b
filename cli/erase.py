"""The command `leads erase`."""

from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from cli.command import LEAD_ID, NAME, Output, command
from services import clients, erasure


@click.command("erase")
@with_appcontext
@click.argument("client", type=NAME)
@click.argument("lead_id", type=LEAD_ID)
@command
def erase_lead(client: str, lead_id: str) -> Any:
    """Permanently erase a lead of CLIENT (id or name) with everything stored about it."""
    keep_days = current_app.config["SETTINGS"].receipt_days
    erased = erasure.erase(clients.find(client).id, lead_id, keep_days)
    return {"lead_id": lead_id, "erased": erased}, _erased_line


def _erased_line(row: Output) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in row["erased"].items())
    return f"Erased lead {row['lead_id']}: {counts}."
