"""The tables with their constraints and indexes, and the vocabulary of their columns.

`intake_models` and `webhook_models` hold those of what arrives and of what is sent.
"""

from datetime import timedelta
from typing import Any

from peewee import (
    SQL,
    BigAutoField,
    CharField,
    Check,
    CompositeKey,
    ForeignKeyField,
    IntegerField,
    TextField,
)

from database.tables import Base, FlagField, IdField, InstantField, JsonField, Table, belongs_to

# The values of a meeting's `status` column. A confirmed meeting is stored as scheduled.
STATUSES = ("scheduled", "completed", "cancelled", "no_show")
# The statuses that callers see and filter by.
SHOWN_STATUSES = ("scheduled", "confirmed", "completed", "cancelled", "no_show")
BOOKING_STATUSES = ("scheduled", "confirmed")
LOCATION_TYPES = ("video", "phone", "in_person")
LATEST_START = "-starts_at"
# The orders in which meetings can be listed.
MEETING_ORDERS = ("starts_at", LATEST_START, "updated_at")
ACTIVITY_TYPES = (
    "lead_created",
    "lead_updated",
    "meeting_scheduled",
    "meeting_updated",
    "meeting_rescheduled",
    "meeting_confirmed",
    "meeting_cancelled",
    "meeting_completed",
    "meeting_no_show",
    "meeting_reopened",
    "note_added",
)
# The contents of a note; the last is a text or a list of texts.
NOTE_CONTENTS = ("notes", "transcript_text", "summary", "manual_ai_summary", "action_items")
# Providers of notes for which Nexor has integrations of its own.
RESERVED_NOTE_PROVIDERS = ("fireflies", "diio", "gemini", "retell")
OLDEST_FIRST = "created_at"  # the order of notes
CHANNEL = "system"
MINUTE = timedelta(minutes=1)
SOURCE = "api"


class Client(Table):
    """The owner of all rows."""

    name = CharField(255, unique=True)
    created_at = InstantField()

    class Meta:
        table_name = "clients"


class ApiKey(Table):
    """A key of a client. Only its SHA-256 is stored, so a copy of the database reveals no key."""

    client = belongs_to(Client)
    key_hash = CharField(64, unique=True)
    prefix = CharField(16)
    last_four = CharField(4)
    label = CharField(16, null=True)  # `demo` for a key that the demo made
    name = CharField(255, null=True)  # whose it is, for people
    read_only = FlagField(constraints=[SQL("DEFAULT false")])
    # Days in UTC, as `2026-03-02`; such texts sort by time.
    expires_on = CharField(10, null=True)  # the last day on which it is valid
    last_used_on = CharField(10, null=True)
    created_at = InstantField()
    revoked_at = InstantField(null=True)

    class Meta:
        table_name = "api_keys"
        indexes = ((("client", "created_at"), False),)


class User(Table):
    """A person who works for the client and can host meetings."""

    client = belongs_to(Client)
    email = CharField(254)
    email_key = TextField()  # the email in lower case, for look-ups
    first_name = CharField(255)
    last_name = CharField(255)
    active = FlagField()
    created_at = InstantField()

    class Meta:
        table_name = "users"
        indexes = ((("client", "email_key"), True),)

    @property
    def full_name(self) -> str:
        """`First Last`."""
        return f"{self.first_name} {self.last_name}"


class MeetingType(Table):
    """A kind of meeting that the client offers."""

    client = belongs_to(Client)
    name = CharField(255)
    created_at = InstantField()

    class Meta:
        table_name = "meeting_types"
        indexes = ((("client", "name"), True),)


class Lead(Table):
    """The person sold to. Several leads may share an email."""

    client = belongs_to(Client)
    first_name = CharField(255)
    last_name = CharField(255, null=True)
    email = CharField(254, null=True)
    email_key = TextField(null=True)  # the email in lower case, for look-ups
    phone = CharField(50, null=True)
    phone_digits = CharField(50, null=True)  # for look-ups; None for a phone without digits
    source = CharField(255)
    company = CharField(255, null=True)
    title = CharField(255, null=True)
    external_id = CharField(255, null=True)
    metadata = JsonField()
    search_key = TextField()  # name, email and phone, normalized for searching
    created_at = InstantField()
    updated_at = InstantField()

    class Meta:
        table_name = "leads"
        indexes = (
            # Indexes begin with the column that is looked up: database.queries.checked says why.
            (("external_id", "client"), True),
            # the lead with an email: of several, the one updated last
            (("email_key", "client", "updated_at", "created_at", "id"), False),
            # the list of leads
            (("client", "updated_at", "created_at", "id"), False),
        )

    @property
    def full_name(self) -> str | None:
        """`First Last`, or the only name that is known."""
        return " ".join(filter(None, (self.first_name, self.last_name))) or None

    @classmethod
    def latest_first(cls) -> tuple[Any, ...]:
        """Return the order whose first row is the lead chosen among several with one email."""
        return cls.updated_at.desc(), cls.created_at.desc(), cls.id.desc()


Lead.add_index(
    Lead.phone_digits,
    Lead.client,
    where=Lead.phone_digits.is_null(False),
    name="leads_phone_digits",
)


class Meeting(Table):
    """The row that a booking becomes."""

    lead_id: str
    host_id: str | None
    meeting_type_id: str | None

    client = belongs_to(Client)
    lead = belongs_to(Lead)
    title = CharField(255)
    starts_at = InstantField()
    ends_at = InstantField()
    timezone = CharField(64)
    status = CharField(16)
    confirmed_by_lead = FlagField()
    meeting_url = CharField(2048, null=True)
    location_type = CharField(16)
    location_details = CharField(255, null=True)
    description = TextField(null=True)
    host = belongs_to(User, null=True)
    meeting_type = belongs_to(MeetingType, null=True)
    attendee_name = CharField(511, null=True)  # long enough for a lead's first and last name
    attendee_email = CharField(254, null=True)
    attendee_phone = CharField(50, null=True)
    additional_attendees = JsonField()
    external_calendar_provider = CharField(64, null=True)
    external_event_id = CharField(255, null=True)
    matched_emails = JsonField()  # lower case; the emails that have named the lead
    source = CharField(255)
    reschedules = JsonField()  # every move, in the form that responses have
    cancelled_at = InstantField(null=True)
    cancellation_reason = CharField(1000, null=True)
    no_show_reason = CharField(1000, null=True)
    outcome_at = InstantField(null=True)
    outcome_notes = TextField(null=True)
    created_at = InstantField()
    updated_at = InstantField()

    class Meta:
        table_name = "meetings"
        indexes = (
            (("lead", "starts_at", "id"), False),
            (("client", "starts_at", "id"), False),
            (("client", "updated_at", "id"), False),
        )
        constraints = [
            Check(f"status IN {STATUSES}", "meetings_status"),
            Check(f"location_type IN {LOCATION_TYPES}", "meetings_location_type"),
            Check("ends_at > starts_at", "meetings_end_after_start"),
        ]

    # Responses read these properties of every row, so they read the row's values directly: a full
    # meeting is written in 4.2 µs, against 6.3 µs through peewee's attributes.

    @property
    def shown_status(self) -> str:
        """The status that callers see: `confirmed` for a scheduled meeting the lead confirmed."""
        data = self.__data__
        is_confirmed = data["status"] == "scheduled" and data["confirmed_by_lead"]
        return "confirmed" if is_confirmed else str(data["status"])

    @property
    def duration_minutes(self) -> int:
        """Whole minutes, rounded down."""
        minutes: int = (self.__data__["ends_at"] - self.__data__["starts_at"]) // MINUTE
        return minutes

    @property
    def host_name(self) -> str | None:
        """The host's `First Last`; None without a host."""
        host = self.__rel__.get("host")
        return host.full_name if host else None

    @property
    def meeting_type_name(self) -> str | None:
        """The name of the meeting's type; None without one."""
        meeting_type = self.__rel__.get("meeting_type")
        return meeting_type.name if meeting_type else None


# Partial indexes, which leave out most rows and so do not slow down a booking.
Meeting.add_index(
    Meeting.client,
    Meeting.host,
    Meeting.starts_at,
    Meeting.id,
    where=Meeting.host.is_null(False),
    name="meetings_of_host",
)
Meeting.add_index(
    Meeting.client,
    Meeting.status,
    Meeting.starts_at,
    Meeting.id,
    where=Meeting.status != "scheduled",
    name="meetings_with_outcome",
)
Meeting.add_index(
    Meeting.meeting_type,  # looked up when a meeting type is deleted
    where=Meeting.meeting_type.is_null(False),
    name="meetings_of_type",
)
Meeting.add_index(
    Meeting.external_event_id,
    where=Meeting.external_calendar_provider.is_null(),
    name="meetings_of_half_a_pair",
)


class ExternalEvent(Base):
    """The meeting of a booking in another system; the key identifies replays of the booking.

    This row decides whether a booking is new, so it is written before the meeting, and the
    foreign key is checked at commit. Whenever a meeting is written, SQLite looks for rows that
    refer to it; without the index on `meeting` it would read the whole table.

    An event without a meeting is one that an unmatched receipt waits for.
    """

    meeting_id: str | None

    client = belongs_to(Client)
    provider = CharField(64)  # lower case
    event_id = CharField(255)
    meeting = ForeignKeyField(Meeting, null=True, deferrable="INITIALLY DEFERRED")
    # The latest events that a booking system reported: of the booking itself, and of its outcome.
    booking_stamp = TextField(null=True)
    outcome_stamp = TextField(null=True)

    class Meta:
        table_name = "external_events"
        primary_key = CompositeKey("client", "event_id", "provider")


class Activity(Base):
    """One immutable line of a lead's history. The keys give the order of writing.

    `meeting` is no foreign key. With one, the database would look for referring rows whenever a
    meeting is deleted. The index for that would make every booking write a tenth more.
    """

    id = BigAutoField()
    client = belongs_to(Client)
    lead = belongs_to(Lead)
    meeting = IdField(null=True, column_name="meeting_id")
    activity_type = CharField(32)
    title = TextField()
    description = TextField(null=True)
    actor_type = CharField(16)
    changes = JsonField(null=True)
    created_at = InstantField()

    class Meta:
        table_name = "activities"
        indexes = ((("lead", "id"), False),)


class Feed(Table):
    """A secret calendar address for the meetings of a client, one of its hosts or one of its leads.

    Only the SHA-256 of the secret is stored.
    """

    host_id: str | None
    lead_id: str | None

    client = belongs_to(Client)
    token_hash = CharField(64, unique=True)
    host = belongs_to(User, null=True)
    lead = belongs_to(Lead, null=True)
    created_at = InstantField()
    revoked_at = InstantField(null=True)

    class Meta:
        table_name = "feeds"
        indexes = ((("client", "created_at"), False), (("lead",), False))
        constraints = [Check("host_id IS NULL OR lead_id IS NULL", "feeds_of_one")]


class MeetingNote(Table):
    """Notes that a note-taking tool, or a person, took about a meeting."""

    meeting_id: str

    client = belongs_to(Client)
    meeting = belongs_to(Meeting)
    provider = CharField(64)
    external_meeting_id = CharField(255, null=True)  # with the provider, the id of one note
    notes = TextField(null=True)
    summary = TextField(null=True)
    manual_ai_summary = TextField(null=True)
    transcript_text = TextField(null=True)
    action_items = JsonField(null=True)  # a text or a list of texts
    matched_by = CharField(32)  # the field that identified the meeting
    created_at = InstantField()
    updated_at = InstantField()

    class Meta:
        table_name = "meeting_notes"
        indexes = (
            (("external_meeting_id", "client", "provider"), True),
            (("meeting", "created_at", "id"), False),
        )


class ErasedEvent(Base):
    """The hash of a pair that named a meeting of an erased lead."""

    client = belongs_to(Client)
    pair_hash = CharField(64)
    expires_at = InstantField(null=True)  # None for never

    class Meta:
        table_name = "erased_events"
        primary_key = CompositeKey("pair_hash", "client")
        indexes = ((("client", "expires_at"), False),)


class IdempotencyKey(Base):
    """A key under which a caller sent a request, and the response to it.

    The row is written before the request is carried out and completed afterwards, in the same
    transaction. So no other transaction sees it without the response.
    """

    client = belongs_to(Client)
    key = CharField(255)
    request_hash = CharField(64)  # SHA-256 of the path, the query and the body
    status = IntegerField(null=True)
    body = TextField(null=True)
    location = TextField(null=True)
    # The lead that the response is about, or else the row that it shows.
    subject = IdField(null=True, column_name="subject_id")
    created_at = InstantField()

    class Meta:
        table_name = "idempotency_keys"
        primary_key = CompositeKey("key", "client")
        indexes = ((("client", "created_at"), False),)


IdempotencyKey.add_index(
    IdempotencyKey.subject,  # looked up when a lead is erased
    where=IdempotencyKey.subject.is_null(False),
    name="idempotency_keys_subject",
)


class DeskSession(Table):
    """A sign-in at the desk with a key. Only the SHA-256 of the cookie's token is stored."""

    key = belongs_to(ApiKey)
    token_hash = CharField(64, unique=True)
    created_at = InstantField()
    expires_at = InstantField()

    class Meta:
        table_name = "desk_sessions"
        indexes = ((("expires_at",), False),)
