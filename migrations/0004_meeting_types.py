"""An index of the meetings that have a type, so that a type can be deleted without reading all."""

from typing import Any


def up(migrator: Any, db: Any) -> None:
    """Create the index; it leaves out meetings without a type."""
    db.execute_sql(
        'CREATE INDEX "meetings_of_type" ON "meetings" ("meeting_type_id")'
        ' WHERE ("meeting_type_id" IS NOT NULL)'
    )


def down(migrator: Any, db: Any) -> None:
    """Drop the index."""
    db.execute_sql('DROP INDEX "meetings_of_type"')
