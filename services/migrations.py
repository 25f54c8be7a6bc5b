"""The database's migrations: listing and applying them."""

import logging
import time
from datetime import UTC
from pathlib import Path
from typing import Any

from peewee import PeeweeException
from playhouse.migrations import Runner

from database import db, is_lock_timeout
from services.errors import Unavailable

SCRIPTS = Path(__file__).resolve().parent.parent / "migrations"
UPGRADE_COMMAND = "flask --app app db upgrade"
LOCK_PAUSE_SECONDS = 1.0  # in which waiting writers run

log = logging.getLogger("meetings")


def upgrade() -> list[str]:
    """Apply the pending migrations, one process at a time; returns the names applied."""
    db.prepare_storage()
    with db.exclusively():
        runner = _runner()
        pending = [step.name for step in runner.status() if not step.applied]
        for name in pending:
            _apply(runner, name)
        return pending


def _apply(runner: Runner, name: str) -> None:
    """Apply a migration, again from its start if a lock on a table is not free at once.

    A writer that arrives meanwhile queues behind the migration, and would wait as long as the
    migration does.
    """
    while True:
        try:
            runner.up(name)
            return
        except PeeweeException as error:
            if not is_lock_timeout(error):
                raise
        log.warning("%s waits for a transaction that uses the same tables", name)
        time.sleep(LOCK_PAUSE_SECONDS)


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
