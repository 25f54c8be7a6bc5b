"""PostgreSQL killed, stopped and paused under load: 503 in time, then a quick recovery."""

import time

import pytest

from faults.lengths import short_and_long
from faults.load import CALLERS, Load
from faults.seeded import seed_database

RECOVERY = 5.0  # seconds from its return until bookings succeed again
# Fault → the methods that begin and end it.
FAULTS = {
    "killed": ("kill", "start"),
    "stopped": ("shut_down", "start"),
    "paused": ("pause", "resume"),
}


@pytest.fixture
def seeded(own_postgres):
    return seed_database(own_postgres.create_database())


def run_fault(postgres, fault, seconds, load):
    """Begin and end a fault under load; returns the times of both."""
    begin, end = FAULTS[fault]
    time.sleep(0.7)
    getattr(postgres, begin)()
    gone = time.monotonic()
    time.sleep(seconds)
    getattr(postgres, end)()
    back = time.monotonic()
    load.wait_for_recovery(back, 2 * RECOVERY)
    time.sleep(1)
    return gone, back


@pytest.mark.parametrize("fault", ["killed", "stopped"])
@short_and_long("seconds, timeout", (1.5, 1), (10, 5))
def test_without_postgresql_callers_get_503_in_time(
    own_postgres, seeded, serve, report, fault, seconds, timeout
):
    check_outage(own_postgres, seeded, serve, report, fault, seconds, timeout, CALLERS)


@pytest.mark.parametrize(
    "callers",
    [
        pytest.param(CALLERS, id="few callers", marks=pytest.mark.soak),
        pytest.param(CALLERS * 5, id="more callers than threads"),
    ],
)
@short_and_long("seconds, timeout", (5, 1), (10, 5))
def test_while_postgresql_is_paused_callers_get_503_in_time(
    own_postgres, seeded, serve, report, callers, seconds, timeout
):
    check_outage(own_postgres, seeded, serve, report, "paused", seconds, timeout, callers)


def check_outage(postgres, seeded, serve, report, fault, seconds, timeout, callers):
    """Check the responses during one outage, and the recovery after it."""
    server = serve(seeded.url, DB_TIMEOUT_SECONDS=timeout, THREADS=4)
    workers = sorted(server.workers_pids())

    with Load(server, seeded, callers) as load:
        gone, back = run_fault(postgres, fault, seconds, load)
        load.resend_unacknowledged()

    recovery, late = load.recovery(back), load.results(since=back + RECOVERY)
    report(**{fault: f"{seconds} s"}, **load.figures(), recovered_in=f"{recovery:.2f} s")
    assert load.problems() == []
    assert load.failures() == {}
    assert load.results(gone, back)[503] > 0
    assert recovery < RECOVERY
    assert late[503] == 0
    assert sorted(server.workers_pids()) == workers
    assert load.slowest() < 2 * timeout + 2
