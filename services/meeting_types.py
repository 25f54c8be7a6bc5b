"""The kinds of meeting that a client offers."""

from typing import Any

from peewee import IntegrityError

from database import transaction
from database.queries import Insert, among, compiled, rows_of
from ids import new_id
from models import MeetingType
from services.errors import InUse, MeetingTypeNotFound, NameTaken
from times import utc_now

insert = Insert(MeetingType)


@compiled
def types_by_id(client_id: Any, ids: Any) -> Any:
    """Return the client's meeting types with any of these ids."""
    return MeetingType.select().where(MeetingType.client == client_id, among(MeetingType.id, ids))


@transaction
def create(client_id: str, name: str) -> MeetingType:
    """Add a meeting type; raises NameTaken."""
    meeting_type = MeetingType.of(
        {"id": new_id(), "client": client_id, "name": name, "created_at": utc_now()}
    )
    try:
        insert([meeting_type])
    except IntegrityError as error:
        raise _taken(name) from error
    return meeting_type


def _taken(name: str) -> NameTaken:
    return NameTaken(f"There is a meeting type named {name!r} already.")


def list_all(client_id: str) -> list[MeetingType]:
    """Return the client's meeting types, oldest first."""
    types = MeetingType.select().where(MeetingType.client == client_id)
    return rows_of(types.order_by(MeetingType.created_at, MeetingType.id))


def find(client_id: str, type_id: str) -> MeetingType:
    """Return the client's meeting type with an id; raises MeetingTypeNotFound."""
    meeting_type = find_by_id(client_id, [type_id]).get(type_id)
    if meeting_type is None:
        raise MeetingTypeNotFound(type_id)
    return meeting_type


def find_by_id(client_id: str, ids: list[str]) -> dict[str, MeetingType]:
    """Return the client's meeting types with any of the ids, by id."""
    if not ids:
        return {}
    return {row.id: row for row in types_by_id(client_id=client_id, ids=ids)}


@transaction
def update(client_id: str, type_id: str, given: dict[str, Any]) -> MeetingType:
    """Change the fields given; raises MeetingTypeNotFound, NameTaken."""
    if given:
        try:
            MeetingType.update(given).where(*_is_type(client_id, type_id)).execute()
        except IntegrityError as error:
            raise _taken(given["name"]) from error
    return find(client_id, type_id)


@transaction
def delete(client_id: str, type_id: str) -> None:
    """Delete a meeting type; raises MeetingTypeNotFound, and InUse if a meeting has it.

    The foreign key decides, so that a booking at the same moment keeps its type or is refused.
    """
    try:
        deleted = MeetingType.delete().where(*_is_type(client_id, type_id)).execute()
    except IntegrityError as error:
        raise InUse(f"Meetings have the meeting type {type_id}.") from error
    if not deleted:
        raise MeetingTypeNotFound(type_id)


def _is_type(client_id: str, type_id: str) -> tuple[Any, ...]:
    return MeetingType.client == client_id, MeetingType.id == type_id
