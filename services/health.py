"""Whether the service can work: its database can be reached and is migrated."""

import logging

from peewee import PeeweeException

from database import is_unavailable
from services import migrations
from services.errors import Unavailable

log = logging.getLogger("meetings")


def check() -> None:
    """Raise Unavailable unless the database can be reached and all migrations are applied."""
    try:
        migrations.check()
    except Exception as error:
        if unavailable := unavailable_or_none(error):
            raise unavailable from error
        raise


def unavailable_or_none(error: Exception) -> Unavailable | None:
    """Return the Unavailable that a database error amounts to; None for an error that is a bug.

    A query that fails because migrations are missing counts as unavailable too.
    """
    if isinstance(error, Unavailable):
        return error
    if is_unavailable(error):
        return Unavailable("The database is not available just now. Please try again.")
    if isinstance(error, PeeweeException):
        try:
            migrations.check()
        except Unavailable as behind:
            return behind
        except PeeweeException as another:
            log.error("The migrations cannot be read either", exc_info=another)
    return None
