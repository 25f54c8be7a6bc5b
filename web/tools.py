"""The tools for assistants. Each loads its arguments, makes the service call of its route and
returns the response of that route.

The docstring of a tool is what a model reads to choose between them. docs/mcp_tools.json holds the
tools as assistants see them; `make openapi` builds it from this module.
"""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from flask import Response, g

from bases import Query, Request
from fields import write_position
from intake_schemas import MeetingNoteRequest, MeetingNoteResponse
from lead_schemas import ActivityResponse, LeadResponse, LeadSummary
from schemas import MeetingFilters, MeetingItem, MeetingResponse, MeetingTypeResponse
from services import bookings, clients, leads, meeting_types, meetings, notes, timeline, transitions
from services.errors import InvalidRequest
from services.idempotency import KeyedRequest
from services.loading import load_object
from services.rehearsal import rehearse
from services.results import Loaded, RowResult
from tool_schemas import (
    Cancellation,
    ClosedLead,
    LeadsToSave,
    NamedLead,
    NewMeeting,
    NumberedPage,
    PageOfHistory,
    PageOfLeadMeetings,
    PageOfLeads,
    PageOfMeetings,
    Rescheduling,
    StatusChange,
)
from web.answers import booking_remarks, changed, mark_existed, page, saved, stats, stored, success
from web.body import Rows, instance, load_array
from web.docs import DOCS
from web.idempotency import respond_once
from web.observe import count_bookings

FILE = DOCS / "mcp_tools.json"
NOT_YET = (
    "Nothing has changed yet: this is what the call would do. Show it to the user, and call again"
    " with confirm: true."
)

Run = Callable[[Loaded], Response]


@dataclass(frozen=True)
class Tool:
    """A tool: its arguments, what it does, and hints for the assistant that calls it.

    `replaces`: it replaces stored values. `repeatable`: a second call with the same arguments
    changes nothing.
    """

    arguments: type[Request]
    run: Run
    reads: bool
    replaces: bool
    repeatable: bool

    @property
    def description(self) -> str:
        """What the tool does, for a model."""
        return " ".join((inspect.getdoc(self.run) or "").split())

    def call(self, arguments: dict[str, Any]) -> Response:
        """Respond to a call; raises the errors of the service."""
        if issubclass(self.arguments, Query):  # in a query, null cannot be written
            arguments = {name: value for name, value in arguments.items() if value is not None}
        fields = instance(self.arguments).load_fields
        loaded = load_object(instance(self.arguments), arguments)
        sentence = f"Unknown argument. The tool takes: {', '.join(fields) or 'none'}."
        loaded.wrong.update({key: [sentence] for key in loaded.wrong.keys() - fields.keys()})
        return self.run(loaded)


TOOLS: dict[str, Tool] = {}


def tool(
    arguments: type[Request],
    *,
    reads: bool = False,
    replaces: bool = False,
    repeatable: bool = False,
) -> Callable[[Run], Run]:
    """Register a function as the tool of its name."""

    def record(run: Run) -> Run:
        TOOLS[run.__name__] = Tool(arguments, run, reads, replaces, reads or repeatable)
        return run

    return record


def find_or_none(name: Any) -> Tool | None:
    """Return the tool of a name; a key that may only read has only the reading tools."""
    found = TOOLS.get(name) if isinstance(name, str) else None
    return None if found is None or (g.read_only and not found.reads) else found


def list_tools() -> list[dict[str, Any]]:
    """Return the tools that the request's key may call, as assistants see them."""
    described: list[dict[str, Any]] = json.loads(FILE.read_bytes())
    return [each for each in described if find_or_none(each["name"])]


# ----------------------------------------------------------------------------------------- reading


@tool(Query, reads=True)
def whoami(loaded: Loaded) -> Response:
    """Say whose data this is: the client that the API key belongs to, and whether the key may only
    read. Use it to check the connection.
    """
    loaded.require_valid()
    client = clients.get(g.client_id)
    return success(client={"id": client.id, "name": client.name}, read_only=g.read_only)


@tool(PageOfLeads, reads=True)
def list_leads(loaded: Loaded) -> Response:
    """Find leads, the people sold to, latest updated first. Use it to get the `lead_id` of a person
    whose name, email, phone or external id is known. `search` finds part of a name, email or phone.
    """
    query = loaded.require_valid()
    rows, has_more = leads.list_leads(g.client_id, query)
    return _numbered_page(query, has_more, leads=instance(LeadResponse).dump(rows, many=True))


@tool(NamedLead, reads=True)
def get_lead(loaded: Loaded) -> Response:
    """Get one lead with all its fields, by its `lead_id`."""
    lead = leads.find(g.client_id, loaded.require_valid()["lead_id"])
    return success(lead=instance(LeadResponse).dump(lead))


@tool(PageOfHistory, reads=True)
def get_lead_history(loaded: Loaded) -> Response:
    """Get what happened to a lead, oldest first: when it was created and changed, and each meeting
    that was logged, moved, confirmed, held, missed or cancelled, with the values before and after.
    """
    query = loaded.require_valid()
    lead, limit = leads.find(g.client_id, query["lead_id"]), query["limit"]
    window = query | {"limit": limit + 1, "offset": query["page"] * limit}
    rows = timeline.list_activities(g.client_id, lead.id, window)
    return _numbered_page(
        query,
        len(rows) > limit,
        lead=instance(LeadSummary).dump(lead),
        history=instance(ActivityResponse).dump(rows[:limit], many=True),
    )


@tool(PageOfMeetings, reads=True)
def list_meetings(loaded: Loaded) -> Response:
    """List the meetings of all leads, latest start first. Use it for questions about a period, a
    host or a status; for one lead, list_lead_meetings is shorter. Times are in UTC.
    """
    query = loaded.require_valid()
    return page("meetings", MeetingItem, query, *meetings.list_meetings(g.client_id, query))


@tool(PageOfLeadMeetings, reads=True)
def list_lead_meetings(loaded: Loaded) -> Response:
    """List the meetings of one lead, latest start first, with all fields. Use it to get the
    `meeting_id` of a meeting to change. Times are in UTC.
    """
    query = loaded.require_valid()
    found = meetings.list_of_lead(g.client_id, query["lead_id"], query)
    return page("meetings", MeetingItem, query, *found)


@tool(MeetingFilters, reads=True)
def get_meeting_stats(loaded: Loaded) -> Response:
    """Count the meetings of each status, and give the share of leads who showed up. Use it for
    numbers instead of counting the rows of list_meetings; it has the same filters.
    """
    return stats(meetings.count_by_status(g.client_id, loaded.require_valid()))


@tool(NumberedPage, reads=True)
def list_meeting_types(loaded: Loaded) -> Response:
    """List the meeting types, oldest first. Use it to get a `meeting_type_id` for a new meeting."""
    query = loaded.require_valid()
    rows, first = meeting_types.list_all(g.client_id), query["page"] * query["limit"]
    end = first + query["limit"]
    shown = instance(MeetingTypeResponse).dump(rows[first:end], many=True)
    return _numbered_page(query, len(rows) > end, meeting_types=shown)


def _numbered_page(query: dict[str, Any], has_more: bool, **things: Any) -> Response:
    """Respond with a page of a list with numbered pages."""
    following = write_position(query["page"] + 1, query["limit"]) if has_more else None
    pagination = {"limit": query["limit"], "has_more": has_more, "next_cursor": following}
    return success(**things, pagination=pagination)


# ----------------------------------------------------------------------------------------- writing


@tool(LeadsToSave, replaces=True)
def upsert_leads(loaded: Loaded) -> Response:
    """Create a lead, or update the one that has its `external_id` or `email`: given fields replace
    those stored, null clears a field. Before create_meeting, use it to create the lead if there is
    none. A lead with neither id nor email is always created. With `leads`, save several at once.
    """
    body = Rows(False, [loaded], {})
    if "leads" in loaded.valid:
        body = Rows(True, load_array(ClosedLead, loaded.require_valid()["leads"]), {})
    results = leads.save(g.client_id, body.rows, frozenset({"email"}))
    return stored(body, results, "lead", LeadResponse, mark_existed)


@tool(NewMeeting)
def create_meeting(loaded: Loaded) -> Response:
    """Log a meeting that was booked somewhere else against a lead; it sends no invitation. Name the
    lead by `lead_id` or `lead_email`, and the end by `ends_at` or `duration_minutes`. A meeting
    that exists already is moved with reschedule_meeting instead. Send an `idempotency_key`, so that
    a repeated call does not log the meeting twice.
    """
    given = dict(loaded.valid)
    key = given.pop("idempotency_key", None)
    if key is None:
        return _log_meeting(Loaded(given, loaded.wrong))
    text = json.dumps(["create_meeting", given, loaded.wrong], default=str, sort_keys=True)
    keyed = KeyedRequest(g.client_id, key, sha256(text.encode()).hexdigest())
    return respond_once(keyed, lambda: _log_meeting(Loaded(dict(given), loaded.wrong)))


def _log_meeting(loaded: Loaded) -> Response:
    body = Rows(False, [loaded], {})
    results = bookings.log(g.client_id, body.rows)
    count_bookings(results)
    return stored(body, results, "meeting", MeetingResponse, booking_remarks)


@tool(Rescheduling, replaces=True, repeatable=True)
def reschedule_meeting(loaded: Loaded) -> Response:
    """Move a scheduled meeting to another time; it keeps its id and loses its confirmation. Without
    `ends_at` and `duration_minutes` its duration stays. To move a completed, missed or cancelled
    one, first reopen it with set_meeting_status. Without `confirm: true` the call only says what it
    would do.
    """
    return _confirmed(
        loaded, lambda meeting_id, move: transitions.reschedule(g.client_id, meeting_id, move)
    )


@tool(Cancellation, replaces=True, repeatable=True)
def cancel_meeting(loaded: Loaded) -> Response:
    """Cancel a scheduled meeting that will not take place. To move it, use reschedule_meeting; if
    the lead did not come, use set_meeting_status with `no_show`. Without `confirm: true` the call
    only says what it would do.
    """
    loaded.require_valid()
    return _confirmed(
        loaded, lambda meeting_id, given: transitions.cancel(g.client_id, meeting_id, given.valid)
    )


def _confirmed(loaded: Loaded, call: Callable[[str, Loaded], RowResult]) -> Response:
    """Change a meeting if that is confirmed, else only say what would change, if anything."""
    given = dict(loaded.valid)
    meeting_id, is_confirmed = given.pop("meeting_id", None), given.pop("confirm", None)
    if meeting_id is None:
        raise InvalidRequest(loaded.wrong)
    rest = Loaded(given, loaded.wrong)
    if is_confirmed:
        return changed(call(meeting_id, rest))
    result = rehearse(lambda: call(meeting_id, rest))
    if result.effect == "unchanged":
        return changed(result)
    dump = instance(MeetingItem).dump
    before, after = dump(meetings.find(g.client_id, meeting_id)), dump(result.row)
    would_change = {
        name: [value, after[name]]
        for name, value in before.items()
        if value != after[name] and name != "updated_at"
    }
    return success(
        confirm_required=True, message=NOT_YET, would_change=would_change, meeting=before
    )


@tool(StatusChange, replaces=True, repeatable=True)
def set_meeting_status(loaded: Loaded) -> Response:
    """Record the status of a meeting: `confirmed` by the lead, `completed`, `no_show`, or
    `scheduled` to reopen one that was completed, missed or cancelled. A reopened meeting can then
    be confirmed, moved or cancelled. To cancel a meeting use cancel_meeting.
    """
    given = loaded.require_valid()
    meeting_id = given.pop("meeting_id")
    match given.pop("status"):
        case "confirmed":
            result = transitions.confirm(g.client_id, meeting_id)
        case "completed":
            result = transitions.complete(g.client_id, meeting_id, given)
        case "no_show":
            result = transitions.mark_no_show(g.client_id, meeting_id, given)
        case _:
            result = transitions.reopen(g.client_id, meeting_id)
    return changed(result)


@tool(MeetingNoteRequest)
def ingest_meeting_notes(loaded: Loaded) -> Response:
    """Store notes, a summary, a transcript or action items about a meeting. The meeting is named by
    `calendar_event_id` (its id here), by the booking system's ids, by its `meeting_url`, or by the
    lead's email. With `external_meeting_id` the same note can be sent again.
    """
    result = notes.save(g.client_id, loaded.require_valid())
    return saved(result, "note", MeetingNoteResponse)
