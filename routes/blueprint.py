"""The blueprint of the API, and its authentication.

This module is separate from `routes/__init__.py`, which imports the modules that add routes to the
blueprint.
"""

from flask import Blueprint, g, request

from services import clients
from services.errors import ReadOnlyKey
from web import idempotency
from web.keys import read_api_key

api = Blueprint("api", __name__, url_prefix="/api/public")


@api.before_request
def authenticate() -> None:
    """Authenticate the request by its API key and set `g.client_id`.

    The hook covers every route of the blueprint, so that none is public by mistake. Raises
    MissingApiKey, InvalidApiKey, and ReadOnlyKey for any method but GET and HEAD.
    """
    key = clients.find_key(read_api_key())
    g.client_id = key.client_id
    if key.read_only and request.method not in ("GET", "HEAD"):
        raise ReadOnlyKey()


api.before_request(idempotency.answer_once)
