"""The database's migrations: listing and applying them."""

from datetime import UTC
from pathlib import Path
from typing import Any

from playhouse.migrations import Runner

from database import db
from services.errors import Unavailable

SCRIPTS = Path(__file__).resolve().parent.parent / "migrations"
UPGRADE_COMMAND = "flask --app app db upgrade"


def upgrade() -> list[str]:
    """Apply the pending migrations, one process at a time; returns the names applied."""
    db.prepare_storage()
    with db.exclusively():
        return list(_runner().up())


def status() -> list[dict[str, Any]]:
    """Return every migration in order, as `{"name", "applied_at"}`; None if it is pending."""
    db.prepare_storage()
    return [
        {"name": step.name, "applied_at": step.applied and step.applied.astimezone(UTC)}
        for step in _runner().status()
    ]


def check() -> None:
    """Raise Unavailable, naming the command to run, if the database lacks a migration."""
    pending = [step["name"] for step in status() if step["applied_at"] is None]
    if pending:
        raise Unavailable(
            f"The database is behind ({', '.join(pending)} not applied). Run: {UPGRADE_COMMAND}"
        )


def _runner() -> Runner:
    return Runner(db.obj, str(SCRIPTS))
