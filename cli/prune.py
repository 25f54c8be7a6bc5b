"""The command `prune`: deletes what is kept for a limited time only."""

from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from cli.command import Output, command
from services import deliveries, desk_sessions, erased_events, idempotency, receipts


@click.command("prune")
@with_appcontext
@command
def prune() -> Any:
    """Delete what is kept for a limited time; running servers also do so bit by bit.

    RECEIPT_DAYS says how long receipts and the hashes of erased bookings are kept, and
    DELIVERY_DAYS how long deliveries are kept. Idempotency keys are kept for a day, and sign-ins at
    the desk for half a day.
    """
    settings = current_app.config["SETTINGS"]
    deleted = {
        "receipts": receipts.prune(settings.receipt_days),
        **deliveries.prune(settings.delivery_days),
        "idempotency_keys": idempotency.prune(),
        "erased_events": erased_events.prune(),
        "desk_sessions": desk_sessions.prune(),
    }
    return deleted, _deleted_line


def _deleted_line(row: Output) -> str:
    counts = [f"{count} {name.replace('_', ' ')}" for name, count in row.items()]
    return f"Deleted {', '.join(counts[:-1])} and {counts[-1]}."
