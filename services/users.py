"""The people of a client who host meetings."""

from typing import Any

from peewee import IntegrityError

from database import transaction
from database.queries import Insert, among, compiled, rows_of
from ids import new_id
from models import User
from services.errors import NameTaken, UnknownName, UserNotFound
from times import utc_now

insert = Insert(User)


@compiled
def users_by_email(client_id: Any, email_keys: Any) -> Any:
    """Return the client's users with any of these emails, in lower case."""
    return User.select().where(User.client == client_id, among(User.email_key, email_keys))


@compiled
def users_by_id(client_id: Any, ids: Any) -> Any:
    """Return the client's users with any of these ids."""
    return User.select().where(User.client == client_id, among(User.id, ids))


@transaction
def create(
    client_id: str, email: str, first_name: str, last_name: str, active: bool = True
) -> User:
    """Add a host; raises NameTaken if the client has the email, in any case, already."""
    user = User.of(
        {
            "id": new_id(),
            "client": client_id,
            "email": email,
            "email_key": email.lower(),
            "first_name": first_name,
            "last_name": last_name,
            "active": active,
            "created_at": utc_now(),
        }
    )
    try:
        insert([user])
    except IntegrityError as error:
        raise _taken(email) from error
    return user


def _taken(email: str) -> NameTaken:
    return NameTaken(f"There is a user with the email {email!r} already.")


def list_all(client_id: str) -> list[User]:
    """Return the client's users, oldest first."""
    users = User.select().where(User.client == client_id)
    return rows_of(users.order_by(User.created_at, User.id))


def find(client_id: str, user_id: str) -> User:
    """Return the client's user with an id; raises UserNotFound."""
    user = find_by_id(client_id, [user_id]).get(user_id)
    if user is None:
        raise UserNotFound(user_id)
    return user


def find_or_none(client_id: str, email: str) -> User | None:
    """Return the client's user with an email, in any case, active or not."""
    return find_by_email(client_id, [email]).get(email.lower())


def find_by_email(client_id: str, emails: list[str]) -> dict[str, User]:
    """Return the client's users with any of the emails, by email in lower case."""
    if not emails:
        return {}
    email_keys = [email.lower() for email in emails]
    users = users_by_email(client_id=client_id, email_keys=email_keys)
    return {user.email_key: user for user in users}


def find_by_id(client_id: str, ids: list[str]) -> dict[str, User]:
    """Return the client's users with any of the ids, by id."""
    if not ids:
        return {}
    return {user.id: user for user in users_by_id(client_id=client_id, ids=ids)}


@transaction
def update(client_id: str, user_id: str, given: dict[str, Any]) -> User:
    """Change the fields given; raises UserNotFound, NameTaken."""
    columns = dict(given)
    if "email" in given:
        columns["email_key"] = given["email"].lower()
    if columns:
        is_user = (User.client == client_id) & (User.id == user_id)
        try:
            User.update(columns).where(is_user).execute()
        except IntegrityError as error:
            raise _taken(given["email"]) from error
    return find(client_id, user_id)


@transaction
def set_active(client_id: str, email: str, active: bool) -> User:
    """Allow or forbid a user to host new meetings; raises UnknownName."""
    is_user = (User.client == client_id) & (User.email_key == email.lower())
    User.update(active=active).where(is_user).execute()
    user = find_or_none(client_id, email)
    if user is None:
        raise UnknownName(f"There is no user with the email {email!r}.")
    return user
