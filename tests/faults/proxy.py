"""A proxy in front of PostgreSQL that cuts a connection in the middle of a COMMIT."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

When = Literal["before", "after"]  # cut before PostgreSQL commits, or after
Pump = Callable[[socket.socket, socket.socket], None]
ENCRYPTION_REQUESTS = {80877103, 80877104}  # SSLRequest, GSSENCRequest: the server refuses both
COMMITTED = b"COMMIT\0"  # the tag of the server's response


class Proxy:
    """Forwards bytes between a free port and PostgreSQL's socket; `cut_next` cuts one connection.

    The messages are described in PostgreSQL's documentation, "Message Formats".
    """

    def __init__(self, server: Path) -> None:
        self.server = server
        self.armed: When | None = None
        self.cuts = 0
        self.cut = threading.Event()
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_next(self, when: When) -> None:
        """Cut the next connection that commits."""
        self.cut.clear()
        self.armed = when

    def close(self) -> None:
        """Accept no more connections."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._link, args=(client,), daemon=True).start()

    def _link(self, client: socket.socket) -> None:
        """Forward bytes in both directions until one side closes or the connection is cut."""
        with client, socket.socket(socket.AF_UNIX) as server, suppress(OSError):
            server.connect(str(self.server))
            pumps = [
                threading.Thread(target=self._pump, args=(pump, client, server))
                for pump in (self._to_server, self._to_client)
            ]
            for pump in pumps:
                pump.start()
            for pump in pumps:
                pump.join()

    def _pump(self, pump: Pump, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            pump(client, server)
        for end in (client, server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the other pump

    def _claim(self, when: When) -> bool:
        with self.lock:
            if self.armed != when:
                return False
            self.armed = None
            self.cuts += 1
            self.cut.set()
            return True

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        commits: set[bytes] = set()  # names of prepared statements that commit
        for kind, message in _messages(client):
            if _commits(kind, message, commits) and self._claim("before"):
                return
            server.sendall(message)

    def _to_client(self, client: socket.socket, server: socket.socket) -> None:
        tail = b""
        while chunk := server.recv(65536):
            if COMMITTED in tail + chunk and self._claim("after"):
                return
            tail = chunk[-len(COMMITTED) :]
            client.sendall(chunk)


def _messages(client: socket.socket) -> Iterator[tuple[bytes, bytes]]:
    """Yield each complete message of a client with its kind; startup messages have none."""
    buffer, began = b"", False
    while chunk := client.recv(65536):
        buffer += chunk
        while len(buffer) >= (head := 5 if began else 4):
            (length,) = struct.unpack("!I", buffer[head - 4 : head])
            end = length + head - 4
            if len(buffer) < end:
                break
            message, buffer = buffer[:end], buffer[end:]
            yield message[:1] if began else b"", message
            if not began:
                began = struct.unpack("!I", message[4:8])[0] not in ENCRYPTION_REQUESTS


def _commits(kind: bytes, message: bytes, prepared: set[bytes]) -> bool:
    """Return whether a message commits; adds statements prepared as COMMIT to `prepared`."""
    if kind == b"Q":
        return b"COMMIT" in message.upper()
    if kind == b"P":
        name, text = message[5:].split(b"\0")[:2]
        prepared.discard(name)
        if text.upper().strip(b" ;") == b"COMMIT":
            prepared.add(name)
    return kind == b"B" and message[5:].split(b"\0")[1] in prepared
