"""The kinds of meeting that a client offers."""

from typing import Any

from peewee import IntegrityError

from database import transaction
from database.queries import Insert, among, compiled, rows_of
from models import MeetingType, new_id
from services.errors import NameTaken
from times import utc_now

insert = Insert(MeetingType)


@compiled
def types_by_id(client_id: Any, ids: Any) -> Any:
    """Return the client's meeting types with any of these ids."""
    return MeetingType.select().where(MeetingType.client == client_id, among(MeetingType.id, ids))


@transaction
def add(client_id: str, name: str) -> MeetingType:
    """Add a meeting type; raises NameTaken."""
    meeting_type = MeetingType.of(
        {"id": new_id(), "client": client_id, "name": name, "created_at": utc_now()}
    )
    try:
        insert([meeting_type])
    except IntegrityError as error:
        raise NameTaken(f"There is a meeting type named {name!r} already.") from error
    return meeting_type


def list_all(client_id: str) -> list[MeetingType]:
    """Return the client's meeting types by name."""
    types = MeetingType.select().where(MeetingType.client == client_id)
    return rows_of(types.order_by(MeetingType.name))


def find_all(client_id: str, ids: list[str]) -> dict[str, MeetingType]:
    """Return the client's meeting types with any of the ids, by id."""
    if not ids:
        return {}
    return {row.id: row for row in types_by_id(client_id=client_id, ids=ids)}
