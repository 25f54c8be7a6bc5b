"""Everything that is stored about a lead, for its erasure and for its export."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from database import db
from database.queries import among, checked, compiled
from intake_models import Receipt
from models import LATEST_START, Activity, ExternalEvent, Lead, Meeting, MeetingNote
from services import external_events, leads, meetings, notes, receipts, timeline
from services.waiting import Pair

ALL = 2**31 - 1  # a limit that no list reaches


@dataclass
class Subject:
    """A lead, and what finds the rows that are about it.

    A receipt is about the lead if it names the lead. So is a receipt without a lead that has one of
    the lead's present or past emails, or the pair of one of its meetings.
    """

    client_id: str
    lead_id: str
    meeting_ids: list[str]
    email_keys: set[str] = field(default_factory=set)
    pairs: set[Pair] = field(default_factory=set)  # of its meetings
    awaited: set[Pair] = field(default_factory=set)  # pairs that its receipts wait for
    receipt_ids: list[str] = field(default_factory=list)


class PersonalData(NamedTuple):
    """All rows about a lead, for its export."""

    lead: Lead
    meetings: list[Meeting]
    activities: list[Activity]
    notes: list[MeetingNote]
    receipts: list[Receipt]


@compiled
def meetings_of_lead(client_id: Any, lead_id: Any) -> Any:
    """Return the ids of a lead's meetings, and the emails that named the lead."""
    return Meeting.select(Meeting.id, Meeting.matched_emails).where(
        Meeting.lead == lead_id, checked(Meeting.client == client_id)
    )


@compiled
def email_changes_of_lead(client_id: Any, lead_id: Any) -> Any:
    """Return the changes of a lead itself, which may be of its email."""
    return Activity.select(Activity.changes).where(
        Activity.lead == lead_id,
        checked(Activity.client == client_id),
        Activity.activity_type == "lead_updated",
    )


@compiled
def pairs_of_meetings(client_id: Any, meeting_ids: Any) -> Any:
    """Return the external events of meetings, earlier ids included."""
    return ExternalEvent.select().where(
        among(ExternalEvent.meeting, meeting_ids), checked(ExternalEvent.client == client_id)
    )


@compiled
def notes_of_meetings(client_id: Any, meeting_ids: Any) -> Any:
    """Return the notes about meetings, each with its meeting's lead, oldest first."""
    query = notes.with_meeting().where(
        among(MeetingNote.meeting, meeting_ids), checked(MeetingNote.client == client_id)
    )
    return query.order_by(MeetingNote.created_at, MeetingNote.id)


def find_subject(lead: Lead) -> Subject:
    """Return what finds the rows about a lead."""
    named = {"client_id": lead.client_id, "lead_id": lead.id}
    rows = meetings_of_lead(**named)
    subject = Subject(lead.client_id, lead.id, [row.id for row in rows])
    emails = {lead.email, *(email for row in rows for email in row.matched_emails)}
    for activity in email_changes_of_lead(**named):
        emails.update((activity.changes or {}).get("email", ()))
    subject.email_keys = {email.lower() for email in emails if email}
    if subject.meeting_ids:
        events = pairs_of_meetings(client_id=lead.client_id, meeting_ids=subject.meeting_ids)
        subject.pairs = {(event.provider, event.event_id) for event in events}
    _find_receipts(subject)
    return subject


def _find_receipts(subject: Subject) -> None:
    """Find the receipts by lead, email and pair, and then those about the same unknown bookings."""
    client_id = subject.client_id
    found = receipts.list_about(client_id, subject.lead_id, subject.email_keys, subject.pairs)
    for pair in {pair for receipt in found for pair in receipts.pairs_of(receipt)} - subject.pairs:
        event = external_events.owner_of_pair.first(
            client_id=client_id, provider=pair[0], event_id=pair[1]
        )
        if event is not None and event.meeting_id is None:
            subject.awaited.add(pair)
    if subject.awaited:
        found += receipts.list_about(client_id, None, (), subject.awaited)
    subject.receipt_ids = sorted({receipt.id for receipt in found})


def export(client_id: str, lead_id: str) -> PersonalData:
    """Return everything stored about a lead, as it was at one moment; raises LeadNotFound."""
    with db.snapshot():
        lead = leads.find(client_id, lead_id)
        subject = find_subject(lead)
        query = {"lead_id": lead_id, "order": LATEST_START, "limit": ALL - 1}
        return PersonalData(
            lead,
            meetings.list_meetings(client_id, query)[0],
            timeline.activities_of_lead(client_id=client_id, lead_id=lead_id, limit=ALL, offset=0),
            notes_of_meetings(client_id=client_id, meeting_ids=subject.meeting_ids),
            receipts.find_by_id(client_id, subject.receipt_ids),
        )
