"""The history of a lead: one immutable activity for each thing that happened to it."""

from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

import orjson
from peewee import JOIN

from database import selected
from database.queries import Compiled, Insert, compiled, rows_of
from models import CHANNEL, SOURCE, Activity, Client, Lead, Meeting
from services import outbox
from services.outbox import Subscription
from webhook_models import Webhook

Changes = dict[str, list[Any]]  # field → [before, after], as callers see the values

LARGEST_SKEW = timedelta(hours=1)  # a machine's clock is corrected by at most this much

insert_rows = Insert(Activity)


@compiled
def activities_of_lead(client_id: Any, lead_id: Any, limit: Any, offset: Any) -> Any:
    """Return a page of a lead's activities, oldest first."""
    return (
        Activity.select()
        .where(Activity.client == client_id, Activity.lead == lead_id)
        .order_by(Activity.id)
        .limit(limit)
        .offset(offset)
    )


def changes_between(before: dict[str, Any], after: dict[str, Any]) -> Changes:
    """Compare two descriptions of the same thing, field by field."""
    return {
        field: [before[field], after[field]] for field in before if before[field] != after[field]
    }


class Stored(NamedTuple):
    """What a transaction that changes rows of a client reads once."""

    latest_change: datetime | None
    server_clock: datetime | None  # None on SQLite
    subscriptions: list[Subscription]


class ChangeSet:
    """The changes of a transaction: the rows to update and the activities to insert.

    `latest_change` is the query for the client's latest change of such rows, and for its webhooks.
    One query reads both, so that a client without webhooks does not pay for them.
    """

    def __init__(self, client_id: str, latest_change: Compiled) -> None:
        self.client_id, self._latest_change = client_id, latest_change
        self.rows: dict[str, Any] = {}  # by id, as they are to be stored
        self.activities: list[Activity] = []

    @cached_property
    def _stored(self) -> Stored:
        rows = self._latest_change.tuples(client_id=self.client_id)
        latest, server_clock, *_ = rows[0]
        return Stored(
            datetime.fromisoformat(latest) if isinstance(latest, str) else latest,
            server_clock,
            [
                Subscription(str(webhook_id), orjson.loads(events), bool(enabled))
                for _, _, webhook_id, events, enabled in rows
                if webhook_id is not None
            ],
        )

    @cached_property
    def latest(self) -> datetime | None:
        """The time of the latest change so far."""
        return self._stored.latest_change

    def read_latest(self) -> None:
        """Read the latest change now, before rows are inserted, which would count as the latest."""
        _ = self.latest  # it is cached

    @property
    def subscriptions(self) -> list[Subscription]:
        """The client's webhooks: those that were committed before this transaction began."""
        return self._stored.subscriptions

    def time_of(self, at: datetime) -> datetime:
        """Return the `updated_at` of a change made at a time.

        It is later than that of every earlier change, even if the clock stepped back. So a caller
        that reads changes in their order misses none, and an email names the lead changed last. It
        is also not before the time of PostgreSQL, by which `settled_before` decides what a reader
        may see. If the two clocks differ by more than LARGEST_SKEW, this machine's clock is wrong
        on purpose, as in a test, and is the only one used.
        """
        server_clock = self._stored.server_clock
        if server_clock is not None and at < server_clock < at + LARGEST_SKEW:
            at = server_clock
        if self.latest is not None:
            at = max(at, self.latest + timedelta(microseconds=1))
        self.latest = at
        return at

    def record(
        self,
        lead_id: str,
        activity_type: str,
        title: str,
        at: datetime,
        *,
        description: str | None = None,
        meeting_id: str | None = None,
        changes: Changes | None = None,
        **state: Any,
    ) -> None:
        """Add an activity; `insert_activities` stores it in the transaction of the change.

        `state` is what an event reports: the `meeting`, `lead` or `note` as it is after this
        change. A lead that is not given is read when the activities are stored.
        """
        if changes and description is None:
            description = f"Changed: {', '.join(changes)}"
        activity = {
            "client": self.client_id,
            "lead": lead_id,
            "meeting": meeting_id,
            "activity_type": activity_type,
            "title": title,
            "description": description,
            "actor_type": SOURCE,
            "changes": changes,
            "created_at": at,
        }
        self.activities.append(Activity.of(activity, **state))


def insert_activities(changes: ChangeSet) -> None:
    """Store the activities of changes, and their events for the client's webhooks.

    Call it after the changed rows are written.
    """
    if changes.activities:
        insert_rows(changes.activities)
        if changes.subscriptions:
            outbox.publish(changes.client_id, changes.subscriptions, changes.activities)


def latest_change(model: type[Lead] | type[Meeting]) -> Compiled:
    """Make a query for the last change of a client's leads or meetings, and for its webhooks.

    Each row has the time of that change, the time of PostgreSQL, and the id, the event types and
    the state of a webhook.
    """

    def build(client_id: Any) -> Any:
        latest = (
            model.select(model.updated_at)
            .where(model.client == client_id)
            .order_by(model.updated_at.desc())
            .limit(1)
        )
        server_clock = selected.get().database.server_clock
        in_use = (Webhook.client == Client.id) & Webhook.deleted_at.is_null()
        return (
            Client.select(latest, server_clock, Webhook.id, Webhook.events, Webhook.enabled)
            .join(Webhook, JOIN.LEFT_OUTER, on=in_use)
            .where(Client.id == client_id)
        )

    return Compiled(build)


def list_latest(client_id: str, lead_id: str, limit: int, offset: int) -> list[Activity]:
    """Return a page of a lead's activities, latest first."""
    of_lead = Activity.select().where(Activity.client == client_id, Activity.lead == lead_id)
    return rows_of(of_lead.order_by(Activity.id.desc()).limit(limit).offset(offset))


def list_activities(client_id: str, lead_id: str, query: dict[str, Any]) -> list[Activity]:
    """Return a lead's activities, oldest first; `query` has limit, offset and perhaps channels."""
    if CHANNEL not in (query.get("channel") or {CHANNEL}):
        return []
    return activities_of_lead(
        client_id=client_id, lead_id=lead_id, limit=query["limit"], offset=query["offset"]
    )
