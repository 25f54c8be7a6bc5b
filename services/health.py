"""Readiness: whether the database responds and is migrated."""

from peewee import PeeweeException

from database import is_unavailable
from services import migrations
from services.errors import Unavailable


def check() -> None:
    """Raise Unavailable, or the database's own error, unless the database is ready."""
    migrations.check()


def unavailable_or_none(error: BaseException) -> Unavailable | None:
    """Return Unavailable if the database caused an error; None if the error is a bug.

    A query also fails if the database lacks a migration, for example because the server was
    started first.
    """
    if is_unavailable(error):
        return Unavailable("The database is not available just now. Please try again.")
    if isinstance(error, PeeweeException):
        try:
            migrations.check()
        except Unavailable as behind:
            return behind
        except PeeweeException:
            return None  # the database fails again; the caller logs the first error
    return None
