"""Tables for sources, receipts and meeting notes; leads by phone; external events that wait."""

from typing import Any

from peewee import BooleanField, CharField, Field, ForeignKeyField, IntegerField, Model, TextField

# On PostgreSQL, indexes are built while writers go on, outside transactions. A migration that was
# interrupted starts again, so each step leaves alone what is done already.
atomic = False

# A lead's search_key ends with a separator and the digits of the phone.
FILL = """
UPDATE leads SET phone_digits =
nullif(substr(search_key, length(rtrim(search_key, '0123456789')) + 1), '')
WHERE id > {0} AND id <= {0}
"""
FILLED = 2000  # leads in a transaction
LAST_OF_PART = "SELECT id FROM leads WHERE id > {} ORDER BY id LIMIT 1 OFFSET {}"
FIRST_ID, LAST_ID = (
    f"{digit * 8}-{digit * 4}-{digit * 4}-{digit * 4}-{digit * 12}" for digit in "0f"
)


class IdField(Field):
    field_type = "UUID"


class InstantField(Field):
    field_type = "INSTANT"


class Table(Model):
    class Meta:
        legacy_table_names = False


class Client(Table):
    id = IdField(primary_key=True)

    class Meta:
        table_name = "clients"


class Meeting(Table):
    id = IdField(primary_key=True)

    class Meta:
        table_name = "meetings"


class MeetingNote(Table):
    id = IdField(primary_key=True)
    client = ForeignKeyField(Client, index=False)
    meeting = ForeignKeyField(Meeting, index=False)
    provider = CharField(64)
    external_meeting_id = CharField(255, null=True)
    notes = TextField(null=True)
    summary = TextField(null=True)
    manual_ai_summary = TextField(null=True)
    transcript_text = TextField(null=True)
    action_items = TextField(null=True)
    matched_by = CharField(32)
    created_at = InstantField()
    updated_at = InstantField()

    class Meta:
        table_name = "meeting_notes"
        indexes = (
            (("external_meeting_id", "client", "provider"), True),
            (("meeting", "created_at", "id"), False),
        )


class Source(Table):
    id = IdField(primary_key=True)
    client = ForeignKeyField(Client, index=False)
    name = CharField(255)
    provider = CharField(16)
    event_provider = CharField(64)
    token_hash = CharField(64, unique=True, null=True)
    signing_secret = CharField(255, null=True)
    create_leads = BooleanField()
    timezone = CharField(64)
    mapping = TextField(null=True)
    created_at = InstantField()
    deleted_at = InstantField(null=True)

    class Meta:
        table_name = "sources"


Source.add_index(
    Source.client, Source.name, unique=True, where=Source.deleted_at.is_null(), name="sources_name"
)


class Receipt(Table):
    id = IdField(primary_key=True)
    client = ForeignKeyField(Client, index=False)
    source = ForeignKeyField(Source, index=False)
    provider = CharField(16)
    event = CharField(255, null=True)
    outcome = CharField(16)
    message = TextField()
    details = TextField(null=True)
    meeting_id = IdField(null=True)
    lead_id = IdField(null=True)
    lead_email = CharField(254, null=True)
    email_key = TextField(null=True)
    event_provider = CharField(64, null=True)
    external_event_id = CharField(255, null=True)
    previous_event_id = CharField(255, null=True)
    payload = TextField()
    attempts = IntegerField()
    received_at = InstantField()

    class Meta:
        table_name = "receipts"
        indexes = (
            (("client", "received_at", "id"), False),
            (("source", "received_at", "id"), False),
            (("email_key", "client", "received_at", "id"), False),
        )


Receipt.add_index(Receipt.lead_id, where=Receipt.lead_id.is_null(False), name="receipts_of_lead")
for column in (Receipt.email_key, Receipt.external_event_id, Receipt.previous_event_id):
    Receipt.add_index(
        column, where=Receipt.outcome == "unmatched", name=f"receipts_waiting_{column.name}"
    )

TABLES = (MeetingNote, Source, Receipt)


def up(migrator: Any, db: Any) -> None:
    """Create the tables, and find leads by phone."""
    with db.atomic():
        if "receipts" not in db.get_tables():
            _add_tables_and_columns(migrator, db)
    last = FIRST_ID
    while last != LAST_ID:
        last = _fill_part(db, last)
    db.build_index(
        "leads_phone_digits",
        '"leads" ("phone_digits", "client_id") WHERE ("phone_digits" IS NOT NULL)',
    )


def _add_tables_and_columns(migrator: Any, db: Any) -> None:
    with db.bind_ctx((Client, Meeting, *TABLES)):
        db.create_tables(TABLES, safe=False)
    # An external event without a meeting is one that a receipt waits for.
    migrator.drop_not_null("external_events", "meeting_id").run()
    migrator.add_column("external_events", "booking_stamp", TextField(null=True)).run()
    migrator.add_column("external_events", "outcome_stamp", TextField(null=True)).run()
    migrator.add_column("leads", "phone_digits", CharField(50, null=True)).run()


def _fill_part(db: Any, after: str) -> str:
    """Set the digits of the next leads, which are locked for that time; returns the last id."""
    with db.atomic():
        found = db.execute_sql(LAST_OF_PART.format(db.param, FILLED - 1), (after,)).fetchone()
        last = str(found[0]) if found else LAST_ID
        db.execute_sql(FILL.format(db.param), (after, last))
    return last


def down(migrator: Any, db: Any) -> None:
    """Drop the tables with their rows."""
    db.remove_index("leads_phone_digits")
    migrator.drop_column("leads", "phone_digits").run()
    migrator.drop_column("external_events", "outcome_stamp").run()
    migrator.drop_column("external_events", "booking_stamp").run()
    db.execute_sql("DELETE FROM external_events WHERE meeting_id IS NULL")
    migrator.add_not_null("external_events", "meeting_id").run()
    with db.bind_ctx((Client, Meeting, *TABLES)):
        db.drop_tables(TABLES)
