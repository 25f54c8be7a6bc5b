"""The endpoint for assistants, which speak the Model Context Protocol."""

from flask import Response, g

from bases import Query
from services import clients
from web import mcp
from web.body import load_query
from web.keys import read_api_key


def answer_assistant() -> Response:
    """Carry out one message of an assistant: list the tools, or call one.

    Raises MissingApiKey, InvalidApiKey, and 403 for the `Origin` of another site.
    """
    key = clients.find_key(read_api_key())
    g.client_id, g.read_only = key.client_id, key.read_only
    mcp.check_origin()
    load_query(Query)
    return mcp.respond()
