"""A caller's connection, with the methods of a socket that gunicorn uses."""

import socket
import time
from contextlib import suppress
from typing import Any

import gevent

from config.refusals import Busy

READ = 1  # the event of a watcher, as gevent's loop.io() documents it
REQUEST_SECONDS = 15.0  # for a request, head and body, to arrive
RESPONSE_SECONDS = 15.0  # for the caller to take a response
LINGER_SECONDS = 2.0  # for the caller to hang up after us
SMALL_BYTES = 64 * 1024  # a request up to this size does not count as large
LARGE_REQUESTS_BYTES = 128 * 1024 * 1024  # of all requests in transit in a worker
TOO_MUCH = "Too many large requests are in transit just now. Please try again."


class Connection:
    """A caller's connection, used by gunicorn in place of the socket.

    `recv` waits for the event loop, `sendall` collects the response, which `flush` then sends.
    """

    def __init__(
        self, sock: Any, peer: Any, others: "set[Connection]", keepalive_seconds: float
    ) -> None:
        sock.settimeout(RESPONSE_SECONDS)
        self.sock, self.peer, self.others = sock, peer, others
        self.keepalive_seconds = keepalive_seconds
        self.idle_seconds = REQUEST_SECONDS  # for a request to begin; longer after a response
        self.readable = gevent.get_hub().loop.io(sock.fileno(), READ)
        self.start_request(b"")

    def start_request(self, read_ahead: bytes) -> None:
        """Reset the state for the next request; `read_ahead` holds the part that has arrived."""
        self.head = read_ahead  # for the caller's X-Request-Id
        self.received = len(read_ahead)
        self.interim = b""  # the `100 Continue` that the caller waits for
        self.response: list[bytes] = []
        self.sendall = self.response.append
        seconds = REQUEST_SECONDS if read_ahead else self.idle_seconds
        self.deadline = time.monotonic() + seconds

    def recv(self, size: int) -> bytes:
        """Read a part of a request, for gunicorn's parser."""
        data = self.read(size)
        if not self.received:  # the request begins
            self.deadline = time.monotonic() + REQUEST_SECONDS
        self.received += len(data)
        if len(self.head) < SMALL_BYTES:
            self.head += data
        elif sum(other.received for other in self.others) > LARGE_REQUESTS_BYTES:
            raise Busy(TOO_MUCH)
        return data

    def read(self, size: int) -> bytes:
        """Read what has arrived; b"" at the end, after an error and after the deadline.

        Wait for the event loop even if bytes are here: otherwise one fast caller would starve the
        others.
        """
        gevent.get_hub().wait(self.readable)
        if time.monotonic() > self.deadline:
            return b""
        try:
            data: bytes = self.sock.recv(size)
        except OSError:
            return b""
        return data

    def send(self, interim: bytes) -> None:
        """Keep `100 Continue`, the one thing that gunicorn sends through this method."""
        self.interim = interim

    def tell_to_continue(self) -> None:
        """Send the `100 Continue` if the caller waits for one before it sends the body."""
        if self.interim:
            self.sock.sendall(self.interim)

    def flush(self) -> None:
        """Send the response in one piece; raises OSError if the caller does not take it."""
        response = b"".join(self.response)
        sent = self.sock.send(response)
        if sent < len(response):
            self.sock.sendall(response[sent:])
        self.idle_seconds = self.keepalive_seconds

    def linger(self) -> None:
        """Wait until the caller hangs up, so that the last response arrives.

        Closing a socket with unread bytes resets the connection, which discards the data that the
        caller has not read yet.
        """
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        self.deadline = time.monotonic() + LINGER_SECONDS
        while self.read(SMALL_BYTES):
            pass

    def close(self) -> None:
        """Close the connection."""
        self.readable.close()
        self.sock.close()

    def end_reading(self) -> None:
        """Wake the greenlet that waits in `recv`, as if the caller had closed its side."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RD)


class BrokenBody:
    """A body that could not be received; reading it raises the error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def read(self, size: int = -1) -> bytes:
        """Raise the error."""
        raise self.error
