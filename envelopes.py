"""The envelopes of successful responses, for the documentation.

The routes build their responses without these schemas. The tests check every response they
receive against the document that is built from them.
"""

from typing import ClassVar

from marshmallow.fields import Boolean, Constant, Dict, Float, Integer, List, Nested, Raw, String
from marshmallow.validate import Length, OneOf, Range

from bases import ResponseSchema
from intake_schemas import MeetingNoteResponse, ReceiptResponse, SourceResponse
from lead_schemas import ActivityResponse, LeadResponse, LeadSummary
from schemas import MeetingItem, MeetingResponse, MeetingTypeResponse, UserResponse

NO_OP = {"description": "The meeting was already in this state."}
HALF_A_PAIR = {
    "description": "Only a booking with both a provider and an event id can be sent again safely."
}
LEAD_CREATED = {"description": "No lead had the `lead_email`, so this booking created it."}
SHOWN_ONCE = {
    "description": "Give it to the booking system. It contains a secret, and is shown only once."
}
UNKEPT = "Not possible here: the response holds a secret, which is not kept."
EXISTED = {"description": "The lead already existed; it was found by `external_id` or `match`."}
BY_OUTCOME = {"description": "Outcome → number of receipts."}
NEXT = {"description": "The `cursor` of the next page."}
SHARE = {"minimum": 0, "maximum": 1}
SHOW_RATE = {**SHARE, "description": "completed / (completed + no_show)"}


class Answer(ResponseSchema):
    """A successful response."""

    UNREPEATABLE: ClassVar[str] = ""  # why an `Idempotency-Key` is refused, if it is

    success = Constant(True)


class MeetingLogged(Answer):
    """The meeting that was logged."""

    OPTIONAL = frozenset({"lead_created", "warnings"})

    meeting = Nested(MeetingResponse)
    lead_created = Constant(True, metadata=LEAD_CREATED)
    warnings = List(String(), validate=Length(1), metadata=HALF_A_PAIR)


class MeetingAnswer(Answer):
    """One meeting."""

    meeting = Nested(MeetingItem)


class MeetingAfterwards(MeetingItem):
    """A meeting after a call that may have changed nothing."""

    OPTIONAL = frozenset({"idempotent"})

    idempotent = Constant(True, metadata=NO_OP)


class MeetingChanged(Answer):
    """The meeting, and whether the call changed nothing."""

    OPTIONAL = frozenset({"idempotent"})

    meeting = Nested(MeetingAfterwards)
    idempotent = Constant(True, metadata=NO_OP)


class CursorPagination(ResponseSchema):
    """The position of a page of a list with cursors."""

    limit = Integer(validate=Range(1))
    has_more = Boolean()
    next_cursor = String(allow_none=True, metadata=NEXT)


class MeetingPage(Answer):
    """A page of meetings."""

    meetings = List(Nested(MeetingItem))
    pagination = Nested(CursorPagination)


class Stats(ResponseSchema):
    """The number of meetings of each status, and the share of leads who showed up."""

    total = Integer(validate=Range(0))
    scheduled = Integer(validate=Range(0))
    confirmed = Integer(validate=Range(0))
    completed = Integer(validate=Range(0))
    cancelled = Integer(validate=Range(0))
    no_show = Integer(validate=Range(0))
    show_rate = Float(allow_none=True, metadata=SHOW_RATE)
    no_show_rate = Float(allow_none=True, metadata=SHARE)


class StatsAnswer(Answer):
    """The statistics of meetings."""

    stats = Nested(Stats)


class LeadSaved(Answer):
    """The lead that was saved."""

    OPTIONAL = frozenset({"existed"})

    lead = Nested(LeadResponse)
    existed = Constant(True, metadata=EXISTED)


class LeadAnswer(Answer):
    """One lead."""

    lead = Nested(LeadResponse)


class PagePagination(ResponseSchema):
    """The position of a page of a list with page numbers."""

    page = Integer(validate=Range(0))
    limit = Integer(validate=Range(1))
    has_more = Boolean()


class LeadPage(Answer):
    """A page of leads."""

    leads = List(Nested(LeadResponse))
    pagination = Nested(PagePagination)


class LeadHistory(Answer):
    """The history of a lead."""

    lead = Nested(LeadSummary)
    history = List(Nested(ActivityResponse))


class Erased(ResponseSchema):
    """How many rows were erased with a lead."""

    meetings = Integer(validate=Range(0))
    activities = Integer(validate=Range(0))
    notes = Integer(validate=Range(0))
    receipts = Integer(validate=Range(0))


class LeadErased(Answer):
    """The lead is erased."""

    erased = Nested(Erased)


class SourceAnswer(Answer):
    """One source."""

    source = Nested(SourceResponse)


class SourceWithUrl(SourceAnswer):
    """A source and its new address."""

    UNREPEATABLE = UNKEPT

    url = String(metadata=SHOWN_ONCE)


class SourceList(Answer):
    """All sources of the client."""

    sources = List(Nested(SourceResponse))


class NoteSaved(Answer):
    """The note that was stored."""

    note = Nested(MeetingNoteResponse)


class NotePage(Answer):
    """A page of notes."""

    notes = List(Nested(MeetingNoteResponse))
    pagination = Nested(CursorPagination)


class UserAnswer(Answer):
    """One user."""

    user = Nested(UserResponse)


class UserList(Answer):
    """The users, oldest first."""

    users = List(Nested(UserResponse))


class MeetingTypeAnswer(Answer):
    """One meeting type."""

    meeting_type = Nested(MeetingTypeResponse)


class MeetingTypeList(Answer):
    """The meeting types, oldest first."""

    meeting_types = List(Nested(MeetingTypeResponse))


class HealthAnswer(Answer):
    """The process responds."""

    status = String(validate=OneOf(["ok"]))
    version = String(metadata={"description": "The version of the service."})


class ReadyAnswer(Answer):
    """The database responds and is migrated."""

    status = String(validate=OneOf(["ready"]))


class StoredRow(Answer):
    """A row of an array that was stored."""

    index = Integer(validate=Range(0))
    status = Integer(validate=OneOf([201, 200]))


class StoredMeeting(StoredRow, MeetingLogged):
    """A row of an array that was logged or replayed."""


class StoredLead(StoredRow, LeadSaved):
    """A row of an array that was created or updated."""


class HookProbed(Answer):
    """The address exists."""


class ReceiptAnswer(Answer):
    """The receipt of a payload."""

    receipt = Nested(ReceiptResponse)


class ReceiptWithPayload(ReceiptResponse):
    """A receipt with the payload as it was sent."""

    payload = Raw()


class LeadExport(Answer):
    """Everything that is stored about a lead."""

    lead = Nested(LeadResponse)
    meetings = List(Nested(MeetingItem))
    history = List(Nested(ActivityResponse))
    notes = List(Nested(MeetingNoteResponse))
    receipts = List(Nested(ReceiptWithPayload))


class ReceiptDetail(Answer):
    """One receipt, with its payload."""

    receipt = Nested(ReceiptWithPayload)


class ReceiptPage(Answer):
    """A page of receipts."""

    receipts = List(Nested(ReceiptResponse))
    pagination = Nested(CursorPagination)


class ReceiptsRetried(Answer):
    """How many receipts were processed again, with what outcome, and how many are left."""

    retried = Integer(validate=Range(0))
    outcomes = Dict(values=Integer(validate=Range(1)), metadata=BY_OUTCOME)
    left = Integer(validate=Range(0))
