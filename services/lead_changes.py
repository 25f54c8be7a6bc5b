"""What requests change about leads: new leads, changed fields, and their activities."""

from datetime import datetime
from typing import Any

import orjson

from database.queries import Insert, Update
from fields import metadata_fault
from ids import new_id
from models import SOURCE, Lead
from services import timeline, waiting
from services.errors import InvalidRequest
from services.lead_queries import digits_of, search_key
from services.results import Loaded, RowResult
from services.timeline import ChangeSet, insert_activities
from times import utc_now

# The fields that callers set, each with its default.
DEFAULTS: dict[str, Any] = {
    "first_name": None,
    "last_name": None,
    "email": None,
    "phone": None,
    "company": None,
    "title": None,
    "source": SOURCE,
    "external_id": None,
    "metadata": {},
}
TRIES = 5  # to insert or lock leads whose external ids or emails others are changing

insert = Insert(Lead)
insert_unless_taken = Insert(Lead, unless_taken=True)
update_rows = Update(Lead, fixed={"id", "client", "created_at"})
latest_change = timeline.latest_change(Lead)


class LeadChanges(ChangeSet):
    """The changes of leads in a transaction, and the emails that leads get by them."""

    def __init__(self, client_id: str) -> None:
        super().__init__(client_id, latest_change)
        self.new: list[Lead] = []  # still to be inserted
        self.email_keys: set[str] = set()

    def created(self, lead: Lead) -> None:
        """Record that a lead was created."""
        self.record(lead.id, "lead_created", "Lead created", lead.created_at, lead=lead)
        self.email_keys.update(filter(None, [lead.email_key]))

    def store(self) -> None:
        """Store the changes so far."""
        insert([self.rows.pop(lead.id, lead) for lead in self.new])
        update_rows([*self.rows.values()])
        insert_activities(self)
        self.new, self.rows, self.activities = [], {}, []

    def release_waiting(self) -> None:
        """Process again the receipts that wait for one of the emails; call this after `store`."""
        if self.email_keys:
            waiting.release(self.client_id, email_keys=sorted(self.email_keys))


def email_lock(client_id: str, email: str) -> str:
    """Return the name to lock (`db.lock_names`) for an email that may have no lead yet.

    A transaction that gives a lead the email holds a shared lock. One that depends on no lead
    having the email holds an exclusive lock. Both lock before they lock or insert any row.
    """
    return f"{client_id} email {email.lower()}"


def names_to_lock(client_id: str, given: dict[str, Any]) -> set[str]:
    """The names to lock before a lead gets the external id and email given."""
    names = set()
    if given.get("email"):
        names.add(email_lock(client_id, given["email"]))
    if given.get("external_id"):
        names.add(f"{client_id} external_id {given['external_id']}")
    return names


def new_lead(client_id: str, loaded: Loaded) -> Lead | InvalidRequest:
    """Make the lead that a row becomes unless its external id is taken."""
    if loaded.wrong:
        return InvalidRequest(loaded.wrong)
    try:
        return with_given(blank_lead(client_id, utc_now()), loaded.valid)
    except InvalidRequest as error:
        return error


def blank_lead(client_id: str, at: datetime) -> Lead:
    """Make a lead that has only the defaults, created at a time."""
    own = {"id": new_id(), "client": client_id, "created_at": at, "updated_at": at}
    return Lead.of(DEFAULTS | own)


def change(lead: Lead, given: dict[str, Any], changes: LeadChanges, at: datetime) -> RowResult:
    """Add to the changes what the fields given change about a stored lead."""
    after = with_given(lead, given)
    differences = {
        field: [before, new]
        for field in DEFAULTS
        # Compared as JSON, since 1, 1.0 and True are equal in Python.
        if orjson.dumps(before := getattr(lead, field))
        != orjson.dumps(new := getattr(after, field))
    }
    if not differences:
        return RowResult(lead, "unchanged")
    after.updated_at = changes.time_of(at)
    changes.rows[after.id] = after
    if after.email_key and after.email_key != lead.email_key:
        changes.email_keys.add(after.email_key)
    changes.record(
        lead.id, "lead_updated", "Lead updated", after.updated_at, changes=differences, lead=after
    )
    return RowResult(after, "updated")


def with_given(lead: Lead, given: dict[str, Any]) -> Lead:
    """Copy the lead with the fields given; None clears a field, metadata is merged."""
    data = lead.__data__ | {name: value for name, value in given.items() if name in DEFAULTS}
    data["source"] = data["source"] or SOURCE
    stored = {} if given.get("clear_metadata") else lead.metadata
    data["metadata"] = _merged(stored, given.get("metadata") or {})
    data["email_key"] = data["email"] and data["email"].lower()
    data["phone_digits"] = digits_of(data["phone"] or "") or None
    data["search_key"] = search_key(data)
    return Lead.of(data)


def _merged(stored: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in (stored | given).items() if value is not None}
    if fault := metadata_fault(metadata):
        raise InvalidRequest({"metadata": [fault]})
    return metadata
