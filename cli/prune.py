"""The command `prune`: deletes what is kept for a limited time only."""

from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from cli.command import command
from services import receipts


@click.command("prune")
@with_appcontext
@command
def prune() -> Any:
    """Delete old receipts, as RECEIPT_DAYS says; running servers also do so bit by bit."""
    deleted = {"receipts": receipts.prune(current_app.config["SETTINGS"].receipt_days)}
    return deleted, lambda row: f"Deleted {row['receipts']} receipts."
