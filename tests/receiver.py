"""A receiver of webhooks: it records what arrives, and answers, hangs, resets or redirects."""

import http.server
import json
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Received:
    """One request."""

    at: float
    path: str
    headers: dict[str, str]
    body: bytes
    server_name: str | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def event_type(self) -> str:
        return self.json["event_type"]


@dataclass
class Receiver:
    """A server on a free port of 127.0.0.1 whose `behave` may be replaced at any time.

    `behave(handler, received)` answers a request; by default with `status` and `text`.
    """

    status: int = 200
    text: str = "ok"
    headers: dict[str, str] = field(default_factory=dict)
    certificate: tuple[str, str] | None = None
    received: list[Received] = field(default_factory=list)
    behave: Any = None
    connections: int = 0

    def __enter__(self) -> "Receiver":
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                receiver.connections += 1
                super().setup()

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length)
                if len(body) < length:  # the sender was killed meanwhile
                    return
                name = getattr(self.connection, "asked_for", None)
                got = Received(time.monotonic(), self.path, dict(self.headers), body, name)
                receiver.received.append(got)
                (receiver.behave or receiver.answer)(self, got)

            def log_message(self, *args: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *args: Any) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            context.sni_callback = lambda sock, name, _: setattr(sock, "asked_for", name)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.stopped = threading.Event()
        thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://127.0.0.1:{self.port}/hook"

    def answer(self, handler: Any, received: Received) -> None:
        """Answer with `status`, `text` and `headers`."""
        handler.send_response(self.status)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(self.text)))
        handler.end_headers()
        handler.wfile.write(self.text.encode())

    def hang(self, handler: Any, received: Received) -> None:
        """Never answer."""
        self.stopped.wait(60)

    def reset(self, handler: Any, received: Received) -> None:
        """Reset the connection instead of answering."""
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.connection.close()
        handler.close_connection = True

    def drip(self, handler: Any, received: Received) -> None:
        """Send the head byte after byte, without an end."""
        while not self.stopped.wait(0.05):
            handler.wfile.write(b"H")

    def drip_body(self, handler: Any, received: Received) -> None:
        """Send the head at once, and a body without an end."""
        handler.send_response(self.status)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not self.stopped.wait(0.05):
            handler.wfile.write(b"x")

    def garbage(self, handler: Any, received: Received) -> None:
        """Answer something that is no HTTP."""
        handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        handler.close_connection = True
