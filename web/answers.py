"""Responses: the envelopes of success and of errors, and the error handlers."""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import orjson
from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from bases import ResponseSchema
from fields import write_cursor
from intake_models import Receipt
from intake_schemas import MeetingNoteResponse, ReceiptResponse
from lead_schemas import ActivityResponse, LeadResponse
from models import SHOWN_STATUSES
from schemas import PAIR, MeetingItem
from services import health
from services.deliveries import payload_of
from services.errors import ServiceError
from services.figures import share
from services.personal_data import PersonalData
from services.results import Result, RowResult, require_row
from times import format_instant
from web.addresses import location, this_path
from web.body import Rows, instance
from web.docs import File
from webhook_schemas import DeliveryItem

# Instants are written as `2025-12-29T17:00:00Z`; the line break is for readers in a terminal.
JSON_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS | orjson.OPT_APPEND_NEWLINE

log = logging.getLogger("meetings")


class JsonResponse(Response):
    """A JSON response, which no cache may store.

    A shared cache knows `Authorization`, but not `X-API-Key`. Without `Cache-Control` it might
    serve the response to callers without a key.
    """

    default_mimetype = "application/json"

    def __init__(self, body: bytes, status: int) -> None:
        super().__init__(body, status, headers=[("Cache-Control", "no-store")])

    def get_wsgi_headers(self, environ: Any) -> Any:
        """Return the headers, which are complete: Werkzeug would examine each of them again."""
        return self.headers


def success(**things: Any) -> Response:
    """Respond 200 with `{"success": true, …}`, in the given order."""
    return write_json(200, {"success": True, **things})


def created(**things: Any) -> Response:
    """Respond 201 with `{"success": true, …}`; `Location` is the address of the first, new row."""
    response = write_json(201, {"success": True, **things})
    [row, *_] = things.values()
    response.headers["Location"] = location(row["id"])
    return response


def stored(
    body: Rows,
    results: list[Result],
    noun: str,
    schema: type[ResponseSchema],
    remarks: Callable[[dict[str, Any], RowResult], dict[str, Any]],
) -> Response:
    """Respond to an object with what was stored, or to an array with a result for each row.

    The row is shown under `noun`, by the schema; `remarks` returns what follows it, from the valid
    fields of the row and its result. Raises the error of a single object.
    """
    if body.is_array:
        return _stored_array(body, results, noun, schema, remarks)
    result = require_row(results[0])
    shown = instance(schema).dump(result.row)
    status = 201 if result.effect == "created" else 200
    envelope = {"success": True, noun: shown, **remarks(body.rows[0].valid, result)}
    response = write_json(status, envelope)
    response.headers["Location"] = location(shown["id"])
    return response


def _stored_array(
    body: Rows,
    results: list[Result],
    noun: str,
    schema: type[ResponseSchema],
    remarks: Callable[[dict[str, Any], RowResult], dict[str, Any]],
) -> Response:
    dump = instance(schema).dump
    counts = {"created": 0, "updated": 0, "failed": 0}
    rows = []
    for index, (loaded, result) in enumerate(zip(body.rows, results, strict=True)):
        if isinstance(result, ServiceError):
            counts["failed"] += 1
            rows.append({"index": index, "success": False, **_describe(result, result.status)})
            continue
        is_new = result.effect == "created"
        counts["created" if is_new else "updated"] += 1
        row = {"index": index, "success": True, "status": 201 if is_new else 200}
        rows.append(row | {noun: dump(result.row)} | remarks(loaded.valid, result))
    return write_json(200, {"success": counts["failed"] < len(rows), **counts, "results": rows})


def changed(result: RowResult) -> Response:
    """Respond with a meeting after a call that may have found nothing to change."""
    shown = instance(MeetingItem).dump(result.row)
    idempotent = {"idempotent": True} if result.effect == "unchanged" else {}
    return success(meeting={**shown, **idempotent}, **idempotent)


def saved(result: RowResult, noun: str, schema: type[ResponseSchema]) -> Response:
    """Respond with a row, shown by the schema: 201 if it is new, else 200."""
    status = 201 if result.effect == "created" else 200
    return write_json(status, {"success": True, noun: instance(schema).dump(result.row)})


def page(
    noun: str, schema: type[ResponseSchema], query: dict[str, Any], rows: list[Any], next_key: Any
) -> Response:
    """Respond with a page of rows under a noun; `next_key` is None on the last page."""
    cursor = write_cursor(next_key)
    pagination = {
        "limit": query["limit"],
        "has_more": next_key is not None,
        "next_cursor": cursor,
    }
    response = success(**{noun: instance(schema).dump(rows, many=True)}, pagination=pagination)
    return response if cursor is None else _with_next(response, cursor=cursor)


def numbered_page(
    noun: str, schema: type[ResponseSchema], query: dict[str, Any], rows: list[Any], has_more: bool
) -> Response:
    """Respond with a page, by its number, of rows under a noun."""
    pagination = {"page": query["page"], "limit": query["limit"], "has_more": has_more}
    response = success(**{noun: instance(schema).dump(rows, many=True)}, pagination=pagination)
    return _with_next(response, page=query["page"] + 1) if has_more else response


def _with_next(response: Response, **parameters: Any) -> Response:
    """Add the address of the next page: the request's own, with some parameters replaced."""
    given = {name: values[-1] for name, values in request.args.lists()}
    response.headers["Link"] = f'<{this_path()}?{urlencode(given | parameters)}>; rel="next"'
    return response


def delivery_details(delivery: Any) -> Response:
    """Respond with a delivery, its payload and its tries."""
    shown = instance(DeliveryItem).dump(delivery)
    shown |= {"payload": payload_of(delivery), "tries": delivery.tries}
    return success(delivery=shown)


def receipt_with_payload(receipt: Receipt) -> Response:
    """Respond with a receipt and its payload, embedded as it was sent."""
    return success(receipt=_with_payload(receipt))


def _with_payload(receipt: Receipt) -> dict[str, Any]:
    shown = instance(ReceiptResponse).dump(receipt)
    return {**shown, "payload": orjson.Fragment(receipt.payload)}


def export(data: PersonalData) -> Response:
    """Respond with everything that is stored about a lead."""
    return success(
        lead=instance(LeadResponse).dump(data.lead),
        meetings=instance(MeetingItem).dump(data.meetings, many=True),
        history=instance(ActivityResponse).dump(data.activities, many=True),
        notes=instance(MeetingNoteResponse).dump(data.notes, many=True),
        receipts=[_with_payload(receipt) for receipt in data.receipts],
    )


def booking_remarks(booking: Mapping[str, Any], result: RowResult) -> dict[str, Any]:
    """Return whether a booking created its lead, and a warning if it is not safe to repeat.

    The latter is the case if only one half of the (provider, event id) pair was given.
    """
    remarks: dict[str, Any] = {"lead_created": True} if result.lead_created else {}
    provider, event_id = map(booking.get, PAIR)
    if (provider is None) == (event_id is None):
        return remarks
    given, missing = PAIR[::-1] if provider is None else PAIR
    sentence = (
        f"{given} was given without {missing}, so the meeting was logged without replay"
        " protection: sent again, it would be logged again."
    )
    return remarks | {"warnings": [sentence]}


def mark_existed(lead: Mapping[str, Any], result: RowResult) -> dict[str, bool]:
    """Return `{"existed": true}` for a lead that already existed."""
    return {} if result.effect == "created" else {"existed": True}


def stats(counts: Mapping[str, int]) -> Response:
    """Respond with statistics, from the number of meetings of each shown status.

    The rates are shares of the meetings that were held or missed; null if there are none.
    """
    shown = {status: counts.get(status, 0) for status in SHOWN_STATUSES}
    rates = {
        "show_rate": share(shown["completed"], shown["no_show"]),
        "no_show_rate": share(shown["no_show"], shown["completed"]),
    }
    return success(stats={"total": sum(shown.values()), **shown, **rates})


def calendar(text: bytes) -> Response:
    """Respond with iCalendar text, which no proxy may keep."""
    headers = {"Cache-Control": "private, no-cache"}
    return Response(text, headers=headers, content_type="text/calendar; charset=utf-8")


def serve_file(file: File) -> Response:
    """Respond with a file of the documentation; 304 to a caller that has it already."""
    response = Response(file.read(), headers=file.headers, content_type=file.content_type)
    response.set_etag(file.etag)
    response.make_conditional(request)
    return response


def write_json(status: int, body: dict[str, Any]) -> Response:
    """Respond with a JSON body; datetimes must be aware and in UTC."""
    try:
        text = orjson.dumps(body, format_instant, JSON_OPTIONS)
    except TypeError:
        # Only the name of a refused field can hold an unpaired surrogate: escape it as JSON does.
        line = json.dumps(body, ensure_ascii=False, default=format_instant) + "\n"
        text = line.encode("utf-8", "backslashreplace")
    return JsonResponse(text, status)


# --------------------------------------------------------------------------------------- errors


def register(app: Flask) -> None:
    """Add the error handlers to an application."""
    app.register_error_handler(ServiceError, on_service_error)
    app.register_error_handler(HTTPException, on_http_error)
    app.register_error_handler(Exception, on_bug)


def refuse(
    status: int, described: dict[str, Any], retry_after_seconds: int | None = None
) -> Response:
    """Respond with an error. Every error response has this form:

    `{"success": false, "error": title, "message": sentence, "code": identifier, "details": …,
    "request_id": …}`. Only validation errors have `details`: field → sentences. An error that
    passes by itself has the header `Retry-After`.
    """
    g.code, g.wrong_fields = described["code"], described.get("details")
    response = write_json(status, {"success": False, **described, "request_id": g.request_id})
    if retry_after_seconds is not None:
        response.headers["Retry-After"] = str(retry_after_seconds)
    return response


def _describe(error: ServiceError, status: int | None = None) -> dict[str, Any]:
    """Return an error as callers see it, with its status if it belongs to a row of an array."""
    described: dict[str, Any] = {} if status is None else {"status": status}
    described |= {"error": error.title, "message": error.message, "code": error.code}
    return described if error.details is None else described | {"details": error.details}


def on_service_error(error: ServiceError) -> Response:
    """Respond to an error that a service raised on purpose."""
    return refuse(error.status, _describe(error), error.retry_after_seconds)


def on_http_error(error: HTTPException) -> Response:
    """Respond to an error of the framework, with its headers, such as `Allow`."""
    status = error.code or 500
    name = HTTP_STATUS_CODES.get(status, "Error")
    message = {
        404: "There is no such path.",
        405: f"{request.method} is not possible here.",
    }.get(status, error.description or name)
    code = name.lower().replace(" ", "_")
    response = refuse(status, {"error": name.capitalize(), "message": message, "code": code})
    for header, value in error.get_headers():
        if header not in ("Content-Type", "Content-Length"):
            response.headers[header] = value
    return response


def on_bug(error: Exception) -> Response:
    """Respond 503 when the database is unavailable; else log the error as a bug and respond 500."""
    if unavailable := health.unavailable_or_none(error):
        kind = type(error).__name__
        log.warning("Database unavailable (request %s): %s", g.request_id, kind)
        # A booking system may need another status to try again.
        return on_service_error(g.get("unavailable", unavailable))
    log.error("Bug in request %s", g.request_id, exc_info=error)
    message = f"A bug. It was logged under request_id {g.request_id}."
    described = {"error": "Internal server error", "message": message, "code": "internal_error"}
    return refuse(500, described)
