"""What the tables are made of: the types of their columns, and their base classes."""

from datetime import datetime
from typing import Any, Self

import orjson
from peewee import BooleanField, Field, ForeignKeyField, Model, TextField

from database import db
from database.queries import write_instant, write_json


class IdField(Field):
    """A UUID: native on PostgreSQL, text on SQLite, lower-case text in Python."""

    field_type = "UUID"


class InstantField(Field):
    """A point in time, to the microsecond: an aware UTC datetime in Python, on both databases.

    SQLite stores the text of `write_instant`, which PostgreSQL accepts too.
    """

    field_type = "INSTANT"
    from_database = staticmethod(datetime.fromisoformat)
    to_database = staticmethod(write_instant)

    def db_value(self, value: datetime | None) -> str | None:
        """Return the text that both databases accept."""
        return None if value is None else write_instant(value)

    def python_value(self, value: str | datetime | None) -> datetime | None:
        """Return the value that the driver read, as a datetime."""
        return datetime.fromisoformat(value) if isinstance(value, str) else value


class JsonField(TextField):
    """JSON stored as text, because PostgreSQL's jsonb reorders keys and rewrites numbers."""

    from_database = staticmethod(orjson.loads)
    to_database = staticmethod(write_json)

    def db_value(self, value: Any) -> str | None:
        """Return the value as JSON text."""
        return None if value is None else write_json(value)

    def python_value(self, value: str | None) -> Any:
        """Return the value of the stored JSON text."""
        return None if value is None else orjson.loads(value)


class FlagField(BooleanField):
    """A boolean, which SQLite returns as 0 or 1."""

    from_database = bool


def belongs_to(model: Any, **options: Any) -> Any:
    """Return a foreign key without an index; each table declares the indexes its queries need."""
    return ForeignKeyField(model, index=False, lazy_load=False, **options)


class Base(Model):
    """The base of all tables: the database handle, and a fast way to make rows."""

    client_id: str  # peewee adds this attribute for the foreign key `client`

    class Meta:
        database = db
        legacy_table_names = False

    @classmethod
    def of(cls, data: dict[str, Any], **related: Any) -> Self:
        """Make a row from values by field name, which are not copied, and its related rows."""
        row = cls(__no_default__=True)
        row.__data__ = data
        row.__rel__ = related
        return row

    def set_all(self, values: dict[str, Any]) -> None:
        """Set values by field name; setting a related row also sets its key."""
        for name, value in values.items():
            setattr(self, name, value)

    def copy(self) -> Self:
        """Make a second row with the same values."""
        return self.of(dict(self.__data__), **self.__rel__)


class Table(Base):
    """A table whose key is a UUID of version 7."""

    id = IdField(primary_key=True)
