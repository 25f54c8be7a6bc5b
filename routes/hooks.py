"""The addresses that booking systems post to. The address is the secret, so no key is needed."""

from flask import Response, current_app, g, request

from bases import Request
from envelopes import HookProbed, ReceiptAnswer
from intake_schemas import ReceiptResponse
from services import intake, sources
from services.errors import (
    InvalidJson,
    InvalidSignature,
    NotFound,
    PayloadTooLarge,
    TryAgainLater,
    Unavailable,
)
from web.answers import success
from web.body import instance, parse_json, read_body
from web.describe import answers


@answers(200, HookProbed, raises=(NotFound, TryAgainLater, Unavailable))
def probe_hook(token: str) -> Response:
    """Report that the address exists, for systems that probe it first."""
    g.unavailable = intake.unavailable(token)
    g.client_id = sources.find_by_token(token).client_id
    return success()


@answers(
    200,
    ReceiptAnswer,
    raises=(
        NotFound,
        PayloadTooLarge,
        InvalidSignature,
        InvalidJson,
        TryAgainLater,
        Unavailable,
    ),
)
def receive_hook(token: str) -> Response:
    """Take a booking system's webhook: any JSON, as the system sends it.

    The payload is stored as a receipt, and what it reports is applied in the same transaction. If
    that is not possible, the response is 200 too, because sending the payload again would not help;
    the receipt says why. If the database is unavailable, GoHighLevel gets 429 instead of 503.
    """
    g.unavailable = intake.unavailable(token)
    source = sources.find_by_token(token)
    g.client_id = source.client_id
    raw = read_body(Request.BODY_BYTES)
    intake.check_signature(source, request.headers, raw)
    payload = parse_json(raw)
    keep_days = current_app.config["SETTINGS"].receipt_days
    receipt = intake.receive(source, raw.decode("utf-8-sig"), payload, keep_days)
    return success(receipt=instance(ReceiptResponse).dump(receipt))
