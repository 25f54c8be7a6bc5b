"""The shapes of requests and responses, the either-or field rules, and local time to UTC."""

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, ClassVar

from marshmallow import (
    Schema,
    ValidationError,
    fields,
    missing,
    post_load,
    pre_load,
    validate,
    validates_schema,
)

from database import Row
from models import (
    ACTIVITY_TYPES,
    BOOKING_STATUSES,
    CHANNEL,
    LATEST_START,
    LOCATION_TYPES,
    MEETING_ORDERS,
    METADATA_KEYS,
    SHOWN_STATUSES,
    full_name,
    is_uuid,
    metadata_fault,
    shown_status,
)
from times import (
    EARLIEST,
    LONGEST_MINUTES,
    OUT_OF_RANGE,
    TIMEZONES,
    TOO_LATE,
    read_date_time,
    resolve_times,
    to_instant,
    whole_minutes,
)

WRONG_CURSOR = "Must be the next_cursor of an earlier answer in the same order."
WALL_CLOCK = (
    "An ISO 8601 date and time. With an offset or `Z` it is that instant; without, wall-clock time"
    " in `timezone`, at the offset in force on that date."
)
PAIR = ("external_calendar_provider", "external_event_id")  # what makes a request safe to replay
LARGEST_OFFSET = 10**15  # rows skipped; both databases can count that far
INT64 = range(-(2**63), 2**63)

# All that counts as white space and is no control character.
WHITE_SPACE = (
    " \t\n\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
CONTROL_CHARACTERS = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f"
PRINTABLE = f"^[^{CONTROL_CHARACTERS}]*$"
REFUSED_CHARACTERS = re.compile(f"[{CONTROL_CHARACTERS}\ud800-\udfff]")
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}(?:\.0+)?")
REQUIRED = "Required."
REFUSED = "Must not contain control characters or unpaired surrogates."


def clean(value: Any) -> Any:
    """A JSON value as it counts: text without outer white space, fields of empty text left out."""
    if isinstance(value, str):
        return value.strip(WHITE_SPACE)
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        cleaned = {clean(key): clean(item) for key, item in value.items()}
        return {key: item for key, item in cleaned.items() if item != ""}
    return value


# ------------------------------------------------------------------------------------ fields in


class Given(fields.Field[Any]):
    """A field that is what its `_deserialize` makes of it, without validators and hooks.

    marshmallow's way around those takes longer than all that our fields do. `about` tells readers
    of the API what the field is for.
    """

    default_error_messages = {"required": REQUIRED, "null": REQUIRED}

    def __init__(self, *, about: str = "", **options: Any) -> None:
        super().__init__(metadata={"description": about} if about else None, **options)

    def deserialize(self, value: Any, attr: Any = None, data: Any = None, **kwargs: Any) -> Any:
        """The value, checked; its default where it is missing. Raises ValidationError."""
        if value is missing:
            if self.required:
                raise self.make_error("required")
            return self.load_default
        if value is None:
            if not self.allow_none:
                raise self.make_error("null")
            return None
        return self._deserialize(value, attr, data, **kwargs)


class Text(Given):
    """Text of at most `longest` code points, without control characters."""

    default_error_messages = {
        "type": "Must be text.",
        "characters": REFUSED,
        "length": "Must be at most {longest} characters long, not {length}.",
    }

    def __init__(self, longest: int, **options: Any) -> None:
        options.setdefault("allow_none", not options.get("required", False))
        super().__init__(**options)
        self.longest = longest

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if not isinstance(value, str):
            raise self.make_error("type")
        if REFUSED_CHARACTERS.search(value):
            raise self.make_error("characters")
        if len(value) > self.longest:
            raise self.make_error("length", longest=self.longest, length=len(value))
        return value


class Email(Text):
    """An email address, kept as written."""

    default_error_messages = {"email": "Must be an email address, such as tony.stark@gmail.com."}
    is_email = validate.Email()

    def __init__(self, **options: Any) -> None:
        super().__init__(254, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        try:
            return self.is_email(text)
        except ValidationError as error:
            raise self.make_error("email") from error


class Url(Text):
    """An http or https URL."""

    default_error_messages = {
        "url": "Must be a URL that begins with http:// or https://, such as https://meet.example.com/a."
    }
    is_url = validate.URL(schemes={"http", "https"}, require_tld=False)

    def __init__(self, **options: Any) -> None:
        super().__init__(2048, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if not text.startswith(("http://", "https://")):
            raise self.make_error("url")
        try:
            return self.is_url(text)
        except ValidationError as error:
            raise self.make_error("url") from error


class Choice(Text):
    """One of a few words."""

    default_error_messages = {"choice": "Must be one of: {choices}."}

    def __init__(self, choices: tuple[str, ...], **options: Any) -> None:
        super().__init__(255, **options)
        self.choices = choices

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if text not in self.choices:
            raise self.make_error("choice", choices=", ".join(self.choices))
        return text


class Id(Text):
    """A UUID, in lower case."""

    default_error_messages = {
        "uuid": "Must be a UUID, such as 0198c0de-0000-7000-8000-000000000000."
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(255, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if not is_uuid(text):
            raise self.make_error("uuid")
        return text.lower()


class Timezone(Text):
    """The name of a time zone in the IANA database."""

    default_error_messages = {
        "timezone": "Must be the name of an IANA time zone, such as America/Santiago."
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(255, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if text not in TIMEZONES:
            raise self.make_error("timezone")
        return text


class LowerCase(Text):
    """Text that is kept, and compared, in lower case."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        # Lower case can be longer (İ), so the length that counts is the one that is stored.
        lowered = value.lower() if isinstance(value, str) else value
        return str(super()._deserialize(lowered, attr, data, **kwargs))


class DateTime(Text):
    """An ISO 8601 date and time: aware where an offset is written, else wall-clock time."""

    default_error_messages = {
        "date_time": "Must be an ISO 8601 date and time, such as 2025-12-29T14:00:00 or"
        " 2025-12-29T17:00:00Z.",
        "range": OUT_OF_RANGE,
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(255, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        try:
            return read_date_time(text)
        except OverflowError as error:
            raise self.make_error("range") from error
        except ValueError as error:
            raise self.make_error("date_time") from error


class WholeNumber(Given):
    """A whole number within bounds: `60`, also written `60.0` or `"60"`."""

    default_error_messages = {"number": "Must be a whole number from {least} to {most}."}

    def __init__(self, least: int, most: int, **options: Any) -> None:
        super().__init__(allow_none=True, **options)
        self.least, self.most = least, most

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, str) and WHOLE_NUMBER.fullmatch(value):
            value = int(value.partition(".")[0])
        elif isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not int or not self.least <= value <= self.most:
            raise self.make_error("number", least=self.least, most=self.most)
        return value


class Metadata(Given):
    """An object of text, numbers, booleans and null, under keys of at most 255 characters."""

    default_error_messages = {
        "object": "Must be an object of text, numbers, booleans and null.",
        "key": "Must be a key of 1 to 255 characters, without control characters.",
        "value": "Must be text, a number, a boolean or null.",
        "number": "Must be finite and, if whole, lie between -2^63 and 2^63-1.",
        "characters": REFUSED,
    }

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_none=True, **options)

    def _deserialize(
        self, value: Any, attr: str | None, data: Any, **kwargs: Any
    ) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.make_error("object")
        wrong = {
            key: [self.error_messages[fault]]
            for key, item in value.items()
            if (fault := self._fault(key, item))
        }
        if wrong:
            raise ValidationError(wrong)
        if too_much := metadata_fault(value):
            raise ValidationError(too_much)
        return value

    @staticmethod
    def _fault(key: str, value: Any) -> str:
        if not 1 <= len(key) <= 255 or REFUSED_CHARACTERS.search(key):
            return "key"
        if value is None or isinstance(value, bool):
            return ""
        if isinstance(value, str):
            return "characters" if REFUSED_CHARACTERS.search(value) else ""
        if isinstance(value, int):
            return "" if value in INT64 else "number"
        if isinstance(value, float):
            # Beyond 2^53 every finite float is whole.
            return "" if math.isfinite(value) and -(2**63) <= value < 2**63 else "number"
        return "value"


class CommaList(Text):
    """Words with commas between them; each one of `choices`, where there are some."""

    default_error_messages = {"choice": "Must be a comma list of: {choices}."}

    def __init__(self, choices: tuple[str, ...] = (), **options: Any) -> None:
        super().__init__(255, **options)
        self.choices = choices

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        words = frozenset(word for part in text.split(",") if (word := part.strip(WHITE_SPACE)))
        if self.choices and (not words or not words.issubset(self.choices)):
            raise self.make_error("choice", choices=", ".join(self.choices))
        return words


class OffsetDateTime(DateTime):
    """An instant: an ISO 8601 date and time with its offset."""

    default_error_messages = {
        "offset": "Must have an offset, such as 2025-12-29T17:00:00Z.",
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        # In a query an unescaped + has become a space.
        plus = value.replace(" ", "+") if isinstance(value, str) and "T" in value else value
        written = super()._deserialize(plus, attr, data, **kwargs)
        if written.tzinfo is None:
            raise self.make_error("offset")
        instant = to_instant(written)
        if not EARLIEST <= instant < TOO_LATE:
            raise self.make_error("range")
        return instant


class Cursor(Text):
    """The key of the last row of a page, as `write_cursor` wrote it: order, instant, id."""

    default_error_messages = {"cursor": WRONG_CURSOR}

    def __init__(self, **options: Any) -> None:
        super().__init__(255, **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        try:
            order, at, row_id = json.loads(base64.b64decode(text.encode(), b"-_", validate=True))
            instant = datetime.fromisoformat(at)
            if instant.utcoffset() != timedelta(0) or not is_uuid(row_id):
                raise self.make_error("cursor")
        except (ValueError, TypeError, binascii.Error, RecursionError) as error:
            raise self.make_error("cursor") from error
        return order, instant, row_id


def write_cursor(key: tuple[str, datetime, str] | None) -> str | None:
    """An opaque cursor for the key of a row: order, instant and id; None stays None."""
    if key is None:
        return None
    order, at, row_id = key
    return base64.b64encode(json.dumps([order, at.isoformat(), row_id]).encode(), b"-_").decode()


# ---------------------------------------------------------------------------------- requests in


class Request(Schema):
    """What comes in; unknown fields are errors.

    Of each pair in `EITHER_OR` one field must be given; a field of `NEEDS` needs those it names.
    """

    EITHER_OR: ClassVar[tuple[tuple[str, str], ...]] = ()
    NEEDS: ClassVar[dict[str, tuple[str, ...]]] = {}
    # What the reference shows, and the demo does.
    EXAMPLE: ClassVar[dict[str, Any] | None] = None

    error_messages = {"unknown": "Unknown field.", "type": "Must be a JSON object."}


class OptionalRequest(Request):
    """A body that may be absent, which counts as an object without fields."""


class Query(Request):
    """The parameters of an address; by itself, of one that takes none."""

    error_messages = {"unknown": "Unknown parameter."}


def _zone_of(
    given: Mapping[str, Any], loaded: Mapping[str, Any], default: str | None
) -> str | None:
    """The zone of the wall-clock times of a body; None where it is not known (yet)."""
    if given.get("timezone") is None:
        return default
    return loaded.get("timezone")


class Attendee(Request):
    """A further attendee."""

    EXAMPLE = {"name": "Pepper Potts", "email": "pepper.potts@example.com"}

    name = Text(255)
    email = Email(required=True)

    error_messages = {"unknown": "Unknown field.", "type": "Must be an object with name and email."}

    @post_load
    def leave_out_no_name(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """A name of null is a name not given."""
        return {field: value for field, value in loaded.items() if value is not None}


MOST_ATTENDEES = 100


class Attendees(fields.List[dict[str, Any]]):
    """At most 100 further attendees, counted before any is looked at: there may be very many."""

    default_error_messages = {
        "invalid": "Must be a list of objects with name and email.",
        "many": f"Must hold at most {MOST_ATTENDEES} attendees, not {{count}}.",
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, list) and len(value) > MOST_ATTENDEES:
            raise self.make_error("many", count=len(value))
        return super()._deserialize(value, attr, data, **kwargs)


class MeetingRequest(Request):
    """A booking. After loading: instants in UTC, fields absent where not given, None for null."""

    EITHER_OR = (("ends_at", "duration_minutes"), ("lead_email", "lead_id"))
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

    lead_email = Email(about="The lead, by email in any case; of several, the one updated last.")
    lead_id = Id(about="The lead; where given, `lead_email` is not used to find it.")
    title = Text(255, required=True)
    starts_at = DateTime(required=True, about=WALL_CLOCK)
    ends_at = DateTime(about="After `starts_at`, by 1 minute to 31 days; agrees with the duration.")
    duration_minutes = WholeNumber(
        1, LONGEST_MINUTES, about="Elapsed minutes, also across a change of the clocks."
    )
    timezone = Timezone(about="Of times without an offset; UTC unless given.")
    meeting_url = Url(about="Where the meeting is held online.")
    location_type = Choice(LOCATION_TYPES, about="`video` unless given.")
    location_details = Text(255, about="A room, an address, a number to dial.")
    description = Text(10_000)
    host_email = Email(about="An active user of yours who holds the meeting.")
    meeting_type_id = Id(about="A meeting type of yours.")
    attendee_name = Text(255, about="The lead's full name unless given.")
    attendee_email = Email(about="The lead's email unless given.")
    attendee_phone = Text(50, about="The lead's phone unless given.")
    additional_attendees = Attendees(fields.Nested(Attendee), allow_none=True)
    external_calendar_provider = LowerCase(
        64, about="Where the booking was made; kept in lower case. Half of what makes a replay."
    )
    external_event_id = Text(
        255, about="The booking's id there, exactly. With the provider it names one meeting."
    )
    previous_external_event_id = Text(
        255, about="The id the booking had before it got a new one; the meeting stays one."
    )
    status = Choice(
        BOOKING_STATUSES,
        about="`confirmed`: the lead has confirmed. `scheduled` takes that back; without either a"
        " new meeting is scheduled, and a replayed one stays as it is.",
    )

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def check_either_or(
        self, loaded: dict[str, Any], given: Mapping[str, Any], **kwargs: Any
    ) -> None:
        """Either lead_email or lead_id, either ends_at or duration_minutes; and times to instants.

        The instants take the place of the times here, not after loading, since finding what is
        wrong with them is finding them.
        """
        wrong = resolve_times(given, loaded, _zone_of(given, loaded, "UTC"))
        for one, other in self.EITHER_OR:
            if given.get(one) is None and given.get(other) is None:
                wrong[one] = [f"Required unless {other} is given."]
        if given.get("previous_external_event_id") is not None and not _has_pair(given):
            wrong["previous_external_event_id"] = [f"Needs both {' and '.join(PAIR)}."]
        if wrong:
            raise ValidationError(wrong)


def _has_pair(booking: Mapping[str, Any]) -> bool:
    return all(booking.get(field) is not None for field in PAIR)


def replay_warnings(booking: Mapping[str, Any], effect: str) -> dict[str, list[str]]:
    """Return the warning that half a (provider, event id) pair does not protect from replays."""
    provider, event_id = (booking.get(field) is not None for field in PAIR)
    if provider == event_id:
        return {}
    given, missing = PAIR if provider else PAIR[::-1]
    sentence = (
        f"{given} was given without {missing}, so the meeting was logged without replay"
        " protection: sent again, it would be logged again."
    )
    return {"warnings": [sentence]}


def mark_existed(lead: Mapping[str, Any], effect: str) -> dict[str, bool]:
    """Return the mark of a lead that its `external_id` named already."""
    return {} if effect == "created" else {"existed": True}


class Reason(OptionalRequest):
    """Why; or nothing."""

    EXAMPLE = {"reason": "no longer needed"}

    reason = Text(1000)


class Notes(OptionalRequest):
    """What is to be noted; or nothing."""

    EXAMPLE = {"notes": "went well"}

    notes = Text(10_000)


class ReasonAndNotes(OptionalRequest):
    """Why, and what is to be noted; or nothing."""

    EXAMPLE = {"reason": "no answer", "notes": "waited ten minutes"}

    reason = Text(1000, about="`api_marked` unless given.")
    notes = Text(10_000)


class RescheduleRequest(OptionalRequest):
    """New times. After loading: instants, or as written where only the meeting's zone tells."""

    EXAMPLE = {"starts_at": "2025-12-30T11:00:00", "reason": "double-booked"}

    starts_at = DateTime(required=True, about=WALL_CLOCK)
    ends_at = DateTime(about="With neither this nor `duration_minutes` the duration stays.")
    duration_minutes = WholeNumber(1, LONGEST_MINUTES)
    timezone = Timezone(about="Of times without an offset; the meeting's unless given.")
    reason = Text(1000)
    external_event_id = Text(255, about="The booking's new id, where it got one.")

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def check_times(self, loaded: dict[str, Any], given: Mapping[str, Any], **kwargs: Any) -> None:
        """Turn times into instants where the request alone tells which they are."""
        if wrong := resolve_times(given, loaded, _zone_of(given, loaded, None)):
            raise ValidationError(wrong)


class LeadChanges(Request):
    """Fields of a lead to replace; None clears. What is no field of a lead goes into metadata.

    After loading, `clear_metadata` says whether the stored metadata goes before these come.
    """

    EXAMPLE = {"company": "Stark Industries", "utm_source": None}

    first_name = Text(255)
    last_name = Text(255)
    email = Email()
    phone = Text(50)
    company = Text(255)
    title = Text(255)
    source = Text(255, about="Where the lead came from; `api` unless given.")
    external_id = Text(255, about="The lead's id in your system, which only one lead can have.")
    metadata = Metadata(about="Merged key by key into what is stored; a null removes its key.")

    NOT_OURS_TO_CHANGE = frozenset({"id", "created_at", "updated_at"})

    @pre_load
    def fold_into_metadata(self, data: Any, **kwargs: Any) -> Any:
        """Move unknown keys into metadata, where a key given explicitly wins."""
        if not isinstance(data, dict):
            return data
        known = self.fields.keys()
        lead = {key: value for key, value in data.items() if key in known}
        metadata = {} if lead.get("metadata") is None else lead["metadata"]
        folded = {
            key: value
            for key, value in data.items()
            if key not in known and key not in self.NOT_OURS_TO_CHANGE
        }
        if folded and isinstance(metadata, dict):
            lead["metadata"] = folded | metadata
        return lead

    @post_load(pass_original=True)
    def note_cleared_metadata(
        self, loaded: dict[str, Any], given: Mapping[str, Any], **kwargs: Any
    ) -> dict[str, Any]:
        """Tell `"metadata": null` from its absence, also where folded keys took its place."""
        loaded["clear_metadata"] = given.get("metadata", "") is None
        return loaded


class LeadRequest(LeadChanges):
    """A new lead, or one that an `external_id` names."""

    EXAMPLE = {
        "first_name": "Tony",
        "last_name": "Stark",
        "email": "tony.stark@gmail.com",
        "phone": "+1 212 970 4133",
        "company": "Stark Industries",
        "external_id": "demo-tony-stark",
    }

    first_name = Text(255, required=True)


class LeadPatch(LeadChanges):
    """Changes to a lead; its first name can be replaced but not cleared."""

    first_name = Text(255, allow_none=False, error_messages={"null": "Must not be null."})


AS_SHOWN = "A comma list, as shown: `scheduled` leaves out the confirmed ones."


class LeadsQuery(Query):
    """Parameters of GET /leads."""

    email = Text(254, about="Exactly this email, in any case.")
    search = Text(
        255,
        about="Part of `First Last`, email or phone, in any case; digits match a phone however it"
        " is written.",
    )
    limit = WholeNumber(1, 200, load_default=50)
    page = WholeNumber(0, LARGEST_OFFSET // 200, load_default=0, about="Counted from 0.")


def check_cursor(loaded: dict[str, Any], order: str) -> None:
    """A cursor of another order points nowhere in this one."""
    if "cursor" in loaded and loaded["cursor"][0] != order:
        raise ValidationError(WRONG_CURSOR, "cursor")


class LeadMeetingsQuery(Query):
    """Parameters of GET /leads/{lead_id}/meetings, which has one order."""

    status = CommaList(SHOWN_STATUSES, about=AS_SHOWN)
    limit = WholeNumber(1, 1000, load_default=200)
    cursor = Cursor(about="The `next_cursor` of the page before.")

    @post_load
    def in_its_order(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Name the order."""
        check_cursor(loaded, LATEST_START)
        return loaded | {"order": LATEST_START}


class MeetingFilters(Query):
    """Parameters of GET /meetings/stats."""

    status = CommaList(SHOWN_STATUSES, about=AS_SHOWN)
    lead_id = Id()
    lead_email = Text(254)
    host_email = Text(254)
    external_calendar_provider = LowerCase(64)
    external_event_id = Text(255, about="Finds a meeting under its earlier ids too.")
    starts_after = OffsetDateTime(about="Inclusive.")
    starts_before = OffsetDateTime(about="Exclusive.")
    updated_after = OffsetDateTime(about="Inclusive.")


class CalendarQuery(Query):
    """Parameters of GET /meetings.ics."""

    host_email = Text(254)


class MeetingsQuery(MeetingFilters):
    """Parameters of GET /meetings."""

    order = Choice(MEETING_ORDERS, load_default=LATEST_START)
    limit = WholeNumber(1, 200, load_default=50)
    cursor = Cursor(about="The `next_cursor` of the page before.")

    @post_load
    def in_the_same_order(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Refuse a cursor of another order."""
        check_cursor(loaded, loaded["order"])
        return loaded


class HistoryQuery(Query):
    """Parameters of GET /leads/{id}/history."""

    limit = WholeNumber(1, 200, load_default=50)
    offset = WholeNumber(0, LARGEST_OFFSET, load_default=0)
    channel = CommaList(about="A comma list; all that is written here is of the channel `system`.")


# -------------------------------------------------------------------------------- responses out


JsonSchema = dict[str, Any]
# What a value in an answer can be: as JSON Schema says it, a schema of ours, or a list of those.
Like = JsonSchema | type[Schema] | list[type[Schema]]
TEXT: JsonSchema = {"type": "string"}
ID: JsonSchema = {"type": "string", "format": "uuid"}
INSTANT: JsonSchema = {"type": "string", "format": "date-time"}
FLAG: JsonSchema = {"type": "boolean"}
COUNT: JsonSchema = {"type": "integer", "minimum": 0}
RATE: JsonSchema = {"type": "number", "minimum": 0, "maximum": 1}
METADATA: JsonSchema = {
    "type": "object",
    "maxProperties": METADATA_KEYS,
    "propertyNames": {"minLength": 1, "maxLength": 255, "pattern": PRINTABLE},
    "additionalProperties": {
        "type": ["string", "number", "boolean", "null"],
        "pattern": PRINTABLE,
        "minimum": INT64.start,
        "exclusiveMaximum": INT64.stop,
    },
}
TRUE: JsonSchema = {"type": "boolean", "const": True}
FALSE: JsonSchema = {"type": "boolean", "const": False}


def one_of(*choices: Any) -> JsonSchema:
    """One of a few words or numbers."""
    return {"type": "integer" if isinstance(choices[0], int) else "string", "enum": [*choices]}


class Shown(fields.Field[Any]):
    """A value of a row as callers see it: as it is, under its own name or that of a column.

    `like` and the options are for the reference alone: what the value can be, whether it can be
    null, and whether it is always there.
    """

    def __init__(
        self, like: Like = TEXT, *, null: bool = False, always: bool = True, about: str = "",
        **options: Any,
    ) -> None:  # fmt: skip
        metadata = {"description": about} if about else None
        super().__init__(required=always, allow_none=null, metadata=metadata, **options)
        self.like = like


class Instant(Shown):
    """A time in UTC, which answers write as `2025-12-29T17:00:00Z`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(INSTANT, **options)


class Computed(Shown):
    """A value worked out of the whole row."""

    def __init__(self, of: Callable[[Row], Any], like: Like = TEXT, **options: Any) -> None:
        super().__init__(like, **options)
        self.of = of


class ResponseSchema(Schema):
    """What goes out, its keys in the order of their fields.

    The rows come from the database, where nothing invalid is; so reading them needs none of what
    marshmallow does on the way out, which takes four times as long.
    """

    # What the reference shows.
    EXAMPLE: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        shown = {
            name: field for name, field in self.dump_fields.items() if isinstance(field, Shown)
        }
        self._computed = {
            name: field.of for name, field in shown.items() if isinstance(field, Computed)
        }
        columns = {
            name: field.attribute or name
            for name, field in shown.items()
            if name not in self._computed
        }
        # What is worked out has its place kept by a column, any of them.
        places = dict.fromkeys(shown, next(iter(columns.values()), "")) | columns
        self._names, self._read = tuple(places), itemgetter(*places.values())

    def dump_row(self, row: Row) -> Row:
        """A row as callers see it."""
        shown = dict(zip(self._names, self._read(row), strict=False))  # to be strict takes time
        for name, work_out in self._computed.items():
            shown[name] = work_out(row)
        return shown

    def dump_rows(self, rows: list[Row]) -> list[Row]:
        """Rows as callers see them."""
        return [self.dump_row(row) for row in rows]


def _host_name(meeting: Row) -> str | None:
    if meeting["host_id"] is None:
        return None
    return full_name(meeting["host_first_name"], meeting["host_last_name"])


def _host(meeting: Row) -> dict[str, Any] | None:
    if meeting["host_id"] is None:
        return None
    return {
        "id": meeting["host_id"],
        "name": _host_name(meeting),
        "email": meeting["host_email"],
    }


class MeetingResponse(ResponseSchema):
    """A meeting as POST /meetings answers it."""

    EXAMPLE = {
        "id": "019b6a5c-5d60-7d5f-a1c3-6a1f0c1b7a11",
        "lead_id": "019b6a5b-0f10-7c52-8d2e-1f5b7a9c3d20",
        "title": "Discovery Call with Tony Stark",
        "starts_at": "2025-12-29T17:00:00Z",
        "ends_at": "2025-12-29T18:00:00Z",
        "duration_minutes": 60,
        "timezone": "America/Santiago",
        "status": "confirmed",
        "meeting_url": "https://meet.google.com/oki-fjnk-oyu",
        "location_type": "video",
        "location_details": None,
        "host_name": None,
        "meeting_type": None,
        "attendee_name": "Tony Stark",
        "attendee_email": "tony.stark@gmail.com",
        "external_calendar_provider": "ghl",
        "external_event_id": "1RZJ24WY65VGQFyhN0vJ",
        "source": "api",
        "created_at": "2025-12-20T12:00:00Z",
    }

    id = Shown(ID)
    lead_id = Shown(ID)
    title = Shown()
    starts_at = Instant()
    ends_at = Instant()
    duration_minutes = Computed(
        lambda m: whole_minutes(m["ends_at"] - m["starts_at"]), COUNT, about="Rounded down."
    )
    timezone = Shown()
    status = Computed(shown_status, one_of(*SHOWN_STATUSES))
    meeting_url = Shown(null=True)
    location_type = Shown(one_of(*LOCATION_TYPES))
    location_details = Shown(null=True)
    host_name = Computed(_host_name, null=True)
    meeting_type = Shown(attribute="meeting_type_name", null=True)
    attendee_name = Shown(null=True)
    attendee_email = Shown(null=True)
    external_calendar_provider = Shown(null=True)
    external_event_id = Shown(null=True)
    source = Shown()
    created_at = Instant()


class Host(ResponseSchema):
    """Who holds a meeting."""

    EXAMPLE = {
        "id": "019b6a5a-70a8-7f10-9c1e-2b7d5e6f8a01",
        "name": "Pepper Potts",
        "email": "pepper.potts@example.com",
    }

    id = Shown(ID)
    name = Shown()
    email = Shown()


class Times(ResponseSchema):
    """When a meeting starts and ends."""

    EXAMPLE = {"starts_at": "2025-12-29T17:00:00Z", "ends_at": "2025-12-29T18:00:00Z"}

    starts_at = Instant()
    ends_at = Instant()


class Move(ResponseSchema):
    """One time that a meeting was rescheduled."""

    EXAMPLE = {
        "from": {"starts_at": "2025-12-22T17:00:00Z", "ends_at": "2025-12-22T18:00:00Z"},
        "to": Times.EXAMPLE,
        "reason": "double-booked",
        "at": "2025-12-21T09:00:00Z",
    }

    from_ = Shown(Times, attribute="from", data_key="from")
    to = Shown(Times)
    reason = Shown(null=True)
    at = Instant()


class MeetingItem(MeetingResponse):
    """A meeting in full, as lists show it."""

    EXAMPLE = {
        **MeetingResponse.EXAMPLE,
        "host_name": "Pepper Potts",
        "meeting_type": "Discovery Call",
        "confirmed_by_lead": True,
        "cancelled_at": None,
        "cancellation_reason": None,
        "no_show_reason": None,
        "outcome_at": None,
        "outcome_notes": None,
        "updated_at": "2025-12-21T09:00:00Z",
        "host": Host.EXAMPLE,
        "description": "Confirmation and reminder emails",
        "attendee_phone": "+1 212 970 4133",
        "additional_attendees": [Attendee.EXAMPLE],
        "meeting_type_id": "019b6a5a-7f30-7b21-8a44-90f1c2d3e4f5",
        "reschedules": [Move.EXAMPLE],
    }

    confirmed_by_lead = Shown(FLAG)
    cancelled_at = Instant(null=True)
    cancellation_reason = Shown(null=True)
    no_show_reason = Shown(null=True)
    outcome_at = Instant(null=True)
    outcome_notes = Shown(null=True)
    updated_at = Instant()
    host = Computed(_host, Host, null=True)
    description = Shown(null=True)
    attendee_phone = Shown(null=True)
    additional_attendees = Shown([Attendee])
    meeting_type_id = Shown(ID, null=True)
    reschedules = Shown([Move])


def stats(counts: Mapping[str, int]) -> dict[str, Any]:
    """The statistics of meetings counted by status as shown.

    The rates are of those with an outcome, completed or no-show; null where there is none.
    """
    shown = {status: counts.get(status, 0) for status in SHOWN_STATUSES}
    held = shown["completed"] + shown["no_show"]
    return {
        "total": sum(shown.values()),
        **shown,
        "show_rate": shown["completed"] / held if held else None,
        "no_show_rate": shown["no_show"] / held if held else None,
    }


class LeadSummary(ResponseSchema):
    """A lead above its history."""

    EXAMPLE = {
        "id": "019b6a5b-0f10-7c52-8d2e-1f5b7a9c3d20",
        "first_name": "Tony",
        "last_name": "Stark",
        "phone": "+1 212 970 4133",
        "email": "tony.stark@gmail.com",
        "source": "api",
        "created_at": "2025-12-20T11:00:00Z",
    }

    id = Shown(ID)
    first_name = Shown()
    last_name = Shown(null=True)
    phone = Shown(null=True)
    email = Shown(null=True)
    source = Shown()
    created_at = Instant()


class LeadResponse(ResponseSchema):
    """A lead in full."""

    EXAMPLE = {
        **LeadSummary.EXAMPLE,
        "company": "Stark Industries",
        "title": None,
        "external_id": "demo-tony-stark",
        "metadata": {"utm_source": "webinar"},
        "updated_at": "2025-12-20T11:00:00Z",
    }

    id = Shown(ID)
    first_name = Shown()
    last_name = Shown(null=True)
    email = Shown(null=True)
    phone = Shown(null=True)
    source = Shown()
    company = Shown(null=True)
    title = Shown(null=True)
    external_id = Shown(null=True)
    metadata = Shown(METADATA)
    created_at = Instant()
    updated_at = Instant()


class ActivityResponse(ResponseSchema):
    """One line of a lead's history."""

    EXAMPLE = {
        "type": "activity",
        "channel": CHANNEL,
        "activity_type": "meeting_updated",
        "title": "Meeting updated: Discovery Call with Tony Stark",
        "description": "Changed: location_type",
        "actor_type": "api",
        "meeting_id": MeetingResponse.EXAMPLE["id"],
        "changes": {"location_type": ["video", "phone"]},
        "timestamp": "2025-12-21T09:00:00Z",
    }

    type = Computed(lambda activity: "activity", {"type": "string", "const": "activity"})
    channel = Computed(lambda activity: CHANNEL, {"type": "string", "const": CHANNEL})
    activity_type = Shown(one_of(*ACTIVITY_TYPES))
    title = Shown()
    description = Shown(null=True)
    actor_type = Shown()
    meeting_id = Shown(ID, null=True)
    changes = Shown(
        {
            "type": "object",
            "additionalProperties": {"type": "array", "minItems": 2, "maxItems": 2, "items": {}},
        },
        null=True,
        about="Field → what was before, what is after.",
    )
    timestamp = Instant(attribute="created_at")
