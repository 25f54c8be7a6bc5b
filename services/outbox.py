"""The outbox: the events of a change, stored in its transaction together with their deliveries.

A commit makes both durable, and a rollback leaves neither. So no event is lost, and no event
reports a change that was undone. The state is stored as it was after the change: a meeting that
changes three times reports three states.
"""

from datetime import datetime
from typing import Any, NamedTuple

from peewee import fn

from database.queries import Insert
from ids import new_id
from models import Activity, Lead
from services import event_payloads
from services.lead_queries import leads_by_id
from times import utc_now
from webhook_models import Delivery, Event

DISABLED = "The webhook is disabled."
DELETED = "The webhook was deleted."

insert_events = Insert(Event)
insert_deliveries = Insert(Delivery)


class Subscription(NamedTuple):
    """What the transaction of a change needs to know of a webhook."""

    webhook_id: str
    event_types: list[str]  # an empty list means all
    enabled: bool

    def wants(self, event_type: str) -> bool:
        """Whether the webhook gets events of a type."""
        return not self.event_types or event_type in self.event_types


def publish(client_id: str, subscriptions: list[Subscription], activities: list[Activity]) -> None:
    """Store the events of activities for the webhooks that want them; call this after the writes.

    An activity's related rows are the state to report. A lead that it lacks is read as it is now.
    """
    wanted = [
        activity
        for activity in activities
        if any(each.wants(event_type_of(activity)) for each in subscriptions)
    ]
    lacking = {each.__data__["lead"] for each in wanted if _given_lead(each) is None}
    rows = leads_by_id(client_id=client_id, ids=sorted(lacking)) if lacking else []
    found = {lead.id: lead for lead in rows}
    events = []
    for activity in wanted:
        event = activity.__data__
        lead = _given_lead(activity) or found.get(event["lead"])
        events.append(
            new_event(
                client_id,
                event_type_of(activity),
                _describe(activity, lead) | {"changes": activity.changes},
                event["created_at"],
                meeting_id=event["meeting"],
                lead_id=event["lead"],
            )
        )
    store(events, subscriptions)


def _given_lead(activity: Activity) -> Lead | None:
    """The lead that an activity has with it, or that its meeting has."""
    meeting = activity.__rel__.get("meeting")
    lead: Lead | None = (meeting or activity).__rel__.get("lead")
    return lead


def _describe(activity: Activity, lead: Lead | None) -> dict[str, Any]:
    """Return what the event of an activity says, without the changes."""
    related = activity.__rel__
    if activity.__data__["meeting"] is None:
        return event_payloads.describe_lead(related["lead"])
    described = event_payloads.describe_meeting(related["meeting"], lead)
    if "note" in related:
        described |= event_payloads.describe_note(related["note"], related["meeting"])
    return described


def event_type_of(activity: Activity) -> str:
    """Return the event type of an activity: `meeting.no_show` for `meeting_no_show`."""
    return str(activity.activity_type).replace("_", ".", 1)


def new_event(
    client_id: str,
    event_type: str,
    data: dict[str, Any],
    at: datetime,
    *,
    meeting_id: str | None = None,
    lead_id: str | None = None,
    test: bool = False,
) -> Event:
    """Make an event whose change took place at a time."""
    return Event.of(
        {
            "id": new_id(),
            "client": client_id,
            "event_type": event_type,
            "meeting": meeting_id,
            "lead": lead_id,
            "test": test,
            "data": event_payloads.write_data(data),
            "created_at": at,
        }
    )


def store(events: list[Event], subscriptions: list[Subscription]) -> list[Delivery]:
    """Store events, with a delivery for each webhook that wants one; returns the deliveries."""
    deliveries = [
        new_delivery(event, each)
        for event in events
        for each in subscriptions
        if each.wants(event.event_type) or event.test
    ]
    insert_events(events)
    insert_deliveries(deliveries)
    return deliveries


def new_delivery(event: Event, subscription: Subscription) -> Delivery:
    """Make a delivery that is due now, or one that has failed if the webhook is disabled.

    A test is sent to a disabled webhook too: its owner asked for it.
    """
    now, is_due = utc_now(), subscription.enabled or event.test
    return Delivery.of(
        {
            "id": new_id(),
            "webhook": subscription.webhook_id,
            "event": event.id,
            "event_type": event.event_type,
            "meeting": event.meeting,
            "lead": event.lead,
            "subject": None if event.test else event.meeting or event.lead,
            "test": event.test,
            "status": "pending" if is_due else "failed",
            "attempts": 0,
            "next_attempt_at": now if is_due else None,
            "leased_until": None,
            "lease": None,
            "last_status_code": None,
            "last_error": None if is_due else DISABLED,
            "tries": [],
            "created_at": now,
            "delivered_at": None,
        }
    )


def empty_newest(*conditions: Any) -> None:
    """Empty the newest event of all if it meets conditions, instead of deleting its row.

    On SQLite the next `sequence` is the highest one plus 1, so deleting that row would repeat it.
    """
    nothing = {Event.meeting: None, Event.lead: None, Event.data: "{}"}
    newest = Event.select(fn.MAX(Event.sequence))
    Event.update(nothing).where(Event.sequence == newest, *conditions).execute()
