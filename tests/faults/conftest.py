"""Fixtures for the fault tests: a seeded database, servers, and a PostgreSQL that may be killed."""

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import PostgresServer, embedded_postgres
from server import Server

from faults.seeded import SeededDatabase, seed_database

FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Start with no figures."""
    config.stash[FIGURES] = []


class OwnPostgres(PostgresServer):
    """A PostgreSQL that tests may kill, stop and pause; it keeps its URL when it starts again."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="meetings-faults-"))
        self.server = embedded_postgres.get_server(self.folder / "data", cleanup_mode="stop")
        self.url = self.server.get_uri()
        self.socket = self.server.get_postmaster_info().socket_path

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        folder = self.socket.parent
        self._control(
            "-w", "-o", '-h ""', "-o", f"-k {folder}", "-l", str(self.server.log), "start"
        )

    def shut_down(self) -> None:
        """Stop the server as an operator does: it closes all connections."""
        self._control("-w", "-m", "fast", "stop")

    def kill(self) -> None:
        """Kill all its processes with SIGKILL."""
        processes = self._signal(signal.SIGKILL)
        psutil.wait_procs(processes, timeout=10)

    def pause(self) -> None:
        """Suspend its processes: connections still open, but nothing responds."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """End the pause."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop the server and delete its data."""
        with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
            self.resume()
            self._control("-w", "-m", "immediate", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _control(self, *arguments: str) -> None:
        embedded_postgres.pg_ctl(
            list(arguments),
            pgdata=self.server.pgdata,
            user=self.server.system_user,
            timeout=30,
        )

    def _signal(self, number: signal.Signals) -> list[psutil.Process]:
        pid = int((self.server.pgdata / "postmaster.pid").read_text().split()[0])
        master = psutil.Process(pid)
        processes = [master, *master.children(recursive=True)]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)
        return processes


@pytest.fixture(scope="session")
def own_postgres() -> Iterator[OwnPostgres]:
    """A PostgreSQL that only these tests use."""
    server = OwnPostgres()
    yield server
    server.stop()


@pytest.fixture
def seeded(empty_databases: Callable[[], str]) -> SeededDatabase:
    """A new database of each kind, with a client and leads."""
    return seed_database(empty_databases())


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """`serve(seeded.url, THREADS=8)` starts a server, which is killed after the test."""
    servers: list[Server] = []

    def start(url: str, **settings: Any) -> Server:
        # The output is read only at the end, and a full pipe would block the server.
        environment = {"LOG_LEVEL": "CRITICAL"} | {
            name: str(value) for name, value in settings.items()
        }
        server = Server(url, environment=environment)
        servers.append(server)
        server.start()
        while len(server.workers_pids()) < server.workers:
            time.sleep(0.01)
        return server

    yield start
    for server in servers:
        if server.process.returncode is None:
            server.kill()


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`report(killed=3, lost=0)` adds the figures to the summary of the run."""

    def write(**figures: Any) -> None:
        text = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
        request.config.stash[FIGURES].append(f"{request.node.name}: {text}")

    return write


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the figures of the fault tests."""
    if lines := config.stash[FIGURES]:
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
