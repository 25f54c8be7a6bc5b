"""Misbehaving callers: slow ones, silent ones, and some with a wrong Content-Length."""

import itertools
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from faults.load import fault_in, parse_answers

BODY = b'{"first_name": "Tony"}'
Exchange = Callable[["MisbehavingCallers", socket.socket], None]


class MisbehavingCallers:
    """Callers that misbehave until the `with` block ends; `wrong` lists unexpected responses."""

    def __init__(self, port: int, key: str) -> None:
        self.port, self.key = port, key
        self.running = True
        self.made = 0  # connections
        self.wrong: list[str] = []
        self.threads: list[threading.Thread] = []

    def __enter__(self) -> "MisbehavingCallers":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.running = False
        for thread in self.threads:
            thread.join()

    def connect(self) -> socket.socket:
        """Open a new connection."""
        self.made += 1
        return socket.create_connection(("127.0.0.1", self.port), 20)

    def head(self, *lines: str, method: str = "POST", path: str = "/api/public/leads") -> bytes:
        """Return the head of a request."""
        usual = (f"{method} {path} HTTP/1.1", "Host: x", f"X-API-Key: {self.key}")
        return "\r\n".join((*usual, *lines, "", "")).encode()

    def expect(self, received: bytes, *statuses: int) -> list[Any]:
        """Check that the responses have these statuses and follow the contract; returns them."""
        answers = parse_answers(received)
        faults = [fault for answer in answers if (fault := fault_in(answer))]
        if faults or [answer.status for answer in answers] != list(statuses):
            self.wrong.append(f"{faults} {statuses}: {received!r}")
        return answers


class SlowCallers(MisbehavingCallers):
    """Many connections that send some bytes at once, and then one byte per second.

    The behaviours, named as in `known_behaviours`, are assigned in rotation.
    """

    def __init__(self, port: int, key: str, count: int, behaviours: list[str]) -> None:
        super().__init__(port, key)
        self.count = count
        self.behaviours = itertools.cycle(
            [self.known_behaviours()[behaviour] for behaviour in behaviours]
        )
        self.threads = [threading.Thread(target=self.run)]

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for _ in range(self.count):
                self.add_connection(selector)
            while self.running:
                ends = time.monotonic() + 1
                while self.running and (left := ends - time.monotonic()) > 0:
                    for key, _ in selector.select(min(left, 0.1)):
                        self.read_and_reconnect(selector, key)
                for key in list(selector.get_map().values()):
                    with suppress(OSError):
                        key.fileobj.send(next(key.data, b""))
            for key in list(selector.get_map().values()):
                key.fileobj.close()

    def known_behaviours(self) -> dict[str, tuple[bytes, bytes]]:
        """Return the bytes that each sends at once, and the bytes that it repeats slowly."""
        request = self.head(f"Content-Length: {len(BODY)}") + BODY
        return {
            "a byte a second": (b"", request),
            "silence": (b"", b""),
            "half a body and silence": (request[:-11], b""),
            "a body of a byte a second": (self.head("Content-Length: 100000"), BODY),
            "slow chunks": (self.head("Transfer-Encoding: chunked"), b"1\r\n{\r\n"),
        }

    def add_connection(self, selector: selectors.BaseSelector) -> None:
        connection = self.connect()
        first, repeated = next(self.behaviours)
        connection.sendall(first)
        slow_bytes = (bytes([byte]) for byte in itertools.cycle(repeated))
        selector.register(connection, selectors.EVENT_READ, slow_bytes)

    def read_and_reconnect(
        self, selector: selectors.BaseSelector, key: selectors.SelectorKey
    ) -> None:
        """Check what the server sent before it closed the connection, and open a new one."""
        selector.unregister(key.fileobj)
        received = b""
        with key.fileobj as connection, suppress(OSError):
            while chunk := connection.recv(65536):
                received += chunk
        for answer in parse_answers(received):
            if fault_in(answer) or answer.status not in (400, 408):
                self.wrong.append(f"{fault_in(answer)}: {answer}")
        self.add_connection(selector)


class RepeatedCallers(MisbehavingCallers):
    """Callers that repeat the exchanges in rotation, each on a new connection."""

    def __init__(
        self, port: int, key: str, count: int, exchanges: list[Exchange], pause: float = 0.1
    ) -> None:
        super().__init__(port, key)
        self.exchanges, self.pause = exchanges, pause
        self.threads = [threading.Thread(target=self.run) for _ in range(count)]

    def run(self) -> None:
        for exchange in itertools.cycle(self.exchanges):
            if not self.running:
                return
            try:
                with self.connect() as connection:
                    exchange(self, connection)
            except OSError as error:
                self.wrong.append(f"{type(error).__name__}: {error}")
            time.sleep(self.pause)


def read_all(connection: socket.socket) -> bytes:
    """Return all bytes until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def body_longer_than_declared(callers: MisbehavingCallers, connection: socket.socket) -> None:
    """The server reads the rest of the body as a second, malformed request."""
    connection.sendall(callers.head(f"Content-Length: {len(BODY)}") + BODY + b" and more\r\n\r\n")
    callers.expect(read_all(connection), 201, 400)


def body_shorter_than_declared(callers: MisbehavingCallers, connection: socket.socket) -> None:
    """The caller stops sending before the body is complete."""
    connection.sendall(callers.head("Content-Length: 100") + BODY)
    connection.shutdown(socket.SHUT_WR)
    callers.expect(read_all(connection), 400)


def pipelined(callers: MisbehavingCallers, connection: socket.socket) -> None:
    """Ten requests sent at once get their responses in order."""
    ids = [uuid4().hex for _ in range(10)]
    connection.sendall(
        b"".join(
            callers.head(f"X-Request-Id: {id}", f"Content-Length: {len(BODY)}") + BODY
            if index % 2
            else callers.head(f"X-Request-Id: {id}", method="GET")
            for index, id in enumerate(ids[:-1])
        )
        + callers.head(f"X-Request-Id: {ids[-1]}", "Connection: close", method="GET")
    )
    answers = callers.expect(read_all(connection), *[200, 201] * 4, 200, 200)
    if [answer.headers["X-Request-Id"] for answer in answers] != ids:
        callers.wrong.append("responses in the wrong order")


def connect_and_leave(callers: MisbehavingCallers, connection: socket.socket) -> None:
    """Every second caller sends nothing at all."""
    if callers.made % 2:
        connection.sendall(callers.head("Connection: close", method="GET", path="/healthz"))
        callers.expect(read_all(connection), 200)
