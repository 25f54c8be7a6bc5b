"""Start the indexes for look-ups by email, external id or lead with that column, not the client.

PostgreSQL expects only a few rows of a client that it has not analyzed, and SQLite keeps no number
of rows per client. So when the client came first, both could choose another index that also starts
with the client, and read all of its rows.
"""

from typing import Any

# On PostgreSQL, indexes are built while writers go on, outside transactions. A migration that was
# interrupted starts again, so each step leaves alone what is done already.
atomic = False

BEFORE = {
    "leads_client_id_external_id": '"leads" ("client_id", "external_id")',
    "leads_client_id_email_key_updated_at_created_at_id": (
        '"leads" ("client_id", "email_key", "updated_at", "created_at", "id")'
    ),
    "meetings_client_id_lead_id_starts_at_id": (
        '"meetings" ("client_id", "lead_id", "starts_at", "id")'
    ),
}
AFTER = {
    "leads_external_id_client_id": '"leads" ("external_id", "client_id")',
    "leads_email_key_client_id_updated_at_created_at_id": (
        '"leads" ("email_key", "client_id", "updated_at", "created_at", "id")'
    ),
    "meetings_lead_id_starts_at_id": '"meetings" ("lead_id", "starts_at", "id")',
}
UNIQUE = {"leads_client_id_external_id", "leads_external_id_client_id"}
# This index keeps its name.
HALF_A_PAIR = "meetings_of_half_a_pair"
OF_HALF_A_PAIR = '"meetings" ({}) WHERE ("external_calendar_provider" IS NULL)'


def up(migrator: Any, db: Any) -> None:
    """Start the indexes with the column of the look-up."""
    _replace(db, BEFORE, AFTER, '"external_event_id"')


def down(migrator: Any, db: Any) -> None:
    """Start the indexes with the client again."""
    _replace(db, AFTER, BEFORE, '"client_id", "external_event_id"')


def _replace(db: Any, old: dict[str, str], new: dict[str, str], of_half_a_pair: str) -> None:
    # The new ones first: one of them is unique.
    for name, columns in new.items():
        db.build_index(name, columns, unique=name in UNIQUE)
    for name in old:
        db.remove_index(name)
    db.remove_index(HALF_A_PAIR)
    db.build_index(HALF_A_PAIR, OF_HALF_A_PAIR.format(of_half_a_pair))
