"""The tables of the first release. This script never changes; later changes are new scripts."""

from typing import Any

from peewee import (
    BigAutoField,
    BooleanField,
    CharField,
    Check,
    CompositeKey,
    Field,
    ForeignKeyField,
    Model,
    TextField,
)


class IdField(Field):
    field_type = "UUID"


class InstantField(Field):
    field_type = "INSTANT"


class Table(Model):
    class Meta:
        legacy_table_names = False


class Client(Table):
    id = IdField(primary_key=True)
    name = CharField(255, unique=True)
    created_at = InstantField()

    class Meta:
        table_name = "clients"


class ApiKey(Table):
    id = IdField(primary_key=True)
    client = ForeignKeyField(Client, index=False)
    key_hash = CharField(64, unique=True)
    prefix = CharField(16)
    last_four = CharField(4)
    label = CharField(16, null=True)
    created_at = InstantField()
    revoked_at = InstantField(null=True)

    class Meta:
        table_name = "api_keys"
        indexes = ((("client", "created_at"), False),)


class User(Table):
    id = IdField(primary_key=True)
    client = ForeignKeyField(Client, index=False)
    email = CharField(254)
    email_key = TextField()
    first_name = CharField(255)
    last_name = CharField(255)
    active = BooleanField()
    created_at = InstantField()

    class Meta:
        table_name = "users"
        indexes = ((("client", "email_key"), True),)


class MeetingType(Table):
    id = IdField(primary_key=True)
    client = ForeignKeyField(Client, index=False)
    name = CharField(255)
    created_at = InstantField()

    class Meta:
        table_name = "meeting_types"
        indexes = ((("client", "name"), True),)


class Lead(Table):
    id = IdField(primary_key=True)
    client = ForeignKeyField(Client, index=False)
    first_name = CharField(255)
    last_name = CharField(255, null=True)
    email = CharField(254, null=True)
    email_key = TextField(null=True)
    phone = CharField(50, null=True)
    source = CharField(255)
    company = CharField(255, null=True)
    title = CharField(255, null=True)
    external_id = CharField(255, null=True)
    metadata = TextField()
    search_key = TextField()
    created_at = InstantField()
    updated_at = InstantField()

    class Meta:
        table_name = "leads"
        indexes = (
            (("client", "external_id"), True),
            (("client", "email_key", "updated_at", "created_at", "id"), False),
            (("client", "updated_at", "created_at", "id"), False),
        )


class Meeting(Table):
    id = IdField(primary_key=True)
    client = ForeignKeyField(Client, index=False)
    lead = ForeignKeyField(Lead, index=False)
    title = CharField(255)
    starts_at = InstantField()
    ends_at = InstantField()
    timezone = CharField(64)
    status = CharField(16)
    confirmed_by_lead = BooleanField()
    meeting_url = CharField(2048, null=True)
    location_type = CharField(16)
    location_details = CharField(255, null=True)
    description = TextField(null=True)
    host = ForeignKeyField(User, null=True, index=False)
    meeting_type = ForeignKeyField(MeetingType, null=True, index=False)
    attendee_name = CharField(511, null=True)
    attendee_email = CharField(254, null=True)
    attendee_phone = CharField(50, null=True)
    additional_attendees = TextField()
    external_calendar_provider = CharField(64, null=True)
    external_event_id = CharField(255, null=True)
    matched_emails = TextField()
    source = CharField(255)
    reschedules = TextField()
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
            (("client", "lead", "starts_at", "id"), False),
            (("client", "starts_at", "id"), False),
            (("client", "updated_at", "id"), False),
        )
        constraints = [
            Check(
                "status IN ('scheduled', 'completed', 'cancelled', 'no_show')", "meetings_status"
            ),
            Check("location_type IN ('video', 'phone', 'in_person')", "meetings_location_type"),
            Check("ends_at > starts_at", "meetings_end_after_start"),
        ]


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
    Meeting.client,
    Meeting.external_event_id,
    where=Meeting.external_calendar_provider.is_null(),
    name="meetings_of_half_a_pair",
)


class ExternalEvent(Table):
    client = ForeignKeyField(Client, index=False)
    provider = CharField(64)
    event_id = CharField(255)
    meeting = ForeignKeyField(Meeting, deferrable="INITIALLY DEFERRED")

    class Meta:
        table_name = "external_events"
        primary_key = CompositeKey("client", "event_id", "provider")


class Activity(Table):
    id = BigAutoField()
    client = ForeignKeyField(Client, index=False)
    lead = ForeignKeyField(Lead, index=False)
    meeting = ForeignKeyField(Meeting, null=True, index=False)
    activity_type = CharField(32)
    title = TextField()
    description = TextField(null=True)
    actor_type = CharField(16)
    changes = TextField(null=True)
    created_at = InstantField()

    class Meta:
        table_name = "activities"
        indexes = ((("lead", "id"), False),)


class Feed(Table):
    id = IdField(primary_key=True)
    client = ForeignKeyField(Client, index=False)
    token_hash = CharField(64, unique=True)
    host = ForeignKeyField(User, index=False, null=True)
    lead = ForeignKeyField(Lead, index=False, null=True)
    created_at = InstantField()
    revoked_at = InstantField(null=True)

    class Meta:
        table_name = "feeds"
        indexes = ((("client", "created_at"), False),)
        constraints = [Check("host_id IS NULL OR lead_id IS NULL", "feeds_of_one")]


TABLES = (Client, ApiKey, User, MeetingType, Lead, Meeting, ExternalEvent, Activity, Feed)


def up(migrator: Any, db: Any) -> None:
    """Create every table."""
    with db.bind_ctx(TABLES):
        db.create_tables(TABLES, safe=False)


def down(migrator: Any, db: Any) -> None:
    """Drop every table with its rows."""
    with db.bind_ctx(TABLES):
        db.drop_tables(TABLES)
