"""Tables for webhooks: the addresses, the outbox of events, the deliveries, the senders."""

from typing import Any

from peewee import (
    BigAutoField,
    BigIntegerField,
    BooleanField,
    CharField,
    Check,
    Field,
    ForeignKeyField,
    IntegerField,
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

    class Meta:
        table_name = "clients"


class Webhook(Table):
    id = IdField(primary_key=True)
    client = ForeignKeyField(Client, index=False)
    url = CharField(2048)
    name = CharField(255, null=True)
    events = TextField()
    enabled = BooleanField()
    disabled_reason = TextField(null=True)
    secret = CharField(64)
    previous_secret = CharField(64, null=True)
    previous_secret_until = InstantField(null=True)
    last_delivery = TextField(null=True)
    failing_since = InstantField(null=True)
    failed_tries = IntegerField()
    created_at = InstantField()
    updated_at = InstantField()
    deleted_at = InstantField(null=True)

    class Meta:
        table_name = "webhooks"
        indexes = ((("client", "created_at", "id"), False),)


class Event(Table):
    sequence = BigAutoField()
    id = IdField(unique=True)
    client = ForeignKeyField(Client, index=False)
    event_type = CharField(32)
    meeting_id = IdField(null=True)
    lead_id = IdField(null=True)
    test = BooleanField()
    data = TextField()
    created_at = InstantField()

    class Meta:
        table_name = "events"


Event.add_index(Event.lead_id, where=Event.lead_id.is_null(False), name="events_of_lead")


class Delivery(Table):
    number = BigAutoField()
    id = IdField(unique=True)
    webhook = ForeignKeyField(Webhook, index=False)
    event = ForeignKeyField(Event, field=Event.id)
    event_type = CharField(32)
    meeting_id = IdField(null=True)
    lead_id = IdField(null=True)
    subject_id = IdField(null=True)
    test = BooleanField()
    status = CharField(16)
    attempts = IntegerField()
    next_attempt_at = InstantField(null=True)
    leased_until = InstantField(null=True)
    lease_id = IdField(null=True)
    last_status_code = IntegerField(null=True)
    last_error = TextField(null=True)
    tries = TextField()
    created_at = InstantField()
    delivered_at = InstantField(null=True)

    class Meta:
        table_name = "deliveries"
        indexes = (
            (("webhook", "number"), False),
            (("subject_id", "number"), False),
        )
        constraints = [
            Check("status IN ('pending', 'delivered', 'failed')", "deliveries_status"),
        ]


Delivery.add_index(
    Delivery.webhook,
    Delivery.next_attempt_at,
    Delivery.number,
    where=Delivery.status == "pending",
    name="deliveries_waiting",
)
Delivery.add_index(
    Delivery.number,
    where=(Delivery.status == "pending") & Delivery.test,
    name="deliveries_of_waiting_tests",
)
Delivery.add_index(
    Delivery.webhook,
    Delivery.number,
    where=Delivery.status == "failed",
    name="deliveries_failed",
)


class Sender(Table):
    id = IdField(primary_key=True)
    started_at = InstantField()
    seen_at = InstantField()
    delivered = BigIntegerField()
    failed = BigIntegerField()
    failed_tries = BigIntegerField()

    class Meta:
        table_name = "senders"


TABLES = (Webhook, Event, Delivery, Sender)


def up(migrator: Any, db: Any) -> None:
    """Create the tables."""
    with db.bind_ctx((Client, *TABLES)):
        db.create_tables(TABLES, safe=False)


def down(migrator: Any, db: Any) -> None:
    """Drop the tables with their rows."""
    with db.bind_ctx((Client, *TABLES)):
        db.drop_tables(TABLES)
