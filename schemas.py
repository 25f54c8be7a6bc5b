"""The schemas of meetings, users and meeting types: one line for each field.

They describe requests, queries and responses. `lead_schemas`, `intake_schemas` and
`webhook_schemas` hold those of the other nouns.

Requests use our own types (`fields.…`), which validate; responses use marshmallow's.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import ValidationError
from marshmallow.fields import (
    UUID,
    Boolean,
    DateTime,
    Integer,
    List,
    Nested,
    String,
)
from marshmallow.validate import OneOf, Range

import fields
from bases import Groups, OptionalRequest, Query, Request, ResponseSchema
from models import (
    BOOKING_STATUSES,
    LATEST_START,
    LOCATION_TYPES,
    MEETING_ORDERS,
    SHOWN_STATUSES,
)
from times import LONGEST_MINUTES, resolve_times

WALL_CLOCK = (
    "An ISO 8601 date and time. Without an offset or `Z` it is wall-clock time in `timezone`, at"
    " the offset in force on that date."
)
AS_SHOWN = "A comma-separated list of statuses. `scheduled` excludes confirmed meetings."
PAIR = ("external_calendar_provider", "external_event_id")  # the key that identifies a replay
LARGEST_OFFSET = 10**15  # rows to skip; both databases accept an OFFSET of this size
NOT_NULL: dict[str, Any] = {
    "allow_none": False,
    "error_messages": {"null": "Must not be null."},
}
NO_LIST = {"invalid": "Must be a list of objects with name and email."}
NO_ATTENDEE = "Must be an object with name and email."

# ------------------------------------------------------------------------------ request bodies


class Attendee(Request):
    """A further attendee."""

    EXAMPLE = {"name": "Pepper Potts", "email": "pepper.potts@example.com"}

    name = fields.Text(255)
    email = fields.Email(required=True)

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Remove a name that is null."""
        if given.get("name") is None:
            valid.pop("name", None)
        return {}


class AttendeeField(Nested):
    """A further attendee, which must be an object."""

    def __init__(self) -> None:
        super().__init__(Attendee, error_messages={"null": NO_ATTENDEE})

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, dict):
            raise ValidationError(NO_ATTENDEE)
        return super()._deserialize(value, *args, **kwargs)


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
        1, LONGEST_MINUTES, about="Elapsed minutes, even if clocks change during the meeting."
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
        AttendeeField(),
        "attendees",
        100,
        error_messages=NO_LIST,
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
        """Turn the times into instants; this also finds the faults between them."""
        is_utc = given.get("timezone") is None
        return resolve_times(given, valid, "UTC" if is_utc else valid.get("timezone"))


class MeetingPatch(MeetingRequest):
    """Fields of a meeting to replace; null sets a field to its default."""

    EITHER_OR = ()
    NEEDS = {}
    EXAMPLE = {"location_type": "in_person", "location_details": "Room 4", "meeting_url": None}
    RESCHEDULED = "POST /meetings/{id}/reschedule changes the times."
    REFUSED: ClassVar[dict[str, str]] = {
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

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Do nothing: a change has no times."""
        return {}


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
        about="Without this and `duration_minutes`, the duration stays the same."
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
    """New times, and the booking's new id if it has one."""

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


class UserRequest(Request):
    """A new user, who can host meetings."""

    EXAMPLE = {"email": "pepper.potts@example.com", "first_name": "Pepper", "last_name": "Potts"}

    email = fields.Email(required=True, about="No two users have the same email, in any case.")
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

    name = fields.Text(255, required=True, about="No two meeting types have the same name.")


class MeetingTypePatch(Request):
    """Fields of a meeting type to replace."""

    EXAMPLE = {"name": "First Call"}

    name = fields.Text(255, **NOT_NULL)


# -------------------------------------------------------------------------------------- queries


class LeadMeetingsQuery(Query):
    """Parameters of GET /leads/{lead_id}/meetings, which has a fixed order."""

    status = fields.CommaList(SHOWN_STATUSES, about=AS_SHOWN)
    limit = fields.Integer(1, 1000, load_default=200)
    cursor = fields.Cursor(LATEST_START)


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


class CalendarQuery(Query):
    """Parameters of GET /meetings.ics."""

    host_email = fields.Text(254)


class MeetingsQuery(MeetingFilters):
    """Parameters of GET /meetings."""

    order = fields.Choice(MEETING_ORDERS, load_default=LATEST_START)
    limit = fields.Integer(1, 200, load_default=50)
    cursor = fields.Cursor()

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Refuse a cursor of another order."""
        cursor = valid.get("cursor")
        is_wrong = cursor and valid.get("order", cursor[0]) != cursor[0]
        return {"cursor": [fields.WRONG_CURSOR]} if is_wrong else {}


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


class MeetingExport(MeetingItem):
    """A meeting in a file: the list's fields, and those by which a booking names lead and host."""

    lead_email = String(attribute="email_of_lead", allow_none=True)
    host_email = String(attribute="email_of_host", allow_none=True)

    class Meta:
        exclude = ("host",)


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
