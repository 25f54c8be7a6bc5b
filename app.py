"""The service: its routes, who may call them, and how errors answer."""

import codecs
import json
import logging
import logging.config
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, wraps
from importlib import import_module
from typing import Any
from uuid import UUID

import orjson
from flask import Blueprint, Flask, Response, g, request
from marshmallow import Schema, ValidationError
from peewee import PeeweeException
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

import cli
import database
import schemas
from config.logging import RequestLine, configuration, mask_path
from config.settings import Settings, SettingsError, read_settings
from database import Row
from models import new_id
from reference import pages
from schemas import (
    CalendarQuery,
    HistoryQuery,
    LeadMeetingsQuery,
    LeadPatch,
    LeadRequest,
    LeadsQuery,
    MeetingFilters,
    MeetingRequest,
    MeetingsQuery,
    Notes,
    OptionalRequest,
    Query,
    Reason,
    ReasonAndNotes,
    RescheduleRequest,
)
from services import (
    bookings,
    calendars,
    clients,
    feeds,
    leads,
    meetings,
    migrations,
    outcomes,
    timeline,
)
from services.errors import (
    InvalidJson,
    InvalidRequest,
    PayloadTooLarge,
    ServiceError,
    Unavailable,
)
from services.many import Judged
from tasks import in_turns
from times import format_instant

BODY_BYTES = 1024 * 1024
ARRAY_BYTES = 8 * 1024 * 1024
ARRAY_ROWS = 1000
ROWS_A_TURN = 100  # that are judged before other requests have a turn: about 5 ms
NOT_WHOLE = "The body did not arrive whole."
JSON_DEPTH = 64
# Instants as `2025-12-29T17:00:00Z`, and a line break at the end for whoever reads in a terminal.
JSON_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS | orjson.OPT_APPEND_NEWLINE
# A key sent here by mistake would be logged and answered.
REQUEST_ID = re.compile(r"(?!nxr_)[A-Za-z0-9._-]{1,128}")

log = logging.getLogger("meetings")
api = Blueprint("api", __name__, url_prefix="/api/public")

# Every schema is built once; a request only loads and dumps.
MEETING = schemas.MeetingResponse()
MEETING_ITEM = schemas.MeetingItem()
LEAD = schemas.LeadResponse()
LEAD_SUMMARY = schemas.LeadSummary()
ACTIVITY = schemas.ActivityResponse()
REQUESTS: dict[type[Schema], Schema] = {
    schema: schema()
    for schema in (
        MeetingRequest,
        LeadRequest,
        LeadPatch,
        Query,
        LeadsQuery,
        LeadMeetingsQuery,
        HistoryQuery,
        MeetingFilters,
        MeetingsQuery,
        CalendarQuery,
        OptionalRequest,
        Reason,
        Notes,
        ReasonAndNotes,
        RescheduleRequest,
    )
}


# What only the database knows to be wrong with a body: of a client and what was valid of it.
Check = Callable[[str, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Intake:
    """What can be posted, one at a time or in an array."""

    path: str
    schema: type[Schema]
    and_check: Check | None
    store: Callable[[str, dict[str, Any]], tuple[Row, bool]]
    store_many: Callable[[str, list[Judged]], list[tuple[Row, bool] | ServiceError]]
    show: Callable[[dict[str, Any], Row, bool], dict[str, Any]]


def show_logged(booking: dict[str, Any], meeting: Row, created: bool) -> dict[str, Any]:
    """What is answered to a booking."""
    return {"meeting": MEETING.dump_row(meeting), "warnings": schemas.replay_warnings(booking)}


def show_created(given: dict[str, Any], lead: Row, created: bool) -> dict[str, Any]:
    """What is answered to a lead."""
    return {"lead": LEAD.dump_row(lead), "existed": None if created else True}


MEETINGS = Intake(
    "/meetings",
    MeetingRequest,
    bookings.wrong_references,
    bookings.log,
    bookings.log_many,
    show_logged,
)
LEADS = Intake("/leads", LeadRequest, None, leads.create, leads.create_many, show_created)


# --------------------------------------------------------------------------------------- routes


@api.post("/meetings")
def log_meeting() -> Response:
    """Log a meeting against a lead, or an array of them.

    The lead is found by `lead_id`, or else by `lead_email`; the end is given by `ends_at`, or
    by `duration_minutes`. With both `external_calendar_provider` and `external_event_id` the pair
    names one meeting for ever: sent again, it is updated by what it carries, not logged again. A
    field left out keeps its stored value, an explicit null sets it back to its default.

    Answers 201 MeetingLogged when new, 200 MeetingLogged when replayed, to an array rows
    StoredMeeting. Raises LeadNotFound, ExternalEventConflict.
    """
    return take(MEETINGS)


@api.get("/meetings")
def list_meetings() -> Response:
    """The client's meetings.

    With `order=updated_at` and `updated_after` it is a feed of changes: reading until `has_more`
    is false, and then again from the last row, misses none.

    Answers 200 MeetingPage.
    """
    query = load_query(MeetingsQuery)
    return page(query, *meetings.list_meetings(g.client_id, query))


@api.get("/meetings/stats")
def count_meetings() -> Response:
    """How many meetings there are of each status, and how many leads showed up.

    Answers 200 StatsAnswer.
    """
    counts = meetings.count_by_status(g.client_id, load_query(MeetingFilters))
    return answer(stats=schemas.stats(counts))


@api.get("/meetings/<uuid:meeting_id>")
def get_meeting(meeting_id: UUID) -> Response:
    """One meeting in full.

    Answers 200 MeetingAnswer. Raises MeetingNotFound.
    """
    load_query(Query)
    return answer(meeting=MEETING_ITEM.dump_row(meetings.find(g.client_id, str(meeting_id))))


@api.post("/meetings/<uuid:meeting_id>/confirm")
def confirm_meeting(meeting_id: UUID) -> Response:
    """The lead has confirmed.

    Answers 200 MeetingChanged. Raises MeetingNotFound, InvalidTransition.
    """
    return carry_out(outcomes.CONFIRM, meeting_id, load(OptionalRequest))


@api.post("/meetings/<uuid:meeting_id>/cancel")
def cancel_meeting(meeting_id: UUID) -> Response:
    """The meeting will not take place.

    Answers 200 MeetingChanged. Raises MeetingNotFound, InvalidTransition.
    """
    return carry_out(outcomes.CANCEL, meeting_id, load(Reason))


@api.post("/meetings/<uuid:meeting_id>/complete")
def complete_meeting(meeting_id: UUID) -> Response:
    """The meeting took place.

    Answers 200 MeetingChanged. Raises MeetingNotFound, InvalidTransition.
    """
    return carry_out(outcomes.COMPLETE, meeting_id, load(Notes))


@api.post("/meetings/<uuid:meeting_id>/no-show")
def mark_no_show(meeting_id: UUID) -> Response:
    """The lead did not show up.

    Answers 200 MeetingChanged. Raises MeetingNotFound, InvalidTransition.
    """
    return carry_out(outcomes.NO_SHOW, meeting_id, load(ReasonAndNotes))


@api.post("/meetings/<uuid:meeting_id>/reopen")
def reopen_meeting(meeting_id: UUID) -> Response:
    """Back to scheduled, unconfirmed.

    What the outcome had set is cleared; the timeline keeps it.

    Answers 200 MeetingChanged. Raises MeetingNotFound.
    """
    return carry_out(outcomes.REOPEN, meeting_id, load(OptionalRequest))


@api.post("/meetings/<uuid:meeting_id>/reschedule")
def reschedule_meeting(meeting_id: UUID) -> Response:
    """The same meeting at another time.

    With neither `ends_at` nor `duration_minutes` the duration stays. It takes the confirmation
    back.

    Answers 200 MeetingChanged. Raises MeetingNotFound, InvalidTransition, ExternalEventConflict.
    """
    wrong_move = partial(outcomes.wrong_move, meeting_id=str(meeting_id))
    move = load(RescheduleRequest, and_check=wrong_move)
    return outcome(*outcomes.reschedule(g.client_id, str(meeting_id), move))


@api.get("/leads/<uuid:lead_id>/meetings")
def list_lead_meetings(lead_id: UUID) -> Response:
    """The lead's meetings, latest start first.

    Answers 200 MeetingPage. Raises LeadNotFound.
    """
    query = load_query(LeadMeetingsQuery) | {"lead_id": str(lead_id)}
    rows, next_key = meetings.list_meetings(g.client_id, query)
    if not rows:  # of a lead that has none, or of no lead
        leads.find(g.client_id, query["lead_id"])
    return page(query, rows, next_key)


@api.post("/leads")
def create_lead() -> Response:
    """Create a lead, or update the one with its external_id; or an array of them.

    What is no field of a lead becomes `metadata`. Without an `external_id` every call creates a
    lead, also with an email that exists.

    Answers 201 LeadSaved when new, 200 LeadSaved when updated, to an array rows StoredLead. Raises
    Unavailable.
    """
    return take(LEADS)


@api.get("/leads")
def list_leads() -> Response:
    """The client's leads, latest updated first.

    Answers 200 LeadPage.
    """
    query = load_query(LeadsQuery)
    rows, has_more = leads.list_leads(g.client_id, query)
    return answer(
        leads=LEAD.dump_rows(rows),
        pagination={"page": query["page"], "limit": query["limit"], "has_more": has_more},
    )


@api.get("/leads/<uuid:lead_id>")
def get_lead(lead_id: UUID) -> Response:
    """One lead.

    Answers 200 LeadAnswer. Raises LeadNotFound.
    """
    load_query(Query)
    return answer(lead=LEAD.dump_row(leads.find(g.client_id, str(lead_id))))


@api.route("/leads/<uuid:lead_id>", methods=["PATCH", "PUT"])
def update_lead(lead_id: UUID) -> Response:
    """Replace the fields given.

    PATCH and PUT are alike. Null clears, though not `first_name`; `metadata` is merged key by
    key, and what is no field of a lead goes into it.

    Answers 200 LeadAnswer. Raises LeadNotFound, ExternalIdConflict.
    """
    lead = leads.update(g.client_id, str(lead_id), load(LeadPatch))
    return answer(lead=LEAD.dump_row(lead))


@api.get("/leads/<uuid:lead_id>/history")
def get_lead_history(lead_id: UUID) -> Response:
    """What happened to the lead, oldest first.

    Answers 200 LeadHistory. Raises LeadNotFound.
    """
    query = load_query(HistoryQuery)
    lead = leads.find(g.client_id, str(lead_id))
    activities = timeline.list_activities(g.client_id, lead["id"], query)
    return answer(lead=LEAD_SUMMARY.dump_row(lead), history=ACTIVITY.dump_rows(activities))


@api.get("/meetings/<uuid:meeting_id>.ics")
def get_meeting_calendar(meeting_id: UUID) -> Response:
    """One meeting, for a calendar program.

    Answers 200 Calendar. Raises MeetingNotFound.
    """
    load_query(Query)
    return calendar(calendars.of_meeting(g.client_id, str(meeting_id)))


@api.get("/leads/<uuid:lead_id>/meetings.ics")
def get_lead_calendar(lead_id: UUID) -> Response:
    """The lead's meetings, for a calendar program.

    Answers 200 Calendar. Raises LeadNotFound.
    """
    load_query(Query)
    lead = leads.find(g.client_id, str(lead_id))
    return calendar(calendars.of_many(g.client_id, "Meetings", {"lead_id": lead["id"]}))


@api.get("/meetings.ics")
def get_host_calendar() -> Response:
    """The meetings of a host, or all of the client's, for a calendar program.

    Answers 200 Calendar.
    """
    return calendar(calendars.of_many(g.client_id, "Meetings", load_query(CalendarQuery)))


def get_feed(token: str) -> Response:
    """A calendar under an address of its own. Public: the address is the secret.

    `flask feeds create` makes the address.

    Answers 200 Calendar. Raises NotFound, Unavailable.
    """
    load_query(Query)
    g.client_id, text = feeds.read(token)
    return calendar(text)


def calendar(text: bytes) -> Response:
    """An iCalendar answer, not to be kept by anything between."""
    headers = {"Cache-Control": "private, no-cache"}
    return Response(text, headers=headers, content_type="text/calendar; charset=utf-8")


def get_openapi() -> Response:
    """What you can call here, as OpenAPI. Public."""
    return serve(pages.DOCUMENT)


def get_docs() -> Response:
    """A page on which to read that, and to try it. Public."""
    return serve(pages.PAGE)


def get_docs_file(version: str, name: str) -> Response:
    """A script or style of the page. Public."""
    return serve(pages.find_file(version, name))


def serve(file: pages.File) -> Response:
    """A file of the reference, or 304 to who has it already."""
    load_query(Query)
    response = Response(file.read(), headers=file.headers, content_type=file.content_type)
    response.set_etag(file.etag)
    response.make_conditional(request)
    return response


def healthz() -> Response:
    """The process answers. Public.

    Answers 200 StatusAnswer.
    """
    load_query(Query)
    return answer(status="ok")


def readyz() -> Response:
    """The database answers and is migrated. Public.

    Answers 200 StatusAnswer. Raises Unavailable.
    """
    load_query(Query)
    migrations.check()
    return answer(status="ready")


def carry_out(transition: outcomes.Transition, meeting_id: UUID, given: dict[str, Any]) -> Response:
    """Take a meeting through a transition."""
    return outcome(*outcomes.carry_out(transition, g.client_id, str(meeting_id), given))


def outcome(meeting: dict[str, Any], changed: bool) -> Response:
    """A meeting after a call that may have had nothing left to do."""
    idempotent = {} if changed else {"idempotent": True}
    return answer(meeting=MEETING_ITEM.dump_row(meeting) | idempotent, **idempotent)


def page(query: dict[str, Any], rows: list[dict[str, Any]], next_key: Any) -> Response:
    """A page of meetings in full."""
    return answer(
        meetings=MEETING_ITEM.dump_rows(rows),
        pagination={
            "limit": query["limit"],
            "has_more": next_key is not None,
            "next_cursor": schemas.write_cursor(next_key),
        },
    )


# --------------------------------------------------------------------------- requests and answers


@api.before_request
def authenticate() -> None:
    """Let in who brings a key, and set `g.client_id`. All of the blueprint is closed by default."""
    api_key = request.headers.get("X-API-Key", "").strip()
    if not api_key:
        scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
        api_key = token.strip() if scheme.lower() == "bearer" else ""
    g.client_id = clients.authenticate(api_key)


def take(intake: Intake) -> Response:
    """Store what is posted: an object, or an array of them with a result for each."""
    body = _parse_json(_read_body(ARRAY_BYTES))
    if isinstance(body, list):
        return take_many(intake, body)
    given = check(intake.schema, body, intake.and_check)
    row, created = intake.store(g.client_id, given)
    response = answer(201 if created else 200, **intake.show(given, row, created))
    response.headers["Location"] = f"{api.url_prefix}{intake.path}/{row['id']}"
    return response


def take_many(intake: Intake, items: list[Any]) -> Response:
    """Store each object of an array, whatever becomes of the others."""
    wrong = _faults_of_query()
    if not 1 <= len(items) <= ARRAY_ROWS:
        wrong["body"] = [f"Must hold 1 to {ARRAY_ROWS} objects, not {len(items)}."]
    if wrong:
        raise InvalidRequest(wrong)
    judged = []
    for part in in_turns(items, ROWS_A_TURN):
        judged += [judge(intake.schema, item) for item in part]
    stored = intake.store_many(g.client_id, judged)
    results = [
        refused(index, result)
        if isinstance(result, ServiceError)
        else {"index": index, "success": True, "status": 201 if result[1] else 200}
        | without_none(intake.show(judged[index][0], *result))
        for index, result in enumerate(stored)
    ]
    statuses = [result["status"] for result in results]
    counts = {"created": statuses.count(201), "updated": statuses.count(200)}
    failed = len(results) - sum(counts.values())
    return _json(
        200, {"success": failed < len(results), **counts, "failed": failed, "results": results}
    )


def refused(index: int, error: ServiceError) -> dict[str, Any]:
    """The result of a row that failed."""
    result = {
        "index": index,
        "success": False,
        "status": error.status,
        "error": error.title,
        "message": error.message,
        "code": error.code,
    }
    return result if error.details is None else result | {"details": error.details}


def load(schema: type[Schema], and_check: Check | None = None) -> dict[str, Any]:
    """The request's body, an object that passes `check`.

    Raises PayloadTooLarge, InvalidJson, InvalidRequest.
    """
    raw = _read_body(BODY_BYTES).removeprefix(codecs.BOM_UTF8)
    absent = not raw.strip() and issubclass(schema, OptionalRequest)
    return check(schema, {} if absent else _parse_json(raw), and_check)


def check(
    schema: type[Schema],
    body: Any,
    and_check: Check | None = None,
) -> dict[str, Any]:
    """What a body holds, if it is valid by the schema and the request's query is empty.

    Raises InvalidRequest with everything that is wrong: by the schema, in the query, and, where
    there is something already, by `and_check` on what was valid; else that is left to the service.
    """
    loaded, wrong = judge(schema, body)
    wrong = _faults_of_query() | wrong
    if wrong:
        raise InvalidRequest((and_check(g.client_id, loaded) if and_check else {}) | wrong)
    return loaded


def judge(schema: type[Schema], body: Any) -> Judged:
    """What of a body is valid by the schema, and what is wrong with the rest."""
    if not isinstance(body, dict):
        return {}, {"body": ["Must be a JSON object."]}
    try:
        return REQUESTS[schema].load(schemas.clean(body)), {}
    except ValidationError as error:
        valid = error.valid_data if isinstance(error.valid_data, dict) else {}
        return valid, error.normalized_messages()


def load_query(schema: type[Schema]) -> dict[str, Any]:
    """The request's query, valid by the schema; raises InvalidRequest."""
    given = schemas.clean({name: values[-1] for name, values in request.args.lists()})
    given.pop("verbose", None)  # Nexor callers send it
    try:
        loaded: dict[str, Any] = REQUESTS[schema].load(given)
    except ValidationError as error:
        raise InvalidRequest(error.normalized_messages()) from error
    return loaded


def _faults_of_query() -> dict[str, Any]:
    if not request.query_string:
        return {}
    try:
        load_query(Query)
    except InvalidRequest as error:
        return error.details or {}
    return {}


def _parse_json(raw: bytes) -> Any:
    try:
        body = READ_JSON(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidJson("The body is not UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidJson(_why_not_json(raw, error)) from error
    # Brackets are counted first: hardly any body has enough of them to be too deep.
    if raw.count(b"[") + raw.count(b"{") > JSON_DEPTH and _depth(body) > JSON_DEPTH:
        raise InvalidJson(f"The body is nested deeper than {JSON_DEPTH}.")
    return body


def _read_body(limit: int) -> bytes:
    # Werkzeug would cut a body without a length at its limit and say nothing, and take one that
    # ends before its length for whole.
    length = request.content_length
    most = limit + 1 if length is None else length
    if length is not None and length > limit:
        raise PayloadTooLarge(limit)
    raw = b""
    try:
        while len(raw) < most and (chunk := request.stream.read(most - len(raw))):
            raw += chunk
    except Exception as error:  # broken chunks, a reset; each server below has its own names for it
        raise InvalidJson(NOT_WHOLE) from error
    is_array = raw.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"["
    if len(raw) > (limit if is_array else BODY_BYTES):
        raise PayloadTooLarge(BODY_BYTES)
    if length is not None and len(raw) < length:
        raise InvalidJson(NOT_WHOLE)
    return raw


def _why_not_json(raw: bytes, error: Exception) -> str:
    if not raw.strip():
        return "The body is empty; a JSON object is needed."
    if isinstance(error, json.JSONDecodeError):
        return f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
    if isinstance(error, RecursionError):
        return f"The body is nested deeper than {JSON_DEPTH}."
    return f"The body is not JSON: {error}."


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _read_int(digits: str) -> int:
    # Python refuses to read very long numbers. Their first digits put them out of every range
    # this service knows just as well.
    return int(digits[:21])


READ_JSON = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=_read_int).decode


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        nested = [item for item in level if isinstance(item, dict | list)]
        depth += bool(nested)
        level = [
            inner
            for item in nested
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return depth


def answer(status: int = 200, /, **things: Any) -> Response:
    """A success: `{"success": true, …}` with the things in their order; None is left out."""
    return _json(status, {"success": True} | without_none(things))


def without_none(things: dict[str, Any]) -> dict[str, Any]:
    """The things that are not None."""
    return {name: thing for name, thing in things.items() if thing is not None}


class JsonResponse(Response):
    """JSON, in bytes. Its headers are right as they are; Werkzeug would look each of them over."""

    default_mimetype = "application/json"

    def get_wsgi_headers(self, environ: Any) -> Any:
        """The headers themselves."""
        return self.headers


def _json(status: int, body: dict[str, Any]) -> Response:
    try:
        text = orjson.dumps(body, option=JSON_OPTIONS)
    except TypeError:
        # A lone surrogate, which only a refused field's name can hold, is escaped as JSON does.
        line = json.dumps(body, ensure_ascii=False, default=format_instant) + "\n"
        text = line.encode("utf-8", "backslashreplace")
    return JsonResponse(text, status)


# --------------------------------------------------------------------------------------- errors


def refuse(
    status: int, code: str, title: str, message: str, details: dict[Any, Any] | None = None
) -> Response:
    """An error, as every one answers:

    `{"success": false, "error": title, "message": sentence, "code": identifier, "details": …,
    "request_id": …}`, where `details` (field → sentences) is there for validation errors only.
    """
    g.code = code
    body = {"success": False, "error": title, "message": message, "code": code}
    if details is not None:
        body["details"] = details
    response = _json(status, body | {"request_id": g.request_id})
    if status == 503:
        response.headers["Retry-After"] = "1"
    return response


def on_service_error(error: ServiceError) -> Response:
    """An error a service raised on purpose."""
    return refuse(error.status, error.code, error.title, error.message, error.details)


def on_http_error(error: HTTPException) -> Response:
    """An error of the framework; it keeps its headers, such as `Allow`."""
    status = error.code or 500
    name = HTTP_STATUS_CODES.get(status, "Error")
    message = {
        404: "There is no such path.",
        405: f"{request.method} is not possible here.",
    }.get(status, error.description or name)
    response = refuse(status, name.lower().replace(" ", "_"), name.capitalize(), message)
    for header, value in error.get_headers():
        if header not in ("Content-Type", "Content-Length"):
            response.headers[header] = value
    return response


def on_bug(error: Exception) -> Response:
    """Anything else: a database that is away answers 503; a bug is logged and answers 500."""
    if database.is_unavailable(error):
        log.warning("Database unavailable (request %s): %s", g.request_id, type(error).__name__)
        return on_service_error(
            Unavailable("The database is not available just now. Please try again.")
        )
    if isinstance(error, PeeweeException):
        try:
            migrations.check()
        except Unavailable as behind:  # started before its database was migrated
            return on_service_error(behind)
        except PeeweeException as another:
            log.error("And the migrations cannot be read", exc_info=another)
    log.error("Bug in request %s", g.request_id, exc_info=error)
    return refuse(
        500,
        "internal_error",
        "Internal server error",
        f"A bug. It was logged under request_id {g.request_id}.",
    )


# ------------------------------------------------------------------------------------- requests


def begin_request() -> None:
    """Note when the request began and by which id it goes."""
    g.began_at = time.perf_counter()
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if REQUEST_ID.fullmatch(given) else new_id()


def end_request(response: Response) -> Response:
    """Name the request in its answer, and log it in one line."""
    response.headers["X-Request-Id"] = g.request_id
    if log.isEnabledFor(logging.INFO):
        line = RequestLine(
            request_id=g.request_id,
            client_id=g.get("client_id"),
            method=request.method,
            path=mask_path(request.path),
            status=response.status_code,
            milliseconds=round((time.perf_counter() - g.began_at) * 1000, 1),
        )
        log.info(line)
    return response


class Service(Flask):
    """Flask, without looking at every call whether a function is a coroutine: none is."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself."""
        return func


def measure(app: Flask, metrics: Any) -> None:
    """Count and time what an application does, by the module `metrics`, and show it at /metrics."""

    def get_metrics() -> Response:
        """What was counted since the server started. Public."""
        load_query(Query)
        return Response(metrics.exposition(), content_type=metrics.CONTENT_TYPE)

    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "unknown"
        took = time.perf_counter() - g.began_at
        metrics.count_request(route, request.method, response.status_code, took)
        if request.endpoint == "api.log_meeting" and response.status_code >= 400:
            metrics.count_refused(g.code)
        return response

    intake = replace(
        MEETINGS,
        store=metrics.counting(MEETINGS.store),
        store_many=metrics.counting_many(MEETINGS.store_many),
    )

    @wraps(log_meeting)
    def log_counted() -> Response:
        return take(intake)

    database.time_calls(metrics.spend)
    app.after_request(count)
    app.add_url_rule("/metrics", view_func=get_metrics)
    app.view_functions["api.log_meeting"] = log_counted


def create_app(settings: Settings | None = None) -> Flask:
    """The WSGI application; settings come from the environment unless given.

    Opens no connection yet. A setting that cannot work ends the program with a line naming it.
    """
    if settings is None:
        try:
            settings = read_settings()
        except SettingsError as error:
            raise SystemExit(str(error)) from None
    logging.config.dictConfig(configuration(settings.log_level, settings.log_format))
    database.use(settings.database_url, settings.db_pool_size, settings.db_timeout_seconds)

    app = Service(__name__, static_folder=None)
    app.config.update(SETTINGS=settings, PROVIDE_AUTOMATIC_OPTIONS=False)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # for callers of the test client
    app.url_map.merge_slashes = False  # a path with two slashes is no path, not a redirect
    app.before_request(begin_request)
    app.after_request(end_request)
    app.teardown_request(lambda error: database.release())
    app.register_error_handler(ServiceError, on_service_error)
    app.register_error_handler(HTTPException, on_http_error)
    app.register_error_handler(Exception, on_bug)
    app.add_url_rule("/healthz", view_func=healthz)
    app.add_url_rule("/readyz", view_func=readyz)
    app.add_url_rule("/feeds/<token>.ics", view_func=get_feed)
    app.add_url_rule("/openapi.json", view_func=get_openapi)
    app.add_url_rule("/docs", view_func=get_docs)
    app.add_url_rule("/docs/<version>/<name>", view_func=get_docs_file)
    app.register_blueprint(api)
    if settings.metrics:
        measure(app, import_module("metrics"))  # who does not ask for it loads nothing of it
    cli.register(app)
    return app
