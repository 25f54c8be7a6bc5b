"""Erasure of leads: hashes of erased pairs, and indexes by which the rows of a lead are found."""

from typing import Any

from peewee import CharField, CompositeKey, Field, ForeignKeyField, Model


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


class ErasedEvent(Table):
    client = ForeignKeyField(Client, index=False)
    pair_hash = CharField(64)
    expires_at = InstantField(null=True)

    class Meta:
        table_name = "erased_events"
        primary_key = CompositeKey("pair_hash", "client")
        indexes = ((("client", "expires_at"), False),)


# Whenever a meeting or a lead is deleted, the database looks for rows that refer to it.
INDEXES = {
    "activities_meeting_id": '"activities" ("meeting_id")',
    "feeds_lead_id": '"feeds" ("lead_id")',
    "receipts_without_lead_external_event_id": (
        '"receipts" ("external_event_id") WHERE ("lead_id" IS NULL)'
    ),
    "receipts_without_lead_previous_event_id": (
        '"receipts" ("previous_event_id") WHERE ("lead_id" IS NULL)'
    ),
}


def up(migrator: Any, db: Any) -> None:
    """Create the table and the indexes."""
    with db.bind_ctx((Client, ErasedEvent)):
        db.create_tables((ErasedEvent,), safe=False)
    for name, columns in INDEXES.items():
        db.execute_sql(f'CREATE INDEX "{name}" ON {columns}')


def down(migrator: Any, db: Any) -> None:
    """Drop the indexes and the table."""
    for name in INDEXES:
        db.execute_sql(f'DROP INDEX "{name}"')
    with db.bind_ctx((Client, ErasedEvent)):
        db.drop_tables((ErasedEvent,))
