"""The blueprint of the API, and its authentication.

It is apart from `routes/__init__.py`, which imports the modules that add routes to it.
"""

from flask import Blueprint, g, request

from services import clients
from web import idempotency

api = Blueprint("api", __name__, url_prefix="/api/public")


@api.before_request
def authenticate() -> None:
    """Authenticate the request by its API key and set `g.client_id`.

    The hook covers every route of the blueprint, so that none is public by mistake. Raises
    MissingApiKey, InvalidApiKey, and ReadOnlyKey for any method but GET and HEAD.
    """
    api_key = request.headers.get("X-API-Key", "").strip()
    if not api_key:
        scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
        api_key = token.strip() if scheme.lower() == "bearer" else ""
    g.client_id = clients.authenticate(api_key, writes=request.method not in ("GET", "HEAD"))


api.before_request(idempotency.answer_once)
