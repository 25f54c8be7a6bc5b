"""The command `version`."""

from typing import Any

import click
from flask.cli import with_appcontext

from cli.command import command
from config.version import VERSION


@click.command("version")
@with_appcontext
@command
def version() -> Any:
    """Show the version of the service."""
    return {"version": VERSION}, lambda shown: f"Meetings {shown['version']}"
