"""PgBouncer in transaction mode before a PostgreSQL server, for tests."""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
from programs import find_or_install
from server import free_port

# Each transaction gets the session that was idle longest, so hardly ever the one it had before.
SETTINGS = """
[databases]
* = host={host} port={port} user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
server_round_robin = 1
default_pool_size = 12
max_client_conn = 1000
application_name_add_host = {add_host}
server_login_retry = 1
"""


@contextmanager
def pooling(server_url: str, add_host: bool = False) -> Iterator[str]:
    """Run PgBouncer before a server; yields the URL that leads through it."""
    program = find_or_install("pgbouncer", ("pgbouncer", "/usr/sbin/pgbouncer"))
    where = psycopg.conninfo.conninfo_to_dict(server_url)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="meetings-pgbouncer-") as name:
        file = Path(name) / "pgbouncer.ini"
        file.write_text(
            SETTINGS.format(
                host=where.get("host", "127.0.0.1"),
                port=where.get("port", 5432),
                user=where.get("user", "postgres"),
                own_port=port,
                add_host=int(add_host),
            )
        )
        command = [program, "-q", str(file)]
        if os.geteuid() == 0:  # as which it does not run
            Path(name).chmod(0o755)
            host = Path(where.get("host", "nobody"))
            command[1:1] = ["-u", host.owner() if host.is_dir() else "nobody"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            _wait_for(port, process)
            yield (
                urlsplit(server_url)
                ._replace(
                    netloc=f"{quote(str(where.get('user', 'postgres')))}@127.0.0.1:{port}", query=""
                )
                .geturl()
            )
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while True:
        assert process.poll() is None, "PgBouncer ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "PgBouncer does not listen"
            time.sleep(0.02)
