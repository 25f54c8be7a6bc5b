"""Hooks that teach schemathesis the rules JSON Schema cannot express; schemathesis loads them.

The schema cannot say that `""` counts as absent, which hosts, meeting types and feeds exist, or
that the end of a meeting follows its start. So these hooks normalize every request as the service
does, and correct the requests that are meant to be valid.
"""

import os
import re
from datetime import timedelta

import schemathesis
from hypothesis import strategies as st
from openapi_checks import component_validator
from schemathesis.specs.openapi.checks import negative_data_rejection

from fields import clean, clean_value
from times import TIMEZONES, read_date_time

HOST, HOST_ID, MEETING_TYPE, LEAD, FEED = os.environ["DEMO"].split()
UNKNOWN_ID = "0198c0de-0000-7000-8000-000000000000"

schemathesis.openapi.format("iana-time-zone", st.sampled_from(sorted(TIMEZONES)))
START = st.datetimes(
    min_value=read_date_time("1970-01-02T00:00"), max_value=read_date_time("2199-11-01T00:00")
)
schemathesis.openapi.format(
    "date-time-local", START.map(lambda at: at.isoformat(timespec="seconds"))
)
schemathesis.openapi.format(
    "date-time", START.map(lambda at: at.isoformat(timespec="seconds") + "Z")
)

MAPPING = {
    "external_event_id": "/id",
    "lead_email": "/email",
    "title": "/title",
    "starts_at": "/start",
    "duration_minutes": "/minutes",
}
# The requests that `make_acceptable` corrects.
CORRECTED = (
    *("MeetingRequest", "MeetingPatch", "RescheduleRequest", "EventReschedule"),
    "MeetingNoteRequest",
)
URL = "https://meet.example.com/a"  # by the standard a top-level domain may have one letter
CURSOR = re.compile("[A-Za-z0-9_-]+={0,2}")


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Shorten the longest texts: to generate half a million characters takes minutes."""
    todo = [raw_schema]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            if isinstance(part.get("maxLength"), int):
                part["maxLength"] = min(part["maxLength"], 10_000)
            part = [*part.values()]
        todo += [inner for inner in part if isinstance(inner, dict | list)]


@schemathesis.hook
def before_call(context, case, kwargs):
    """Normalize each request, and correct those that only the schema considers valid."""
    if case.meta is None:
        return
    if isinstance(case.body, list) and case.headers:  # only a request with one object has a key
        case.headers.pop("Idempotency-Key", None)
    if isinstance(case.body, dict | list):
        body = clean_value(case.body)
        for row in body if isinstance(body, list) else [body]:
            make_acceptable(row)
        if body != case.body:
            case.body = body
    if case.query and (query := as_the_service_reads(case.query)) != case.query:
        case.query = query
    if case.meta.generation.mode.is_positive and "token" in (case.path_parameters or {}):
        case.path_parameters = {"token": FEED}
    if case.path.endswith("/test"):  # it would wait 20 s for a sender, and none runs
        case.path_parameters["webhook_id"] = UNKNOWN_ID
    if case.method in ("PATCH", "DELETE"):  # the requests below need this host and meeting type
        for name, value in case.path_parameters.items():
            if value in (HOST_ID, MEETING_TYPE):
                case.path_parameters[name] = UNKNOWN_ID


def as_the_service_reads(query):
    """Return the query as the service reads it: the last of repeated values, no empty values.

    A generated cursor is dropped: the service accepts only a cursor that it returned itself.
    """
    read = {}
    for name, value in query.items():
        if isinstance(value, dict):  # an object is sent as separate parameters
            read |= value
        else:
            read[name] = value[-1] if isinstance(value, list) and value else value
    if CURSOR.fullmatch(str(read.get("cursor", ""))):
        del read["cursor"]
    return clean(read)


def make_acceptable(row):
    """Use a host, meeting type and lead that exist and a URL, and let the end follow the start.

    A mapping must work, and only the stored source knows whether it can have one.
    """
    if component_validator("SourceRequest").is_valid(row) and row.get("mapping") is not None:
        row["mapping"] = MAPPING
    if component_validator("SourcePatch").is_valid(row):
        row.pop("mapping", None)
    for name in ("WebhookRequest", "WebhookPatch"):
        if component_validator(name).is_valid(row) and row.get("url"):
            row["url"] = "https://8.8.8.8/"  # others may not resolve
    if not any(component_validator(name).is_valid(row) for name in CORRECTED):
        return
    known = {"host_email": HOST, "meeting_type_id": MEETING_TYPE, "lead_id": LEAD}
    known["meeting_url"] = URL
    row |= {name: value for name, value in known.items() if row.get(name)}
    if component_validator("RescheduleRequest").is_valid(row):
        # a meeting without a provider cannot get a new id
        row.pop("external_event_id", None)
    if row.get("ends_at") and row.get("duration_minutes"):
        row["ends_at"] = None
    if row.get("ends_at"):
        row["ends_at"] = (read_date_time(row["starts_at"]) + timedelta(minutes=30)).isoformat()


@schemathesis.check
def bad_input_is_refused(ctx, response, case):
    """Invalid input is refused; of an array, each invalid row."""
    if not (isinstance(case.body, list) and response.status_code == 200):
        return negative_data_rejection(ctx, response, case)
    kind = "LeadRequest" if case.path.endswith("/leads") else "MeetingRequest"
    for row, result in zip(case.body, response.json()["results"], strict=True):
        assert component_validator(kind).is_valid(row) or not result["success"], (
            f"{row} was accepted"
        )
    return None
