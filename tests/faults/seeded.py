"""A database with a client, its key and leads, which tests read without the service."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from conftest import save_lead, using

from services import clients, migrations


class StoredMeeting(NamedTuple):
    """The columns of a meeting that tests compare."""

    id: str
    event_id: str
    status: str


@dataclass
class Stored:
    """The rows of a database, read by another program."""

    meetings: list[StoredMeeting]
    activities: list[tuple[str, str]]  # meeting and activity type
    external_events: set[tuple[str, str]]  # external id and meeting


@dataclass
class SeededDatabase:
    """A database for the service at `url`, with an API key and the ids of leads.

    `direct_url` leads to the same database, also while a proxy cuts the connections to `url`.
    """

    url: str
    key: str
    leads: list[str]
    direct_url: str

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a query on a separate connection."""
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
        """Return all meetings, their activities and external events."""
        meetings = self.query("SELECT id, external_event_id, status FROM meetings")
        activities = self.query(
            "SELECT meeting_id, activity_type FROM activities WHERE meeting_id IS NOT NULL"
        )
        external_events = self.query("SELECT event_id, meeting_id FROM external_events")
        return Stored(
            [StoredMeeting(str(id), event_id, status) for id, event_id, status in meetings],
            [(str(id), activity_type) for id, activity_type in activities],
            {(event_id, str(id)) for event_id, id in external_events},
        )


def seed_database(url: str, service_url: str | None = None) -> SeededDatabase:
    """Migrate and fill an empty database; the service uses `service_url`, if given."""
    with using(url):
        migrations.upgrade()
        client, key = clients.create("Stark Industries")
        people = [
            save_lead(client.id, first_name=name, email=f"{name}@example.com")
            for name in ("tony", "pepper", "happy", "rhodey", "peter")
        ]
    return SeededDatabase(service_url or url, key, [lead.id for lead in people], url)
