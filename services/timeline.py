"""The history of a lead: one immutable activity for everything that happened to it."""

from datetime import datetime
from typing import Any

from database import Count, Param, Prepared, Row, insert
from models import CHANNEL, SOURCE, Activity

Changes = dict[str, list[Any]]  # field → [before, after], as callers see the values

INSERT_ACTIVITY = insert(Activity)
ACTIVITIES_OF_LEAD = Prepared(
    lambda: (
        Activity.select()
        .where(Activity.client == Param(Activity.client), Activity.lead == Param(Activity.lead))
        .order_by(Activity.id)
        .limit(Count("limit"))
        .offset(Count("offset"))
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


def list_activities(client_id: str, lead_id: str, query: Row) -> list[Row]:
    """A lead's activities, oldest first; `query` has limit, offset and perhaps channels."""
    if CHANNEL not in (query.get("channel") or {CHANNEL}):
        return []
    return ACTIVITIES_OF_LEAD.rows(
        client_id=client_id, lead_id=lead_id, limit=query["limit"], offset=query["offset"]
    )
