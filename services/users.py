"""The people of a client who host meetings."""

from peewee import IntegrityError

from database import Param, Prepared, Row, among, insert, transaction
from models import User, new_id
from services.errors import NameTaken, UnknownName
from times import utc_now

INSERT_USER = insert(User)
USER_BY_EMAIL = Prepared(
    lambda: User.select().where(
        User.client == Param(User.client), User.email_key == Param(User.email_key)
    )
)
USERS_BY_EMAIL = Prepared(
    lambda: User.select().where(User.client == Param(User.client), among(User.email_key))
)
USERS_OF_CLIENT = Prepared(
    lambda: User.select().where(User.client == Param(User.client)).order_by(User.email_key)
)
SET_ACTIVE = Prepared(
    lambda: User.update({User.active: Param(User.active)}).where(
        User.client == Param(User.client), User.email_key == Param(User.email_key)
    )
)


@transaction
def add(client_id: str, email: str, first_name: str, last_name: str, active: bool = True) -> Row:
    """Add a host; raises NameTaken where the client has the email, in any case, already."""
    user = {
        "id": new_id(),
        "client_id": client_id,
        "email": email,
        "email_key": email.lower(),
        "first_name": first_name,
        "last_name": last_name,
        "active": active,
        "created_at": utc_now(),
    }
    try:
        INSERT_USER.run(**user)
    except IntegrityError as error:
        raise NameTaken(f"There is a user with the email {email!r} already.") from error
    return user


def list_all(client_id: str) -> list[Row]:
    """The client's users, by email."""
    return USERS_OF_CLIENT.rows(client_id=client_id)


def find_or_none(client_id: str, email: str) -> Row | None:
    """The client's user with an email, in any case, active or not."""
    return USER_BY_EMAIL.row_or_none(client_id=client_id, email_key=email.lower())


def find_all(client_id: str, emails: list[str]) -> dict[str, Row]:
    """The client's users with any of the emails, by email in lower case."""
    email_keys = [email.lower() for email in emails]
    rows = USERS_BY_EMAIL.rows_among("email_key", email_keys, client_id=client_id)
    return {row["email_key"]: row for row in rows}


@transaction
def set_active(client_id: str, email: str, active: bool) -> Row:
    """Let a user host new meetings, or no longer; raises UnknownName."""
    SET_ACTIVE.run(client_id=client_id, email_key=email.lower(), active=active)
    user = find_or_none(client_id, email)
    if user is None:
        raise UnknownName(f"There is no user with the email {email!r}.")
    return user
