"""Honest callers are served within a second, however many rude ones there are."""

import time

import pytest

from faults.lengths import lengths, together_then_alone
from faults.load import Load
from faults.rude import (
    Crowd,
    Many,
    body_longer_than_said,
    body_shorter_than_said,
    come_and_go,
    pipelined,
)
from faults.site import new_site

HONEST = ("book", "book", "read", "read")
CROWD = 200
SLOW = [
    "a byte a second",
    "silence",
    "half a body and silence",
    "a body of a byte a second",
    "chunks that drip",
]
SLOWEST_RATE = 50  # connections a second that one rude caller must be able to make after another


@pytest.fixture
def site(tmp_path):
    return new_site(f"sqlite:///{tmp_path / 'meetings.db'}")


def serve_honest_callers(server, site, tell, rude, seconds, connections=0):
    """Honest callers beside rude ones: for some seconds, and until those have come often enough."""
    with rude:
        time.sleep(0.5)  # until the crowd has gathered
        with Load(server, site, HONEST, pause=0.01, patience=5) as load:
            before = rude.made
            time.sleep(seconds)
            ends = time.monotonic() + connections / SLOWEST_RATE
            while rude.made - before < connections and time.monotonic() < ends:
                time.sleep(0.05)
            made = rude.made - before
    load.settle()

    p99 = load.percentile(0.99)
    tell(rude_connections=rude.made, honest_p99=f"{p99 * 1000:.0f} ms", **load.figures())
    assert rude.wrong == []
    assert made >= connections
    assert load.problems() == []
    assert set(load.results()) <= {200, 201, "closed"}
    assert p99 < 1
    assert len(load.acknowledged) > 20


@together_then_alone("manners", SLOW)
def test_slow_callers_do_not_keep_honest_ones_waiting(site, serve, tell, manners, seconds):
    server = serve(site.url)
    rude = Crowd(server.port, site.key, CROWD, manners)

    serve_honest_callers(server, site, tell, rude, seconds)


@together_then_alone("talks", [body_longer_than_said, body_shorter_than_said, pipelined])
def test_odd_requests_are_answered_and_do_not_keep_honest_ones_waiting(
    site, serve, tell, talks, seconds
):
    server = serve(site.url)
    rude = Many(server.port, site.key, 8, talks)

    serve_honest_callers(server, site, tell, rude, seconds)


@lengths("connections", 1500, 10000)
def test_one_connection_after_another_does_not_keep_honest_callers_waiting(
    site, serve, tell, connections
):
    server = serve(site.url)
    rude = Many(server.port, site.key, 1, [come_and_go], pause=0)

    serve_honest_callers(server, site, tell, rude, 2.5, connections)
