"""A real server over sockets: concurrent bookings and malformed requests. Kills are in faults/."""

import random
import threading
import time
from uuid import uuid4

import pytest
from conftest import booking, hold_write_lock, save_lead
from server import Server, copy_service

import database
from database.queries import rows_of
from models import Activity, Meeting
from services import clients

MEETINGS = "/api/public/meetings"


@pytest.fixture(scope="module")
def server(app, database_url):
    server = Server(database_url).start()
    yield server
    server.stop()


@pytest.fixture
def key(app):
    client, key = clients.create(f"Client {uuid4()}")
    for name in ("tony", "pepper"):
        save_lead(client.id, first_name=name, email=f"{name}@example.com")
    database.release()
    return key


def stored(key):
    """Return the ids of the client's meetings, and those in its `meeting_scheduled` entries."""
    client_id = clients.find_key(key).client_id
    meetings = rows_of(Meeting.select(Meeting.id).where(Meeting.client == client_id))
    scheduled = rows_of(
        Activity.select(Activity.meeting).where(
            Activity.client == client_id, Activity.activity_type == "meeting_scheduled"
        )
    )
    database.release()
    return sorted(row.id for row in meetings), sorted(row.meeting for row in scheduled)


def test_sixty_four_concurrent_identical_bookings_create_one_meeting(server, key):
    body = booking(lead_email="tony@example.com")

    answers = server.call_many([("POST", MEETINGS, body, key)] * 64)

    assert sorted(answer.status for answer in answers) == [200] * 63 + [201]
    assert len({answer.json["meeting"]["id"] for answer in answers}) == 1
    meetings, scheduled = stored(key)
    assert len(meetings) == 1
    assert scheduled == meetings


def test_of_two_leads_racing_for_one_external_event_one_wins(server, key):
    calls = [
        ("POST", MEETINGS, booking(lead_email=f"{name}@example.com"), key)
        for name in ("tony", "pepper")
        for _ in range(16)
    ]
    random.shuffle(calls)

    answers = server.call_many(calls)

    by_lead = {name: [] for name in ("tony@example.com", "pepper@example.com")}
    for call, answer in zip(calls, answers, strict=True):
        by_lead[call[2]["lead_email"]].append(answer.status)
    assert sorted(map(tuple, map(sorted, by_lead.values()))) == [
        (200,) * 15 + (201,),
        (409,) * 16,
    ]
    assert len(stored(key)[0]) == 1


def test_two_servers_on_one_database_create_one_meeting(server, key, database_url):
    other = Server(database_url).start()
    body = booking(lead_email="tony@example.com")
    answers = []

    def send(to):
        answers.extend(to.call_many([("POST", MEETINGS, body, key)] * 16, at_once=16))

    threads = [threading.Thread(target=send, args=(to,)) for to in (server, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.stop()

    assert sorted(answer.status for answer in answers) == [200] * 31 + [201]
    assert len(stored(key)[0]) == 1


def test_reads_are_served_while_writers_wait_for_a_lock(kind, app, database_url, key):
    server = Server(database_url, workers=1, environment={"THREADS": "4"}).start()
    holder = hold_write_lock(kind, database_url)
    body = booking(lead_email="tony@example.com")
    waiting = threading.Thread(target=server.call_many, args=([("POST", MEETINGS, body, key)] * 3,))
    waiting.start()
    time.sleep(0.3)

    began = time.monotonic()
    answer = server.call("GET", "/api/public/leads", key=key)
    took = time.monotonic() - began
    holder.close()
    waiting.join()
    server.stop()

    assert answer.status == 200
    assert took < 0.5


BROKEN = {
    "nonsense": (b"nonsense\r\n\r\n", 400),
    "a header without a name": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n: secret\r\n\r\n", 400),
    "a long line": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    "a long header": (b"GET / HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
    "two lengths": (
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        400,
    ),
    "a coding": (b"POST / HTTP/1.1\r\nTransfer-Encoding: zip\r\n\r\n", 501),
    "a length of letters": (b"POST / HTTP/1.1\r\nContent-Length: ten\r\n\r\n", 400),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_malformed_request_is_refused_in_json(server, what):
    sent, status = BROKEN[what]

    head, _, body = server.raw(sent).partition(b"\r\n\r\n")

    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Content-Type: application/json" in head
    assert b'"success": false' in body
    assert b"secret" not in body


@pytest.mark.parametrize("path", ["/healthz", "/x/healthz"])
def test_a_caller_cannot_move_a_path_by_a_header(server, path):
    prefix = path.removesuffix("/healthz") or path
    sent = f"GET {path} HTTP/1.1\r\nHost: x\r\nSCRIPT_NAME: {prefix}\r\nConnection: close\r\n\r\n"

    status = 200 if path == "/healthz" else 404

    assert server.raw(sent.encode()).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        ("Content-Length: 100", b'{"first_name": "Tony"}'),
        ("Transfer-Encoding: chunked", b"zz\r\nnonsense\r\n"),
        ("Transfer-Encoding: chunked", b"16\r\n" + b'{"first_name": "Tony"'),
        ("Transfer-Encoding: chunked", b'5\r\n{"a":\r\n'),
        ("Transfer-Encoding: chunked", b'16\r\n{"first_name": "Tony"}\r\n'),
        ("Transfer-Encoding: chunked", b"1\r\n \r\n" * 30_000 + b"2\r\n{}\r\n0\r\n\r\n"),
    ],
)
def test_an_incomplete_body_is_refused(server, key, framing, body):
    head = f"POST /api/public/leads HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n{framing}\r\n\r\n"

    answer = server.raw(head.encode() + body)

    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert b'"code":"invalid_json"' in answer


def test_a_chunked_body_is_read(server, key):
    head = (
        f"POST /api/public/leads HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )

    answer = server.raw(head.encode() + b'16\r\n{"first_name": "Tony"}\r\n0\r\n\r\n')

    assert answer.startswith(b"HTTP/1.1 201"), answer


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("body", [b'{"first_name": "Tony"}', b'[{"first_name": "Tony"}]'])
def test_an_oversized_body_is_refused(server, key, framing, body):
    limit = 8 * 1024 * 1024 if framing == "length" or body.startswith(b"[") else 1024 * 1024
    body += b" " * limit
    head = f"POST /api/public/leads HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n"
    if framing == "length":
        head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    else:
        head += "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        body = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"

    answer = server.raw(head.encode() + body)

    assert answer.startswith(b"HTTP/1.1 413 "), answer[:200]
    assert b'"code":"payload_too_large"' in answer
    assert f"at most {limit} bytes".encode() in answer


def test_a_server_refuses_to_start_on_a_database_that_lacks_migrations(empty_databases):
    server = Server(empty_databases()).start(wait=False)

    output = server.process.communicate(timeout=20)[0]

    assert server.process.returncode != 0
    assert "flask --app app db upgrade" in output
    assert "Traceback" not in output


def test_a_server_starts_without_its_database_and_reports_that_it_is_not_ready(kind, app):
    if kind == "sqlite":
        pytest.skip("SQLite has no database server")
    server = Server("postgresql://nobody@127.0.0.1:1/none").start()

    answer = server.call("GET", "/readyz")
    server.stop()

    assert (answer.status, answer.json["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"] == "1"


def test_a_running_server_writes_nothing_outside_var(app, database_url, tmp_path):
    """The server runs from a copy of the project, with a separate home folder."""
    folder = copy_service(tmp_path / "service")
    home = tmp_path / "home"
    home.mkdir()
    before = sorted(folder.rglob("*"))
    surroundings = {"HOME": str(home), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"}

    server = Server(database_url, environment=surroundings, folder=folder).start()
    for _ in range(5):
        server.call("GET", "/readyz")
    server.stop()

    after = [path for path in folder.rglob("*") if "var" not in path.relative_to(folder).parts]
    assert sorted(after) == before
    assert list(home.iterdir()) == []
