"""The command `db`: migrations and backup."""

from pathlib import Path
from typing import Any

import click
from flask.cli import AppGroup

from cli.command import command
from services import backups, migrations
from times import format_instant

db = AppGroup("db", help="Migrate and back up the database.")


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
