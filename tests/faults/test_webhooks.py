"""Kills under load: every committed change reaches its webhook, and none is invented.

The short forms do not wait for the leases of killed senders: they end them in the database.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import contextmanager, suppress
from ipaddress import ip_network

import psutil
import pytest
from conftest import using
from receiver import Receiver

from config.settings import ROOT
from database import db, transaction
from faults.lengths import short_and_long
from faults.load import Load
from faults.seeded import seed_database
from faults.test_sqlite import locked
from services import clients, webhooks

SENDING = {"WEBHOOK_SENDER": "on", "WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8"}
# Retries soon, and enough of them for a receiver that is always there.
SETTINGS = SENDING | {"WEBHOOK_RETRY_SECONDS": ",".join(["0.5"] * 40)}
LOCAL = (ip_network("127.0.0.0/8"),)
CALLERS = ("book", "book", "array")
PAUSE = 0.05  # between the calls of a caller, so that the sender keeps up
LEASE_SECONDS = 60


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


def add_webhook(seeded, receiver):
    """Add a webhook for the seeded client."""
    with using(seeded.url):
        [client] = clients.list_all()
        webhooks.create(client.id, {"url": receiver.url}, LOCAL)


def processes_of(server):
    """The processes of a server by their roles: worker, supervisor, sender."""
    found = defaultdict(list)
    for process in psutil.Process(server.process.pid).children(recursive=True):
        with suppress(psutil.Error):
            words = " ".join(process.cmdline())
            for role, mark in (
                ("worker", "gunicorn"),
                ("supervisor", "config.supervisor"),
                ("sender", "flask webhooks send"),
            ):
                if mark in words:
                    found[role].append(process)
    return found


def kill_one(server, role):
    """Kill a process of that role, if there is one at this moment."""
    processes = processes_of(server)[role]
    if processes:
        with suppress(psutil.Error):
            random.choice(processes).kill()
    return bool(processes)


def kill_everything(server):
    """Kill all processes of a server and start it again."""
    server.kill()
    server.start()


def execute(seeded, sql):
    """Run a statement on a separate connection."""
    with using(seeded.direct_url):
        transaction(db.execute_sql)(sql)


def finish(server, seeded, is_short, seconds=60):
    """Wait until nothing waits any more, for the leases of killed senders too."""
    deadline = time.monotonic() + seconds + (0 if is_short else LEASE_SECONDS)
    while seeded.query("SELECT count(*) FROM deliveries WHERE status = 'pending'") != [(0,)]:
        assert time.monotonic() < deadline, "deliveries are left"
        if is_short and not processes_of(server)["sender"]:
            time.sleep(0.2)
        elif is_short:
            # No sender is killed any more. Those that live hold their leases for a moment only.
            time.sleep(1.5)
            execute(seeded, "UPDATE deliveries SET leased_until = NULL WHERE status = 'pending'")
        else:
            time.sleep(0.5)


def check(seeded, receiver, report, **figures):
    """Compare what arrived with the timeline: nothing is lost, nothing invented or altered."""
    bodies = defaultdict(set)
    events = {}
    for got in receiver.received:
        event = got.json
        bodies[event["delivery_id"]].add(got.body)
        if event["data"].get("meeting"):
            events[event["event_id"]] = (
                event["data"]["meeting"]["id"],
                event["event_type"].replace(".", "_"),
            )
    arrived, committed = Counter(events.values()), Counter(seeded.stored().activities)
    report(
        **figures,
        changes=sum(committed.values()),
        arrived=sum(arrived.values()),
        deliveries=len(bodies),
        requests=len(receiver.received),
        sent_twice=len(receiver.received) - len(bodies),
    )
    assert committed - arrived == Counter(), "lost"
    assert arrived - committed == Counter(), "invented"
    assert {len(same) for same in bodies.values()} == {1}
    assert sum(committed.values()) > 10


@pytest.mark.parametrize(
    ("role", "kills"),
    [
        pytest.param("sender", 3, id="sender-short"),
        pytest.param("worker", 50, id="worker-long", marks=pytest.mark.soak),
    ],
)
def test_killed_senders_and_workers_lose_no_event(seeded, serve, report, receiver, role, kills):
    add_webhook(seeded, receiver)
    server = serve(seeded.url, **SETTINGS)
    killed = 0

    with Load(server, seeded, CALLERS, PAUSE) as load:
        time.sleep(2)
        while killed < kills:
            time.sleep(random.uniform(0.3, 1.0))
            killed += kill_one(server, role)
        load.resend_unacknowledged()
    finish(server, seeded, kills < 10)

    assert load.problems() == []
    check(seeded, receiver, report, killed=f"{killed} {role}s")


@pytest.mark.soak
def test_killed_senders_that_start_again_at_once_lose_no_event(seeded, serve, report, receiver):
    """The server would pause for up to 30 s before it starts a killed sender again."""
    add_webhook(seeded, receiver)
    server = serve(seeded.url, **SETTINGS | {"WEBHOOK_SENDER": "off"})
    kills = 50

    with Load(server, seeded, CALLERS, PAUSE) as load:
        for _ in range(kills):
            with sending(server):
                time.sleep(random.uniform(1.5, 3.0))  # about a second for the start
        load.resend_unacknowledged()
    with sending(server):
        finish(server, seeded, False)

    assert load.problems() == []
    check(seeded, receiver, report, killed=f"{kills} senders")


@contextmanager
def sending(server):
    """Run a sender as on a host of its own, and kill it at the end."""
    sender = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "app", "webhooks", "send"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "DATABASE_URL": server.database_url,
            **server.environment,
        },
    )
    try:
        yield
    finally:
        sender.kill()
        sender.wait()


@short_and_long("kills", 2, 25)
def test_kills_of_everything_lose_no_event(seeded, serve, report, receiver, kills):
    add_webhook(seeded, receiver)
    server = serve(seeded.url, **SETTINGS)

    with Load(server, seeded, CALLERS, PAUSE) as load:
        for _ in range(kills):
            time.sleep(random.uniform(2.0, 3.0))
            kill_everything(server)
        time.sleep(0.5)
        load.resend_unacknowledged()
    finish(server, seeded, kills < 10)

    assert load.problems() == []
    check(seeded, receiver, report, killed=kills)


@short_and_long("kills", 2, 25)
def test_kills_of_postgresql_lose_no_event(own_postgres, serve, report, receiver, kills):
    seeded = seed_database(own_postgres.create_database())
    add_webhook(seeded, receiver)
    server = serve(seeded.url, DB_TIMEOUT_SECONDS=1, **SETTINGS)

    with Load(server, seeded, CALLERS, PAUSE) as load:
        for _ in range(kills):
            time.sleep(random.uniform(1.5, 2.5))
            own_postgres.kill()
            time.sleep(random.uniform(0.2, 1.0))
            own_postgres.start()
        back = time.monotonic()
        load.wait_for_recovery(back, 10)
        time.sleep(0.5)
        load.resend_unacknowledged()
    finish(server, seeded, kills < 10)

    assert load.problems() == []
    check(seeded, receiver, report, killed=kills)


@short_and_long("faults", 3, 30)
def test_a_receiver_that_fails_in_every_way_gets_every_event_at_last(
    seeded, serve, report, receiver, faults
):
    add_webhook(seeded, receiver)
    server = serve(seeded.url, **SETTINGS)
    ways = [receiver.reset, receiver.garbage, lambda *call: fail_with(receiver, 500, *call)]

    with Load(server, seeded, CALLERS, 0.1) as load:
        time.sleep(2)
        for number in range(faults):
            receiver.behave = ways[number % len(ways)]
            time.sleep(0.6)
            receiver.behave = None
            time.sleep(0.4)
    finish(server, seeded, True)

    assert load.problems() == []
    check(seeded, receiver, report, faults=faults)


def fail_with(receiver, status, handler, got):
    handler.send_response(status)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def test_while_sqlite_is_locked_the_sender_waits(tmp_path, serve, report, receiver):
    seeded = seed_database(f"sqlite:///{tmp_path / 'meetings.db'}")
    add_webhook(seeded, receiver)
    server = serve(seeded.url, DB_TIMEOUT_SECONDS=0.5, **SETTINGS)

    with Load(server, seeded, CALLERS, PAUSE) as load:
        time.sleep(2)
        sender = processes_of(server)["sender"][0]
        with locked(seeded.path):
            time.sleep(3)
        load.wait_for_recovery(time.monotonic(), 5)
        time.sleep(1)
    finish(server, seeded, True)

    assert load.problems() == []
    assert sender.is_running()
    check(seeded, receiver, report, locked="3 s")


def test_what_a_paused_sender_holds_is_sent_by_another(kind, seeded, serve, report, receiver):
    """A sender that stands still longer than its leases; another one sends meanwhile."""
    if kind == "sqlite":
        pytest.skip("a paused process may hold SQLite's write lock")
    add_webhook(seeded, receiver)
    server = serve(seeded.url, **SETTINGS)
    other = serve(seeded.url, **SETTINGS)

    with Load(server, seeded, CALLERS, PAUSE):
        time.sleep(2)
        paused = processes_of(server)["sender"][0]
        os.kill(paused.pid, signal.SIGSTOP)
        time.sleep(1)
        execute(seeded, "UPDATE deliveries SET leased_until = NULL WHERE status = 'pending'")
        time.sleep(1)
        os.kill(paused.pid, signal.SIGCONT)
        time.sleep(0.5)
    finish(other, seeded, True)

    check(seeded, receiver, report, paused="2 s")
