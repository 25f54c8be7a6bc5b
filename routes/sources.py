"""The routes of sources: the addresses that booking systems post to."""

from uuid import UUID

from flask import Response, g

from bases import OptionalRequest, Query
from envelopes import Answer, SourceAnswer, SourceList, SourceWithUrl
from intake_schemas import SourcePatch, SourceRequest, SourceResponse
from routes.blueprint import api
from services import sources
from services.errors import NameTaken, SourceNotFound
from web.addresses import hook_url
from web.answers import created, success
from web.body import instance, load, load_partly, load_query
from web.describe import answers


@api.post("/sources")
@answers(201, SourceWithUrl, body=SourceRequest, has_location=True, raises=(NameTaken,))
def create_source() -> Response:
    """Create an address for a booking system to post to.

    Only this response shows the address: its secret is stored as a hash.
    """
    source, token = sources.create(g.client_id, *load_partly(SourceRequest))
    return created(source=instance(SourceResponse).dump(source), url=hook_url(token))


@api.get("/sources")
@answers(200, SourceList, query=Query)
def list_sources() -> Response:
    """List the client's sources by name."""
    load_query(Query)
    return success(sources=instance(SourceResponse).dump(sources.list_all(g.client_id), many=True))


@api.get("/sources/<uuid:source_id>")
@answers(200, SourceAnswer, query=Query, raises=(SourceNotFound,))
def get_source(source_id: UUID) -> Response:
    """Get one source."""
    load_query(Query)
    source = sources.find(g.client_id, str(source_id))
    return success(source=instance(SourceResponse).dump(source))


@api.patch("/sources/<uuid:source_id>")
@answers(200, SourceAnswer, body=SourcePatch, raises=(SourceNotFound, NameTaken))
def update_source(source_id: UUID) -> Response:
    """Replace the given fields of a source.

    Null sets the default; for `signing_secret` it turns off the check of signatures.
    """
    source = sources.update(g.client_id, str(source_id), *load_partly(SourcePatch))
    return success(source=instance(SourceResponse).dump(source))


@api.post("/sources/<uuid:source_id>/rotate")
@answers(200, SourceWithUrl, body=OptionalRequest, raises=(SourceNotFound,))
def rotate_source(source_id: UUID) -> Response:
    """Give a source a new address; the old one returns 404 from then on."""
    load(OptionalRequest)
    source, token = sources.rotate(g.client_id, str(source_id))
    return success(source=instance(SourceResponse).dump(source), url=hook_url(token))


@api.delete("/sources/<uuid:source_id>")
@answers(200, Answer, query=Query, raises=(SourceNotFound,))
def delete_source(source_id: UUID) -> Response:
    """Delete a source: its address returns 404 from then on, and its receipts stay."""
    load_query(Query)
    sources.delete(g.client_id, str(source_id))
    return success()
