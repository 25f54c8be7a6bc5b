"""The command `prune`: deletes what is kept for a limited time only."""

from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from cli.command import command
from services import deliveries, receipts


@click.command("prune")
@with_appcontext
@command
def prune() -> Any:
    """Delete old receipts and deliveries, as RECEIPT_DAYS and DELIVERY_DAYS say.

    A running server also does so bit by bit.
    """
    settings = current_app.config["SETTINGS"]
    deleted = {"receipts": receipts.prune(settings.receipt_days)}
    deleted |= deliveries.prune(settings.delivery_days)
    return deleted, lambda row: "\n".join(f"Deleted {n} {what}." for what, n in row.items())
