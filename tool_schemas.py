"""The arguments of the tools for assistants: the fields of the API's calls, and a few of their own.

A field that is added to a call in `schemas.py` becomes an argument of its tool automatically.
Argument names are the names of the call's fields and of the ids in its path. Lists have one fixed
order.
"""

from collections.abc import Mapping
from typing import Any

from marshmallow.fields import Nested

import fields
from bases import ARRAY_BYTES, OptionalRequest, Query
from lead_schemas import HistoryQuery, LeadRequest, LeadsQuery
from models import LATEST_START
from schemas import (
    LeadMeetingsQuery,
    MeetingRequest,
    MeetingsQuery,
    Notes,
    Reason,
    ReasonAndNotes,
    RescheduleRequest,
)

MOST_ROWS = 50  # of a list, because a model reads every row
NEXT = "The `next_cursor` of the previous page; the `limit` stays the same."
CONFIRM = (
    "`true` carries the change out. Without it the call only says what it would do: show that to"
    " the user first."
)


class NamedLead(Query):
    """The lead that a call is about."""

    lead_id = fields.Id(required=True, about="The lead's id, from list_leads or upsert_leads.")


class NamedMeeting(OptionalRequest):
    """The meeting that a call is about."""

    meeting_id = fields.Id(required=True, about="The meeting's id, from one of the lists.")


class NumberedPage(Query):
    """Arguments of a list with numbered pages. After loading, `page` is the number of the page."""

    limit = fields.Integer(1, MOST_ROWS, load_default=MOST_ROWS)
    cursor = fields.PagePosition(MOST_ROWS, about=NEXT)

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Replace the cursor by the number of the page; its number of rows stays."""
        valid["page"], valid["limit"] = valid.pop("cursor", (0, valid.get("limit")))
        return {}


class PageOfLeads(NumberedPage, LeadsQuery):
    """Arguments of list_leads."""

    class Meta:
        exclude = ("page",)


class PageOfHistory(NumberedPage, HistoryQuery, NamedLead):
    """Arguments of get_lead_history."""

    class Meta:
        exclude = ("offset",)


class PageOfMeetings(MeetingsQuery):
    """Arguments of list_meetings."""

    limit = fields.Integer(1, MOST_ROWS, load_default=MOST_ROWS)
    cursor = fields.Cursor(LATEST_START)

    class Meta:
        exclude = ("order",)


class PageOfLeadMeetings(LeadMeetingsQuery, NamedLead):
    """Arguments of list_lead_meetings."""

    limit = fields.Integer(1, MOST_ROWS, load_default=MOST_ROWS)


class NewMeeting(MeetingRequest):
    """Arguments of create_meeting."""

    idempotency_key = fields.RequestKey(
        about="A name of your own for this call. Repeated with the same key and arguments within 24"
        " hours, the call changes nothing and returns the same meeting."
    )


class Cancellation(Reason, NamedMeeting):
    """Arguments of cancel_meeting."""

    confirm = fields.Boolean(about=CONFIRM)


class Rescheduling(RescheduleRequest, NamedMeeting):
    """Arguments of reschedule_meeting."""

    confirm = fields.Boolean(about=CONFIRM)


# What the API's call for each status takes.
TAKEN_WITH: dict[str, frozenset[str]] = {
    "confirmed": frozenset(),
    "completed": frozenset(Notes().fields),
    "no_show": frozenset(ReasonAndNotes().fields),
    "scheduled": frozenset(),
}


class StatusChange(ReasonAndNotes, NamedMeeting):
    """Arguments of set_meeting_status."""

    status = fields.Choice(
        tuple(TAKEN_WITH),
        required=True,
        about="`confirmed`: the lead has confirmed. `completed`: the meeting took place; takes"
        " `notes`. `no_show`: the lead did not come; takes `reason` and `notes`. `scheduled`"
        " reopens a completed, missed or cancelled meeting.",
    )

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Refuse the fields that the call for the status does not take."""
        status = valid.get("status")
        refused = ReasonAndNotes().fields.keys() - TAKEN_WITH.get(status or "", set(given))
        return {
            name: [f"Not possible with the status {status}."]
            for name in sorted(refused)
            if given.get(name) is not None
        }


class ClosedLead(LeadRequest):
    """A lead; fields of your own go into `metadata`."""

    def prepare(self, given: dict[str, Any]) -> dict[str, Any]:
        """Leave unknown fields where they are, so that they are refused."""
        return given


class UncheckedList(fields.ShortList):
    """A list whose items are loaded later, one by one, so that a fault refuses only its item."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, list) or not 1 <= len(value) <= self.most:
            raise self.make_error("invalid")
        return value


class LeadsToSave(ClosedLead):
    """Arguments of upsert_leads: one lead, or several."""

    BODY_BYTES = ARRAY_BYTES
    EITHER_OR = (("first_name", "leads"),)

    first_name = fields.Text(255)
    leads = UncheckedList(
        Nested(ClosedLead),
        "leads",
        1000,
        about="1 to 1,000 leads, instead of the other fields. Each gets a result of its own.",
        error_messages={"invalid": "Must be a list of 1 to 1000 objects."},
    )

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Refuse the fields of one lead together with `leads`."""
        wrong = super().check(valid, given)
        if given.get("leads") is None:
            valid.pop("leads", None)
            return wrong
        return {name: ["Not possible together with leads."] for name in given if name in ONE_LEAD}


ONE_LEAD = frozenset(ClosedLead().fields)
