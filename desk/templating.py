"""What templates use: filters for times and words, and what every page shows."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from flask import Flask, g, request
from werkzeug.datastructures import MultiDict

from desk import clock, signing_in
from desk.blueprint import desk
from times import TIMEZONES

STATUS_NAMES = {
    "scheduled": "Scheduled",
    "confirmed": "Confirmed",
    "completed": "Showed up",
    "cancelled": "Cancelled",
    "no_show": "No-show",
}
LOCATION_NAMES = {"video": "Video", "phone": "Phone", "in_person": "In person"}
# What a page says after a form has been carried out, by the word in the page's address.
NOTICES = {
    "completed": "Marked as showed up.",
    "no_show": "Marked as a no-show.",
    "cancelled": "Cancelled.",
    "confirmed": "Confirmed.",
    "reopened": "Open again.",
    "rescheduled": "Moved.",
    "logged": "Meeting logged.",
    "saved": "Saved.",
    "retried": "Processed again.",
    "queued": "On its way again.",
    "erased": "The lead and everything stored about it are erased.",
}
# The labels of form fields that differ from the API's names.
LABELS = {
    "api_key": "API key",
    "lead_email": "Lead\u2019s email",
    "attendee_name": "Lead\u2019s name",
    "duration_minutes": "Minutes",
    "timezone": "Zone of this time",
    "location_type": "Where",
    "meeting_url": "Link",
    "location_details": "Place or number",
    "host_email": "Host",
    "meeting_type_id": "Type",
}
Options = list[tuple[str, str]]  # the values of a choice, each with what is shown
ZONES: Options = [(name, name) for name in sorted(TIMEZONES)]
UNDOABLE = {"completed", "no_show", "cancelled"}
FEW = 20  # rows of a list on the page of something else
LONGEST_INDENTED = 256 * 1024  # characters; a longer payload is shown as it was sent


def register(app: Flask) -> None:
    """Add the filters to an application's templates."""
    app.jinja_env.filters.update(
        day=clock.day,
        moment=clock.moment,
        span=clock.span,
        own_span=clock.own_span,
        localised=clock.localised,
        by_day=clock.by_day,
        instant=clock.instant,
        parsed=datetime.fromisoformat,
        status_name=STATUS_NAMES.get,
        words=words,
        label=label,
        percent=percent,
        indented=indented,
        value=value,
        host_options=host_options,
        type_options=type_options,
    )


def words(name: str) -> str:
    """Write a name of the API as words: `no_show_reason` as `No show reason`."""
    return name.replace("_", " ").replace(".", " ").capitalize()


def label(name: str) -> str:
    """Return the label of a form's field."""
    return LABELS.get(name) or words(name)


def percent(part: float | None) -> str:
    """Write a share: `67 %`; a dash if there is none."""
    return "–" if part is None else f"{part * 100:.0f} %"  # noqa: RUF001


def value(given: Any) -> str:
    """Write a value of an activity's changes or of metadata: text as it is, else JSON."""
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)


def indented(payload: Any) -> str:
    """Write JSON, given as text or as a value, with line breaks and indents for reading."""
    if isinstance(payload, str):
        if len(payload) > LONGEST_INDENTED:
            return payload
        payload = json.loads(payload)
    text = json.dumps(payload, ensure_ascii=False, indent=2)
    return text.encode("utf-8", "backslashreplace").decode()  # it may hold half a surrogate pair


def host_options(hosts: Iterable[Any], none: str) -> Options:
    """Return the choices of hosts, with one for no choice first."""
    return [("", none), *((host.email, host.full_name) for host in hosts)]


def type_options(types: Iterable[Any]) -> Options:
    """Return the choices of meeting types, with one for no choice first."""
    return [("", "No type"), *((row.id, row.name) for row in types)]


@desk.context_processor
def shared() -> dict[str, Any]:
    """Return what every page shows: its own address, the files, and the notice of the last form."""
    parameters = [(k, v) for k, v in request.args.items(multi=True) if k not in ("done", "about")]
    query = f"?{urlencode(parameters)}" if parameters else ""
    done = request.args.get("done", "")
    return {
        "here": request.script_root + request.path + query,
        "files_version": signing_in.VERSION,
        "is_signed_in": "client_id" in g,
        "may_write": not g.get("read_only", True),
        "notice": NOTICES.get(done),
        "zones": ZONES,
        "location_names": LOCATION_NAMES,
        "with_parameters": with_parameters,
    }


def with_parameters(**changes: Any) -> str:
    """Return this page's address with some parameters replaced, or removed with None."""
    args: MultiDict[str, Any] = MultiDict(request.args)
    for name in ("done", "about"):
        args.poplist(name)
    for name, new in changes.items():
        args.poplist(name)
        if new is not None:
            args[name] = new
    query = urlencode(list(args.items(multi=True)))
    path = request.script_root + request.path
    return f"{path}?{query}" if query else path
