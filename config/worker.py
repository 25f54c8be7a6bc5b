"""The gunicorn worker, on gevent: each connection has a greenlet that reads and answers requests.

gunicorn parses requests and frames responses; gevent waits for the network. This module calls the
application only when the whole request has arrived, and sends the response in one piece afterwards.
So a slow caller costs a buffer, but does not count among the requests in progress.
"""

import io
import math
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import gevent
from gevent.lock import Semaphore
from gevent.pool import Pool
from gevent.socket import wait_read
from gunicorn.http import RequestParser, errors, wsgi
from gunicorn.http.body import ChunkedReader
from gunicorn.workers.base import Worker

from config.connection import BrokenBody, Connection
from config.refusals import Busy, refuse

IDLE_SECONDS = 2.0  # for a connection without a request, once the worker stops
ACCEPT_DELAY_SECONDS = 0.0001  # for each connection that the worker already has
BODY_BYTES = 8 * 1024 * 1024  # a longer body is not read, because the application refuses it
SMALL_CHUNKS, CHUNK_BYTES = 10_000, 64  # at most so many chunks may be smaller
TOO_BUSY = "The service is too busy just now. Please try again."


def refuse_tiny(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the chunks of a body; raises an error if too many of them are tiny.

    Python takes as long for a chunk of one byte as for one of a thousand.
    """
    length = 0
    for number, chunk in enumerate(chunks):
        length += len(chunk)
        if number > SMALL_CHUNKS + length // CHUNK_BYTES:
            raise errors.ParseException("tiny chunks")
        yield chunk


class GeventWorker(Worker):
    """Serves each connection in a greenlet, with at most `threads` requests in progress."""

    queue_seconds = 5.0  # a request that waited longer for its turn is refused
    keepalive_seconds = 75.0  # a connection without a request is closed after this time
    alive: bool  # cleared by gunicorn's signal handlers

    def init_process(self) -> None:
        """Set up what must not be shared with another process, and serve."""
        gevent.reinit()
        # gunicorn reads its settings some thirty times for each request, each through two calls.
        self.cfg.__dict__.update({name: it.get() for name, it in self.cfg.settings.items()})
        self.connections: set[Connection] = set()
        self.greenlets = Pool(self.cfg.worker_connections)
        self.turns = Semaphore(self.cfg.threads)
        super().init_process()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """Stop at once, in a greenlet: a signal handler may run where gevent cannot wait."""
        gevent.spawn(super().handle_quit, sig, frame)

    def run(self) -> None:
        """Serve until a signal asks to stop or the master is gone, then answer all requests."""
        for listener in self.sockets:
            listener.setblocking(False)
        acceptors = [gevent.spawn(self.accept_forever, listener) for listener in self.sockets]
        while self.alive and self.ppid == os.getppid():
            self.wait_for_signal(1.0)
            self.check_deadlines()
        self.alive = False
        gevent.killall(acceptors)
        self.finish()

    def wait_for_signal(self, seconds: float) -> None:
        """Wait for a signal; gunicorn writes a byte to a pipe for each."""
        with suppress(TimeoutError):
            wait_read(self.PIPE[0], seconds)
            os.read(self.PIPE[0], 4096)

    def check_deadlines(self) -> None:
        """Tell the master that the loop runs, and stop reading from callers who are late."""
        self.notify()
        now = time.monotonic()
        for connection in self.connections:
            if now > connection.deadline:
                connection.end_reading()

    def finish(self) -> None:
        """Accept the callers in the backlog, turn away new ones, and answer every request."""
        for listener in self.sockets:
            while not self.greenlets.full() and self.accept(listener):
                pass
            listener.close()
        now = time.monotonic()
        for connection in self.connections:
            if not connection.received:
                connection.deadline = min(connection.deadline, now + IDLE_SECONDS)
        while self.connections and time.monotonic() < now + self.cfg.graceful_timeout:
            self.check_deadlines()
            self.greenlets.join(timeout=0.1)

    def accept_forever(self, listener: Any) -> None:
        """Accept connections so that all workers have about the same number.

        The kernel wakes every worker; the one with the fewest connections waits the shortest time.
        One turn of a busy loop takes many milliseconds. So in one turn a worker accepts up to half
        as many connections as it has: accepting a burst one by one would keep the last callers
        waiting.
        """
        while True:
            self.greenlets.wait_available()
            wait_read(listener.fileno())
            gevent.sleep(ACCEPT_DELAY_SECONDS * len(self.connections))
            for _ in range(1 + len(self.connections) // 2):
                if self.greenlets.full() or not self.accept(listener):
                    break

    def accept(self, listener: Any) -> bool:
        """Accept one connection; returns whether there was one."""
        try:
            sock, peer = listener.accept()
        except OSError:  # another worker was faster, or the caller has hung up
            return False
        connection = Connection(sock, peer, self.connections, self.keepalive_seconds)
        self.connections.add(connection)
        self.greenlets.spawn(self.serve, connection, listener.getsockname())
        return True

    def serve(self, connection: Connection, server: Any) -> None:
        """Answer the requests of a connection, one after another, then close it."""
        parser = RequestParser(self.cfg, connection, connection.peer)
        try:
            while self.answer_next(parser, connection, server):
                pass
            connection.linger()
        finally:
            self.connections.remove(connection)
            connection.close()

    def answer_next(self, parser: RequestParser, connection: Connection, server: Any) -> bool:
        """Read a request and answer it; returns whether another may follow."""
        read_ahead = parser.unreader.take_buffered()
        if read_ahead:
            parser.unreader.unread(read_ahead)
        connection.start_request(read_ahead)
        try:
            request = next(parser)
            response, environ = wsgi.create(request, connection, connection.peer, server, self.cfg)
            self.read_body(connection, request, response, environ)
            connection.deadline = math.inf
            self.call_application(response, environ)
            keep = not response.should_close()
        except (errors.NoMoreData, StopIteration):
            return False  # the caller hung up, or was late, before the head was complete
        except Exception as error:
            connection.response = [refuse(error, connection.head, self.log)]
            keep = False
        try:
            connection.flush()
        except OSError:
            return False
        return keep

    def read_body(
        self, connection: Connection, request: Any, response: wsgi.Response, environ: dict[str, Any]
    ) -> None:
        """Read the whole body, unless it is so long that the application refuses the request."""
        length = int(environ.get("CONTENT_LENGTH", 0))
        body = b""
        try:
            if length <= BODY_BYTES:
                connection.tell_to_continue()
                reader = request.body.reader
                if isinstance(reader, ChunkedReader):
                    reader.parser = refuse_tiny(reader.parser)
                body = request.body.read(BODY_BYTES + 1)
            environ["wsgi.input"] = io.BytesIO(body)
        except (OSError, errors.ParseException) as error:
            environ["wsgi.input"] = BrokenBody(error)
            response.force_close()
        if not length <= len(body) <= BODY_BYTES:
            response.force_close()  # the rest of the body must not be parsed as a request

    def call_application(self, response: wsgi.Response, environ: dict[str, Any]) -> None:
        """Call the application as one of the requests in progress, and collect its response."""
        if not self.turns.acquire(timeout=self.queue_seconds):
            raise Busy(TOO_BUSY)
        try:
            parts = self.wsgi(environ, response.start_response)
            if not self.alive:
                response.force_close()
            try:
                for part in parts:
                    response.write(part)
                response.close()
            finally:
                if hasattr(parts, "close"):
                    parts.close()
        finally:
            self.turns.release()
