"""Rude callers: slow ones, silent ones, and those whose bodies are not as long as they say."""

import itertools
import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

from faults.load import answers_in, fault_in

BODY = b'{"first_name": "Tony"}'
Talk = Callable[["Rude", socket.socket], None]


class Rude:
    """Rude callers at work for as long as the `with` lasts; `wrong` is what they were not told."""

    def __init__(self, port: int, key: str) -> None:
        self.port, self.key = port, key
        self.running = True
        self.made = 0  # connections
        self.wrong: list[str] = []
        self.threads: list[threading.Thread] = []

    def __enter__(self) -> "Rude":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.running = False
        for thread in self.threads:
            thread.join()

    def connect(self) -> socket.socket:
        """A new connection."""
        self.made += 1
        return socket.create_connection(("127.0.0.1", self.port), 20)

    def head(self, *lines: str, method: str = "POST", path: str = "/api/public/leads") -> bytes:
        """The head of a request."""
        usual = (f"{method} {path} HTTP/1.1", "Host: x", f"X-API-Key: {self.key}")
        return "\r\n".join((*usual, *lines, "", "")).encode()

    def expect(self, received: bytes, *statuses: int) -> list[Any]:
        """Compare answers with what should have come; each is whole and as the contract says."""
        answers = answers_in(received)
        faults = [fault for answer in answers if (fault := fault_in(answer))]
        if faults or [answer.status for answer in answers] != list(statuses):
            self.wrong.append(f"{faults} {statuses}: {received!r}")
        return answers


class Crowd(Rude):
    """Connections that say something and then drip: each sends its next byte once a second.

    They take turns in their manners, of those that `manners` knows.
    """

    def __init__(self, port: int, key: str, count: int, manners: list[str]) -> None:
        super().__init__(port, key)
        self.count = count
        self.manners = itertools.cycle([self.known_manners()[manner] for manner in manners])
        self.threads = [threading.Thread(target=self.run)]

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for _ in range(self.count):
                self.join(selector)
            while self.running:
                ends = time.monotonic() + 1
                while self.running and (left := ends - time.monotonic()) > 0:
                    for key, _ in selector.select(min(left, 0.1)):
                        self.answered(selector, key)
                for key in list(selector.get_map().values()):
                    with suppress(OSError):
                        key.fileobj.send(next(key.data, b""))
            for key in list(selector.get_map().values()):
                key.fileobj.close()

    def known_manners(self) -> dict[str, tuple[bytes, bytes]]:
        """What each says at once, and what it drips."""
        request = self.head(f"Content-Length: {len(BODY)}") + BODY
        return {
            "a byte a second": (b"", request),
            "silence": (b"", b""),
            "half a body and silence": (request[:-11], b""),
            "a body of a byte a second": (self.head("Content-Length: 100000"), BODY),
            "chunks that drip": (self.head("Transfer-Encoding: chunked"), b"1\r\n{\r\n"),
        }

    def join(self, selector: selectors.BaseSelector) -> None:
        connection = self.connect()
        said, dripped = next(self.manners)
        connection.sendall(said)
        drips = (bytes([byte]) for byte in itertools.cycle(dripped))
        selector.register(connection, selectors.EVENT_READ, drips)

    def answered(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        """The server had enough: its answer, if it gave one, is an error; then come again."""
        selector.unregister(key.fileobj)
        received = b""
        with key.fileobj as connection, suppress(OSError):
            while chunk := connection.recv(65536):
                received += chunk
        for answer in answers_in(received):
            if fault_in(answer) or answer.status not in (400, 408):
                self.wrong.append(f"{fault_in(answer)}: {answer}")
        self.join(selector)


class Many(Rude):
    """Callers that come over and over, on a new connection every time, taking turns in talks."""

    def __init__(
        self, port: int, key: str, count: int, talks: list[Talk], pause: float = 0.1
    ) -> None:
        super().__init__(port, key)
        self.talks, self.pause = talks, pause
        self.threads = [threading.Thread(target=self.run) for _ in range(count)]

    def run(self) -> None:
        for talk in itertools.cycle(self.talks):
            if not self.running:
                return
            try:
                with self.connect() as connection:
                    talk(self, connection)
            except OSError as error:
                self.wrong.append(f"{type(error).__name__}: {error}")
            time.sleep(self.pause)


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server hangs up."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def body_longer_than_said(rude: Rude, connection: socket.socket) -> None:
    """What follows the body is the next request, and no good one."""
    connection.sendall(rude.head(f"Content-Length: {len(BODY)}") + BODY + b" and more\r\n\r\n")
    rude.expect(read_all(connection), 201, 400)


def body_shorter_than_said(rude: Rude, connection: socket.socket) -> None:
    """The caller hangs up on its side before the body is whole."""
    connection.sendall(rude.head("Content-Length: 100") + BODY)
    connection.shutdown(socket.SHUT_WR)
    rude.expect(read_all(connection), 400)


def pipelined(rude: Rude, connection: socket.socket) -> None:
    """Ten requests sent at once are answered in their order."""
    ids = [uuid4().hex for _ in range(10)]
    connection.sendall(
        b"".join(
            rude.head(f"X-Request-Id: {id}", f"Content-Length: {len(BODY)}") + BODY
            if index % 2
            else rude.head(f"X-Request-Id: {id}", method="GET")
            for index, id in enumerate(ids[:-1])
        )
        + rude.head(f"X-Request-Id: {ids[-1]}", "Connection: close", method="GET")
    )
    answers = rude.expect(read_all(connection), *[200, 201] * 4, 200, 200)
    if [answer.headers["X-Request-Id"] for answer in answers] != ids:
        rude.wrong.append("answers out of their order")


def come_and_go(rude: Rude, connection: socket.socket) -> None:
    """Every other one says nothing at all."""
    if rude.made % 2:
        connection.sendall(rude.head("Connection: close", method="GET", path="/healthz"))
        rude.expect(read_all(connection), 200)
