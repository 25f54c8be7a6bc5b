"""The shapes of requests and responses, the either-or field rules, and local time to UTC."""

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any

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
    BOOKING_STATUSES,
    CHANNEL,
    LATEST_START,
    LOCATION_TYPES,
    MEETING_ORDERS,
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
LARGEST_OFFSET = 10**15  # rows skipped; both databases can count that far
INT64 = range(-(2**63), 2**63)

# All that counts as white space and is no control character.
WHITE_SPACE = (
    " \t\n\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
REFUSED_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
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

    marshmallow's way around those takes longer than all that our fields do.
    """

    default_error_messages = {"required": REQUIRED, "null": REQUIRED}

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
    """What comes in; unknown fields are errors."""

    error_messages = {"unknown": "Unknown field.", "type": "Must be a JSON object."}


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

    name = Text(255)
    email = Email(required=True)

    error_messages = {"unknown": "Unknown field.", "type": "Must be an object with name and email."}

    @post_load
    def leave_out_no_name(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """A name of null is a name not given."""
        return {field: value for field, value in loaded.items() if value is not None}


class Attendees(fields.List[dict[str, Any]]):
    """At most 100 further attendees, counted before any is looked at: there may be very many."""

    default_error_messages = {
        "invalid": "Must be a list of objects with name and email.",
        "many": "Must hold at most 100 attendees, not {count}.",
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, list) and len(value) > 100:
            raise self.make_error("many", count=len(value))
        return super()._deserialize(value, attr, data, **kwargs)


class MeetingRequest(Request):
    """A booking. After loading: instants in UTC, fields absent where not given, None for null."""

    lead_email = Email()
    lead_id = Id()
    title = Text(255, required=True)
    starts_at = DateTime(required=True)
    ends_at = DateTime()
    duration_minutes = WholeNumber(1, LONGEST_MINUTES)
    timezone = Timezone()
    meeting_url = Url()
    location_type = Choice(LOCATION_TYPES)
    location_details = Text(255)
    description = Text(10_000)
    host_email = Email()
    meeting_type_id = Id()
    attendee_name = Text(255)
    attendee_email = Email()
    attendee_phone = Text(50)
    additional_attendees = Attendees(fields.Nested(Attendee), allow_none=True)
    external_calendar_provider = LowerCase(64)
    external_event_id = Text(255)
    previous_external_event_id = Text(255)
    status = Choice(BOOKING_STATUSES)

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def check_either_or(
        self, loaded: dict[str, Any], given: Mapping[str, Any], **kwargs: Any
    ) -> None:
        """Either lead_email or lead_id, either ends_at or duration_minutes; and times to instants.

        The instants take the place of the times here, not after loading, since finding what is
        wrong with them is finding them.
        """
        wrong = resolve_times(given, loaded, _zone_of(given, loaded, "UTC"))
        if given.get("ends_at") is None and given.get("duration_minutes") is None:
            wrong["ends_at"] = ["Required unless duration_minutes is given."]
        if given.get("lead_email") is None and given.get("lead_id") is None:
            wrong["lead_email"] = ["Required unless lead_id is given."]
        if given.get("previous_external_event_id") is not None and not _has_pair(given):
            wrong["previous_external_event_id"] = [
                "Needs both external_calendar_provider and external_event_id."
            ]
        if wrong:
            raise ValidationError(wrong)


def _has_pair(booking: Mapping[str, Any]) -> bool:
    pair = ("external_calendar_provider", "external_event_id")
    return all(booking.get(field) is not None for field in pair)


def replay_warnings(booking: Mapping[str, Any]) -> list[str] | None:
    """The warning that half a (provider, event id) pair protects from nothing; else None."""
    provider, event_id = (
        booking.get(field) is not None
        for field in ("external_calendar_provider", "external_event_id")
    )
    if provider == event_id:
        return None
    given, missing = (
        ("external_calendar_provider", "external_event_id")
        if provider
        else ("external_event_id", "external_calendar_provider")
    )
    return [
        f"{given} was given without {missing}, so the meeting was logged without replay"
        " protection: sent again, it would be logged again."
    ]


class Reason(Request):
    """Why; or nothing."""

    reason = Text(1000)


class Notes(Request):
    """What is to be noted; or nothing."""

    notes = Text(10_000)


class ReasonAndNotes(Reason, Notes):
    """Why, and what is to be noted; or nothing."""


class RescheduleRequest(Reason):
    """New times. After loading: instants, or as written where only the meeting's zone tells."""

    starts_at = DateTime(required=True)
    ends_at = DateTime()
    duration_minutes = WholeNumber(1, LONGEST_MINUTES)
    timezone = Timezone()
    external_event_id = Text(255)

    @validates_schema(pass_original=True, skip_on_field_errors=False)
    def check_times(self, loaded: dict[str, Any], given: Mapping[str, Any], **kwargs: Any) -> None:
        """Turn times into instants where the request alone tells which they are."""
        if wrong := resolve_times(given, loaded, _zone_of(given, loaded, None)):
            raise ValidationError(wrong)


class LeadChanges(Request):
    """Fields of a lead to replace; None clears. What is no field of a lead goes into metadata.

    After loading, `clear_metadata` says whether the stored metadata goes before these come.
    """

    first_name = Text(255)
    last_name = Text(255)
    email = Email()
    phone = Text(50)
    company = Text(255)
    title = Text(255)
    source = Text(255)
    external_id = Text(255)
    metadata = Metadata()

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

    first_name = Text(255, required=True)


class LeadPatch(LeadChanges):
    """Changes to a lead; its first name can be replaced but not cleared."""

    first_name = Text(255, allow_none=False, error_messages={"null": "Must not be null."})


class LeadsQuery(Query):
    """Parameters of GET /leads."""

    email = Text(254)
    search = Text(255)
    limit = WholeNumber(1, 200, load_default=50)
    page = WholeNumber(0, LARGEST_OFFSET // 200, load_default=0)


def check_cursor(loaded: dict[str, Any], order: str) -> None:
    """A cursor of another order points nowhere in this one."""
    if "cursor" in loaded and loaded["cursor"][0] != order:
        raise ValidationError(WRONG_CURSOR, "cursor")


class LeadMeetingsQuery(Query):
    """Parameters of GET /leads/{lead_id}/meetings, which has one order."""

    status = CommaList(SHOWN_STATUSES)
    limit = WholeNumber(1, 1000, load_default=200)
    cursor = Cursor()

    @post_load
    def in_its_order(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Name the order."""
        check_cursor(loaded, LATEST_START)
        return loaded | {"order": LATEST_START}


class MeetingFilters(Query):
    """Parameters of GET /meetings/stats."""

    status = CommaList(SHOWN_STATUSES)
    lead_id = Id()
    lead_email = Text(254)
    host_email = Text(254)
    external_calendar_provider = LowerCase(64)
    external_event_id = Text(255)
    starts_after = OffsetDateTime()
    starts_before = OffsetDateTime()
    updated_after = OffsetDateTime()


class CalendarQuery(Query):
    """Parameters of GET /meetings.ics."""

    host_email = Text(254)


class MeetingsQuery(MeetingFilters):
    """Parameters of GET /meetings."""

    order = Choice(MEETING_ORDERS, load_default=LATEST_START)
    limit = WholeNumber(1, 200, load_default=50)
    cursor = Cursor()

    @post_load
    def in_the_same_order(self, loaded: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Refuse a cursor of another order."""
        check_cursor(loaded, loaded["order"])
        return loaded


class HistoryQuery(Query):
    """Parameters of GET /leads/{id}/history."""

    limit = WholeNumber(1, 200, load_default=50)
    offset = WholeNumber(0, LARGEST_OFFSET, load_default=0)
    channel = CommaList()


# -------------------------------------------------------------------------------- responses out


class Shown(fields.Field[Any]):
    """A value of a row as callers see it: as it is, under its own name or that of a column."""

    def reader(self, name: str) -> Callable[[Row], Any]:
        """What reads the value from a row."""
        return itemgetter(self.attribute or name)


class Instant(Shown):
    """A time in UTC, which answers write as `2025-12-29T17:00:00Z`."""


class Computed(Shown):
    """A value worked out of the whole row."""

    def __init__(self, of: Callable[[Row], Any]) -> None:
        super().__init__()
        self.of = of

    def reader(self, name: str) -> Callable[[Row], Any]:
        """What works out the value from a row."""
        return self.of


class ResponseSchema(Schema):
    """What goes out, its keys in the order of their fields.

    The rows come from the database, where nothing invalid is; so reading them needs none of what
    marshmallow does on the way out, which takes four times as long.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers = [
            (name, field.reader(name))
            for name, field in self.dump_fields.items()
            if isinstance(field, Shown)
        ]

    def dump_row(self, row: Row) -> Row:
        """A row as callers see it."""
        return {name: read(row) for name, read in self.readers}

    def dump_rows(self, rows: list[Row]) -> list[Row]:
        """Rows as callers see them."""
        return [self.dump_row(row) for row in rows]


def _host_name(meeting: Row) -> str | None:
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

    id = Shown()
    lead_id = Shown()
    title = Shown()
    starts_at = Instant()
    ends_at = Instant()
    duration_minutes = Computed(lambda m: whole_minutes(m["ends_at"] - m["starts_at"]))
    timezone = Shown()
    status = Computed(shown_status)
    meeting_url = Shown()
    location_type = Shown()
    location_details = Shown()
    host_name = Computed(_host_name)
    meeting_type = Shown(attribute="meeting_type_name")
    attendee_name = Shown()
    attendee_email = Shown()
    external_calendar_provider = Shown()
    external_event_id = Shown()
    source = Shown()
    created_at = Instant()


class MeetingItem(MeetingResponse):
    """A meeting in full, as lists show it."""

    confirmed_by_lead = Shown()
    cancelled_at = Instant()
    cancellation_reason = Shown()
    no_show_reason = Shown()
    outcome_at = Instant()
    outcome_notes = Shown()
    updated_at = Instant()
    host = Computed(_host)
    description = Shown()
    attendee_phone = Shown()
    additional_attendees = Shown()
    meeting_type_id = Shown()
    reschedules = Shown()


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


class LeadResponse(ResponseSchema):
    """A lead in full."""

    id = Shown()
    first_name = Shown()
    last_name = Shown()
    email = Shown()
    phone = Shown()
    source = Shown()
    company = Shown()
    title = Shown()
    external_id = Shown()
    metadata = Shown()
    created_at = Instant()
    updated_at = Instant()


class LeadSummary(ResponseSchema):
    """A lead above its history."""

    id = Shown()
    first_name = Shown()
    last_name = Shown()
    phone = Shown()
    email = Shown()
    source = Shown()
    created_at = Instant()


class ActivityResponse(ResponseSchema):
    """One line of a lead's history."""

    type = Computed(lambda activity: "activity")
    channel = Computed(lambda activity: CHANNEL)
    activity_type = Shown()
    title = Shown()
    description = Shown()
    actor_type = Shown()
    meeting_id = Shown()
    changes = Shown()
    timestamp = Instant(attribute="created_at")
