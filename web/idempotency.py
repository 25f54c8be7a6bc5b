"""The header `Idempotency-Key`: a POST that is sent again gets the response to the first."""

import re
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from typing import Any

from flask import Response, current_app, g, request

from bases import ARRAY_BYTES
from fields import IDEMPOTENCY_KEY, NOT_A_KEY
from services import idempotency
from services.idempotency import KeptAnswer, KeyedRequest
from web.answers import JsonResponse
from web.body import is_array, read_body
from web.describe import Described

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
KEY = re.compile(rf'"({IDEMPOTENCY_KEY})"|(?!"")({IDEMPOTENCY_KEY})')
NO_ARRAY = "Not possible with an array: each row has its own replay key."


def answer_once() -> Response | None:
    """Respond to a POST that has the header; None leaves any other request to its route.

    A repeated POST gets the response to the first. Raises IdempotencyKeyReused,
    IdempotencyKeyInProgress and all errors of the route. A fault of the header is reported by the
    route, together with those of the query and the body.
    """
    given = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if given is None or request.method != "POST":
        return None
    described: Described = vars(current_app.view_functions[str(request.endpoint)])["described"]
    key = KEY.fullmatch(given)
    if described.unrepeatable or key is None:
        g.wrong_headers = {HEADER: [described.unrepeatable or NOT_A_KEY]}
        return None
    assert described.body is not None
    raw = read_body(described.body.BODY_BYTES, ARRAY_BYTES if described.row else 0)
    if described.row and is_array(raw):
        request.stream = BytesIO(raw)
        g.wrong_headers = {HEADER: [NO_ARRAY]}
        return None
    view = current_app.view_functions[str(request.endpoint)]

    def respond() -> Response:
        request.stream = BytesIO(raw)  # again, if the transaction has to run again
        response: Any = view(**(request.view_args or {}))
        made: Response = response
        return made

    return respond_once(KeyedRequest(g.client_id, key[1] or key[2], _hash(raw)), respond)


def _hash(raw: bytes) -> str:
    parts = request.path.encode(), request.query_string, raw
    return sha256(b"\0".join(parts)).hexdigest()


def respond_once(keyed: KeyedRequest, respond: Callable[[], Response]) -> Response:
    """Return the response to the first request with the key, or else that of `respond`.

    `respond` may run several times.

    Raises IdempotencyKeyReused, IdempotencyKeyInProgress and what `respond` raises.
    """
    made: list[Response] = []

    def answer() -> KeptAnswer:
        response = respond()
        made.append(response)
        return KeptAnswer(
            response.status_code, response.get_data(), response.headers.get("Location")
        )

    kept = idempotency.answer_once(keyed, answer)
    if not kept.is_replayed:
        return made[-1]
    response = JsonResponse(kept.body, kept.status)
    response.headers[REPLAYED] = "true"
    if kept.location is not None:
        response.headers["Location"] = kept.location
    return response
