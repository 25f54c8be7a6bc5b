"""The command `prune`: deletes what is kept for a limited time only."""

from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from cli.command import command
from services import idempotency, receipts


@click.command("prune")
@with_appcontext
@command
def prune() -> Any:
    """Delete old receipts and idempotency keys; running servers also do so bit by bit.

    RECEIPT_DAYS says how long receipts are kept; keys are kept for a day.
    """
    deleted = {
        "receipts": receipts.prune(current_app.config["SETTINGS"].receipt_days),
        "idempotency_keys": idempotency.prune(),
    }
    return (
        deleted,
        lambda row: (
            f"Deleted {row['receipts']} receipts and {row['idempotency_keys']} idempotency keys."
        ),
    )
