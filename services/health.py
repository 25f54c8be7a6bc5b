"""Whether the service can work: its database answers and is migrated."""

from peewee import PeeweeException

from database import is_unavailable
from services import migrations
from services.errors import Unavailable


def check() -> None:
    """Raise Unavailable, or the database's own error, unless the database is ready."""
    migrations.check()


def unavailable_or_none(error: BaseException) -> Unavailable | None:
    """Return the Unavailable that an error of the database amounts to; None if it is a bug.

    A query also fails on a database that is behind the code, as when the server was started before
    the migration.
    """
    if is_unavailable(error):
        return Unavailable("The database is not available just now. Please try again.")
    if isinstance(error, PeeweeException):
        try:
            migrations.check()
        except Unavailable as behind:
            return behind
        except PeeweeException:
            return None  # the first error says more
    return None
