"""The tables of webhooks to other systems: the outbox, the queue and its senders."""

from peewee import (
    BigAutoField,
    BigIntegerField,
    CharField,
    Check,
    ForeignKeyField,
    IntegerField,
    TextField,
)

from database.tables import Base, FlagField, IdField, InstantField, JsonField, Table, belongs_to
from models import Client

# The events that webhooks report: one for each activity type, and the erasure of a lead.
EVENT_TYPES = (
    "meeting.scheduled",
    "meeting.updated",
    "meeting.rescheduled",
    "meeting.confirmed",
    "meeting.cancelled",
    "meeting.completed",
    "meeting.no_show",
    "meeting.reopened",
    "lead.created",
    "lead.updated",
    "lead.erased",
    "note.added",
)
DELIVERY_STATUSES = ("pending", "delivered", "failed")
SIGNING_PREFIX = "whsec_"  # of signing secrets; what follows is Base64


class Webhook(Table):
    """An address of another system that is sent the events of a client.

    A deleted webhook's row stays for its deliveries, which are pruned. The secrets are in clear:
    signatures cannot be made with a hash.
    """

    client = belongs_to(Client)
    url = CharField(2048)
    name = CharField(255, null=True)
    events = JsonField()  # the event types it gets; an empty list means all
    enabled = FlagField()
    disabled_reason = TextField(null=True)
    secret = CharField(64)
    previous_secret = CharField(64, null=True)
    previous_secret_until = InstantField(null=True)
    last_delivery = JsonField(null=True)  # the result of the last try, as callers see it
    failing_since = InstantField(null=True)  # the first failed try after the last success
    failed_tries = IntegerField()  # since the last success
    created_at = InstantField()
    updated_at = InstantField()
    deleted_at = InstantField(null=True)

    class Meta:
        table_name = "webhooks"
        indexes = ((("client", "created_at", "id"), False),)


class Event(Base):
    """A change to report to a client's webhooks, with the state after it: the outbox.

    It is written in the transaction of the change, if the client has a webhook.
    """

    sequence = BigAutoField()
    id = IdField(unique=True)
    client = belongs_to(Client)
    event_type = CharField(32)
    # These rows may be erased, or be those of a sample.
    meeting = IdField(null=True, column_name="meeting_id")
    lead = IdField(null=True, column_name="lead_id")
    test = FlagField()
    data = TextField()  # the JSON text of the body's `data`, without the sequence
    created_at = InstantField()

    class Meta:
        table_name = "events"


Event.add_index(Event.lead, where=Event.lead.is_null(False), name="events_of_lead")


class Delivery(Base):
    """An event on its way to one webhook, and the log of its tries: the queue."""

    webhook_id: str
    event_id: str

    number = BigAutoField()  # the order of writing
    id = IdField(unique=True)
    webhook = belongs_to(Webhook)
    event = ForeignKeyField(Event, field=Event.id, lazy_load=False)
    event_type = CharField(32)
    meeting = IdField(null=True, column_name="meeting_id")
    lead = IdField(null=True, column_name="lead_id")
    subject = IdField(
        null=True, column_name="subject_id"
    )  # the meeting, or else the lead: its events go in their order
    test = FlagField()
    status = CharField(16)
    attempts = IntegerField()
    next_attempt_at = InstantField(null=True)
    leased_until = InstantField(null=True)
    lease = IdField(
        null=True, column_name="lease_id"
    )  # of the last lease; the sender's results name it
    last_status_code = IntegerField(null=True)
    last_error = TextField(null=True)
    tries = JsonField()  # in the form that responses have
    created_at = InstantField()
    delivered_at = InstantField(null=True)

    class Meta:
        table_name = "deliveries"
        indexes = (
            (("webhook", "number"), False),
            (("subject", "number"), False),
        )
        constraints = [Check(f"status IN {DELIVERY_STATUSES}", "deliveries_status")]


# Only the deliveries that wait, so that the sender finds them without reading the log.
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
    """A process that sends deliveries: when it was last seen, and what it has done."""

    started_at = InstantField()
    seen_at = InstantField()
    delivered = BigIntegerField()
    failed = BigIntegerField()  # deliveries given up
    failed_tries = BigIntegerField()

    class Meta:
        table_name = "senders"
