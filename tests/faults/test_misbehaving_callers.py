"""Normal callers are served within a second, even next to many misbehaving callers."""

import time

import pytest

from faults.lengths import all_or_each, short_and_long
from faults.load import Load
from faults.misbehaving import (
    RepeatedCallers,
    SlowCallers,
    body_longer_than_declared,
    body_shorter_than_declared,
    connect_and_leave,
    pipelined,
)
from faults.seeded import seed_database

NORMAL = ("book", "book", "read", "read")
SLOW_CALLERS = 200
SLOW = [
    "a byte a second",
    "silence",
    "half a body and silence",
    "a body of a byte a second",
    "slow chunks",
]
SLOWEST_RATE = 50  # new connections per second that the server must allow one caller


@pytest.fixture
def seeded(tmp_path):
    return seed_database(f"sqlite:///{tmp_path / 'meetings.db'}")


def check_normal_callers(server, seeded, report, callers, seconds, connections=0):
    """Check normal callers for some seconds, and until the others made enough connections."""
    with callers:
        time.sleep(0.5)  # until all have connected
        with Load(server, seeded, NORMAL, pause=0.01, patience=5) as load:
            before = callers.made
            time.sleep(seconds)
            ends = time.monotonic() + connections / SLOWEST_RATE
            while callers.made - before < connections and time.monotonic() < ends:
                time.sleep(0.05)
            made = callers.made - before
    load.resend_unacknowledged()

    p99 = load.percentile(0.99)
    report(connections_made=callers.made, normal_p99=f"{p99 * 1000:.0f} ms", **load.figures())
    assert callers.wrong == []
    assert made >= connections
    assert load.problems() == []
    assert set(load.results()) <= {200, 201, "closed"}
    assert p99 < 1
    assert len(load.acknowledged) > 20


@all_or_each("behaviours", SLOW)
def test_slow_callers_do_not_delay_normal_ones(seeded, serve, report, behaviours, seconds):
    server = serve(seeded.url)
    callers = SlowCallers(server.port, seeded.key, SLOW_CALLERS, behaviours)

    check_normal_callers(server, seeded, report, callers, seconds)


@all_or_each("exchanges", [body_longer_than_declared, body_shorter_than_declared, pipelined])
def test_malformed_and_pipelined_requests_do_not_delay_normal_callers(
    seeded, serve, report, exchanges, seconds
):
    server = serve(seeded.url)
    callers = RepeatedCallers(server.port, seeded.key, 8, exchanges)

    check_normal_callers(server, seeded, report, callers, seconds)


@short_and_long("connections", 1500, 10000)
def test_many_short_connections_do_not_delay_normal_callers(seeded, serve, report, connections):
    server = serve(seeded.url)
    callers = RepeatedCallers(server.port, seeded.key, 1, [connect_and_leave], pause=0)

    check_normal_callers(server, seeded, report, callers, 2.5, connections)
