"""The schemas of requests, queries and responses: one line for each field.

Requests use our own types (`fields.…`), which validate; responses use marshmallow's.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow.fields import (
    UUID,
    Boolean,
    Constant,
    DateTime,
    Dict,
    Integer,
    List,
    Nested,
    Raw,
    String,
)
from marshmallow.validate import Length, OneOf, Range

import fields
from bases import Groups, OptionalRequest, Query, Request, ResponseSchema
from models import (
    ACTIVITY_TYPES,
    BOOKING_STATUSES,
    CHANNEL,
    LATEST_RECEIVED,
    LATEST_START,
    LOCATION_TYPES,
    MEETING_ORDERS,
    NOTE_CONTENTS,
    OLDEST_FIRST,
    RECEIPT_OUTCOMES,
    RESERVED_NOTE_PROVIDERS,
    SHOWN_STATUSES,
    SOURCE_PROVIDERS,
)
from times import LONGEST_MINUTES, resolve_times

WALL_CLOCK = (
    "An ISO 8601 date and time. Without an offset or `Z` it is wall-clock time in `timezone`, at"
    " the offset in force on that date."
)
AS_SHOWN = "A comma list of statuses as shown: `scheduled` excludes confirmed meetings."
PAIR = ("external_calendar_provider", "external_event_id")  # the key that identifies a replay
LARGEST_OFFSET = 10**15  # rows to skip; both databases accept an OFFSET of this size
MAPPING_BYTES = 64 * 1024
NOT_NULL: dict[str, Any] = {
    "allow_none": False,
    "error_messages": {"null": "Must not be null."},
}
# The fields of a note that identify its meeting, in the order in which they are tried.
NOTE_MEETING = ("calendar_event_id", "external_calendar_event_id", "meeting_url", "lead_email")
NOTE_CHARACTERS = 500_000  # of each content of a note
NO_LIST = {"invalid": "Must be a list of objects with name and email."}

# ------------------------------------------------------------------------------ request bodies


class Attendee(Request):
    """A further attendee."""

    EXAMPLE = {"name": "Pepper Potts", "email": "pepper.potts@example.com"}

    name = fields.Text(255)
    email = fields.Email(required=True)

    error_messages = {"unknown": "Unknown field.", "type": "Must be an object with name and email."}

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Remove a name that is null."""
        if given.get("name") is None:
            valid.pop("name", None)
        return {}


class MeetingRequest(Request):
    """A booking. After loading, times are instants in UTC, and a field that was null is None."""

    EITHER_OR: ClassVar[Groups] = (("ends_at", "duration_minutes"), ("lead_email", "lead_id"))
    NEEDS = {"previous_external_event_id": PAIR}
    EXAMPLE = {
        "lead_email": "tony.stark@gmail.com",
        "title": "Discovery Call with Tony Stark",
        "starts_at": "2025-12-29T14:00:00",
        "ends_at": "2025-12-29T15:00:00",
        "timezone": "America/Santiago",
        "meeting_url": "https://meet.google.com/oki-fjnk-oyu",
        "location_type": "video",
        "description": "Confirmation and reminder emails",
        "attendee_name": "Tony Stark",
        "external_calendar_provider": "ghl",
        "external_event_id": "1RZJ24WY65VGQFyhN0vJ",
        "status": "confirmed",
    }

    lead_email = fields.Email(
        about="The lead's email, in any case; of several leads, the one updated last."
    )
    lead_id = fields.Id(about="The lead's id; if given, `lead_email` does not choose the lead.")
    title = fields.Text(255, required=True)
    starts_at = fields.DateTime(required=True, about=WALL_CLOCK)
    ends_at = fields.DateTime(
        about="1 minute to 31 days after `starts_at`; must agree with `duration_minutes`."
    )
    duration_minutes = fields.Integer(
        1, LONGEST_MINUTES, about="Elapsed minutes, also across a clock change."
    )
    timezone = fields.Timezone(about="The zone of times without an offset; `UTC` by default.")
    meeting_url = fields.Url(about="Where the meeting is held online.")
    location_type = fields.Choice(LOCATION_TYPES, about="`video` by default.")
    location_details = fields.Text(255, about="A room, an address or a number to dial.")
    description = fields.Text(10_000)
    host_email = fields.Email(about="The email of an active user of yours, who holds the meeting.")
    meeting_type_id = fields.Id(about="The id of a meeting type of yours.")
    attendee_name = fields.Text(255, about="The lead's full name by default.")
    attendee_email = fields.Email(about="The lead's email by default.")
    attendee_phone = fields.Text(50, about="The lead's phone by default.")
    additional_attendees = fields.ShortList(
        Nested(Attendee), "attendees", 100, error_messages=NO_LIST
    )
    external_calendar_provider = fields.LowerCase(
        64,
        about="The system in which the booking was made, stored in lower case. With the event id it"
        " makes the request safe to repeat.",
    )
    external_event_id = fields.Text(
        255,
        about="The booking's exact id in that system; with the provider, the id of one meeting.",
    )
    previous_external_event_id = fields.Text(
        255, about="The booking's id before it was rescheduled; the meeting stays the same."
    )
    status = fields.Choice(
        BOOKING_STATUSES,
        about="`confirmed`: the lead has confirmed. `scheduled` removes the confirmation. If"
        " absent, a new meeting is scheduled, and a known one keeps its status.",
    )
    create_lead = fields.Boolean(
        about="`true` creates the lead if none has the `lead_email`; `false` by default."
    )

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Check the either-or rules and the times, and turn the times into instants.

        The times are converted here and not after loading, because the conversion finds their
        faults.
        """
        is_utc = given.get("timezone") is None
        wrong = resolve_times(given, valid, "UTC" if is_utc else valid.get("timezone"))
        for one, other in self.EITHER_OR:
            if given.get(one) is None and given.get(other) is None:
                wrong[one] = [f"Required unless {other} is given."]
        has_previous = given.get("previous_external_event_id") is not None
        if has_previous and None in (given.get(PAIR[0]), given.get(PAIR[1])):
            wrong["previous_external_event_id"] = [f"Needs both {' and '.join(PAIR)}."]
        return wrong


class MeetingPatch(MeetingRequest):
    """Fields of a meeting to replace; null sets a field to its default."""

    EITHER_OR = ()
    NEEDS = {}
    EXAMPLE = {"location_type": "in_person", "location_details": "Room 4", "meeting_url": None}
    RESCHEDULED = "POST /meetings/{id}/reschedule changes the times."
    ELSEWHERE: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("starts_at", "ends_at", "duration_minutes", "timezone"), RESCHEDULED),
        "status": "POST /meetings/{id}/confirm, /cancel, /complete, /no-show, /reopen change it.",
    }

    title = fields.Text(255, **NOT_NULL)

    class Meta:
        fields = (
            "title",
            "meeting_url",
            "location_type",
            "location_details",
            "description",
            "host_email",
            "meeting_type_id",
            "attendee_name",
            "attendee_email",
            "attendee_phone",
            "additional_attendees",
        )

    def prepare(self, given: dict[str, Any]) -> dict[str, Any]:
        """Leave out the fields that other calls change; `check` refuses them."""
        return {name: value for name, value in given.items() if name not in self.ELSEWHERE}

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Refuse the fields that other calls change, and name the calls."""
        return {name: [call] for name, call in self.ELSEWHERE.items() if name in given}


class Reason(OptionalRequest):
    """An optional reason."""

    EXAMPLE = {"reason": "no longer needed"}

    reason = fields.Text(1000)


class Notes(OptionalRequest):
    """Optional notes."""

    EXAMPLE = {"notes": "went well"}

    notes = fields.Text(10_000)


class ReasonAndNotes(OptionalRequest):
    """An optional reason and notes."""

    EXAMPLE = {"reason": "no answer", "notes": "waited ten minutes"}

    reason = fields.Text(1000, about="`api_marked` by default.")
    notes = fields.Text(10_000)


class NewTimes(OptionalRequest):
    """New times. After loading they are instants, or wall-clock times in the meeting's zone."""

    EXAMPLE = {"starts_at": "2025-12-30T11:00:00", "reason": "double-booked"}

    starts_at = fields.DateTime(required=True, about=WALL_CLOCK)
    ends_at = fields.DateTime(
        about="If this and `duration_minutes` are absent, the duration stays."
    )
    duration_minutes = fields.Integer(1, LONGEST_MINUTES)
    timezone = fields.Timezone(
        about="The zone of times without an offset; the meeting's by default."
    )
    reason = fields.Text(1000)

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Convert the times to instants, unless the conversion needs the meeting's zone."""
        return resolve_times(given, valid, valid.get("timezone"))


class RescheduleRequest(NewTimes):
    """New times, and the new id of a booking that got one."""

    external_event_id = fields.Text(255, about="The booking's new id, if it has one.")


class NamedByEvent(OptionalRequest):
    """The booking that names the meeting: its provider, and its current or an earlier id."""

    EXAMPLE = {"external_calendar_provider": "ghl", "external_event_id": "1RZJ24WY65VGQFyhN0vJ"}

    external_calendar_provider = fields.LowerCase(
        64, required=True, about="The system in which the booking was made, in any case."
    )
    external_event_id = fields.Text(
        255, required=True, about="The booking's exact id in that system, current or earlier."
    )


class EventReason(Reason, NamedByEvent):
    """The booking that names the meeting, and an optional reason."""

    EXAMPLE = NamedByEvent.EXAMPLE | Reason.EXAMPLE


class EventNotes(Notes, NamedByEvent):
    """The booking that names the meeting, and optional notes."""

    EXAMPLE = NamedByEvent.EXAMPLE | Notes.EXAMPLE


class EventReasonAndNotes(ReasonAndNotes, NamedByEvent):
    """The booking that names the meeting, and an optional reason and notes."""

    EXAMPLE = NamedByEvent.EXAMPLE | ReasonAndNotes.EXAMPLE


class EventReschedule(NewTimes, NamedByEvent):
    """The booking that names the meeting, and its new times and id."""

    EXAMPLE = NamedByEvent.EXAMPLE | NewTimes.EXAMPLE

    new_external_event_id = fields.Text(255, about="The booking's new id, if it has one.")


class LeadChanges(Request):
    """Fields of a lead to replace; None clears a field. All other keys become metadata.

    After loading, `clear_metadata` says whether the stored metadata is removed first.
    """

    EXAMPLE = {"company": "Stark Industries", "utm_source": None}

    first_name = fields.Text(255)
    last_name = fields.Text(255)
    email = fields.Email()
    phone = fields.Text(50)
    company = fields.Text(255)
    title = fields.Text(255)
    source = fields.Text(255, about="Where the lead came from; `api` by default.")
    external_id = fields.Text(
        255, about="The lead's id in your system; no two leads have the same."
    )
    metadata = fields.Metadata(
        about="Merged key by key into the stored metadata; null removes a key."
    )

    IGNORED: ClassVar[frozenset[str]] = frozenset({"id", "created_at", "updated_at"})

    def prepare(self, given: dict[str, Any]) -> dict[str, Any]:
        """Move unknown keys into `metadata`; a key that is already there keeps its value."""
        lead, folded = {}, {}
        for key, value in given.items():
            if key in self.load_fields:
                lead[key] = value
            elif key not in self.IGNORED:
                folded[key] = value
        metadata = {} if lead.get("metadata") is None else lead["metadata"]
        if folded and isinstance(metadata, dict):
            lead["metadata"] = folded | metadata
        return lead

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Record whether `metadata` was null, even if other keys became metadata."""
        valid["clear_metadata"] = given.get("metadata", "") is None
        return {}


class LeadRequest(LeadChanges):
    """A new lead, or changes to the lead with the `external_id`."""

    EXAMPLE = {
        "first_name": "Tony",
        "last_name": "Stark",
        "email": "tony.stark@gmail.com",
        "phone": "+1 212 970 4133",
        "company": "Stark Industries",
        "external_id": "demo-tony-stark",
    }

    first_name = fields.Text(255, required=True)


class LeadPatch(LeadChanges):
    """Changes to a lead; its first name can be replaced but not cleared."""

    first_name = fields.Text(255, **NOT_NULL)


class UserRequest(Request):
    """A new user, who can host meetings."""

    EXAMPLE = {"email": "pepper.potts@example.com", "first_name": "Pepper", "last_name": "Potts"}

    email = fields.Email(required=True, about="No two users have the same, in any case.")
    first_name = fields.Text(255, required=True)
    last_name = fields.Text(255, required=True)
    active = fields.Boolean(load_default=True, about="Only active users can host new meetings.")

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Fill in the default of `active` for null."""
        if given.get("active") is None:
            valid["active"] = True
        return {}


class UserPatch(Request):
    """Fields of a user to replace."""

    EXAMPLE = {"active": False}

    email = fields.Email(**NOT_NULL)
    first_name = fields.Text(255, **NOT_NULL)
    last_name = fields.Text(255, **NOT_NULL)
    active = fields.Boolean(**NOT_NULL)


class MeetingTypeRequest(Request):
    """A new meeting type."""

    EXAMPLE = {"name": "Discovery Call"}

    name = fields.Text(255, required=True, about="No two meeting types have the same.")


class MeetingTypePatch(Request):
    """Fields of a meeting type to replace."""

    EXAMPLE = {"name": "First Call"}

    name = fields.Text(255, **NOT_NULL)


class SourceRequest(Request):
    """An address for a booking system to post to."""

    ONLY_WITH = {"mapping": ("provider", "generic")}
    EXAMPLE = {"name": "Calendly", "provider": "calendly", "signing_secret": "keep-this-secret"}

    name = fields.Text(255, required=True, about="No two sources have the same.")
    provider = fields.Choice(
        SOURCE_PROVIDERS, required=True, about="`generic` for any other booking system."
    )
    signing_secret = fields.Text(
        255, shortest=8, about="The secret by which the booking system proves its requests."
    )
    create_leads = fields.Boolean(
        about="Whether a booking of an unknown email makes a lead; `true` by default."
    )
    timezone = fields.Timezone(
        about="The zone of wall-clock times that arrive without one; `UTC` by default."
    )
    mapping = fields.JsonObject(
        MAPPING_BYTES,
        about="For `generic` only: where a payload has each field of a booking, as JSON Pointers.",
    )


class SourcePatch(SourceRequest):
    """Changes to a source. Null sets the default of a field: no `signing_secret`, no check."""

    ONLY_WITH = {}
    REFUSED = {"provider": "Cannot be changed: create another source for another provider."}
    EXAMPLE = {"create_leads": False, "timezone": "America/Santiago"}

    name = fields.Text(255, allow_none=False, error_messages={"null": "Must not be null."})

    class Meta:
        exclude = ("provider",)


class RetryRequest(Request):
    """Which receipts to process again; at least one of the fields."""

    EITHER_OR = (("outcome", "source_id", "lead_email"),)
    EXAMPLE = {"outcome": "unmatched"}

    outcome = fields.CommaList(RECEIPT_OUTCOMES, about="A comma list of outcomes.")
    source_id = fields.Id()
    lead_email = fields.Text(254)

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Require a filter, and leave out those that are null."""
        for name in [name for name, value in valid.items() if value is None]:
            del valid[name]
        if any(given.get(name) is not None for name in self.load_fields):
            return {}
        return {"outcome": ["Required unless source_id or lead_email is given."]}


class MeetingNoteRequest(Request):
    """What a note-taking tool, or a person, wrote down about a meeting."""

    BODY_BYTES = 4 * 1024 * 1024
    EITHER_OR = (NOTE_MEETING, NOTE_CONTENTS)
    NEEDS = {"external_calendar_event_id": ("external_calendar_provider",)}
    EXAMPLE = {
        "external_calendar_provider": "ghl",
        "external_calendar_event_id": "1RZJ24WY65VGQFyhN0vJ",
        "provider": "fathom",
        "external_meeting_id": "fathom-4711",
        "summary": "Tony wants a demo of the Mark III.",
        "action_items": ["Send the price list", "Book the demo"],
    }

    calendar_event_id = fields.Id(about="The meeting's id in this service.")
    external_calendar_provider = fields.LowerCase(
        64, about="The system in which the meeting was booked, in any case."
    )
    external_calendar_event_id = fields.Text(
        255, about="The booking's exact id in that system, current or earlier."
    )
    meeting_url = fields.Url(
        about="The meeting's exact URL; of several meetings, the one that starts nearest to"
        " `meeting_date`, or else to now."
    )
    lead_email = fields.Email(
        about="The lead's email, in any case: the meeting that starts nearest to `meeting_date`,"
        " within 60 minutes, or else the latest meeting that has begun."
    )
    meeting_date = fields.UtcDateTime(
        about="About when the meeting starts, an ISO 8601 date and time; UTC without an offset."
    )
    provider = fields.Word(
        64, RESERVED_NOTE_PROVIDERS, about="The tool that made the note; `manual` by default."
    )
    external_meeting_id = fields.Text(
        255, about="The note's id in that tool. With `provider` it identifies one note permanently."
    )
    notes = fields.Text(NOTE_CHARACTERS)
    transcript_text = fields.Text(NOTE_CHARACTERS)
    summary = fields.Text(NOTE_CHARACTERS)
    manual_ai_summary = fields.Text(NOTE_CHARACTERS)
    action_items = fields.TextOrTexts(NOTE_CHARACTERS, 200, 1000)

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Check that the request names a meeting, and that it has contents, which may be null."""
        wrong = {}
        is_half = given.get("external_calendar_provider") is None
        if all(given.get(name) is None for name in NOTE_MEETING):
            if is_half:
                first, *others = NOTE_MEETING
                wrong[first] = [f"Required unless {' or '.join(others)} is given."]
            else:
                wrong["external_calendar_event_id"] = ["Required with the provider."]
        if given.keys().isdisjoint(NOTE_CONTENTS):
            first, *others = NOTE_CONTENTS
            wrong[first] = [f"Required unless {' or '.join(others)} is given."]
        if is_half and given.get("external_calendar_event_id") is not None:
            wrong["external_calendar_event_id"] = ["Needs external_calendar_provider."]
        return wrong


# -------------------------------------------------------------------------------------- queries


class LeadMatchQuery(Query):
    """Parameters of POST /leads."""

    match = fields.CommaList(
        ("email", "phone"),
        about="Update the lead that has the `email` (in any case), or else the `phone` (compared by"
        " its digits), instead of creating another; of several, the one updated last. A known"
        " `external_id` takes precedence.",
    )


class LeadsQuery(Query):
    """Parameters of GET /leads."""

    email = fields.Text(254, about="Exactly this email, in any case.")
    phone = fields.Text(50, about="Exactly this phone, compared by its digits.")
    external_id = fields.Text(255, about="Exactly this id in your system.")
    search = fields.Text(
        255,
        about="Part of `First Last`, email or phone, in any case. Digits match a phone in any"
        " notation.",
    )
    limit = fields.Integer(1, 200, load_default=50)
    page = fields.Integer(0, LARGEST_OFFSET // 200, load_default=0, about="Counted from 0.")


def cursor_faults(valid: dict[str, Any]) -> dict[str, list[str]]:
    """Return a fault if the cursor belongs to another order than the query's."""
    if "cursor" not in valid or valid["cursor"][0] == valid.get("order"):
        return {}
    return {"cursor": [fields.WRONG_CURSOR]}


class LeadMeetingsQuery(Query):
    """Parameters of GET /leads/{lead_id}/meetings, which has a fixed order."""

    status = fields.CommaList(SHOWN_STATUSES, about=AS_SHOWN)
    limit = fields.Integer(1, 1000, load_default=200)
    cursor = fields.Cursor(about="The `next_cursor` of the previous page.")

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Add the fixed order, and refuse a cursor of another order."""
        valid["order"] = LATEST_START
        return cursor_faults(valid)


class MeetingFilters(Query):
    """Parameters of GET /meetings/stats."""

    status = fields.CommaList(SHOWN_STATUSES, about=AS_SHOWN)
    lead_id = fields.Id()
    lead_email = fields.Text(254)
    host_email = fields.Text(254)
    external_calendar_provider = fields.LowerCase(64)
    external_event_id = fields.Text(
        255, about="The booking's id; earlier ids of a meeting are found too."
    )
    starts_after = fields.Instant(about="Inclusive.")
    starts_before = fields.Instant(about="Exclusive.")
    updated_after = fields.Instant(about="Inclusive.")


class ReceiptsQuery(Query):
    """Parameters of GET /receipts, which has a fixed order."""

    outcome = fields.CommaList(RECEIPT_OUTCOMES, about="A comma list of outcomes.")
    source_id = fields.Id()
    lead_email = fields.Text(254)
    received_after = fields.Instant(about="Inclusive.")
    limit = fields.Integer(1, 200, load_default=50)
    cursor = fields.Cursor(about="The `next_cursor` of the previous page.")

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Refuse a cursor of another list."""
        return cursor_faults({"order": LATEST_RECEIVED, **valid})


class CalendarQuery(Query):
    """Parameters of GET /meetings.ics."""

    host_email = fields.Text(254)


class MeetingsQuery(MeetingFilters):
    """Parameters of GET /meetings."""

    order = fields.Choice(MEETING_ORDERS, load_default=LATEST_START)
    limit = fields.Integer(1, 200, load_default=50)
    cursor = fields.Cursor(about="The `next_cursor` of the previous page.")

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Refuse a cursor of another order."""
        return cursor_faults(valid) if "order" in valid else {}


class NotesQuery(Query):
    """Parameters of GET /meetings/{meeting_id}/notes, which has a fixed order."""

    limit = fields.Integer(1, 100, load_default=20)
    cursor = fields.Cursor(about="The `next_cursor` of the previous page.")

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Add the fixed order, and refuse a cursor of another order."""
        valid["order"] = OLDEST_FIRST
        return cursor_faults(valid)


class HistoryQuery(Query):
    """Parameters of GET /leads/{id}/history."""

    limit = fields.Integer(1, 200, load_default=50)
    offset = fields.Integer(0, LARGEST_OFFSET, load_default=0)
    channel = fields.CommaList(
        about="A comma list; every activity of this service is in the channel `system`."
    )


# ------------------------------------------------------------------------------------ responses


class MeetingResponse(ResponseSchema):
    """A meeting as POST /meetings returns it."""

    id = UUID()
    lead_id = UUID()
    title = String()
    starts_at = DateTime()
    ends_at = DateTime()
    duration_minutes = Integer(validate=Range(0), metadata={"description": "Rounded down."})
    timezone = String()
    status = String(attribute="shown_status", validate=OneOf(SHOWN_STATUSES))
    meeting_url = String(allow_none=True)
    location_type = String(validate=OneOf(LOCATION_TYPES))
    location_details = String(allow_none=True)
    host_name = String(allow_none=True)
    meeting_type = String(attribute="meeting_type_name", allow_none=True)
    attendee_name = String(allow_none=True)
    attendee_email = String(allow_none=True)
    external_calendar_provider = String(allow_none=True)
    external_event_id = String(allow_none=True)
    source = String()
    created_at = DateTime()


class Host(ResponseSchema):
    """The user who holds a meeting."""

    id = UUID()
    name = String()
    email = String()


class Times(ResponseSchema):
    """The start and end of a meeting."""

    starts_at = DateTime()
    ends_at = DateTime()


class Move(ResponseSchema):
    """One move of a rescheduled meeting."""

    from_ = Nested(Times, data_key="from")
    to = Nested(Times)
    reason = String(allow_none=True)
    at = DateTime()


class MeetingItem(MeetingResponse):
    """A meeting with all its fields, as in lists."""

    confirmed_by_lead = Boolean()
    cancelled_at = DateTime(allow_none=True)
    cancellation_reason = String(allow_none=True)
    no_show_reason = String(allow_none=True)
    outcome_at = DateTime(allow_none=True)
    outcome_notes = String(allow_none=True)
    updated_at = DateTime()
    host = Nested(Host, allow_none=True)
    description = String(allow_none=True)
    attendee_phone = String(allow_none=True)
    additional_attendees = List(Nested(Attendee))
    meeting_type_id = UUID(allow_none=True)
    reschedules = List(Nested(Move))


class LeadSummary(ResponseSchema):
    """The summary of a lead, shown with its history."""

    id = UUID()
    first_name = String()
    last_name = String(allow_none=True)
    phone = String(allow_none=True)
    email = String(allow_none=True)
    source = String()
    created_at = DateTime()


class LeadResponse(ResponseSchema):
    """A lead with all its fields."""

    id = UUID()
    first_name = String()
    last_name = String(allow_none=True)
    email = String(allow_none=True)
    phone = String(allow_none=True)
    source = String()
    company = String(allow_none=True)
    title = String(allow_none=True)
    external_id = String(allow_none=True)
    metadata = fields.Metadata(allow_none=False)
    created_at = DateTime()
    updated_at = DateTime()


class MeetingExport(MeetingItem):
    """A meeting in a file: the list's fields, and those by which a booking names lead and host."""

    lead_email = String(attribute="email_of_lead", allow_none=True)
    host_email = String(attribute="email_of_host", allow_none=True)

    class Meta:
        exclude = ("host",)


class ActivityResponse(ResponseSchema):
    """One activity in a lead's history."""

    type = Constant("activity")
    channel = Constant(CHANNEL)
    activity_type = String(validate=OneOf(ACTIVITY_TYPES))
    title = String()
    description = String(allow_none=True)
    actor_type = String()
    meeting_id = UUID(allow_none=True)
    changes = Dict(
        values=List(Raw(), validate=Length(equal=2)),
        allow_none=True,
        metadata={"description": "Field → its value before and after."},
    )
    timestamp = DateTime(attribute="created_at")


class SourceResponse(ResponseSchema):
    """An address that a booking system posts to."""

    id = UUID()
    name = String()
    provider = String(validate=OneOf(SOURCE_PROVIDERS))
    signed = Boolean(metadata={"description": "Whether signatures are checked."})
    create_leads = Boolean()
    timezone = String()
    mapping = Dict(allow_none=True)
    created_at = DateTime()
    last_received_at = DateTime(allow_none=True)


class ReceiptResponse(ResponseSchema):
    """What arrived at a source, and what became of it."""

    id = UUID()
    source_id = UUID()
    provider = String(validate=OneOf(SOURCE_PROVIDERS))
    event = String(allow_none=True, metadata={"description": "As its provider names it."})
    outcome = String(validate=OneOf(RECEIPT_OUTCOMES))
    message = String(metadata={"description": "A sentence for a person."})
    details = Dict(allow_none=True, metadata={"description": "Field → what was repaired or wrong."})
    meeting_id = UUID(allow_none=True)
    lead_id = UUID(allow_none=True)
    lead_email = String(allow_none=True)
    received_at = DateTime()
    attempts = Integer(validate=Range(1))


class UserResponse(ResponseSchema):
    """A user, who can host meetings."""

    id = UUID()
    email = String()
    first_name = String()
    last_name = String()
    active = Boolean()


class MeetingTypeResponse(ResponseSchema):
    """A meeting type."""

    id = UUID()
    name = String()


class MeetingNoteResponse(ResponseSchema):
    """A note about a meeting."""

    id = UUID()
    meeting_id = UUID()
    lead_id = UUID(attribute="lead_of_meeting")
    provider = String()
    external_meeting_id = String(allow_none=True)
    notes = String(allow_none=True)
    summary = String(allow_none=True)
    manual_ai_summary = String(allow_none=True)
    transcript_text = String(allow_none=True)
    action_items = fields.TextOrTexts(NOTE_CHARACTERS, 200, 1000)
    matched_by = String(
        validate=OneOf(NOTE_MEETING),
        metadata={"description": "The field that identified the meeting."},
    )
    created_at = DateTime()
    updated_at = DateTime()
