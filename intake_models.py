"""The tables of what arrives from booking systems: the sources and their receipts."""

from datetime import datetime

from peewee import (
    SQL,
    CharField,
    IntegerField,
    TextField,
)

from database.tables import FlagField, IdField, InstantField, JsonField, Table, belongs_to
from models import Client

LATEST_RECEIVED = "-received_at"  # the order of receipts
# The booking systems whose webhooks a source accepts.
SOURCE_PROVIDERS = ("calendly", "calcom", "ghl", "generic")
MAPPING_BYTES = 64 * 1024  # of a source
# The outcomes of a webhook's payload.
RECEIPT_OUTCOMES = (
    "logged",
    "updated",
    "rescheduled",
    "cancelled",
    "completed",
    "no_show",
    "reopened",
    "unchanged",
    "ignored",
    "unmatched",
    "refused",
)


class Source(Table):
    """An address of this service that one booking system posts to.

    Only the SHA-256 of the address's token is stored. A deleted source has no token; its row stays
    for its receipts.
    """

    client = belongs_to(Client)
    name = CharField(255)
    provider = CharField(16)
    event_provider = CharField(64)  # the provider of its external events, unless a mapping sets it
    token_hash = CharField(64, unique=True, null=True)
    signing_secret = CharField(255, null=True)  # in clear: signatures cannot be checked with a hash
    create_leads = FlagField()
    timezone = CharField(64)  # of wall-clock times that arrive without a zone
    mapping = JsonField(null=True)
    created_at = InstantField()
    deleted_at = InstantField(null=True)

    # Not a column: when its latest receipt arrived. `services.sources` sets it.
    last_received_at: datetime | None = None

    class Meta:
        table_name = "sources"

    @property
    def signed(self) -> bool:
        """Whether signatures are checked."""
        return self.signing_secret is not None


Source.add_index(
    Source.client, Source.name, unique=True, where=Source.deleted_at.is_null(), name="sources_name"
)


class Receipt(Table):
    """What arrived at a source: its payload and its outcome."""

    source_id: str

    client = belongs_to(Client)
    source = belongs_to(Source)
    provider = CharField(16)
    event = CharField(255, null=True)  # as the provider names it
    outcome = CharField(16)
    message = TextField()
    details = JsonField(null=True)  # field → sentences
    meeting = IdField(null=True, column_name="meeting_id")
    lead = IdField(null=True, column_name="lead_id")
    lead_email = CharField(254, null=True)
    email_key = TextField(null=True)  # the email in lower case, for look-ups
    # The booking that it is about, for an unmatched receipt.
    event_provider = CharField(64, null=True)
    external_event_id = CharField(255, null=True)
    previous_event_id = CharField(255, null=True)
    payload = TextField()  # JSON text, as it was sent
    attempts = IntegerField()
    received_at = InstantField()

    class Meta:
        table_name = "receipts"
        indexes = (
            (("client", "received_at", "id"), False),
            (("source", "received_at", "id"), False),
            (("email_key", "client", "received_at", "id"), False),
        )


Receipt.add_index(Receipt.lead, where=Receipt.lead.is_null(False), name="receipts_of_lead")
for column in (Receipt.email_key, Receipt.external_event_id, Receipt.previous_event_id):
    Receipt.add_index(
        column, where=Receipt.outcome == "unmatched", name=f"receipts_waiting_{column.name}"
    )
# By these, an erasure finds the receipts about a booking of the lead.
for column in (Receipt.external_event_id, Receipt.previous_event_id):
    Receipt.add_index(
        column, where=Receipt.lead.is_null(), name=f"receipts_without_lead_{column.name}"
    )
# The receipts that the desk lists first. They are few among many, so without this index the
# database would read all receipts of a client to find them.
Receipt.add_index(
    Receipt.client,
    Receipt.received_at,
    Receipt.id,
    where=Receipt.outcome.in_([SQL("'unmatched'"), SQL("'refused'")]),
    name="receipts_to_settle",
)
