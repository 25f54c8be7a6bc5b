"""Repair bookings from other systems, keeping as many values as possible.

The fields of MeetingRequest decide what is valid, and give the limits. So no rule of validation is
written twice.
"""

import re
from itertools import chain, islice
from typing import Any, NamedTuple

from marshmallow import ValidationError
from marshmallow.validate import Length

import fields
from schemas import PAIR, Attendee, MeetingRequest, Reason
from services.providers.events import ReportedEvent, find, is_blank, plain_text
from services.results import Details, Loaded
from times import read_date_time

SCHEMA = MeetingRequest()
FIELDS = SCHEMA.load_fields
ATTENDEE_FIELDS = Attendee().load_fields
REASON = Reason().load_fields["reason"]

# Repaired first, even if valid: other fields depend on them, and attendees may be listed twice.
EAGER = ("meeting_url", "location_type", "timezone", "additional_attendees")
# A payload without these is not a booking, so their faults stay. Of two alternatives, one is
# enough.
NEEDED = {"title", "starts_at", *PAIR, *chain.from_iterable(MeetingRequest.EITHER_OR)}

# A number to dial, perhaps with an extension. E.164 allows 15 digits; fewer than 7 digits are
# probably the number of a room or a house.
PHONE = re.compile(r"(?:tel:)?\+?[0-9 ().\-/]+(?:(?:x|ext\.?) ?[0-9]{1,6})?", re.IGNORECASE)
PHONE_DIGITS = range(7, 22)  # with the extension
ATTENDEES_READ = 1000  # the rest of a longer list is ignored


class Repaired(NamedTuple):
    """A payload's booking after its repair."""

    booking: Loaded  # by MeetingRequest, but the pair of external ids is required too
    repairs: Details  # field → sentences that say what was repaired
    lead_email: str | None  # if it is valid, as written


def repair(event: ReportedEvent) -> Repaired:
    """Make an event's booking valid where that is possible; never raises.

    Faults of the fields that a booking needs are in `booking.wrong`, as the schema reports them.
    """
    payload = _Payload(event)
    for name in EAGER:
        payload.mend(name)
    payload.keep_location()
    payload.add_timezone(event.timezone)
    valid, wrong = _load(payload.kept)
    if wrong:
        for name in [name for name in wrong if name in payload.given]:
            payload.mend(name)
        payload.add_timezone(event.timezone)
        valid, wrong = payload.load()
    _, reason_repairs = _first_valid(REASON, _candidates(event.reason))
    payload.note("reason", *reason_repairs)
    needed = (*PAIR, "lead_email") if "lead_id" not in payload.kept else PAIR
    missed = {name: [fields.REQUIRED] for name in needed if name not in payload.kept}
    return Repaired(Loaded(valid, wrong | missed), payload.repairs, valid.get("lead_email"))


def reason_of(event: ReportedEvent) -> str | None:
    """Return the reason that an event gives, repaired like the fields of a booking."""
    reason: str | None
    reason, _ = _first_valid(REASON, _candidates(event.reason))
    return reason


class _Payload:
    """A booking under repair: what was given, what is kept of it, and what was done."""

    def __init__(self, event: ReportedEvent) -> None:
        booking = event.booking
        self.has_free_text = "location" in booking
        if self.has_free_text:
            booking = {**booking, "location_details": booking["location"]}
        self.given: dict[str, list[Any]] = {}
        self.kept: dict[str, Any] = {}
        self.repairs: Details = {}
        for name, value in booking.items():
            if name in FIELDS and (values := _candidates(value)):
                self.given[name] = values
                self.kept[name] = _as_text(values[0])

    def note(self, name: str, *sentences: str) -> None:
        """List repairs of a field."""
        if sentences:
            self.repairs[name] = [*self.repairs.get(name, []), *sentences]

    def mend(self, name: str) -> None:
        """Keep the first of a field's values that is valid or can be made so."""
        value, sentences = _first_valid(FIELDS[name], self.given.get(name, []))
        if value is None and name in NEEDED and sentences:
            return  # the schema names the fault
        self.note(name, *sentences)
        self.kept.pop(name, None)
        if value is not None:
            self.kept[name] = value

    def keep_location(self) -> None:
        """Keep the link, the place and the kind of the meeting, each in its own field."""
        place = _first_text(self.given.get("location_details", []))
        is_meeting_place = self.has_free_text and place is not None
        place = place or self._take_join_link()
        if place and _is_valid("meeting_url", place):
            self._keep_link(place)
        elif place and _is_phone(place):
            if self.kept.get("location_type", "phone") != "phone":
                self.note("location_type", "The location is a phone number, so this is a call.")
            self.kept["location_type"] = "phone"
        elif is_meeting_place:
            self.kept.setdefault("location_type", "in_person")
        self.mend("location_details")

    def _take_join_link(self) -> str | None:
        """Use a join link that is not a URL as the place."""
        link = _first_text(self.given.get("meeting_url", []))
        if link is None or "meeting_url" in self.kept:
            return None
        self.repairs["meeting_url"] = ["Not a valid URL, so it was moved to location_details."]
        self.given.setdefault("location_details", []).append(link)
        return link

    def _keep_link(self, place: str) -> None:
        """Use a place that is a URL as the join link, unless there is another one."""
        self.kept.setdefault("location_type", "video")
        if "meeting_url" not in self.kept:
            self.kept["meeting_url"] = place
            if not self.has_free_text:
                self.note("location_details", "A URL, so it was moved to meeting_url.")
        if self.kept["meeting_url"] == place:
            del self.given["location_details"]

    def add_timezone(self, name: str) -> None:
        """Add the zone of times without an offset, if the booking has none."""
        times = [self.kept.get("starts_at"), self.kept.get("ends_at")]
        if "timezone" not in self.kept and any(map(_is_wall_clock, times)):
            self.kept["timezone"] = name

    def load(self) -> Loaded:
        """Load what is kept, without a wrong value whose alternative is valid."""
        loaded = _load(self.kept)
        for one, other in SCHEMA.EITHER_OR:
            if self.kept.keys() >= {one, other}:
                loaded = self._choose(one, other, loaded)
        return loaded

    def _choose(self, one: str, other: str, loaded: Loaded) -> Loaded:
        """Drop one of two values if it is wrong; if they disagree, drop the second."""
        for kept, dropped in ((one, other), (other, one)):
            if dropped not in loaded.wrong:
                continue
            rest = {name: value for name, value in self.kept.items() if name != dropped}
            attempt = _load(rest)
            if kept not in attempt.wrong:
                self.note(dropped, f"Left out: {loaded.wrong[dropped][0]}")
                self.kept = rest
                return attempt
        return loaded


def _candidates(value: Any) -> list[Any]:
    """Return the values of a field that are not blank, its texts stripped."""
    values = value if isinstance(value, tuple) else (value,)
    stripped = [v.strip(fields.WHITE_SPACE) if isinstance(v, str) else v for v in values]
    return [v for v in stripped if v is not None and v != ""]


def _first_text(values: list[Any]) -> str | None:
    return next(filter(None, map(plain_text, values)), None)


def _load(given: dict[str, Any]) -> Loaded:
    try:
        return Loaded(SCHEMA.load(given), {})
    except ValidationError as error:
        valid: Any = error.valid_data  # an object, because the schema loads one object
        return Loaded(valid, error.normalized_messages())


def _first_valid(field: Any, values: list[Any]) -> tuple[Any, list[str]]:
    """Return the first value that is valid or can be made so, or None, and all repairs."""
    sentences = []
    for value in values:
        if is_blank(value):
            continue
        try:
            mended, repairs = _mend(field, value)
        except ValidationError as error:
            sentences.append(f"Left out: {error.messages[0]}")
        else:
            return mended, sentences + repairs
    return None, sentences


def _mend(field: Any, value: Any) -> tuple[Any, list[str]]:
    """Return a value that is valid for the field, and how it was repaired.

    Raises ValidationError if it cannot be made valid.
    """
    if isinstance(field, fields.ShortList):
        return _mend_attendees(field, value)
    repairs = []
    if isinstance(value, str) and fields.REFUSED_CHARACTERS.search(value):
        repairs.append("Characters that cannot be stored were removed.")
    value = _as_text(value)
    if isinstance(value, str):
        value = plain_text(value)
    if isinstance(field, fields.Text) and isinstance(value, str):
        value, cut = _cut(field, value)
        repairs += cut
    field.deserialize(value)
    return value, repairs


def _as_text(value: Any) -> Any:
    """Return a number as its text, which number fields accept too, and other values as they are."""
    if isinstance(value, int | float):
        return value if plain_text(value) is None else plain_text(value)
    return value


def _cut(field: fields.Text, text: str) -> tuple[str, list[str]]:
    if isinstance(field, fields.LowerCase):
        text = text.lower()  # lower case can be longer, and the limit is for what is stored
    longest = next(v.max for v in field.validators if isinstance(v, Length)) or len(text)
    if len(text) <= longest:
        return text, []
    return text[:longest].rstrip(fields.WHITE_SPACE), [
        f"Cut to {longest} characters, from {len(text)}."
    ]


def _mend_attendees(field: Any, value: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """Keep the attendees with a valid email, each email once, as many as the field allows."""
    if not isinstance(value, list):
        field.deserialize(value)  # raises
    attendees: dict[str, dict[str, Any]] = {}  # by email in lower case
    repairs, invalid = [], 0
    for item in islice(value, ATTENDEES_READ):
        given = {"email": item} if isinstance(item, str) else item
        email, _ = _first_valid(ATTENDEE_FIELDS["email"], _candidates(find(given, "email")))
        if email is None:
            invalid += 1
        elif email.lower() not in attendees:
            name, mended = _first_valid(ATTENDEE_FIELDS["name"], _candidates(find(given, "name")))
            attendees[email.lower()] = {"name": name, "email": email}
            repairs += [f"The name of {email}: {sentence}" for sentence in mended]
    if invalid:
        repairs.append(f"Left out: {invalid} without a valid email.")
    if len(attendees) > field.most:
        repairs.append(f"Cut to the first {field.most}.")
    return [*attendees.values()][: field.most], repairs


def _is_valid(name: str, value: Any) -> bool:
    return _first_valid(FIELDS[name], [value])[0] is not None


def _is_phone(text: str) -> bool:
    digits = sum(character.isdigit() for character in text)
    return PHONE.fullmatch(text) is not None and digits in PHONE_DIGITS


def _is_wall_clock(written: Any) -> bool:
    try:
        return isinstance(written, str) and read_date_time(written).tzinfo is None
    except (ValueError, OverflowError):
        return False
