"""The endpoint for assistants, which speak the Model Context Protocol."""

from flask import Blueprint, Response, g

from bases import Query
from services import clients
from web import mcp
from web.body import load_query
from web.keys import read_api_key

assistants = Blueprint("assistants", __name__)


@assistants.before_request
def authenticate() -> None:
    """Authenticate the request by its API key; set `g.client_id` and `g.read_only`.

    Raises MissingApiKey, InvalidApiKey, and 403 for the `Origin` of another site.
    """
    key = clients.find_key(read_api_key())
    g.client_id, g.read_only = key.client_id, key.read_only
    mcp.check_origin()


@assistants.post("/mcp")
def answer_assistant() -> Response:
    """Carry out one message of an assistant: list the tools, or call one."""
    load_query(Query)
    return mcp.respond()
