"""When to delete what is kept for a limited time: a few rows now and then, as new ones arrive."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from database import selected
from services import clients
from times import utc_now

PRUNE_ROWS = 1000  # deleted by one statement: about 20 ms
PRUNE_PAUSE = timedelta(minutes=1)  # in each process, between two searches for old rows

pruned_at: dict[Any, datetime] = {}  # by database, table and client


def delete_if_due(table: str, client_id: str, delete: Callable[[str], object]) -> None:
    """Delete some old rows of a client, at most once a minute in each process."""
    now, key = utc_now(), (selected.get().database, table, client_id)
    if key in pruned_at and abs(now - pruned_at[key]) < PRUNE_PAUSE:
        return
    pruned_at[key] = now
    delete(client_id)


def delete_all(delete: Callable[[str], int]) -> int:
    """Delete all old rows of every client, some at a time; returns how many."""
    count = 0
    for client in clients.list_all():
        while deleted := delete(client.id):
            count += deleted
    return count
