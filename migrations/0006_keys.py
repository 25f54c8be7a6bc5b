"""API keys have a name, a scope, a last day, and the day on which they were last used.

No statement rewrites the table, and the previous release can still create keys.
"""

from typing import Any

from peewee import CharField

DAYS = ("expires_on", "last_used_on")


def up(migrator: Any, db: Any) -> None:
    """Add the columns; a constant default needs no row to be written."""
    migrator.add_column("api_keys", "name", CharField(255, null=True)).run()
    kind = db.field_types["BOOL"]
    db.execute_sql(f'ALTER TABLE "api_keys" ADD COLUMN "read_only" {kind} NOT NULL DEFAULT false')
    for name in DAYS:
        migrator.add_column("api_keys", name, CharField(10, null=True)).run()


def down(migrator: Any, db: Any) -> None:
    """Drop the columns."""
    for name in (*DAYS, "read_only", "name"):
        db.execute_sql(f'ALTER TABLE "api_keys" DROP COLUMN "{name}"')
