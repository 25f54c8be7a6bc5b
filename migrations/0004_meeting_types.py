"""An index of the meetings that have a type, so that a type can be deleted without reading all."""

from typing import Any

# On PostgreSQL, indexes are built while writers go on, outside transactions. A migration that was
# interrupted starts again, so each step leaves alone what is done already.
atomic = False


def up(migrator: Any, db: Any) -> None:
    """Create the index; it leaves out meetings without a type."""
    db.build_index(
        "meetings_of_type", '"meetings" ("meeting_type_id") WHERE ("meeting_type_id" IS NOT NULL)'
    )


def down(migrator: Any, db: Any) -> None:
    """Drop the index."""
    db.remove_index("meetings_of_type")
