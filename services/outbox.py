"""The outbox: the events of a change, stored in its transaction together with their deliveries.

A commit makes both durable, and a rollback leaves neither. So no event is lost, and no event
reports a change that was undone. The state is stored as it was after the change: a meeting that
changes three times reports three states.
"""

from datetime import datetime
from typing import Any, NamedTuple

from peewee import fn

from database.queries import Insert, among, compiled
from ids import new_id
from models import Activity, Lead, Meeting, MeetingNote, MeetingType, User
from services import event_payloads
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


@compiled
def leads_by_id(client_id: Any, ids: Any) -> Any:
    """Return the client's leads with any of these ids."""
    return Lead.select().where(Lead.client == client_id, among(Lead.id, ids))


@compiled
def meetings_by_id(client_id: Any, ids: Any) -> Any:
    """Return the client's meetings with any of these ids."""
    return Meeting.select().where(Meeting.client == client_id, among(Meeting.id, ids))


@compiled
def hosts_by_id(client_id: Any, ids: Any) -> Any:
    """Return the client's users with any of these ids."""
    return User.select().where(User.client == client_id, among(User.id, ids))


@compiled
def types_by_id(client_id: Any, ids: Any) -> Any:
    """Return the client's meeting types with any of these ids."""
    return MeetingType.select().where(MeetingType.client == client_id, among(MeetingType.id, ids))


@compiled
def latest_note(client_id: Any, meeting_id: Any) -> Any:
    """Return the note that was added to a meeting last."""
    return (
        MeetingNote.select()
        .where(MeetingNote.client == client_id, MeetingNote.meeting == meeting_id)
        .order_by(MeetingNote.created_at.desc(), MeetingNote.id.desc())
        .limit(1)
    )


def publish(client_id: str, subscriptions: list[Subscription], activities: list[Activity]) -> None:
    """Store the events of activities for the webhooks that want them; call this after the writes.

    An activity's related rows are the state to report. A row that it lacks is read as it is now.
    """
    wanted = [
        activity
        for activity in activities
        if any(each.wants(event_type_of(activity)) for each in subscriptions)
    ]
    rows = _Rows(client_id, wanted)
    events = []
    for activity in wanted:
        data = rows.describe(activity) | {"changes": activity.changes}
        event = activity.__data__
        events.append(
            new_event(
                client_id,
                event_type_of(activity),
                data,
                event["created_at"],
                meeting_id=event["meeting"],
                lead_id=event["lead"],
            )
        )
    store(events, subscriptions)


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


class _Rows:
    """The leads, meetings and notes of activities; those that an activity lacks are read."""

    def __init__(self, client_id: str, activities: list[Activity]) -> None:
        self._client_id = client_id
        given = [activity.__rel__ for activity in activities]
        lacking = {a.__data__["meeting"] for a in activities if "meeting" not in a.__rel__}
        self._meetings = self._find_meetings(lacking - {None})
        known = [*self._meetings.values(), *(rel["meeting"] for rel in given if "meeting" in rel)]
        leads = {rel["lead"].id for rel in given if "lead" in rel}
        leads |= {meeting.__rel__["lead"].id for meeting in known if "lead" in meeting.__rel__}
        missing = {activity.__data__["lead"] for activity in activities} - leads
        self._leads = self._find(leads_by_id, missing)

    def _find(self, query: Any, ids: set[Any]) -> dict[str, Any]:
        wanted = sorted(ids - {None})
        found = query(client_id=self._client_id, ids=wanted) if wanted else []
        return {row.id: row for row in found}

    def _find_meetings(self, ids: set[Any]) -> dict[str, Meeting]:
        found = self._find(meetings_by_id, ids)
        hosts = self._find(hosts_by_id, {row.host_id for row in found.values()})
        types = self._find(types_by_id, {row.meeting_type_id for row in found.values()})
        for meeting in found.values():
            meeting.__rel__["host"] = hosts.get(meeting.host_id or "")
            meeting.__rel__["meeting_type"] = types.get(meeting.meeting_type_id or "")
        return found

    def describe(self, activity: Activity) -> dict[str, Any]:
        """Return what the event of an activity says, without the changes."""
        data, related = activity.__data__, activity.__rel__
        if data["meeting"] is None:
            return event_payloads.describe_lead(related.get("lead") or self._leads[data["lead"]])
        meeting = related.get("meeting") or self._meetings[data["meeting"]]
        lead = meeting.__rel__.get("lead") or self._leads.get(data["lead"])
        described = event_payloads.describe_meeting(meeting, lead)
        if activity.activity_type == "note_added":
            note = related.get("note")
            note = note or latest_note.first(client_id=self._client_id, meeting_id=meeting.id)
            described |= event_payloads.describe_note(note, meeting)
        return described


def empty_newest(*conditions: Any) -> None:
    """Empty the newest event of all if it meets conditions, instead of deleting its row.

    On SQLite the next `sequence` is the highest one plus 1, so deleting that row would repeat it.
    """
    nothing = {Event.meeting: None, Event.lead: None, Event.data: "{}"}
    newest = Event.select(fn.MAX(Event.sequence))
    Event.update(nothing).where(Event.sequence == newest, *conditions).execute()
