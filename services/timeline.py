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
    INSERT_ACTIVITY.run(
        client_id=client_id,
        lead_id=lead_id,
        meeting_id=meeting_id,
        activity_type=activity_type,
        title=title,
        description=description or (changes and f"Changed: {', '.join(changes)}"),
        actor_type=SOURCE,
        changes=changes,
        created_at=at,
    )


def list_activities(client_id: str, lead_id: str, query: Row) -> list[Row]:
    """A lead's activities, oldest first; `query` has limit, offset and perhaps channels."""
    if CHANNEL not in query.get("channel", (CHANNEL,)):
        return []
    return ACTIVITIES_OF_LEAD.rows(
        client_id=client_id, lead_id=lead_id, limit=query["limit"], offset=query["offset"]
    )
