"""A database of its own with a client, its key and leads, read without the service."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from conftest import save_lead, using

from services import clients, migrations


class StoredMeeting(NamedTuple):
    """What is compared of a meeting."""

    id: str
    event_id: str
    status: str


@dataclass
class Stored:
    """What a database holds, as another program finds it."""

    meetings: list[StoredMeeting]
    told: list[tuple[str, str]]  # of each timeline entry: the meeting and the activity type
    events: set[tuple[str, str]]  # external id and meeting


@dataclass
class Site:
    """Where callers call: the URL that the service is given, and what they need to know.

    `direct_url` is another way to the same database, where the service's own may be cut.
    """

    url: str
    key: str
    leads: list[str]
    direct_url: str

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Read from the database, whoever else is using it."""
        if self.direct_url.startswith("sqlite:///"):
            with closing(sqlite3.connect(self.path, timeout=30)) as connection:
                return connection.execute(sql).fetchall()
        with psycopg.connect(self.direct_url) as connection:
            return connection.execute(sql).fetchall()

    @property
    def path(self) -> str:
        """The file of an SQLite database."""
        return self.direct_url.removeprefix("sqlite:///")

    def stored(self) -> Stored:
        """All meetings with their timeline entries and external events."""
        meetings = self.query("SELECT id, external_event_id, status FROM meetings")
        told = self.query(
            "SELECT meeting_id, activity_type FROM activities WHERE meeting_id IS NOT NULL"
        )
        events = self.query("SELECT event_id, meeting_id FROM external_events")
        return Stored(
            [StoredMeeting(str(id), event_id, status) for id, event_id, status in meetings],
            [(str(id), activity_type) for id, activity_type in told],
            {(event_id, str(id)) for event_id, id in events},
        )


def new_site(url: str, through: str | None = None) -> Site:
    """Migrate an empty database and fill it; `through` is the URL for the service, if another."""
    with using(url):
        migrations.upgrade()
        client, key = clients.create("Stark Industries")
        people = [
            save_lead(client.id, first_name=name, email=f"{name}@example.com")
            for name in ("tony", "pepper", "happy", "rhodey", "peter")
        ]
    return Site(through or url, key, [lead.id for lead in people], url)
