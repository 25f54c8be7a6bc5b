"""Erasure of leads: hashes of erased pairs, and indexes by which the rows of a lead are found."""

from typing import Any

from peewee import (
    BigAutoField,
    CharField,
    CompositeKey,
    Field,
    ForeignKeyField,
    Model,
    TextField,
)

# On PostgreSQL, indexes are built while writers go on, outside transactions. A migration that was
# interrupted starts again, so each step leaves alone what is done already.
atomic = False


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


class Lead(Table):
    id = IdField(primary_key=True)

    class Meta:
        table_name = "leads"


class Activity(Table):
    id = BigAutoField()
    client = ForeignKeyField(Client, index=False)
    lead = ForeignKeyField(Lead, index=False)
    meeting_id = IdField(null=True)
    activity_type = CharField(32)
    title = TextField()
    description = TextField(null=True)
    actor_type = CharField(16)
    changes = TextField(null=True)
    created_at = InstantField()

    class Meta:
        table_name = "activities"
        indexes = ((("lead", "id"), False),)


class ErasedEvent(Table):
    client = ForeignKeyField(Client, index=False)
    pair_hash = CharField(64)
    expires_at = InstantField(null=True)

    class Meta:
        table_name = "erased_events"
        primary_key = CompositeKey("pair_hash", "client")
        indexes = ((("client", "expires_at"), False),)


# By these, an erasure finds rows, and the database those that refer to a deleted lead.
INDEXES = {
    "feeds_lead_id": '"feeds" ("lead_id")',
    "receipts_without_lead_external_event_id": (
        '"receipts" ("external_event_id") WHERE ("lead_id" IS NULL)'
    ),
    "receipts_without_lead_previous_event_id": (
        '"receipts" ("previous_event_id") WHERE ("lead_id" IS NULL)'
    ),
}


def up(migrator: Any, db: Any) -> None:
    """Create the table and the indexes; drop the foreign key from activities to meetings.

    Whenever a meeting is deleted, that key would make the database read all activities.
    """
    with db.atomic():
        if "meeting_id" in [key.column for key in db.get_foreign_keys("activities")]:
            try:
                migrator.drop_foreign_key_constraint("activities", "meeting_id").run()
            except NotImplementedError:  # SQLite
                _copy_activities(db)
    with db.atomic(), db.bind_ctx((Client, ErasedEvent)):
        if "erased_events" not in db.get_tables():
            db.create_tables((ErasedEvent,), safe=False)
    for name, columns in INDEXES.items():
        db.build_index(name, columns)


def _copy_activities(db: Any) -> None:
    """Put a table without the key in the place of the table with it."""
    db.execute_sql('ALTER TABLE "activities" RENAME TO "activities_before"')
    db.execute_sql('DROP INDEX "activities_lead_id_id"')
    with db.bind_ctx((Client, Lead, Activity)):
        db.create_tables((Activity,), safe=False)
    names = ", ".join(f'"{column.name}"' for column in db.get_columns("activities"))
    rows = f"SELECT {names} FROM activities_before ORDER BY id"  # noqa: S608
    db.execute_sql(f"INSERT INTO activities ({names}) {rows}")
    db.execute_sql('DROP TABLE "activities_before"')


def down(migrator: Any, db: Any) -> None:
    """Drop the indexes and the table; the foreign key, which nothing needs, stays away."""
    for name in INDEXES:
        db.remove_index(name)
    with db.bind_ctx((Client, ErasedEvent)):
        db.drop_tables((ErasedEvent,))
