"""When to delete what is kept for a limited time: a few rows now and then, as new ones arrive."""

from datetime import datetime, timedelta
from typing import Any

from database import selected
from times import utc_now

PRUNE_ROWS = 1000  # deleted by one statement: about 20 ms
PRUNE_PAUSE = timedelta(minutes=1)  # in each process, between two looks for old rows

pruned_at: dict[Any, datetime] = {}  # by database, table and client


def is_due(table: str, client_id: str) -> bool:
    """Return whether to delete old rows of a client now, at most once a minute in each process."""
    now, key = utc_now(), (selected.get().database, table, client_id)
    if key in pruned_at and abs(now - pruned_at[key]) < PRUNE_PAUSE:
        return False
    pruned_at[key] = now
    return True
