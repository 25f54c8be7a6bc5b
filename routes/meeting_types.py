"""The routes of meeting types."""

from uuid import UUID

from flask import Response, g

from bases import Query
from envelopes import Answer, MeetingTypeAnswer, MeetingTypeList
from routes.blueprint import api
from schemas import MeetingTypePatch, MeetingTypeRequest, MeetingTypeResponse
from services import meeting_types
from services.errors import InUse, MeetingTypeNotFound, NameTaken
from web.answers import created, success
from web.body import instance, load, load_query
from web.describe import answers


@api.get("/meeting-types")
@answers(200, MeetingTypeList, query=Query)
def list_meeting_types() -> Response:
    """List the client's meeting types, oldest first."""
    load_query(Query)
    rows = meeting_types.list_all(g.client_id)
    return success(meeting_types=instance(MeetingTypeResponse).dump(rows, many=True))


@api.post("/meeting-types")
@answers(201, MeetingTypeAnswer, body=MeetingTypeRequest, has_location=True, raises=(NameTaken,))
def create_meeting_type() -> Response:
    """Create a meeting type."""
    row = meeting_types.create(g.client_id, **load(MeetingTypeRequest))
    return created(meeting_type=instance(MeetingTypeResponse).dump(row))


@api.get("/meeting-types/<uuid:type_id>")
@answers(200, MeetingTypeAnswer, query=Query, raises=(MeetingTypeNotFound,))
def get_meeting_type(type_id: UUID) -> Response:
    """Get one meeting type."""
    load_query(Query)
    row = meeting_types.find(g.client_id, str(type_id))
    return success(meeting_type=instance(MeetingTypeResponse).dump(row))


@api.patch("/meeting-types/<uuid:type_id>")
@answers(200, MeetingTypeAnswer, body=MeetingTypePatch, raises=(MeetingTypeNotFound, NameTaken))
def update_meeting_type(type_id: UUID) -> Response:
    """Replace the given fields of a meeting type."""
    row = meeting_types.update(g.client_id, str(type_id), load(MeetingTypePatch))
    return success(meeting_type=instance(MeetingTypeResponse).dump(row))


@api.delete("/meeting-types/<uuid:type_id>")
@answers(200, Answer, query=Query, raises=(MeetingTypeNotFound, InUse))
def delete_meeting_type(type_id: UUID) -> Response:
    """Delete a meeting type that no meeting has."""
    load_query(Query)
    meeting_types.delete(g.client_id, str(type_id))
    return success()
