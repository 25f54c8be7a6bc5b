"""Start the indexes for look-ups by email, external id or lead with that column, not the client.

PostgreSQL expects only a few rows of a client that it has not analyzed, and SQLite keeps no number
of rows per client. So when the client came first, both could choose another index that also starts
with the client, and read all of its rows.
"""

from typing import Any

BEFORE = {
    "leads_client_id_external_id": 'CREATE UNIQUE INDEX {} ON "leads" ("client_id", "external_id")',
    "leads_client_id_email_key_updated_at_created_at_id": (
        'CREATE INDEX {} ON "leads" ("client_id", "email_key", "updated_at", "created_at", "id")'
    ),
    "meetings_client_id_lead_id_starts_at_id": (
        'CREATE INDEX {} ON "meetings" ("client_id", "lead_id", "starts_at", "id")'
    ),
    "meetings_of_half_a_pair": (
        'CREATE INDEX {} ON "meetings" ("client_id", "external_event_id")'
        ' WHERE ("external_calendar_provider" IS NULL)'
    ),
}
AFTER = {
    "leads_external_id_client_id": 'CREATE UNIQUE INDEX {} ON "leads" ("external_id", "client_id")',
    "leads_email_key_client_id_updated_at_created_at_id": (
        'CREATE INDEX {} ON "leads" ("email_key", "client_id", "updated_at", "created_at", "id")'
    ),
    "meetings_lead_id_starts_at_id": (
        'CREATE INDEX {} ON "meetings" ("lead_id", "starts_at", "id")'
    ),
    "meetings_of_half_a_pair": (
        'CREATE INDEX {} ON "meetings" ("external_event_id")'
        ' WHERE ("external_calendar_provider" IS NULL)'
    ),
}


def up(migrator: Any, db: Any) -> None:
    """Start the indexes with the column of the look-up."""
    _replace(db, BEFORE, AFTER)


def down(migrator: Any, db: Any) -> None:
    """Start the indexes with the client again."""
    _replace(db, AFTER, BEFORE)


def _replace(db: Any, old: dict[str, str], new: dict[str, str]) -> None:
    for name in old:
        db.execute_sql(f'DROP INDEX "{name}"')
    for name, create in new.items():
        db.execute_sql(create.format(f'"{name}"'))
