"""The worker: it begins with whole requests alone, so slow callers keep nobody waiting."""

import json
import socket
import threading
import time
from contextlib import ExitStack

import psutil
import pytest
from conftest import booking
from server import Server

from services import clients, leads

BODY_BYTES = 8 * 1024 * 1024  # the longest body that the worker waits for


@pytest.fixture(scope="module")
def narrow(app, database_url):
    """A server of one process with one request in hand: who holds that keeps everybody waiting."""
    server = Server(database_url, workers=1, environment={"THREADS": "1"}).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def alone(app, database_url):
    """A server of one process."""
    server = Server(database_url, workers=1).start()
    yield server
    server.stop()


@pytest.fixture
def key(app):
    client, key = clients.create(f"Client of {time.time_ns()}")
    leads.create(client["id"], {"first_name": "Tony", "email": "tony@example.com"})
    return key


def post(path, key, body, *headers):
    """The bytes of a POST, apart from its body."""
    lines = [
        f"POST /api/public{path} HTTP/1.1",
        "Host: x",
        f"X-API-Key: {key}",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def read_answers(connection, count):
    """The status and the JSON of each answer, in their order."""
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


def test_workers_share_connections_that_are_kept(app, database_url):
    """Else one of them may do all the work: a connection stays where it was accepted."""
    server = Server(database_url).start()
    while len(server.workers_pids()) < 2:
        time.sleep(0.1)
    time.sleep(1)  # for the second to be up
    with ExitStack() as callers:
        for _ in range(24):
            caller = callers.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            caller.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            read_answers(caller, 1)

        kept = [
            sum(at.status == "ESTABLISHED" for at in psutil.Process(pid).net_connections("tcp"))
            for pid in server.workers_pids()
        ]
    server.stop()

    assert sorted(kept) in ([11, 13], [12, 12]), kept


class TestWhoIsSlow:
    def test_holds_no_place_while_sending(self, narrow, key):
        body = json.dumps(booking(lead_email="tony@example.com")).encode()
        with ExitStack() as callers:
            for part in (b"", b"P", post("/meetings", key, body), post("/leads", key, body) + b"{"):
                for _ in range(10):
                    caller = socket.create_connection(("127.0.0.1", narrow.port))
                    callers.enter_context(caller)
                    caller.sendall(part)
            began = time.monotonic()

            answer = narrow.call("POST", "/api/public/meetings", body, key)

        assert answer.status == 201
        assert time.monotonic() - began < 2

    def test_holds_no_place_while_reading(self, narrow, key, app):
        """Nobody reads a list that is far longer than the system keeps for a connection."""
        client_id = clients.authenticate(key)
        long = {"first_name": "Tony", "metadata": {f"k{n}": "x" * 600 for n in range(100)}}
        leads.create_many(client_id, [(long, {})] * 200)
        get = f"GET /api/public/leads?limit=200 HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", narrow.port)) as caller:
            caller.sendall(get.encode())
            time.sleep(0.5)
            began = time.monotonic()

            answer = narrow.call("GET", "/healthz")
            waited = time.monotonic() - began
            [(status, listed)] = read_answers(caller, 1)

        assert (answer.status, waited < 2) == (200, True)
        assert (status, len(listed["leads"])) == (200, 200)


class TestWhoAsksForMuch:
    """Others have turns in between."""

    @pytest.fixture
    def slowest_meanwhile(self, alone):
        """Makes a call, and others while it lasts; how long it took, and the slowest of them."""

        def measure(*call):
            answers = []
            thread = threading.Thread(target=lambda: answers.append(alone.call(*call)))
            began, waits = time.monotonic(), []
            thread.start()
            while thread.is_alive():
                asked = time.monotonic()
                alone.call("GET", "/healthz")
                waits.append(time.monotonic() - asked)
            assert answers[0].status == 200
            return time.monotonic() - began, max(waits)

        return measure

    def test_with_an_array_and_a_calendar(self, slowest_meanwhile, key):
        rows = [
            booking(lead_email="tony@example.com", external_event_id=str(n)) for n in range(1000)
        ]

        array_took, array_wait = slowest_meanwhile("POST", "/api/public/meetings", rows, key)
        calendar_took, calendar_wait = slowest_meanwhile(
            "GET", "/api/public/meetings.ics", None, key
        )

        assert array_wait < 0.7 * array_took
        assert calendar_wait < 0.5 * calendar_took


def test_requests_sent_at_once_are_answered_in_their_order(narrow, key):
    bodies = [json.dumps({"first_name": f"Tony {n}"}).encode() for n in range(200)]
    sent = b"".join(post("/leads", key, body) + body for body in bodies)
    with socket.create_connection(("127.0.0.1", narrow.port)) as caller:
        caller.sendall(sent)

        answers = read_answers(caller, len(bodies))

    assert [answer["lead"]["first_name"] for _, answer in answers] == [
        f"Tony {n}" for n in range(200)
    ]


def test_more_than_is_read_ahead_is_answered_too(narrow, key):
    body = json.dumps({"first_name": "Tony", "note": "x" * 10_000}).encode()
    sent = (post("/leads", key, body) + body) * 30
    with socket.create_connection(("127.0.0.1", narrow.port)) as caller:
        caller.sendall(sent)

        answers = read_answers(caller, 30)

    assert {status for status, _ in answers} == {201}


def test_a_caller_who_asks_first_is_told_to_go_on_once(narrow, key):
    body = b'{"first_name": "Tony"}'
    with socket.create_connection(("127.0.0.1", narrow.port)) as caller:
        caller.sendall(post("/leads", key, body, "Expect: 100-continue"))
        (interim, _), *_ = read_answers(caller, 1)
        caller.sendall(body)

        (status, _), *_ = read_answers(caller, 1)

    assert (interim, status) == (100, 201)


def test_a_connection_outlives_many_requests_and_a_refusal(narrow, key):
    body = b'{"first_name": ""}'
    with socket.create_connection(("127.0.0.1", narrow.port)) as caller:
        statuses = []
        for _ in range(5):
            caller.sendall(post("/leads", key, body) + body)
            statuses += [status for status, _ in read_answers(caller, 1)]

    assert statuses == [400] * 5


@pytest.mark.parametrize(
    ("asked", "kept"), [("a-1_b.C", True), ("nxr_live_abc", False), ("a b", False), ("", False)]
)
def test_what_never_reaches_the_application_goes_by_the_callers_id_too(narrow, asked, kept):
    sent = f"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-ID: {asked}\r\nbad header\r\n\r\n"

    head, _, body = narrow.raw(sent.encode()).partition(b"\r\n\r\n")

    answer = json.loads(body)
    assert answer["code"] == "bad_request"
    assert f"X-Request-Id: {answer['request_id']}".encode() in head
    assert (answer["request_id"] == asked) == kept


def test_a_caller_who_wants_it_closed_is_hung_up_on(narrow):
    answer = narrow.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"Connection: close" in answer


def test_an_answer_reaches_a_caller_who_has_sent_too_much(narrow, key):
    """The rest of the body is never read; closed too soon, that would cost them the answer."""
    body = b"x" * (BODY_BYTES + 1)
    with socket.create_connection(("127.0.0.1", narrow.port)) as caller:
        caller.sendall(post("/leads", key, body) + body[: 2 * 1024 * 1024])

        [(status, answer)] = read_answers(caller, 1)

    assert (status, answer["code"]) == (413, "payload_too_large")
