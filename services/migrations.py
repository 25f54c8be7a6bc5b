"""The database's migrations: which there are, which are applied, and applying them."""

from datetime import UTC
from pathlib import Path

from playhouse.migrations import Runner

from database import Row, db
from services.errors import Unavailable

SCRIPTS = Path(__file__).resolve().parent.parent / "migrations"
UPGRADE_COMMAND = "flask --app app db upgrade"


def upgrade() -> list[str]:
    """Apply what is pending, one process at a time; returns the names applied."""
    db.prepare_storage()
    with db.exclusively():
        return list(_runner().up())


def status() -> list[Row]:
    """Every migration in order, as `{"name", "applied_at"}`; None where it is pending."""
    db.prepare_storage()
    return [
        {"name": step.name, "applied_at": step.applied and step.applied.astimezone(UTC)}
        for step in _runner().status()
    ]


def check() -> None:
    """Raise Unavailable, naming the command to run, if the database is behind the code."""
    pending = [step["name"] for step in status() if step["applied_at"] is None]
    if pending:
        raise Unavailable(
            f"The database is behind ({', '.join(pending)} not applied). Run: {UPGRADE_COMMAND}"
        )


def _runner() -> Runner:
    return Runner(db.obj, str(SCRIPTS))
