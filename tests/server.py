"""A real server for tests: gunicorn with its workers, on a socket."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from config.settings import ROOT


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def copy_service(folder: Path) -> Path:
    """Copy the files that a server needs, so that it has a separate var/."""
    folder.mkdir(exist_ok=True)
    for path in ROOT.glob("*.py"):
        shutil.copy(path, folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in (
        *("cli", "config", "database", "desk", "docs", "migrations", "routes", "sender"),
        *("services", "web"),
    ):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def copy_project(folder: Path) -> Path:
    """Copy the service, with its Makefile and the virtual environment that runs the tests."""
    copy_service(folder)
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "flask"):
        program = Path(sys.executable).parent / name
        (programs / name).write_text(f'#!/bin/sh\nexec "{program}" "$@"\n')
        (programs / name).chmod(0o755)
    (folder / ".venv" / "installed").touch()
    return folder


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """gunicorn on a free port."""

    database_url: str
    workers: int = 2
    environment: dict[str, str] = field(default_factory=dict)
    folder: Path = ROOT
    port: int = field(default_factory=free_port)
    process: Any = None

    def start(self, wait: bool = True) -> "Server":
        environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": self.database_url,
            "PORT": str(self.port),
            "WEB_CONCURRENCY": str(self.workers),
            "LOG_LEVEL": "WARNING",
            "WEBHOOK_SENDER": "off",
            **self.environment,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "config.serve"],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.monotonic() + 20
        while wait:
            try:
                if self.call("GET", "/healthz").status == 200:
                    break
            except OSError:
                assert self.process.poll() is None, self.process.stdout.read()
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.05)
        return self

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        key: str = "",
        headers: dict[str, str] | None = None,
        timeout: float = 30,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            own = {"X-API-Key": key} if key else {}
            connection.request(method, path, data, own | (headers or {}))
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def call_many(self, calls: list[tuple[Any, ...]], at_once: int = 64) -> list[Answer]:
        """Make the calls concurrently, each on a new connection."""
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(lambda call: self.call(*call), calls))

    def raw(self, sent: bytes, timeout: float = 30) -> bytes:
        """Send bytes and return all that the server sends before it closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            received = b""
            while chunk := connection.recv(65536):
                received += chunk
            return received

    def workers_pids(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def stop(self) -> str:
        """Send SIGTERM, wait for the end and return what the server printed."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=40)[0]

    def kill(self) -> None:
        """Kill the master and all other processes of the server with SIGKILL."""
        master = psutil.Process(self.process.pid)
        for process in [master, *master.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.communicate(timeout=10)


def run_flask(database_url: str, *arguments: str, **environment: str) -> Any:
    """Run a command of the service and return its JSON output."""
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", *arguments, "--json"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": database_url, **environment},
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)


@contextmanager
def serving_demo(folder: Path, **environment: str) -> Iterator[tuple[Server, dict[str, Any]]]:
    """Yield a server with the demo, as `make run` starts it, and the output of `flask demo`."""
    url = f"sqlite:///{folder / 'meetings.db'}"
    run_flask(url, "db", "upgrade")
    demo = run_flask(url, "demo", STATE_DIR=str(folder))
    server = Server(url, environment=environment).start()
    try:
        yield server, demo
    finally:
        if server.process.poll() is None:
            server.stop()
