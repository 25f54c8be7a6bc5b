"""The worker serves whole requests only, so that slow callers do not delay others."""

import json
import os
import signal
import socket
import threading
import time
from contextlib import ExitStack

import psutil
import pytest
from conftest import booking, hold_write_lock, save_lead
from server import Server

from config.connection import Connection
from services import clients, leads
from services.results import Loaded

BODY_BYTES = 8 * 1024 * 1024  # the longest body that the worker waits for


@pytest.fixture(scope="module")
def one_thread(app, database_url):
    """A server of one process that handles one request at a time."""
    server = Server(database_url, workers=1, environment={"THREADS": "1"}).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def one_worker(app, database_url):
    """A server of one process."""
    server = Server(database_url, workers=1).start()
    yield server
    server.stop()


@pytest.fixture
def key(app):
    client, key = clients.create(f"Client of {time.time_ns()}")
    save_lead(client.id, first_name="Tony", email="tony@example.com")
    return key


def post(path, key, body, *headers):
    """Return the head of a POST with this body."""
    lines = [
        f"POST /api/public{path} HTTP/1.1",
        "Host: x",
        f"X-API-Key: {key}",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def read_answers(connection, count):
    """Return the status and the JSON of each response, in order."""
    reader = connection.makefile("rb")
    answers = []
    while len(answers) < count:
        status = int(reader.readline().split()[1])
        length = 0
        while (line := reader.readline()) != b"\r\n":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        answers.append((status, json.loads(reader.read(length)) if length else None))
    return answers


def test_workers_come_to_have_about_as_many_connections_each(app, database_url):
    """Otherwise one worker does all the work, since a connection stays with its worker.

    One worker gets the first half of the connections, so the other should get the second half.
    """
    server = Server(database_url).start()
    while len(server.workers_pids()) < 2:
        time.sleep(0.1)
    time.sleep(1)  # until the second worker accepts
    one, other = server.workers_pids()
    with ExitStack() as callers:
        os.kill(other, signal.SIGSTOP)
        connect_callers(server, callers, 20)
        os.kill(other, signal.SIGCONT)
        connect_callers(server, callers, 20)

        kept = [
            sum(at.status == "ESTABLISHED" for at in psutil.Process(pid).net_connections("tcp"))
            for pid in (one, other)
        ]
    server.stop()

    assert sum(kept) == 40
    assert min(kept) >= 16, kept  # if they accepted at random, about 10


def connect_callers(server, callers, count):
    """Open connections one by one, each with one request that is answered."""
    for _ in range(count):
        caller = callers.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        caller.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        read_answers(caller, 1)
        time.sleep(0.01)  # longer than any worker waits before it accepts


class TestASlowCaller:
    def test_does_not_delay_others_while_it_sends(self, one_thread, key):
        body = json.dumps(booking(lead_email="tony@example.com")).encode()
        with ExitStack() as callers:
            for part in (b"", b"P", post("/meetings", key, body), post("/leads", key, body) + b"{"):
                for _ in range(10):
                    caller = socket.create_connection(("127.0.0.1", one_thread.port))
                    callers.enter_context(caller)
                    caller.sendall(part)
            began = time.monotonic()

            answer = one_thread.call("POST", "/api/public/meetings", body, key)

        assert answer.status == 201
        assert time.monotonic() - began < 2

    def test_does_not_delay_others_while_it_reads(self, one_thread, key, app):
        """The response is longer than the system's buffer for a connection."""
        client_id = clients.find_key(key).client_id
        long = {"first_name": "Tony", "metadata": {f"k{n}": "x" * 600 for n in range(100)}}
        leads.save(client_id, [Loaded(long, {})] * 200)
        get = f"GET /api/public/leads?limit=200 HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", one_thread.port)) as caller:
            caller.sendall(get.encode())
            time.sleep(0.5)
            began = time.monotonic()

            answer = one_thread.call("GET", "/healthz")
            waited = time.monotonic() - began
            [(status, listed)] = read_answers(caller, 1)

        assert (answer.status, waited < 2) == (200, True)
        assert (status, len(listed["leads"])) == (200, 200)


class TestALongRequest:
    @pytest.fixture
    def time_with_others(self, one_worker):
        """Return the seconds of a call, and of the slowest call that was made meanwhile."""

        def measure(*call):
            answers = []
            thread = threading.Thread(target=lambda: answers.append(one_worker.call(*call)))
            began, waits = time.monotonic(), []
            thread.start()
            while thread.is_alive():
                asked = time.monotonic()
                one_worker.call("GET", "/healthz")
                waits.append(time.monotonic() - asked)
            assert answers[0].status == 200
            return time.monotonic() - began, max(waits)

        return measure

    def test_for_an_array_or_a_calendar_lets_other_requests_run(self, time_with_others, key):
        rows = [
            booking(lead_email="tony@example.com", external_event_id=str(n)) for n in range(1000)
        ]

        array_took, array_wait = time_with_others("POST", "/api/public/meetings", rows, key)
        calendar_took, calendar_wait = time_with_others(
            "GET", "/api/public/meetings.ics", None, key
        )

        assert array_wait < 0.7 * array_took
        assert calendar_wait < 0.5 * calendar_took


def test_pipelined_requests_are_answered_in_order(one_thread, key):
    bodies = [json.dumps({"first_name": f"Tony {n}"}).encode() for n in range(200)]
    sent = b"".join(post("/leads", key, body) + body for body in bodies)
    with socket.create_connection(("127.0.0.1", one_thread.port)) as caller:
        caller.sendall(sent)

        answers = read_answers(caller, len(bodies))

    assert [answer["lead"]["first_name"] for _, answer in answers] == [
        f"Tony {n}" for n in range(200)
    ]


def test_pipelined_requests_longer_than_the_buffers_are_all_answered(one_thread, key):
    body = json.dumps({"first_name": "Tony", "note": "x" * 10_000}).encode()
    sent = (post("/leads", key, body) + body) * 30
    with socket.create_connection(("127.0.0.1", one_thread.port)) as caller:
        caller.sendall(sent)

        answers = read_answers(caller, 30)

    assert {status for status, _ in answers} == {201}


def test_expect_100_continue_is_answered_once(one_thread, key):
    body = b'{"first_name": "Tony"}'
    with socket.create_connection(("127.0.0.1", one_thread.port)) as caller:
        caller.sendall(post("/leads", key, body, "Expect: 100-continue"))
        (interim, _), *_ = read_answers(caller, 1)
        caller.sendall(body)

        (status, _), *_ = read_answers(caller, 1)

    assert (interim, status) == (100, 201)


def test_an_idle_connection_is_kept_for_as_long_as_the_setting_says(app, database_url):
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    server = Server(database_url, workers=1, environment={"KEEPALIVE_SECONDS": "2"}).start()
    try:
        with socket.create_connection(("127.0.0.1", server.port), 10) as caller:
            caller.sendall(request)
            read_answers(caller, 1)
            time.sleep(0.8)
            caller.sendall(request)
            read_answers(caller, 1)
            began = time.monotonic()
            rest = caller.recv(100)
            took = time.monotonic() - began
    finally:
        server.stop()

    assert rest == b""
    assert 1.5 < took < 5


def test_an_idle_connection_outlives_the_time_for_a_request_to_arrive(monkeypatch):
    """A proxy keeps connections for 60 seconds, a request has 15 to arrive."""
    monkeypatch.setattr("config.connection.REQUEST_SECONDS", 15.0)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection(ours, "peer", set(), 75.0)
        first = connection.deadline - time.monotonic()
        connection.response = [b"x"]
        connection.flush()
        connection.start_request(b"")
        idle = connection.deadline - time.monotonic()
        connection.start_request(b"GET")
        begun = connection.deadline - time.monotonic()
        connection.readable.close()

    assert (round(first), round(idle), round(begun)) == (15, 75, 15)


def test_a_connection_is_kept_after_an_error_response(one_thread, key):
    body = b'{"first_name": ""}'
    with socket.create_connection(("127.0.0.1", one_thread.port)) as caller:
        statuses = []
        for _ in range(5):
            caller.sendall(post("/leads", key, body) + body)
            statuses += [status for status, _ in read_answers(caller, 1)]

    assert statuses == [400] * 5


@pytest.mark.parametrize(
    ("asked", "kept"), [("a-1_b.C", True), ("nxr_live_abc", False), ("a b", False), ("", False)]
)
def test_a_request_refused_before_the_application_keeps_its_request_id(one_thread, asked, kept):
    sent = f"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-ID: {asked}\r\nbad header\r\n\r\n"

    head, _, body = one_thread.raw(sent.encode()).partition(b"\r\n\r\n")

    answer = json.loads(body)
    assert answer["code"] == "bad_request"
    assert f"X-Request-Id: {answer['request_id']}".encode() in head
    assert (answer["request_id"] == asked) == kept


def test_connection_close_closes_the_connection(one_thread):
    answer = one_thread.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"Connection: close" in answer


@pytest.mark.parametrize("header", ["Accept: */*", "Expect: 100-continue"])
def test_a_caller_that_sends_too_much_receives_the_413(one_thread, key, header):
    """The rest of the body is never read, and closing at once would discard the response."""
    body = b"x" * (BODY_BYTES + 1)
    with socket.create_connection(("127.0.0.1", one_thread.port)) as caller:
        caller.sendall(post("/leads", key, body, header) + body[: 2 * 1024 * 1024])

        [(status, answer)] = read_answers(caller, 1)

    assert (status, answer["code"]) == (413, "payload_too_large")


def test_a_pipelined_request_that_is_refused_keeps_its_own_request_id(one_thread):
    good = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: first\r\n\r\n"
    broken = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: second\r\nbad header\r\n\r\n"

    _, first, second = one_thread.raw(good + broken).split(b"HTTP/1.1 ")

    assert first.startswith(b"200")
    assert b"X-Request-Id: first" in first
    assert second.startswith(b"400")
    assert b"X-Request-Id: second" in second


def test_a_request_that_waits_too_long_for_a_thread_is_refused(kind, app, database_url, key):
    settings = {"THREADS": "1", "DB_TIMEOUT_SECONDS": "2"}
    server = Server(database_url, workers=1, environment=settings).start()
    holder = hold_write_lock(kind, database_url)
    call = ("POST", "/api/public/meetings", booking(lead_email="tony@example.com"), key)

    answers = server.call_many([call] * 4)

    holder.close()
    server.stop()
    refused = [answer for answer in answers if "too busy" in answer.json["message"]]
    assert {answer.status for answer in answers} == {503}
    assert len(refused) == 3
    assert {answer.json["code"] for answer in refused} == {"unavailable"}
    assert {answer.headers["Retry-After"] for answer in refused} == {"1"}


def test_the_total_size_of_large_bodies_in_transit_is_bounded(one_worker, key):
    body = b" " * BODY_BYTES
    with ExitStack() as callers:
        for _ in range(16):
            caller = socket.create_connection(("127.0.0.1", one_worker.port), 20)
            callers.enter_context(caller)
            caller.sendall(post("/leads", key, body) + body[:-1])
        late = callers.enter_context(socket.create_connection(("127.0.0.1", one_worker.port), 20))
        late.sendall(post("/leads", key, body) + body[: 1024 * 1024])

        [(status, refused)] = read_answers(late, 1)
        small = one_worker.call("POST", "/api/public/leads", {"first_name": "Tony"}, key)

    assert (status, refused["code"]) == (503, "unavailable")
    assert small.status == 201
