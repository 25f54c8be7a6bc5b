"""SIGTERM and SIGHUP under load: nobody is cut off, and a rolling restart answers everything."""

import os
import re
import signal
import socket
import time
from contextlib import contextmanager

import psutil

from faults.lengths import lengths
from faults.load import CLOSED, CUT_OFF, HANGING, HUNG_UP, REFUSED, Load, answers_in, fault_in
from faults.site import new_site

LEAD = b'{"first_name": "Tony"}'


def read_answer(connection):
    """The status of a whole answer that is as it should be; else what came instead."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
        head, ended, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        if ended and length and len(body) >= int(length[1]):
            (answer,) = answers_in(received)
            return fault_in(answer) or answer.status
    return f"cut off after {received!r}"


@contextmanager
def half_sent(server, key, count=4):
    """Requests of which half has arrived; `finish()` sends the rest and returns the answers."""
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


@lengths("stops", 1, 20)
def test_at_sigterm_whatever_was_accepted_is_finished(empty_databases, serve, tell, stops):
    for _ in range(stops):
        stop_under_load(new_site(empty_databases()), serve, tell)


def terminate(server, site, seconds):
    """SIGTERM under load, with requests half sent, whose rest comes `seconds` later.

    Returns the load, when it was asked to stop, how long that took, and the answers to the halves.
    """
    with Load(server, site) as load, half_sent(server, site.key) as finish:
        time.sleep(0.7)
        asked = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(seconds)
        answers = finish()
        server.process.communicate(timeout=20)
        took = time.monotonic() - asked
        load.running = False
    return load, asked, took, answers


def stop_under_load(site, serve, tell):
    """One stop: nobody who was accepted is cut off, and what was begun is finished."""
    server = serve(site.url)

    load, asked, took, answers = terminate(server, site, 0.3)

    cut = [call for call in load.calls if call.began < asked and call.result in (HUNG_UP, HANGING)]
    tell(stopped_in=f"{took:.1f} s", **load.figures())
    assert server.process.returncode == 0
    assert answers == [201] * 4
    assert load.problems() == []
    assert cut == []
    assert load.results()[CUT_OFF] == 0
    assert set(load.results()) <= {200, 201, CLOSED, HUNG_UP, REFUSED}
    assert load.answered_late() == []


def test_after_sigterm_callers_are_answered_or_turned_away_at_once(tmp_path, serve, tell):
    site = new_site(f"sqlite:///{tmp_path / 'meetings.db'}")
    server = serve(site.url)

    load, asked, *_ = terminate(server, site, 2)

    turned_away = [c.took for c in load.calls if c.began > asked and isinstance(c.result, str)]
    tell(**load.figures(), turned_away_within=f"{max(turned_away):.2f} s")
    assert max(turned_away) < 1


@lengths("restarts", 1, 20)
def test_a_rolling_restart_answers_everything(site, serve, tell, restarts):
    server = serve(site.url)
    first = [psutil.Process(pid) for pid in server.workers_pids()]

    with Load(server, site) as load:
        for _ in range(restarts):
            before = [psutil.Process(pid) for pid in server.workers_pids()]
            with half_sent(server, site.key) as finish:
                time.sleep(0.5)
                os.kill(server.process.pid, signal.SIGHUP)
                time.sleep(0.3)
                answers = finish()
            _, left = psutil.wait_procs(before, timeout=15)
            assert answers == [201] * 4
            assert not left, "old workers stay"
        time.sleep(0.3)

    tell(restarts=restarts, **load.figures())
    assert load.problems() == []
    assert set(load.results()) <= {200, 201, CLOSED}
    assert load.answered_late() == []
    assert not {process.pid for process in first} & set(server.workers_pids())
    assert load.slowest() < 5
