"""Erasure: permanently deleting everything that is stored about a lead.

The order of locks is that of bookings: pairs are claimed before meetings are locked, and leads are
locked last. If a booking that arrives meanwhile commits first, its meeting is erased too. Otherwise
the booking finds that its lead is gone, and is decided again.
"""

from typing import Any

from database import db, transaction
from database.queries import Compiled, among, checked, compiled, locking
from intake_models import Receipt
from models import (
    Activity,
    ExternalEvent,
    Feed,
    IdempotencyKey,
    Lead,
    Meeting,
    MeetingNote,
)
from services import erased_events, external_events, lead_changes, outbox
from services.errors import LeadNotFound
from services.personal_data import Subject, find_subject
from services.timeline import ChangeSet
from times import utc_now
from webhook_models import Delivery, Event, Webhook


@compiled
def meetings_to_erase(client_id: Any, lead_id: Any) -> Any:
    """Lock a lead's meetings, so that no row can refer to them any more."""
    query = Meeting.select(Meeting.id).where(
        Meeting.lead == lead_id, checked(Meeting.client == client_id)
    )
    return locking(query.order_by(Meeting.id), to_delete=True)


@compiled
def lead_to_erase(client_id: Any, lead_id: Any) -> Any:
    """Return a lead, locked so that no row can refer to it any more."""
    query = Lead.select().where(Lead.id == lead_id, checked(Lead.client == client_id))
    return locking(query, to_delete=True)


def _deletion(column: Any) -> Compiled:
    """Make a query that deletes the client's rows whose column has one of the values."""
    model = column.model
    return Compiled(
        lambda client_id, values: model.delete().where(
            among(column, values), checked(model.client == client_id)
        )
    )


delete_answers = _deletion(IdempotencyKey.subject)
delete_events = _deletion(ExternalEvent.meeting)
delete_reported = _deletion(Event.lead)
delete_notes = _deletion(MeetingNote.meeting)
delete_activities = _deletion(Activity.lead)
delete_receipts = _deletion(Receipt.id)
delete_meetings = _deletion(Meeting.id)
delete_feeds = _deletion(Feed.lead)
delete_lead = _deletion(Lead.id)


@compiled
def delete_deliveries(client_id: Any, values: Any) -> Any:
    """Delete the deliveries of the client's webhooks about a lead or some meetings."""
    own = Webhook.select(Webhook.id).where(Webhook.client == client_id)
    return Delivery.delete().where(among(Delivery.subject, values), Delivery.webhook.in_(own))


def _delete_deliveries(subject: Subject) -> None:
    client_id, lead_id = subject.client_id, subject.lead_id
    delete_deliveries.run(client_id=client_id, values=[lead_id, *subject.meeting_ids])
    outbox.empty_newest(Event.client == client_id, Event.lead == lead_id)
    delete_reported.run(client_id=client_id, values=[lead_id])


def _delete_awaited(subject: Subject) -> None:
    """Delete the pairs without a meeting that receipts about the lead wait for."""
    for provider, event_id in sorted(subject.awaited):
        key = {"provider": provider, "event_id": event_id}
        external_events.release_pair.run(client_id=subject.client_id, **key)


def erase(client_id: str, lead_id: str, keep_days: int) -> dict[str, int]:
    """Erase a lead with all that is stored about it; returns how many rows of each kind.

    The hashes of its pairs are kept for the days given; 0 means forever (see `erased_events`).
    Raises LeadNotFound.
    """
    counts = _erase(client_id, lead_id, keep_days)
    db.discard_log()
    return counts


@transaction
def _erase(client_id: str, lead_id: str, keep_days: int) -> dict[str, int]:
    db.lock_client(client_id)
    meetings_to_erase(client_id=client_id, lead_id=lead_id)
    lead = lead_to_erase.first(client_id=client_id, lead_id=lead_id)
    if lead is None:
        raise LeadNotFound(f"id {lead_id}")
    meetings_to_erase(client_id=client_id, lead_id=lead_id)  # some may have come meanwhile
    subject = find_subject(lead)
    erased_events.add(client_id, subject.pairs | subject.awaited, erased_events.expiry(keep_days))
    about = sorted({lead_id, *subject.meeting_ids, *subject.receipt_ids})
    delete_answers.run(client_id=client_id, values=about)
    delete_events.run(client_id=client_id, values=subject.meeting_ids)
    _delete_awaited(subject)
    _delete_deliveries(subject)
    delete_feeds.run(client_id=client_id, values=[lead_id])
    notes = delete_notes.run(client_id=client_id, values=subject.meeting_ids)
    activities = delete_activities.run(client_id=client_id, values=[lead_id])
    receipts = delete_receipts.run(client_id=client_id, values=subject.receipt_ids)
    meetings = delete_meetings.run(client_id=client_id, values=subject.meeting_ids)
    delete_lead.run(client_id=client_id, values=[lead_id])
    _report(client_id, lead_id)
    return {"meetings": meetings, "activities": activities, "notes": notes, "receipts": receipts}


def _report(client_id: str, lead_id: str) -> None:
    """Report the erasure to the client's webhooks; a lead that is gone has no timeline."""
    subscriptions = ChangeSet(client_id, lead_changes.latest_change).subscriptions
    if any(each.wants("lead.erased") for each in subscriptions):
        data = {"lead": {"id": lead_id}, "changes": None}
        event = outbox.new_event(client_id, "lead.erased", data, utc_now(), lead_id=lead_id)
        outbox.store([event], subscriptions)
