"""The history of a lead: one immutable activity for everything that happened to it."""

from datetime import datetime, timedelta
from typing import Any

from database import Param, Plain, Prepared, Row, insert
from models import CHANNEL, SOURCE, Activity
from times import utc_now

Changes = dict[str, list[Any]]  # field → [before, after], as callers see the values

INSERT_ACTIVITY = insert(Activity)
ACTIVITIES_OF_LEAD = Prepared(
    lambda: (
        Activity.select()
        .where(Activity.client == Param(Activity.client), Activity.lead == Param(Activity.lead))
        .order_by(Activity.id)
        .limit(Plain("limit"))
        .offset(Plain("offset"))
    )
)


def changes_between(before: Row, after: Row) -> Changes:
    """What differs between two tellings of the same thing: field → [before, after]."""
    return {
        field: [before[field], after[field]] for field in before if before[field] != after[field]
    }


def record(
    client_id: str,
    lead_id: str,
    activity_type: str,
    title: str,
    at: datetime,
    *,
    description: str | None = None,
    meeting_id: str | None = None,
    changes: Changes | None = None,
) -> None:
    """Write one activity, in the transaction of the change it tells of."""
    row = activity(client_id, lead_id, activity_type, title, at)
    row |= {"description": description, "meeting_id": meeting_id, "changes": changes}
    if changes and description is None:
        row["description"] = f"Changed: {', '.join(changes)}"
    write(row)


def write(row: Row) -> None:
    """Write one activity that is a row already."""
    INSERT_ACTIVITY.run(**row)


def activity(
    client_id: str, lead_id: str, activity_type: str, title: str, at: datetime, **more: Any
) -> Row:
    """The row of an activity, for `record_many`."""
    return {
        "client_id": client_id,
        "lead_id": lead_id,
        "meeting_id": None,
        "activity_type": activity_type,
        "title": title,
        "description": None,
        "actor_type": SOURCE,
        "changes": None,
        "created_at": at,
        **more,
    }


def record_many(activities: list[Row]) -> None:
    """Write activities in their order, in the transaction of the changes they tell of."""
    INSERT_ACTIVITY.run_many(activities)


def latest_change(model: Any) -> Prepared:
    """When the last change of a client's leads or meetings was."""
    return Prepared(
        lambda: (
            model.select(model.updated_at)
            .where(model.client == Param(model.client))
            .order_by(model.updated_at.desc())
            .limit(1)
        )
    )


def instant_of_change(latest: Prepared, client_id: str) -> datetime:
    """The `updated_at` of what changes now: later than the latest, though the clock stepped back.

    Whoever reads the changes in their order has seen that one, and must not miss this one; and
    which lead an email names hangs on which was changed last.
    """
    last, now = latest.row_or_none(client_id=client_id), utc_now()
    return now if last is None else max(now, last["updated_at"] + timedelta(microseconds=1))


def list_activities(client_id: str, lead_id: str, query: Row) -> list[Row]:
    """A lead's activities, oldest first; `query` has limit, offset and perhaps channels."""
    if CHANNEL not in (query.get("channel") or {CHANNEL}):
        return []
    return ACTIVITIES_OF_LEAD.rows(
        client_id=client_id, lead_id=lead_id, limit=query["limit"], offset=query["offset"]
    )
