"""The routes of receipts: what arrived from booking systems, and processing it again."""

from uuid import UUID

from flask import Response, g

from bases import OptionalRequest, Query
from envelopes import ReceiptAnswer, ReceiptDetail, ReceiptPage, ReceiptsRetried
from intake_schemas import ReceiptResponse, ReceiptsQuery, RetryRequest
from routes.blueprint import api
from services import intake, receipts
from services.errors import ReceiptNotFound
from web.answers import page, receipt_with_payload, success
from web.body import instance, load, load_query
from web.describe import answers


@api.get("/receipts")
@answers(200, ReceiptPage, query=ReceiptsQuery)
def list_receipts() -> Response:
    """List what arrived from booking systems, latest first."""
    query = load_query(ReceiptsQuery)
    return page("receipts", ReceiptResponse, query, *receipts.list_receipts(g.client_id, query))


@api.get("/receipts/<uuid:receipt_id>")
@answers(200, ReceiptDetail, query=Query, raises=(ReceiptNotFound,))
def get_receipt(receipt_id: UUID) -> Response:
    """Get one receipt, with the payload as it was sent."""
    load_query(Query)
    return receipt_with_payload(receipts.find(g.client_id, str(receipt_id)))


@api.post("/receipts/<uuid:receipt_id>/retry")
@answers(200, ReceiptAnswer, body=OptionalRequest, raises=(ReceiptNotFound,))
def retry_receipt(receipt_id: UUID) -> Response:
    """Process a receipt again, with the current leads, hosts and mapping.

    A receipt that has already succeeded is not applied again: it is returned as `unchanged`.
    """
    load(OptionalRequest)
    receipt = intake.retry(g.client_id, str(receipt_id))
    return success(receipt=instance(ReceiptResponse).dump(receipt))


@api.post("/receipts/retry")
@answers(200, ReceiptsRetried, body=RetryRequest)
def retry_receipts() -> Response:
    """Process again the oldest 1,000 receipts that pass the filters.

    At least one filter is required. `left` says how many more receipts pass the filters.
    """
    outcomes, left = intake.retry_many(g.client_id, load(RetryRequest))
    return success(retried=sum(outcomes.values()), outcomes=outcomes, left=left)
