"""Honest callers are served within a second, however many rude ones there are."""

import time

import pytest
from server import Server

from faults.lengths import lengths
from faults.load import Load
from faults.rude import (
    BODY,
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
SLOWEST_RATE = 50  # connections a second that one rude caller must be able to make after another


@pytest.fixture
def site(tmp_path):
    return new_site(f"sqlite:///{tmp_path / 'meetings.db'}")


def slow(rude_head):
    """What a crowd says at once, and what it drips."""
    return {
        "a byte a second": (b"", rude_head("Content-Length: 22") + BODY),
        "silence": (b"", b""),
        "half a body and silence": (rude_head("Content-Length: 22") + BODY[:11], b""),
        "a body of a byte a second": (rude_head("Content-Length: 100000"), BODY),
        "chunks that drip": (rude_head("Transfer-Encoding: chunked"), b"1\r\n{\r\n"),
    }


def serve_honest_callers(server, site, tell, rude, seconds=0.0, connections=0):
    """Honest callers beside rude ones, for some seconds and until the rude have come often."""
    with rude:
        time.sleep(0.5)  # until the crowd has gathered
        with Load(server, site, HONEST, pause=0.01, patience=5) as load:
            began = time.monotonic()
            ends = began + (connections / SLOWEST_RATE if connections else seconds)
            while time.monotonic() < ends and not 0 < connections <= rude.made:
                time.sleep(0.05)
    load.settle()

    p99 = load.percentile(0.99)
    tell(rude_connections=rude.made, honest_p99=f"{p99 * 1000:.0f} ms", **load.figures())
    assert rude.wrong == []
    assert rude.made >= connections
    assert load.problems() == []
    assert set(load.results()) <= {200, 201, "closed"}
    assert p99 < 1
    assert len(load.acknowledged) > 20


@pytest.mark.parametrize("manner", slow(lambda line: b""))
@lengths("seconds", 1.5, 60)
def test_slow_callers_do_not_keep_honest_ones_waiting(site, serve, tell, manner, seconds):
    server: Server = serve(site.url)
    rude = Crowd(server.port, site.key, CROWD, b"", b"")
    rude.said, rude.dripped = slow(rude.head)[manner]

    serve_honest_callers(server, site, tell, rude, seconds)


@pytest.mark.parametrize(
    "talk", [body_longer_than_said, body_shorter_than_said, pipelined], ids=lambda f: f.__name__
)
@lengths("seconds", 1.5, 60)
def test_odd_requests_are_answered_and_do_not_keep_honest_ones_waiting(
    site, serve, tell, talk, seconds
):
    server = serve(site.url)

    serve_honest_callers(server, site, tell, Many(server.port, site.key, 8, talk), seconds)


@lengths("connections", 1500, 10000)
def test_one_connection_after_another_does_not_keep_honest_callers_waiting(
    site, serve, tell, connections
):
    server = serve(site.url)
    rude = Many(server.port, site.key, 1, come_and_go, pause=0)

    serve_honest_callers(server, site, tell, rude, connections=connections)
