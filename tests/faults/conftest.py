"""What the faults need: a site, servers that are gone afterwards, a PostgreSQL to mistreat."""

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

from faults.site import Site, new_site

FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Nothing was measured yet."""
    config.stash[FIGURES] = []


class OwnPostgres(PostgresServer):
    """A PostgreSQL that may be killed, stopped and paused; it comes back under the same URL."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="meetings-faults-"))
        self.server = embedded_postgres.get_server(self.folder / "data", cleanup_mode="stop")
        self.url = self.server.get_uri()
        self.socket = self.server.get_postmaster_info().socket_path

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        folder = self.socket.parent
        self._control(
            "-w", "-o", '-h ""', "-o", f"-k {folder}", "-l", str(self.server.log), "start"
        )

    def shut_down(self) -> None:
        """Stop it as an operator does: whoever is connected is told to leave."""
        self._control("-w", "-m", "fast", "stop")

    def kill(self) -> None:
        """kill -9 of all its processes."""
        processes = self._signal(signal.SIGKILL)
        psutil.wait_procs(processes, timeout=10)

    def pause(self) -> None:
        """Stop its processes where they are: it takes connections and answers nothing."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End the pause."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """For good."""
        with contextlib.suppress(FileNotFoundError, psutil.NoSuchProcess):
            self.go_on()
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
    """A PostgreSQL for these tests alone."""
    server = OwnPostgres()
    yield server
    server.stop()


@pytest.fixture
def site(empty_databases: Callable[[], str]) -> Site:
    """A new database, on either kind, with a client and leads."""
    return new_site(empty_databases())


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """`serve(site.url, THREADS=8)` starts a server; whatever becomes of the test, it ends."""
    servers: list[Server] = []

    def start(url: str, **settings: Any) -> Server:
        # Nobody reads what it prints meanwhile, so it must not print much.
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
def tell(request: pytest.FixtureRequest) -> Callable[..., None]:
    """`tell(killed=3, lost=0)` puts the figures into the summary of the run."""

    def write(**figures: Any) -> None:
        text = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())
        request.config.stash[FIGURES].append(f"{request.node.name}: {text}")

    return write


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print what the faults did."""
    if lines := config.stash[FIGURES]:
        terminalreporter.section("faults")
        for line in lines:
            terminalreporter.write_line(line)
