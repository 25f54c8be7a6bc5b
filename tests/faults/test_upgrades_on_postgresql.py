"""Upgrades without downtime: writers go on during migrations, and two releases share a database."""

import json
import os
import random
import subprocess
import sys
import tarfile
import threading
import time
from io import BytesIO

import psycopg
import pytest
from conftest import booking, using
from server import Server, run_flask

from config.settings import ROOT
from faults.lengths import short_and_long
from faults.load import Load
from faults.seeded import SeededDatabase
from services import migrations

LONGEST_WAIT = 1.0  # seconds for which a migration may keep a writer waiting
HELD_SECONDS = 1.3  # for which a reader's transaction keeps a migration from its lock
API = "/api/public"
CLIENT, LEAD = "00000000-0000-7000-8000-000000000000", "00000000-0000-7000-8000-000000000001"

# Rows as the first migration has them: a lead for every two meetings, an activity for each.
# Ids grow, as ours do. The keys of other tables need no check.
ID = "('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid"
FILL = f"""
SET session_replication_role = replica;
INSERT INTO clients (id, name, created_at) VALUES ('{CLIENT}', 'Stark Industries', now());
INSERT INTO leads (id, client_id, first_name, email, email_key, phone, source, metadata, search_key,
  created_at, updated_at)
SELECT {ID}, '{CLIENT}', 'Tony',
  n || '@example.com', n || '@example.com', '+1 ' || n, 'api', '{{{{}}}}',
  n || '@example.com' || chr(10) || 1 || n, now(), now() FROM generate_series(1, {{rows}} / 2) AS n;
INSERT INTO meetings (id, client_id, lead_id, title, starts_at, ends_at, timezone, status,
  confirmed_by_lead, location_type, additional_attendees, external_calendar_provider,
  external_event_id, matched_emails, source, reschedules, created_at, updated_at)
SELECT {ID}, '{CLIENT}', '{LEAD}', 'Intro', now(), now() + interval '1 hour', 'UTC',
  'scheduled', false, 'video', '[]', 'ghl', n, '[]', 'api', '[]', now(), now()
FROM generate_series(1, {{rows}}) AS n;
INSERT INTO activities (client_id, lead_id, meeting_id, activity_type, title, actor_type,
  created_at)
SELECT client_id, lead_id, id, 'meeting_scheduled', title, 'api', created_at FROM meetings
"""
# What every release does: a meeting with its activity, and a change of a lead.
BOOK = f"""
WITH meeting AS (
  INSERT INTO meetings (id, client_id, lead_id, title, starts_at, ends_at, timezone, status,
    confirmed_by_lead, location_type, additional_attendees, matched_emails, source, reschedules,
    created_at, updated_at)
  VALUES (gen_random_uuid(), '{CLIENT}', '{LEAD}', 'Intro', now(), now() + interval '1 hour', 'UTC',
    'scheduled', false, 'video', '[]', '[]', 'api', '[]', now(), now()) RETURNING *)
INSERT INTO activities (client_id, lead_id, meeting_id, activity_type, title, actor_type,
  created_at)
SELECT client_id, lead_id, id, 'meeting_scheduled', title, 'api', created_at FROM meeting
"""
CHANGE = f"UPDATE leads SET updated_at = now() WHERE id = '{LEAD}'"
READ = "SELECT count(*) FROM (SELECT FROM meetings, activities, leads LIMIT 1) AS found"


class Writer(threading.Thread):
    """Runs a statement again and again; `waits` are the seconds that each run took."""

    def __init__(self, url, statement, held_seconds=0.0):
        super().__init__()
        self.url, self.statement, self.held_seconds = url, statement, held_seconds
        self.is_running, self.waits = True, []

    def run(self):
        with psycopg.connect(self.url) as connection:
            while self.is_running:
                began = time.monotonic()
                connection.execute(self.statement)
                self.waits.append(time.monotonic() - began)
                time.sleep(self.held_seconds)
                connection.commit()
                time.sleep(random.uniform(0.01, 0.02 + self.held_seconds))

    def stop(self):
        self.is_running = False
        self.join()


@short_and_long("rows", 20_000, 2_000_000)
def test_a_migration_keeps_no_writer_waiting_for_a_second(postgres_server, report, rows):
    url = postgres_server.create_database()
    with using(url):
        migrations._runner().up("0001_initial")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(FILL.format(rows=rows))
        connection.execute("ANALYZE")
    writers = [Writer(url, BOOK), Writer(url, CHANGE)]
    reader = Writer(url, READ, HELD_SECONDS)
    for thread in (*writers, reader):
        thread.start()

    began = time.monotonic()
    applied = run_flask(url, "db", "upgrade")["applied"]
    took = time.monotonic() - began
    for thread in (*writers, reader):
        thread.stop()

    waits = [wait for writer in writers for wait in writer.waits]
    report(meetings=rows, upgrade=f"{took:.1f} s", writes=len(waits), slowest=f"{max(waits):.2f} s")
    assert len(applied) == len(list(migrations.SCRIPTS.glob("0*.py"))) - 1  # without the first
    assert max(waits) < LONGEST_WAIT
    with psycopg.connect(url) as connection:
        query = "SELECT count(*), count(phone_digits) FROM leads"
        assert connection.execute(query).fetchone() == (rows // 2, rows // 2)
        query = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
        assert connection.execute(query).fetchone() == (0,)
    postgres_server.drop_database(url)


@pytest.fixture(scope="module")
def previous_release(tmp_path_factory):
    """The code as it was before the latest migration."""
    latest = max(path.name for path in migrations.SCRIPTS.glob("0*.py"))
    added = ["log", "--first-parent", "-m", "--diff-filter=A", "--format=%H", "-1", "--"]
    try:
        commit = _git(*added, f"migrations/{latest}").decode().strip()
        archive = _git("archive", f"{commit}^")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("the history of the code is not here (no git, or no clone with its history)")
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def _git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


def run_previous(folder, url, *arguments):
    """Run a command of the previous release and return its JSON output."""
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", *arguments, "--json"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": url},
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture
def previous(previous_release, postgres_server):
    """A server of the previous release, on a database that it made."""
    url = postgres_server.create_database()
    run_previous(previous_release, url, "db", "upgrade")
    key = run_previous(previous_release, url, "clients", "create", "Stark Industries")["api_key"]
    server = Server(url, folder=previous_release).start()
    yield server, key
    server.kill()
    postgres_server.drop_database(url)


def test_two_releases_serve_one_database_while_it_is_migrated(previous, serve, report):
    old, key = previous
    lead = {"first_name": "Tony", "email": "tony@example.com"}
    lead_id = old.call("POST", f"{API}/leads", lead, key).json["lead"]["id"]
    seeded = SeededDatabase(old.database_url, key, [lead_id], old.database_url)

    with Load(old, seeded, pause=0.01) as load:
        time.sleep(0.5)
        applied = run_flask(old.database_url, "db", "upgrade")["applied"]
        time.sleep(0.5)
    problems = load.problems()
    old.kill()
    old.start()
    new = serve(old.database_url)
    by_old, by_new = book(old, seeded, "by old"), book(new, seeded, "by new")
    replays = book(new, seeded, "by old"), book(old, seeded, "by new")
    cancelled = new.call("POST", f"{API}/meetings/{by_old}/cancel", {}, key)
    listed = old.call("GET", f"{API}/leads/{lead_id}/meetings?status=cancelled", None, key).json

    report(
        migrations=len(applied), requests=len(load.calls), slowest_answer=f"{load.slowest():.2f} s"
    )
    assert applied
    assert problems == []
    assert set(load.results()) == {200, 201}
    assert replays == (by_old, by_new)
    assert cancelled.status == 200
    assert by_old in [row["id"] for row in listed["meetings"]]


def book(server, seeded, event_id):
    """Log a meeting, or the same again; returns its id."""
    body = booking(lead_email=..., lead_id=seeded.leads[0], external_event_id=event_id)
    answer = server.call("POST", f"{API}/meetings", body, seeded.key)
    assert answer.status in (200, 201), answer
    return answer.json["meeting"]["id"]
