"""SIGTERM and SIGHUP under load: no request is cut off, and a rolling restart serves them all."""

import os
import re
import signal
import socket
import time
from contextlib import contextmanager

import psutil

from faults.lengths import short_and_long
from faults.load import CLOSED, CUT_OFF, HANGING, HUNG_UP, REFUSED, Load, fault_in, parse_answers
from faults.seeded import seed_database

LEAD = b'{"first_name": "Tony"}'


def read_answer(connection):
    """Return the status of a complete, correct response, else a description of the fault."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
        head, ended, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        if ended and length and len(body) >= int(length[1]):
            (answer,) = parse_answers(received)
            return fault_in(answer) or answer.status
    return f"cut off after {received!r}"


@contextmanager
def half_sent(server, key, count=4):
    """Send half of some requests; `finish()` sends the rest and returns the responses."""
    head = f"POST /api/public/leads HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n"
    head += f"Content-Length: {len(LEAD)}\r\n\r\n"
    connections = [socket.create_connection(("127.0.0.1", server.port), 20) for _ in range(count)]
    for connection in connections:
        connection.sendall(head.encode() + LEAD[:5])

    def finish():
        for connection in connections:
            connection.sendall(LEAD[5:])
        return [read_answer(connection) for connection in connections]

    yield finish
    for connection in connections:
        connection.close()


@short_and_long("stops", 1, 20)
def test_at_sigterm_accepted_requests_are_finished(empty_databases, serve, report, stops):
    for _ in range(stops):
        stop_under_load(seed_database(empty_databases()), serve, report)


def terminate(server, seeded, seconds):
    """Send SIGTERM under load, and `seconds` later the rest of half-sent requests.

    Returns the load, the time of the SIGTERM, the seconds until the end, and the responses to the
    half-sent requests.
    """
    with Load(server, seeded) as load, half_sent(server, seeded.key) as finish:
        time.sleep(0.7)
        asked = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(seconds)
        answers = finish()
        server.process.communicate(timeout=20)
        took = time.monotonic() - asked
        load.running = False
    return load, asked, took, answers


def stop_under_load(seeded, serve, report):
    """Check that one stop cuts off no accepted request."""
    server = serve(seeded.url)

    load, asked, took, answers = terminate(server, seeded, 0.3)

    cut = [call for call in load.calls if call.began < asked and call.result in (HUNG_UP, HANGING)]
    report(stopped_in=f"{took:.1f} s", **load.figures())
    assert server.process.returncode == 0
    assert answers == [201] * 4
    assert load.problems() == []
    assert cut == []
    assert load.results()[CUT_OFF] == 0
    assert set(load.results()) <= {200, 201, CLOSED, HUNG_UP, REFUSED}
    assert load.created_without_answer() == []


def test_after_sigterm_new_requests_are_served_or_refused_at_once(tmp_path, serve, report):
    seeded = seed_database(f"sqlite:///{tmp_path / 'meetings.db'}")
    server = serve(seeded.url)

    load, asked, *_ = terminate(server, seeded, 2)

    refused = sorted(c.took for c in load.calls if c.began > asked and isinstance(c.result, str))
    usual, slowest = refused[len(refused) * 99 // 100], refused[-1]
    report(**load.figures(), refused_within=f"{usual:.3f} s, the slowest {slowest:.2f} s")
    assert usual < 0.1
    # A caller that connected just before waits until the last process closes the listening socket.
    assert slowest < 3


@short_and_long("restarts", 1, 20)
def test_a_rolling_restart_answers_every_request(seeded, serve, report, restarts):
    server = serve(seeded.url)
    first = [psutil.Process(pid) for pid in server.workers_pids()]

    with Load(server, seeded) as load:
        for _ in range(restarts):
            before = [psutil.Process(pid) for pid in server.workers_pids()]
            with half_sent(server, seeded.key) as finish:
                time.sleep(0.5)
                os.kill(server.process.pid, signal.SIGHUP)
                time.sleep(0.3)
                answers = finish()
            _, left = psutil.wait_procs(before, timeout=15)
            assert answers == [201] * 4
            assert not left, "old workers still run"
        time.sleep(0.3)

    report(restarts=restarts, **load.figures())
    assert load.problems() == []
    assert set(load.results()) <= {200, 201, CLOSED}
    assert load.created_without_answer() == []
    assert not {process.pid for process in first} & set(server.workers_pids())
    assert load.slowest() < 5
