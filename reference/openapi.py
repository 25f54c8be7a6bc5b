"""Build the OpenAPI 3.1 document from the routes, their schemas and their errors.

The decorator `web.describe.answers` records what a route takes and returns. The route's docstring
has the summary and the description; bounds and formats come from the fields. A developer runs
`python -m reference.openapi`, which writes docs/openapi.json. A server sends that file as it is,
and never loads this package.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from apispec import APISpec
from flask import Flask
from marshmallow import Schema

import routes
from bases import OptionalRequest, Request
from config.settings import ROOT
from config.version import VERSION
from envelopes import Answer
from reference import mcp_tools
from reference.examples import HOST, MEETING, MEETING_TYPE, RECEIPT, SOURCE
from reference.responses import (
    JSON,
    REQUEST_ID,
    ROWS,
    error_schema,
    one_of,
    refusal,
    refused_row,
    response,
    results_of,
)
from reference.shapes import ENUMS, Plugin, example_of, first_sentence, name_of, reference
from services import errors
from services.errors import ServiceError
from web.describe import Described

CALENDAR = "text/calendar"

ABOUT = """\
Logs meetings that were booked somewhere else against a lead: exactly once, however often a webhook
is retried, and visible in the lead's history. Wire-compatible with the Nexor meetings API.

**Keys.** Send your key in `X-API-Key`, or as `Authorization: Bearer …`; if both are sent,
`X-API-Key` counts. Every record belongs to one client; you cannot see another client's records.

**Bodies** are read as JSON whatever their `Content-Type`. White space around a text is dropped.
`""` counts as absent, for an optional field of any type, because form-based senders send every box.
A whole number may be written `60`, `60.0` or `"60"`. Unknown fields and query parameters are
refused by name, so that a misspelt one is not silently lost (`verbose` is accepted and ignored).

**Times in requests** are ISO 8601. The forms `20260420T140000Z`, a space in place of the `T`, and
offsets such as `+0300` or `+03` are accepted too. A time without an offset is wall-clock time in
`timezone`. Times lie between 1970 and 2199. **Times in responses** are UTC, in whole seconds.

**Arrays.** `POST /meetings` and `POST /leads` also take 1 to 1,000 objects. Each is processed as if
it had been sent alone, and the response has a result for each.

**Repeating a request.** Send a POST with an `Idempotency-Key` of your own: if no response arrives,
send it again with the same key. It takes effect once, and both get the same response.

**Pages.** A list that has `pagination` also sends the address of the next page in `Link`.

**Requests** have an id, which every response carries in `X-Request-Id`. Send an id of your own (up
to 128 of `[A-Za-z0-9._-]`) to find the request in your logs and in ours.

**Errors** all have one form, and programs read their `code`. Those with the statuses 400, 401, 403,
413, 500 and 503 are possible for every operation and are described only here.

<details><summary>All errors</summary>

| status | `code` | when |
| --- | --- | --- |
"""

TAGS = {
    "Meetings": "Log, find and count meetings.",
    "A meeting's life": "Change the state of a meeting. A repeated call changes nothing.",
    "Meeting notes": "What note-taking tools, or people, wrote down about meetings.",
    "Leads": "The people sold to, and their history.",
    "Users and meeting types": "The people who host meetings, and the kinds of meetings.",
    "Sources": "The addresses of this service that booking systems post to.",
    "Receipts": "What arrived from booking systems, and what became of it.",
    "Calendars": "Meetings as iCalendar (RFC 5545), for calendar programs.",
    "Webhooks": "Report changes to other systems, with signatures, a log and redelivery.",
    "Service": "The state of the service. No key is needed.",
}

# The tags of routes by the beginnings of their paths; the first that fits counts.
TAG_OF = {
    "/api/public/meeting-notes": "Meeting notes",
    "/api/public/meetings/<uuid:meeting_id>/notes": "Meeting notes",
    "/api/public/meetings": "Meetings",
    "/api/public/leads": "Leads",
    "/api/public/users": "Users and meeting types",
    "/api/public/meeting-types": "Users and meeting types",
    "/api/public/receipts": "Receipts",
    "/api/public/sources": "Sources",
    "/hooks": "Sources",
    "/api/public/webhooks": "Webhooks",
}

DETAILS = {
    "type": "object",
    "description": "Field → sentences. Nested fields nest; list items go by their index.",
    "additionalProperties": {
        "anyOf": [
            {"type": "array", "items": {"type": "string"}},
            {"$ref": "#/components/schemas/Details"},
        ]
    },
}
PATH_ARGUMENT = re.compile(r"<(?:(uuid):)?(\w+)>")
KEYS = {
    "ApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "Your key, `nxr_live_…`.",
    },
    "Bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The same key as a bearer token.",
    },
}
HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {
        "description": "The request's id: the caller's own, or a new one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
    },
    "Location": {
        "description": "The address of the stored row.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "LocationOfOne": {
        "description": "The address of the stored row; absent in the response to an array.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "Link": {
        "description": 'The address of the next page, as `<…>; rel="next"` (RFC 8288), if any.',
        "schema": {"type": "string"},
    },
    "Idempotent-Replayed": {
        "description": "The response of an earlier request with the same `Idempotency-Key`.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "RetryAfterIfInProgress": {
        "description": "Seconds to wait before trying again, with `idempotency_key_in_progress`.",
        "schema": {"type": "string", "enum": ["1"]},
    },
    "Retry-After": {
        "description": "Seconds to wait before trying again.",
        "required": True,
        "schema": {"type": "string", "enum": ["1", "60"]},
    },
}
OWN_REQUEST_ID: dict[str, Any] = {
    "description": "An id of your own for the request: up to 128 of `[A-Za-z0-9._-]`. Other text is"
    " ignored.",
    "schema": {"type": "string"},
}
IDEMPOTENCY_KEY: dict[str, Any] = {
    "description": "Makes the request safe to repeat. Sent again within 24 hours with the same key,"
    " path, query and body, it changes nothing and gets the same response. Not with an array.",
    # Without an example, which a form would send with every request.
    "schema": {"type": "string", "pattern": "^[ -~]{1,255}$"},
}
ICALENDAR = """\
BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//Meetings//EN\r
BEGIN:VEVENT\r
UID:019b6a5c-5d60-7d5f-a1c3-6a1f0c1b7a11\r
SUMMARY:Discovery Call with Tony Stark\r
DTSTART;TZID=America/Santiago:20251229T140000\r
DTEND;TZID=America/Santiago:20251229T150000\r
STATUS:CONFIRMED\r
END:VEVENT\r
END:VCALENDAR\r
"""


class MethodNotAllowed(ServiceError):
    """The path does not support the method; `Allow` lists those it supports."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class InternalError(ServiceError):
    """A bug of the service, logged with the request's id."""

    status, code, title = 500, "internal_error", "Internal server error"


View = Callable[..., Any]

STARK = "email tony.stark@gmail.com"
MEETING_ID, SOURCE_ID = MEETING["id"], SOURCE["id"]
# An example of every error that a caller can receive.
ERRORS: tuple[ServiceError, ...] = (
    errors.InvalidJson("The body is not JSON: Expecting value at line 1, column 1."),
    errors.InvalidRequest({"ends_at": ["Required unless duration_minutes is given."]}),
    errors.MissingApiKey(),
    errors.InvalidApiKey(),
    errors.ReadOnlyKey(),
    errors.InvalidSignature(),
    errors.LeadNotFound(STARK),
    errors.MeetingNotFound(f"id {MEETING_ID}"),
    errors.UserNotFound(HOST["id"]),
    errors.MeetingTypeNotFound(MEETING_TYPE["id"]),
    errors.SourceNotFound(SOURCE_ID),
    errors.ReceiptNotFound(RECEIPT["id"]),
    errors.WebhookNotFound("019b6a5c-7c00-7a44-9d51-3b0e5f6a7b8c"),
    errors.DeliveryNotFound("019b6a5c-8d10-7b55-8e62-4c1f607b8c9d"),
    errors.NotFound(),
    MethodNotAllowed("DELETE is not possible here."),
    errors.ExternalEventConflict(f"The event is meeting {MEETING_ID} of another lead."),
    errors.ExternalIdConflict("demo-tony-stark"),
    errors.InvalidTransition("cancelled", "completed"),
    errors.NameTaken(f"There is a user with the email {HOST['email']!r} already."),
    errors.InUse(f"Meetings have the meeting type {MEETING_TYPE['id']}."),
    errors.TooManyWebhooks(20),
    errors.IdempotencyKeyReused(),
    errors.IdempotencyKeyInProgress(),
    errors.PayloadTooLarge(1024 * 1024),
    InternalError(f"A bug. It was logged under request_id {REQUEST_ID}."),
    errors.TryAgainLater("The database is not available just now. Please try again."),
    errors.Unavailable("The database is not available just now. Please try again."),
)


class Document:
    """An OpenAPI document under construction: add the routes, then call `spec.to_dict()`."""

    def __init__(self) -> None:
        plugin = Plugin(schema_name_resolver=name_of)
        self.spec = APISpec(
            "Meetings",
            VERSION,
            "3.1.0",
            info={"description": ABOUT + "\n".join(map(table_line, ERRORS)) + "\n\n</details>"},
            plugins=[plugin],
            servers=[{"url": "/", "description": "This service"}],
            tags=[{"name": name, "description": words} for name, words in TAGS.items()],
        )
        assert plugin.converter is not None
        self.converter = plugin.converter
        add = self.spec.components
        for name, scheme in KEYS.items():
            add.security_scheme(name, scheme)
        for name, header in HEADERS.items():
            add.header(name, header)
        add.parameter("X-Request-Id", "header", OWN_REQUEST_ID)
        add.parameter("Idempotency-Key", "header", IDEMPOTENCY_KEY)
        add.schema("Details", DETAILS)
        for words, name in ENUMS.items():
            add.schema(name, one_of(*words))
        for error in ERRORS:
            add.schema(type(error).__name__, error_schema(error))

    def add(self, rule: Any, view: View, described: Described) -> None:
        """Add a route: the path of a werkzeug rule, and each of its methods."""
        methods = sorted(rule.methods - {"HEAD", "OPTIONS"})
        operations = {method.lower(): self.operation(rule, view, described) for method in methods}
        for method in methods[1:]:  # operation ids must be unique
            operations[method.lower()]["operationId"] += f"_by_{method.lower()}"
        path = PATH_ARGUMENT.sub(r"{\2}", rule.rule)
        # apispec replaces a plain name by a reference to the component.
        own_id: Any = ["X-Request-Id"]
        self.spec.path(path, operations=operations, parameters=own_id)

    def operation(self, rule: Any, view: View, described: Described) -> dict[str, Any]:
        """Return the operation of one method of a route."""
        closed = rule.endpoint.startswith("api.")
        summary, words = read_docstring(view)
        raises = {*described.raises, errors.InvalidRequest, InternalError}
        if closed:
            raises |= {errors.MissingApiKey, errors.InvalidApiKey, errors.Unavailable}
            raises |= set() if "GET" in rule.methods else {errors.ReadOnlyKey}
        if "<uuid:" in rule.rule:
            raises.add(errors.NotFound)
        if described.body:
            raises |= {errors.InvalidJson, errors.PayloadTooLarge}
        if takes_key(rule, described):
            raises |= {errors.IdempotencyKeyReused, errors.IdempotencyKeyInProgress}
        made: dict[str, Any] = {
            "operationId": view.__name__,
            "tags": [tag_of(rule)],
            "summary": summary,
            "description": words,
            "security": [{name: []} for name in KEYS] if closed else [],
            "responses": self.answers(rule, described) | self.refusals(raises),
        }
        if parameters := [*self.parameters(rule, described)]:
            made["parameters"] = parameters
        if described.body and described.body().fields:
            made["requestBody"] = self.body(described.body, described.row)
        return made

    def parameters(self, rule: Any, described: Described) -> Iterator[Any]:
        """Yield the parameters in a route's path, query and headers."""
        for kind, name in PATH_ARGUMENT.findall(rule.rule):
            text = {"type": "string"} | ({"format": "uuid"} if kind else {"minLength": 1})
            yield {"in": "path", "name": name, "required": True, "schema": text}
        if described.query:
            yield from self.converter.schema2parameters(described.query(), location="query")
        if takes_key(rule, described):
            yield "Idempotency-Key"

    def body(self, schema: type[Request], row: type[Answer] | None) -> dict[str, Any]:
        """Return the request body of a route: an object or, for some routes, also an array."""
        one = self.reference(schema)
        content: dict[str, Any] = {"schema": one, "example": schema.EXAMPLE}
        if row:
            content = {
                "schema": {"anyOf": [one, {"type": "array", "items": one, **ROWS}]},
                "examples": {
                    "one": {"summary": "One", "value": schema.EXAMPLE},
                    "array": {"summary": "An array", "value": [schema.EXAMPLE]},
                },
            }
        fields_given = schema().fields.values()
        optional = issubclass(schema, OptionalRequest)
        return {
            "required": not optional or any(field.required for field in fields_given),
            "content": {JSON: content},
        }

    def answers(self, rule: Any, described: Described) -> dict[str, Any]:
        """Return the successful responses of a route, by status."""
        made: dict[str, Any] = {}
        answered = described.answer
        for code, when in described.statuses.items():
            status = str(code)
            if answered is None:
                content = {CALENDAR: {"schema": {"type": "string"}, "example": ICALENDAR}}
                made[status] = response("A calendar", content)
                continue
            content = {JSON: {"schema": self.reference(answered), "example": example_of(answered)}}
            if described.row and status == "200":
                content = {JSON: self.one_or_results(answered, described)}
            words = first_sentence(answered) + (f", when {when}" if when else "")
            made[status] = response(words, content)
            headers = made[status]["headers"]
            headers |= {name: name for name in optional_headers(rule, described)}
            if described.has_location:
                name = "Location" if status == "201" else "LocationOfOne"
                headers["Location"] = name
        return made

    def one_or_results(self, one: type[Answer], described: Described) -> dict[str, Any]:
        """Return the content of the response to one object or to an array."""
        assert described.row is not None
        noun = described.row.__name__.removeprefix("Stored")
        refusals: list[type[ServiceError]] = [errors.InvalidRequest, *described.raises]
        self.spec.components.schema(f"Refused{noun}", refused_row(refusals))
        rows = [self.reference(described.row), reference(f"Refused{noun}")]
        self.spec.components.schema(f"{noun}Results", results_of(rows))
        array = {"created": 1, "updated": 0, "failed": 0, "results": [example_of(described.row)]}
        return {
            "schema": {"anyOf": [self.reference(one), reference(f"{noun}Results")]},
            "examples": {
                "one": {"summary": "To one", "value": example_of(one)},
                "array": {"summary": "To an array", "value": {"success": True, **array}},
            },
        }

    def refusals(self, raises: set[type[ServiceError]]) -> dict[str, Any]:
        """Return the error responses of a route, by status."""
        made: dict[str, Any] = {}
        for status in sorted({error.status for error in raises}):
            met = [error for error in ERRORS if type(error) in raises and error.status == status]
            name = ".".join([str(status), *(error.code for error in met)])
            if name not in self.spec.components.responses:
                self.spec.components.response(name, refusal(met))
            made[str(status)] = name
        return made

    def reference(self, schema: type[Schema]) -> dict[str, Any]:
        """Return a reference to a schema, and add it to the components."""
        made: dict[str, Any] = self.converter.resolve_nested_schema(schema)
        return made


def build() -> dict[str, Any]:
    """Return the OpenAPI document of the routes."""
    app = Flask(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    routes.register(app)
    document = Document()
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if described := vars(view).get("described"):
            document.add(rule, view, described)
    made: dict[str, Any] = document.spec.to_dict()
    return made


def read_docstring(view: View) -> tuple[str, str]:
    """Return the summary, the first line of a route's docstring, and the description after it."""
    summary, _, words = (inspect.getdoc(view) or "").partition("\n")
    return summary.rstrip("."), " ".join(words.split())


def takes_key(rule: Any, described: Described) -> bool:
    """Return whether a route accepts an `Idempotency-Key`."""
    is_post = rule.endpoint.startswith("api.") and "POST" in rule.methods
    return is_post and not described.unrepeatable


def optional_headers(rule: Any, described: Described) -> Iterator[str]:
    """Yield the headers that a route's successful responses may have."""
    if takes_key(rule, described):
        yield "Idempotent-Replayed"
    if described.answer and "pagination" in described.answer().fields:
        yield "Link"


def tag_of(rule: Any) -> str:
    """Return the tag of a route, its heading in the documentation."""
    if rule.rule.endswith(".ics"):
        return "Calendars"
    if rule.rule.startswith("/api/public/meetings/") and "POST" in rule.methods:
        return "A meeting's life"
    return next((tag for start, tag in TAG_OF.items() if rule.rule.startswith(start)), "Service")


def table_line(error: ServiceError) -> str:
    """Return a line of the table of errors."""
    return f"| {error.status} | `{error.code}` | {first_sentence(type(error))} |"


def text_of(document: Any) -> str:
    """Return a document as JSON text."""
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "openapi.json").write_text(text_of(build()))
    (ROOT / "docs" / "mcp_tools.json").write_text(text_of(mcp_tools.build()))
