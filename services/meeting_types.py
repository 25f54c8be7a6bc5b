"""The kinds of meeting a client offers."""

from peewee import IntegrityError

from database import Param, Prepared, Row, among, insert, transaction
from models import MeetingType, new_id
from services.errors import NameTaken
from times import utc_now

INSERT_TYPE = insert(MeetingType)
TYPE_BY_ID = Prepared(
    lambda: MeetingType.select().where(
        MeetingType.client == Param(MeetingType.client), MeetingType.id == Param(MeetingType.id)
    )
)
TYPES_BY_ID = Prepared(
    lambda: MeetingType.select().where(
        MeetingType.client == Param(MeetingType.client), among(MeetingType.id)
    )
)
TYPES_OF_CLIENT = Prepared(
    lambda: (
        MeetingType.select()
        .where(MeetingType.client == Param(MeetingType.client))
        .order_by(MeetingType.name)
    )
)


@transaction
def add(client_id: str, name: str) -> Row:
    """Add a meeting type; raises NameTaken."""
    row = {"id": new_id(), "client_id": client_id, "name": name, "created_at": utc_now()}
    try:
        INSERT_TYPE.run(**row)
    except IntegrityError as error:
        raise NameTaken(f"There is a meeting type named {name!r} already.") from error
    return row


def list_all(client_id: str) -> list[Row]:
    """The client's meeting types, by name."""
    return TYPES_OF_CLIENT.rows(client_id=client_id)


def find_or_none(client_id: str, meeting_type_id: str) -> Row | None:
    """The client's meeting type with an id."""
    return TYPE_BY_ID.row_or_none(client_id=client_id, id=meeting_type_id)


def find_all(client_id: str, ids: list[str]) -> dict[str, Row]:
    """The client's meeting types with any of the ids, by id."""
    rows = TYPES_BY_ID.rows_among("id", ids, client_id=client_id)
    return {row["id"]: row for row in rows}
