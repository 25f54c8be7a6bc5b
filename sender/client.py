"""The HTTP client: one POST to an address that was checked, with bounds on everything.

urllib3's connections do the HTTP and the TLS. Its pools and managers are not used: they would
follow the system's proxies and redirects, and look the host up a second time.
"""

import socket
import ssl
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from services import network
from services.network import AddressRefused, Networks, Target

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 15.0  # from the look-up of the host to the head of the response
BODY_SECONDS = 1.0  # for the rest of a response, which does not change the result
BODY_BYTES = 64 * 1024
SHOWN_CHARACTERS = 1000  # of a response, in the log
IDLE_SECONDS = 4.0  # how long an idle connection is kept; many servers keep theirs for 5 s
IDLE_CONNECTIONS = 8  # to one receiver

LATE = f"No answer within {TOTAL_SECONDS:.0f} seconds."
# The errors of a request on an idle connection that the server has closed meanwhile.
HUNG_UP = (ConnectionError, HTTPException)

Connection = HTTPConnection | HTTPSConnection
Route = tuple[str, str, int, str]  # scheme, host, port and address of a connection


@dataclass(frozen=True)
class ReceiverResponse:
    """The result of a try: a status, or the reason why there is none."""

    status_code: int | None
    error: str | None
    milliseconds: int
    response: str | None = None  # the first characters of the body
    retry_after: str | None = None  # the header's text

    @property
    def is_success(self) -> bool:
        """Whether the receiver accepted the delivery."""
        return self.status_code is not None and 200 <= self.status_code < 300


class Exchange:
    """A try in progress: its connection, and the time by which the response's head must arrive."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.connection: Connection | None = None
        self.sock: Any = None  # stays, when the connection drops it at `Connection: close`

    def remaining(self) -> float:
        """The seconds that are left; raises TimeoutError if there are none."""
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds


class Client:
    """Sends requests from any number of threads, and keeps connections for the next ones."""

    def __init__(self, allowed: Networks, user_agent: str) -> None:
        self._allowed, self._user_agent = allowed, user_agent
        self._tls = ssl.create_default_context()
        self._lock = threading.Lock()  # guards the two below
        self._idle: dict[Route, list[tuple[Connection, float]]] = defaultdict(list)
        self._exchanges: set[Exchange] = set()

    def post(self, url: str, body: bytes, headers: dict[str, str]) -> ReceiverResponse:
        """Send a body; never raises an error of the network."""
        began = time.monotonic()
        exchange = Exchange(began + TOTAL_SECONDS)
        with self._lock:
            self._exchanges.add(exchange)
        try:
            return self._post(exchange, url, body, headers, began)
        except (AddressRefused, OSError, HTTPError, HTTPException, ValueError) as error:
            if time.monotonic() >= exchange.deadline:
                return ReceiverResponse(None, LATE, _milliseconds(began))
            return ReceiverResponse(None, _describe(error), _milliseconds(began))
        finally:
            with self._lock:
                self._exchanges.discard(exchange)
            if exchange.connection is not None:
                exchange.connection.close()

    def abort_late(self) -> None:
        """End the tries whose time is over, even if the receiver still sends byte after byte.

        The time-out of a socket would start again with every byte.
        """
        now = time.monotonic()
        with self._lock:
            late = [each for each in self._exchanges if now >= each.deadline]
        for exchange in late:
            sock: Any = exchange.sock or (exchange.connection and exchange.connection.sock)
            if sock is not None:
                with suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close_idle(self, everything: bool = False) -> None:
        """Close the connections that were not used for a while."""
        oldest = time.monotonic() - IDLE_SECONDS
        with self._lock:
            for route, kept in list(self._idle.items()):
                fresh = [] if everything else [pair for pair in kept if pair[1] > oldest]
                stale = [pair[0] for pair in kept if pair not in fresh]
                if fresh:
                    self._idle[route] = fresh
                else:
                    del self._idle[route]
                for connection in stale:
                    connection.close()

    def _post(
        self, exchange: Exchange, url: str, body: bytes, headers: dict[str, str], began: float
    ) -> ReceiverResponse:
        target = network.check(url, self._allowed)
        headers = {
            "Host": target.host_header,
            "User-Agent": self._user_agent,
            "Content-Type": "application/json",
            **headers,
        }
        route, connection = self._take_idle(target)
        if connection is not None:
            exchange.connection = connection
            try:
                response = self._exchange(exchange, target, body, headers)
            except HUNG_UP:  # the server closed the connection that was kept: use another
                connection.close()
                connection = exchange.sock = None
        if connection is None:
            route = self._connect(exchange, target)
            response = self._exchange(exchange, target, body, headers)
        took = _milliseconds(began)
        text, is_whole = self._read_body(exchange, response)
        if is_whole:
            self._keep(exchange, route)
        error = None if 200 <= response.status < 300 else _fault_of(response.status)
        retry_after = response.headers.get("Retry-After")
        return ReceiverResponse(response.status, error, took, text, retry_after)

    def _exchange(
        self, exchange: Exchange, target: Target, body: bytes, headers: dict[str, str]
    ) -> Any:
        """Send the request and return the response, once its head has arrived."""
        connection: Any = exchange.connection
        exchange.sock = connection.sock
        # urllib3 sets the socket's time-out to that of the connection in both calls.
        connection.timeout = exchange.remaining()
        with suppress(BrokenPipeError):  # a receiver may answer before it has read everything
            connection.request("POST", target.path, body, headers, preload_content=False)
        connection.timeout = exchange.remaining()
        return connection.getresponse()

    def _connect(self, exchange: Exchange, target: Target) -> Route:
        """Connect to the first of the checked addresses that accepts."""
        by, fault = time.monotonic() + CONNECT_SECONDS, None
        for address in target.addresses:
            seconds = min(by - time.monotonic(), exchange.remaining())
            if seconds <= 0:
                break
            exchange.connection = connection = self._new_connection(target, address, seconds)
            try:
                connection.connect()
                return (target.scheme, target.host, target.port, address)
            except (OSError, HTTPError) as error:
                connection.close()
                fault = error
        raise fault or TimeoutError

    def _new_connection(self, target: Target, address: str, seconds: float) -> Connection:
        if target.scheme == "http":
            return HTTPConnection(address, target.port, timeout=seconds)
        return HTTPSConnection(
            address,
            target.port,
            timeout=seconds,
            ssl_context=self._tls,
            server_hostname=target.host,
        )

    def _take_idle(self, target: Target) -> tuple[Route, Connection | None]:
        """Take an idle connection to one of the addresses that were checked just now."""
        oldest = time.monotonic() - IDLE_SECONDS
        route = ("", "", 0, "")
        for address in target.addresses:
            route = (target.scheme, target.host, target.port, address)
            with self._lock:
                kept = self._idle.get(route, [])
                while kept:
                    connection, used_at = kept.pop()
                    if used_at > oldest and connection.is_connected:
                        return route, connection
                    connection.close()
        return route, None

    def _read_body(self, exchange: Exchange, response: Any) -> tuple[str, bool]:
        """Read up to 64 KiB of a body for a moment; return its start, and whether it ended."""
        received, by, is_whole = b"", time.monotonic() + BODY_SECONDS, False
        exchange.deadline = by
        try:
            while len(received) < BODY_BYTES and time.monotonic() < by:
                exchange.sock.settimeout(max(by - time.monotonic(), 0.001))
                chunk = response.read1(BODY_BYTES - len(received), decode_content=False)
                if not chunk:
                    is_whole = True
                    break
                received += chunk
        except (OSError, HTTPError, HTTPException, ValueError):
            pass  # the status is known already
        return received.decode("utf-8", "replace")[:SHOWN_CHARACTERS], is_whole

    def _keep(self, exchange: Exchange, route: Route) -> None:
        """Keep a connection whose response was read to its end."""
        connection = exchange.connection
        if connection is None or connection.sock is None:
            return
        with self._lock:
            if len(self._idle[route]) < IDLE_CONNECTIONS:
                self._idle[route].append((connection, time.monotonic()))
                exchange.connection = None


def _milliseconds(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


def _fault_of(status: int) -> str:
    if 300 <= status < 400:
        return f"The receiver answered {status}, a redirect, which is not followed."
    return f"The receiver answered {status}."


def _describe(error: Exception) -> str:
    """Say in one sentence why there is no answer."""
    if isinstance(error, AddressRefused):
        return str(error)
    if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return f"No connection within {CONNECT_SECONDS:.0f} seconds."
    cause: BaseException = error.__cause__ or error
    if isinstance(error, TimeoutError) or isinstance(cause, TimeoutError):
        return LATE
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"The certificate is not valid: {cause.verify_message}."
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {cause.reason or cause}."
    if isinstance(cause, OSError) and cause.strerror:
        return f"The connection failed: {cause.strerror}."
    return f"The connection failed: {' '.join(str(error).split())[:200] or type(error).__name__}."
