"""PostgreSQL killed, stopped and paused under load: 503 in time, and back at once when it is."""

import time

import pytest

from faults.lengths import lengths
from faults.load import CALLERS, Load
from faults.site import new_site

RECOVERY = 5.0  # seconds from its return until bookings go through again
# What is done to it, and what ends it.
FAULTS = {
    "killed": ("kill", "start"),
    "stopped": ("shut_down", "start"),
    "paused": ("pause", "go_on"),
}


@pytest.fixture
def site(own_postgres):
    return new_site(own_postgres.create_database())


def suffer(postgres, fault, seconds, load):
    """Let the fault happen under load and pass; returns when it began and when it was over."""
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
@lengths("seconds, timeout", (1.5, 1), (10, 5))
def test_while_postgresql_is_away_callers_are_told_so_in_time(
    own_postgres, site, serve, tell, fault, seconds, timeout
):
    outage(own_postgres, site, serve, tell, fault, seconds, timeout, CALLERS)


@pytest.mark.parametrize(
    "callers",
    [
        pytest.param(CALLERS, id="few callers", marks=pytest.mark.soak),
        pytest.param(CALLERS * 5, id="more callers than threads"),
    ],
)
@lengths("seconds, timeout", (5, 1), (10, 5))
def test_while_postgresql_is_paused_callers_are_told_so_in_time(
    own_postgres, site, serve, tell, callers, seconds, timeout
):
    outage(own_postgres, site, serve, tell, "paused", seconds, timeout, callers)


def outage(postgres, site, serve, tell, fault, seconds, timeout, callers):
    """One outage: what callers are told meanwhile, and that all is well after it."""
    server = serve(site.url, DB_TIMEOUT_SECONDS=timeout, THREADS=4)
    workers = sorted(server.workers_pids())

    with Load(server, site, callers) as load:
        gone, back = suffer(postgres, fault, seconds, load)
        load.settle()

    recovery, late = load.recovery(back), load.results(since=back + RECOVERY)
    tell(**{fault: f"{seconds} s"}, **load.figures(), recovered_in=f"{recovery:.2f} s")
    assert load.problems() == []
    assert load.failures() == {}
    assert load.results(gone, back)[503] > 0
    assert recovery < RECOVERY
    assert late[503] == 0
    assert sorted(server.workers_pids()) == workers
    assert load.slowest() < 2 * timeout + 2
