"""Failover under load: the primary is killed, its synchronous standby is promoted.

The same processes go on: nothing acknowledged is lost or doubled, the change feed misses nothing,
and webhooks get every event.
"""

import threading
import time

import pytest
from conftest import booking
from receiver import Receiver

from faults.lengths import short_and_long
from faults.load import Load
from faults.seeded import seed_database
from faults.standby import Cluster
from faults.test_webhooks import CALLERS, PAUSE, SETTINGS, add_webhook, check, finish, processes_of

RECOVERY = 10  # seconds
MEETINGS = "/api/public/meetings"


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster()
    yield cluster
    cluster.stop()


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


class FeedReader(threading.Thread):
    """Follows the change feed, as a copy of the meetings elsewhere would."""

    def __init__(self, server, seeded):
        super().__init__()
        self.server, self.key = server, seeded.key
        self.seen, self.since, self.cursor = {}, "", ""
        self.is_following = True

    def run(self):
        while self.is_following:
            self.poll()
            time.sleep(0.05)

    def poll(self):
        """Read a page; returns whether it was the last one."""
        path = f"{MEETINGS}?order=updated_at&limit=200&cursor={self.cursor}"
        path += f"&updated_after={self.since}" * (self.since != "")
        answer = self.server.call("GET", path, key=self.key)
        if answer.status != 200:
            return False
        page = answer.json
        self.seen |= {row["id"]: row["status"] == "cancelled" for row in page["meetings"]}
        self.cursor = page["pagination"]["next_cursor"] or ""
        if not self.cursor and page["meetings"]:
            self.since = page["meetings"][-1]["updated_at"]
        return not self.cursor

    def stop(self):
        """Read the rest."""
        self.is_following = False
        self.join()
        while not self.poll():
            pass


def processes_when_started(server):
    """The processes of a server, once they all run."""
    deadline = time.monotonic() + 20
    while True:
        found = processes_of(server)
        if (len(found["worker"]), len(found["sender"])) == (2, 1):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_what_the_standby_does_not_have_is_not_acknowledged(cluster, serve):
    seeded = seed_database(cluster.create_database())
    server = serve(seeded.url, DB_TIMEOUT_SECONDS=1)
    body = booking(lead_email=..., lead_id=seeded.leads[0])

    with cluster.standby.paused():
        refused = server.call("POST", MEETINGS, body, seeded.key)
        read = server.call("GET", MEETINGS, None, seeded.key)
    logged = server.call("POST", MEETINGS, body, seeded.key)

    assert (refused.status, refused.json["code"]) == (503, "unavailable")
    assert (read.status, read.json["meetings"]) == (200, [])
    assert logged.status in (200, 201)
    assert len(seeded.stored().meetings) == 1


@short_and_long("failovers", 1, 10)
def test_a_failover_loses_and_doubles_nothing(cluster, serve, report, receiver, failovers):
    seeded = seed_database(cluster.create_database())
    add_webhook(seeded, receiver)
    server = serve(seeded.url, DB_TIMEOUT_SECONDS=2, **SETTINGS)
    before = processes_when_started(server)
    feed = FeedReader(server, seeded)
    feed.start()

    recoveries = []
    with Load(server, seeded, CALLERS, PAUSE) as load:
        for number in range(failovers):
            if number:
                cluster.add_standby()
            time.sleep(1.5)
            back = cluster.fail_over()
            load.wait_for_recovery(back, RECOVERY)
            recoveries.append(load.recovery(back))
        time.sleep(0.5)
        load.resend_unacknowledged()
    finish(server, seeded, failovers == 1)
    feed.stop()

    problems = load.problems()
    doubled = [problem for problem in problems if "twice" in problem]
    report(doubled=len(doubled), slowest_recovery=f"{max(recoveries):.2f} s", **load.figures())
    assert problems == []
    assert load.failures() == {}
    assert max(recoveries) < RECOVERY
    assert feed.seen == {row.id: row.status == "cancelled" for row in seeded.stored().meetings}
    assert processes_of(server) == before
    check(seeded, receiver, report, failovers=failovers)
