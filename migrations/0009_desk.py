"""The desk: its sign-ins, and an index of the receipts that it lists first."""

from typing import Any

from peewee import CharField, Field, ForeignKeyField, Model

atomic = False  # the index is built while writers go on, so each step leaves alone what is done


class IdField(Field):
    field_type = "UUID"


class InstantField(Field):
    field_type = "INSTANT"


class Table(Model):
    id = IdField(primary_key=True)

    class Meta:
        legacy_table_names = False


class ApiKey(Table):
    class Meta:
        table_name = "api_keys"


class DeskSession(Table):
    key = ForeignKeyField(ApiKey, index=False)
    token_hash = CharField(64, unique=True)
    created_at = InstantField()
    expires_at = InstantField()

    class Meta:
        table_name = "desk_sessions"
        indexes = ((("expires_at",), False),)


def up(migrator: Any, db: Any) -> None:
    """Create the table and the index: few of many receipts are unmatched or refused."""
    with db.atomic(), db.bind_ctx((ApiKey, DeskSession)):
        db.create_tables((DeskSession,), safe=True)
    db.build_index(
        "receipts_to_settle",
        """"receipts" ("client_id", "received_at", "id")"""
        """ WHERE ("outcome" IN ('unmatched', 'refused'))""",
    )


def down(migrator: Any, db: Any) -> None:
    """Drop the index, and the table with its rows."""
    db.remove_index("receipts_to_settle")
    with db.bind_ctx((ApiKey, DeskSession)):
        db.drop_tables((DeskSession,))
