"""The gunicorn worker: a loop that reads whole requests, and has a task answer each of them.

There is a task once all of a request has arrived, and until there is an answer; what the caller
does not take at once is sent by the loop: so a caller who is slow, or silent, holds a buffer and no
more. What HTTP is (parsing, framing of bodies, answers) is gunicorn's; only where a request ends is
found here, and gunicorn refuses what it finds to be framed otherwise.
"""

import json
import mmap
import os
import re
import selectors
import socket
import struct
import time
from collections import deque
from contextlib import suppress
from typing import Any
from uuid import uuid4

from gunicorn.http import errors, wsgi
from gunicorn.http.parser import RequestParser
from gunicorn.workers.base import Worker

from tasks import Hub

REQUEST_SECONDS = 15.0  # for a request, head and body, to arrive
RESPONSE_SECONDS = 15.0  # for an answer to be taken
YIELD_SECONDS = 0.002  # for a worker with fewer connections to take the next one
QUEUE_LOOK_SECONDS = 0.1  # how often it is seen to who waits for a turn
HEARD_SECONDS = 2.5  # a worker who has told nothing for this long may be gone
WORKERS = 128  # that there can be at once, twice what WEB_CONCURRENCY allows
LINGER_SECONDS = 2.0  # for a caller to hang up once we have; for a kept connection once we stop
HEAD_BYTES = 64 * 1024  # a head that has no end by then is for gunicorn to refuse
BODY_BYTES = 8 * 1024 * 1024  # a longer body is not waited for: the application refuses it
AHEAD_BYTES = 64 * 1024  # what is read ahead of the request being answered
BUFFERED_BYTES = 128 * 1024 * 1024  # of all requests on their way to a worker
READ_BYTES = 64 * 1024
TOO_BUSY = "The service is too busy just now. Please try again."
TOO_MUCH = "Too many large requests are on their way just now. Please try again."

CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
# As the application knows it; it does not see every request.
REQUEST_ID = re.compile(
    rb"\r\nx-request-id:[ \t]*((?!nxr_)[A-Za-z0-9._-]{1,128})[ \t]*\r\n", re.IGNORECASE
)
EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue", re.IGNORECASE)

# What gunicorn itself refuses, before there is a request that could reach the application.
REFUSALS: dict[type[Exception], tuple[int, str]] = {
    errors.LimitRequestLine: (414, "URI Too Long"),
    errors.LimitRequestHeaders: (431, "Request Header Fields Too Large"),
    errors.ExpectationFailed: (417, "Expectation Failed"),
    errors.UnsupportedTransferCoding: (501, "Not Implemented"),
}


class Connection:
    """A caller's connection: what it sent and was not answered yet, what it did not take yet."""

    def __init__(self, sock: socket.socket, peer: Any, server: Any) -> None:
        sock.setblocking(False)
        self.sock, self.peer, self.server = sock, peer, server
        self.arrived = bytearray()
        self.unsent = b""
        self.busy = False  # a request of it is being answered, or its answer sent
        self.keeps = True  # it stays open after the answer
        self.ended = False  # nothing more will arrive
        self.closing = False  # answered for the last time; waiting for the caller to hang up
        self.watched = 0  # the events the loop looks out for
        self.deadline = 0.0
        self._next_request()

    def _next_request(self) -> None:
        self._head_bytes = 0  # of the request now arriving, once its head is there
        self._seen = 0  # how far `arrived` was looked through
        self._length = 0  # of the whole request; while 0, it is in chunks or not known yet
        self.expects_continue = False

    def take_request(self) -> bytes:
        """Take the first whole request off what arrived; nothing while there is none."""
        length = self._request_length()
        return self.take(length) if length <= len(self.arrived) else b""

    def take(self, length: int) -> bytes:
        """Take bytes off what arrived, as a request."""
        taken = bytes(self.arrived[:length])
        del self.arrived[:length]
        self._next_request()
        return taken

    def _request_length(self) -> int:
        """How long the first request is; more than has arrived where the end is not in sight."""
        if not self._head_bytes:
            end = self.arrived.find(b"\r\n\r\n", max(self._seen - 3, 0))
            self._seen = len(self.arrived)
            if end < 0:
                return self._seen + (self._seen <= HEAD_BYTES)
            self._read_head(end)
        return self._length or self._chunked_length()

    def _read_head(self, end: int) -> None:
        self._head_bytes = self._seen = end + 4
        head = bytes(self.arrived[: self._head_bytes])
        self.expects_continue = EXPECT.search(head) is not None
        if CHUNKED.search(head):
            return
        length = LENGTH.search(head)
        body_bytes = int(length[1]) if length else 0
        self._length = self._head_bytes + (body_bytes if body_bytes <= BODY_BYTES else 0)

    def _chunked_length(self) -> int:
        """Where the last chunk ends. What is no chunk is for gunicorn to refuse."""
        arrived = len(self.arrived)
        if arrived - self._head_bytes > BODY_BYTES:
            return arrived
        while (line_end := self.arrived.find(b"\r\n", self._seen)) >= 0:
            try:
                size = int(bytes(self.arrived[self._seen : line_end]).partition(b";")[0], 16)
            except ValueError:
                return arrived
            if size == 0:  # then trailers, if any, up to an empty line
                end = self.arrived.find(b"\r\n\r\n", line_end)
                return end + 4 if end >= 0 else arrived + 1
            if size < 0 or line_end + size + 4 > arrived:
                break
            self._seen = line_end + size + 4
        return arrived + 1


class Board:
    """How many connections each worker of a server has, in memory that they share."""

    def __init__(self) -> None:
        self.entry = struct.Struct("dQ")  # when it was told, and how many
        self.memory = mmap.mmap(-1, WORKERS * self.entry.size)

    def tell(self, worker: int, connections: int) -> None:
        """Tell the others how many a worker has."""
        place = worker % WORKERS * self.entry.size
        self.entry.pack_into(self.memory, place, time.monotonic(), connections)

    def is_least(self, connections: int) -> bool:
        """Whether no worker that was heard of lately has fewer."""
        lately = time.monotonic() - HEARD_SECONDS
        return all(
            connections <= others or told_at < lately
            for told_at, others in self.entry.iter_unpack(self.memory)
        )


BOARD = Board()  # made before there are workers


class Reply:
    """What gunicorn takes for the socket: keeps an answer together, to be sent in one piece."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.sendall = self.parts.append

    def send(self, interim: bytes) -> None:
        """Drop `100 Continue`, the one thing gunicorn sends so: the body is here already."""


class BufferedWorker(Worker):
    """Answers requests in tasks, `threads` of them at once, each once it has arrived as a whole."""

    queue_seconds = 5.0  # a request that waited longer for its turn is refused
    alive: bool  # gunicorn's signal handlers clear it

    def init_process(self) -> None:
        """Set up what must not be shared with another process, and serve."""
        # gunicorn would look each of them up in two steps, some thirty times a request.
        self.cfg.__dict__.update((name, it.get()) for name, it in self.cfg.settings.items())
        self.hub = Hub()
        self.selector = self.hub.selector
        self.connections: set[Connection] = set()
        self.requests: deque[tuple[Connection, bytes, float]] = deque()  # that wait for a turn
        self.in_hand = 0  # requests that have a task
        self.accepting, self.accept_at = False, 0.0
        self.next_look = 0.0
        super().init_process()

    def run(self) -> None:
        """Serve until told to stop, then finish what has begun to arrive."""
        for listener in self.sockets:
            listener.setblocking(False)
        self.selector.register(self.PIPE[0], selectors.EVENT_READ)  # signals are written there
        while self.alive and self.ppid == os.getppid():
            self._accept_while(self._has_room() and time.monotonic() >= self.accept_at)
            self._turn()
        self.alive = False
        self._finish_all()

    def _finish_all(self) -> None:
        self._accept_while(False)
        while self._has_room() and self._accept_one():
            pass  # the system has let them in already, and no other worker may be left for them
        for listener in self.sockets:
            listener.close()  # once all workers have, further callers are turned away at once
        now = time.monotonic()
        for connection in self.connections:
            if not (connection.busy or connection.arrived):
                connection.deadline = min(connection.deadline, now + LINGER_SECONDS)
        while self.connections and time.monotonic() < now + self.cfg.graceful_timeout:
            self._turn()

    def _turn(self) -> None:
        """Do what there is to do, waiting for it for a while."""
        yields = not self.accepting and self._has_room()
        patience = YIELD_SECONDS if yields else QUEUE_LOOK_SECONDS if self.requests else 1.0
        for key, events in self.hub.look_out(patience):
            if isinstance(key.data, Connection):
                if events & selectors.EVENT_WRITE:
                    self._send_more(key.data)
                elif events & selectors.EVENT_READ:
                    self._read(key.data)
            elif key.fd == self.PIPE[0]:
                os.read(key.fd, 4096)
            elif self.accept_at == 0 and not BOARD.is_least(len(self.connections)):
                self.accept_at = time.monotonic() + YIELD_SECONDS  # then in any case
            else:
                self.accept_at = 0.0
                self._accept_one()
        self._start_tasks()
        self.hub.give_turns()
        now = time.monotonic()
        while self.requests and now - self.requests[0][2] > self.queue_seconds:
            connection, request, _ = self.requests.popleft()
            self._refuse_as_busy(connection, request, TOO_BUSY)
        if now >= self.next_look or not self.alive:
            self.next_look = now + 1.0
            self.notify()
            BOARD.tell(self.age, len(self.connections))
            self._give_up_on_the_late(now)

    def _give_up_on_the_late(self, now: float) -> None:
        for connection in list(self.connections):
            if now < connection.deadline or (connection.busy and not connection.unsent):
                continue
            if connection.arrived and not connection.busy:
                connection.ended = True  # the caller counts as gone; what came is cut short
                self._proceed(connection)
            else:
                self._drop(connection)

    def _has_room(self) -> bool:
        most: int = self.cfg.worker_connections
        return len(self.connections) < most

    def _accept_while(self, wanted: bool) -> None:
        if wanted != self.accepting:
            self.accepting = wanted
            for listener in self.sockets:
                if wanted:
                    self.selector.register(listener, selectors.EVENT_READ)
                else:
                    self.selector.unregister(listener)

    def _accept_one(self) -> bool:
        for listener in self.sockets:
            try:
                sock, peer = listener.accept()
            except OSError:  # another worker was faster, or the caller has hung up
                continue
            connection = Connection(sock, peer, listener.getsockname())
            connection.deadline = time.monotonic() + self.cfg.keepalive
            self.connections.add(connection)
            BOARD.tell(self.age, len(self.connections))
            self._watch(connection, selectors.EVENT_READ)
            return True
        return False

    def _watch(self, connection: Connection, events: int) -> None:
        if events == connection.watched:
            return
        if not connection.watched:
            self.selector.register(connection.sock, events, connection)
        elif events:
            self.selector.modify(connection.sock, events, connection)
        else:
            self.selector.unregister(connection.sock)
        connection.watched = events

    def _drop(self, connection: Connection) -> None:
        self._watch(connection, 0)
        self.connections.discard(connection)
        BOARD.tell(self.age, len(self.connections))
        connection.sock.close()

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            connection.ended = True
            self._watch(connection, 0)
        if connection.closing:
            if connection.ended:
                self._drop(connection)
            return
        if not (connection.arrived or connection.busy):
            connection.deadline = time.monotonic() + REQUEST_SECONDS
        connection.arrived += data
        self._proceed(connection)

    def _proceed(self, connection: Connection) -> None:
        """Have the next request answered if it is here and it is its turn; else wait for it."""
        if not connection.busy:
            request = connection.take_request()
            if not request and connection.ended:
                request = connection.take(len(connection.arrived))
            if request:
                connection.busy = True
                self.requests.append((connection, request, time.monotonic()))
            elif connection.ended:
                self._drop(connection)
                return
            else:
                self._await_rest(connection)
        if not (connection.ended or connection.unsent):
            is_ahead = connection.busy and len(connection.arrived) > AHEAD_BYTES
            self._watch(connection, 0 if is_ahead else selectors.EVENT_READ)

    def _await_rest(self, connection: Connection) -> None:
        if connection.expects_continue:
            connection.expects_continue = False
            with suppress(OSError):  # a caller who is not told goes on after a while
                connection.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if len(connection.arrived) <= READ_BYTES:  # so many connections there cannot be
            return
        if sum(len(other.arrived) for other in self.connections) > BUFFERED_BYTES:
            self._refuse_as_busy(connection, bytes(connection.arrived[:HEAD_BYTES]), TOO_MUCH)

    def _finish(self, connection: Connection) -> None:
        """Go on after an answer: send the rest of it, read the next request, or hang up."""
        if connection.unsent:
            self._watch(connection, selectors.EVENT_WRITE)
            return
        connection.busy = False
        if connection.keeps:
            self._proceed(connection)
            return
        connection.arrived.clear()
        if connection.ended:
            self._drop(connection)
            return
        # Closed while bytes are unread, a connection is reset, and the answer may be lost with it.
        connection.closing = True
        connection.deadline = time.monotonic() + LINGER_SECONDS
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_WR)
        self._watch(connection, selectors.EVENT_READ)

    def _send_more(self, connection: Connection) -> None:
        self._send(connection)
        if not connection.unsent:
            self._watch(connection, 0)
            self._finish(connection)

    def _start_tasks(self) -> None:
        while self.requests and self.in_hand < self.cfg.threads:
            self.in_hand += 1
            connection, request, _ = self.requests.popleft()
            self.hub.start(self._answer_request, connection, request)

    def _answer_request(self, connection: Connection, request: bytes) -> None:
        """Answer a request, as a task."""
        self._give(connection, *self._answer(connection, request))
        self.in_hand -= 1
        self._start_tasks()

    def _give(self, connection: Connection, answer: bytes, keeps: bool) -> None:
        connection.unsent, connection.keeps = answer, keeps
        connection.deadline = time.monotonic() + RESPONSE_SECONDS
        self._send(connection)
        self._finish(connection)

    def _refuse_as_busy(self, connection: Connection, request: bytes, why: str) -> None:
        connection.busy = True
        request_id = request_id_of(request)
        self.log.warning("Refused request %s: %s", request_id, why)
        answer = refusal(request_id, 503, "Service unavailable", "unavailable", why)
        self._give(connection, answer, False)

    @staticmethod
    def _send(connection: Connection) -> None:
        """Send what the caller takes now; a caller who is gone takes everything."""
        try:
            sent = connection.sock.send(connection.unsent) if connection.unsent else 0
            connection.unsent = connection.unsent[sent:]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            connection.unsent, connection.keeps, connection.ended = b"", False, True

    def _answer(self, connection: Connection, request: bytes) -> tuple[bytes, bool]:
        """The answer to a request, and whether the connection stays open after it."""
        reply = Reply()
        try:
            parsed = next(RequestParser(self.cfg, iter([request]), connection.peer))
            keeps = self._call_application(parsed, connection, reply)
            return b"".join(reply.parts), keeps
        except (errors.NoMoreData, StopIteration):
            return b"", False  # the caller hung up before its request was whole
        except Exception as error:  # of the request's form, or a bug below the application
            return self._refusal(request_id_of(request), error), False

    def _call_application(self, request: Any, connection: Connection, reply: Reply) -> bool:
        response, environ = wsgi.create(
            request, reply, connection.peer, connection.server, self.cfg
        )
        if not self.alive or connection.ended:
            response.force_close()
        parts = self.wsgi(environ, response.start_response)
        try:
            for part in parts:
                response.write(part)
            response.close()
        finally:
            if hasattr(parts, "close"):
                parts.close()
        return not response.should_close()

    def _refusal(self, request_id: str, error: Exception) -> bytes:
        """The answer to a request too broken to reach the application, in the API's own envelope.

        Neither the answer nor the log repeats what the caller sent, but for its X-Request-Id: it
        may hold a key or an email.
        """
        kind = type(error).__name__
        message = f"The request could not be read ({kind})."
        if not isinstance(error, errors.ParseException):
            self.log.error("Error before the application: request %s", request_id, exc_info=error)
            return refusal(request_id, 500, "Internal Server Error", "internal_error", message)
        self.log.warning("Refused request %s before the application: %s", request_id, kind)
        status, title = next(
            (refusal for kind, refusal in REFUSALS.items() if isinstance(error, kind)),
            (400, "Bad Request"),
        )
        return refusal(request_id, status, title, title.lower().replace(" ", "_"), message)


def request_id_of(request: bytes) -> str:
    """The X-Request-Id that a request asks for, if it is a sane one; else one of ours."""
    head, _, _ = request.partition(b"\r\n\r\n")
    asked = REQUEST_ID.search(head + b"\r\n")
    return asked[1].decode() if asked else str(uuid4())


def refusal(request_id: str, status: int, title: str, code: str, message: str) -> bytes:
    """A whole answer in the API's envelope, after which the connection is closed."""
    body = json.dumps(
        {
            "success": False,
            "error": title.capitalize(),
            "message": message,
            "code": code,
            "request_id": request_id,
        }
    ).encode()
    retry = "Retry-After: 1\r\n" if status == 503 else ""
    head = (
        f"HTTP/1.1 {status} {title}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"{retry}Content-Length: {len(body)}\r\nX-Request-Id: {request_id}\r\n\r\n"
    )
    return head.encode() + body
