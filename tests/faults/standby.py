"""Two PostgreSQL servers: a primary, and a standby that has each commit before it is confirmed."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import psycopg
from conftest import embedded_postgres
from server import free_port


class Node:
    """A PostgreSQL server on a port of 127.0.0.1."""

    def __init__(self, folder: Path, user: str | None) -> None:
        self.folder, self.user, self.port = folder, user, free_port()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder}"
        self.control("-w", "-o", options, "-l", str(self.folder / "log"), "start")

    def control(self, *arguments: str) -> None:
        embedded_postgres.pg_ctl([*arguments], pgdata=self.folder, user=self.user, timeout=30)

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            done = connection.execute(sql)
            return done.fetchall() if done.description else []

    def kill(self) -> None:
        """Kill all its processes with SIGKILL."""
        processes = self._processes()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=10)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let its processes stand still for a while."""
        processes = self._processes()
        for process in processes:
            process.suspend()
        yield
        for process in processes:
            process.resume()

    def _processes(self) -> list[psutil.Process]:
        master = psutil.Process(int((self.folder / "postmaster.pid").read_text().split()[0]))
        return [master, *master.children(recursive=True)]


class Cluster:
    """A primary with a standby; `fail_over` replaces the one by the other."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="meetings-standby-"))
        first = embedded_postgres.get_server(self.folder / "0", cleanup_mode="stop")
        user = first.system_user
        first.cleanup()
        self.nodes = [Node(self.folder / name, user) for name in "01"]
        self.primary, self.standby = self.nodes
        self.folder.chmod(0o777)  # the servers run as another user
        self.primary.start()
        self.add_standby()

    def url(self, database: str) -> str:
        """The URL by which a program finds whichever of the two is the primary."""
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"postgresql://postgres@{hosts}/{database}?target_session_attrs=read-write"

    def create_database(self) -> str:
        name = f"meetings_test_{uuid4().hex}"
        self.primary.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def add_standby(self) -> None:
        """Copy the primary, and let no commit return before the copy has it on its disk."""
        shutil.rmtree(self.standby.folder, ignore_errors=True)
        embedded_postgres.pg_basebackup(
            ["-R", "-c", "fast", "-d", self.primary.url],
            pgdata=self.standby.folder,
            user=self.standby.user,
            timeout=60,
        )
        self.standby.start()
        self.primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.primary.execute("SELECT pg_reload_conf()")
        deadline = time.monotonic() + 20
        while self.primary.execute("SELECT sync_state FROM pg_stat_replication") != [("sync",)]:
            assert time.monotonic() < deadline, "the standby is not synchronous"
            time.sleep(0.05)

    def fail_over(self) -> float:
        """Kill the primary and promote the standby; returns when it was promoted."""
        self.primary.kill()
        self.standby.control("-w", "promote")
        self.primary, self.standby = self.standby, self.primary
        return time.monotonic()

    def stop(self) -> None:
        for node in self.nodes:
            with suppress(FileNotFoundError, psutil.NoSuchProcess):
                node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
