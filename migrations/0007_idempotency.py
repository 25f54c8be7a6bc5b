"""A table for the keys under which callers send requests, with the responses."""

from typing import Any

from peewee import CharField, CompositeKey, Field, ForeignKeyField, IntegerField, Model, TextField


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


class IdempotencyKey(Table):
    client = ForeignKeyField(Client, index=False)
    key = CharField(255)
    request_hash = CharField(64)
    status = IntegerField(null=True)
    body = TextField(null=True)
    location = TextField(null=True)
    subject_id = IdField(null=True)
    created_at = InstantField()

    class Meta:
        table_name = "idempotency_keys"
        primary_key = CompositeKey("key", "client")
        indexes = ((("client", "created_at"), False),)


IdempotencyKey.add_index(
    IdempotencyKey.subject_id,
    where=IdempotencyKey.subject_id.is_null(False),
    name="idempotency_keys_subject",
)


def up(migrator: Any, db: Any) -> None:
    """Create the table."""
    with db.bind_ctx((Client, IdempotencyKey)):
        db.create_tables((IdempotencyKey,), safe=False)


def down(migrator: Any, db: Any) -> None:
    """Drop the table with its rows."""
    with db.bind_ctx((Client, IdempotencyKey)):
        db.drop_tables((IdempotencyKey,))
