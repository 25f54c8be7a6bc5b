"""docs/integrations.md: every request in it is sent to a running service, as printed."""

import hmac
import json
import re
import shlex
import sqlite3
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

from conftest import hold_write_lock
from openapi_checks import CODES
from server import Server, serving_demo
from test_guide import comparable

from config.settings import ROOT

PAGE = (ROOT / "docs" / "integrations.md").read_text()
HOST = "meetings.example.com"
# A request, as HTTP or as a curl command to the service, and its response.
EXCHANGES = re.findall(
    rf"```(?:http\n(?=[A-Z]+ /)|bash\n(?=curl [^\n]*{HOST}))(.*?)```\n\n```(?:http|json)\n(.*?)```",
    PAGE,
    re.DOTALL,
)


def as_http(printed):
    """Return a request as HTTP, if it is printed as a curl command."""
    if not printed.startswith("curl "):
        return printed
    words = shlex.split(printed)
    options = dict(pairwise(words))
    path = next(word for word in words if word.startswith("http")).partition(HOST)[2]
    header = options["-H"].replace("$KEY", "nxr_live_…")
    lines = [f"{options.get('-X', 'GET')} {path} HTTP/1.1", f"Host: {HOST}", header]
    return "\n".join(lines) + "\n\n" + options.get("-d", "")


def parse(answer):
    """Split a response into its status line, its headers and its JSON body.

    After a curl command the page shows only the body.
    """
    if answer.startswith("{"):
        return None, {}, json.loads(answer)
    head, _, body = answer.partition("\n\n")
    status, *lines = head.split("\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return status, headers, json.loads(body)


def signature(shown, secret, body):
    """Sign a body as the booking system does; the page shows `…` for the digest."""
    if shown.startswith("t="):  # Calendly's, with the time
        seconds = int(time.time())
        digest = hmac.digest(secret.encode(), b"%d." % seconds + body, "sha256").hex()
        return f"t={seconds},v1={digest}"
    return shown.replace("…", hmac.digest(secret.encode(), body, "sha256").hex())


@dataclass
class Conversation:
    """Sends printed requests, with real keys, ids, addresses and signatures for those shown."""

    server: Server
    key: str
    real: dict[str, str] = field(default_factory=dict)  # by what the page shows
    secrets: dict[str, str] = field(default_factory=dict)  # of sources, by their tokens

    def send(self, printed):
        for shown, real in self.real.items():
            printed = printed.replace(shown, real)
        head, _, body = printed.partition("\n\n")
        head = head.replace("nxr_live_…", self.key).strip()
        head = head.replace(HOST, f"127.0.0.1:{self.server.port}")
        body = b"" if body.startswith("…") else body.strip().encode()
        if body:
            head += f"\nContent-Length: {len(body)}"
        head = self.sign(head, body)
        received = self.server.raw(f"{head}\n\n".replace("\n", "\r\n").encode() + body)
        return parse(received.decode().replace("\r\n", "\n"))

    def sign(self, head, body):
        """Replace the signature that the page shows as `…` with a valid one."""
        token = re.search(r" /hooks/(\S+)", head)
        shown = re.search(r"^\S*-Signature\S*: (\S*…)$", head, re.MULTILINE)
        if not (token and shown):
            return head
        return head.replace(shown[1], signature(shown[1], self.secrets[token[1]], body))

    def learn(self, printed, shown, real):
        """Remember what the service returned for the ids and the address that the page shows."""
        for thing in {"lead", "meeting", "meeting_type", "source", "receipt", "webhook"} & set(
            shown
        ):
            for name in ("id", "meeting_id", "lead_id"):
                if shown[thing].get(name):
                    self.real[shown[thing][name]] = real[thing][name]
        if "url" in shown:
            (shown_token, token) = (body["url"].rpartition("/")[2] for body in (shown, real))
            self.real[shown_token] = token
            given = json.loads(printed.partition("\n\n")[2] or "{}")
            self.secrets[token] = given.get("signing_secret", "")


@contextmanager
def broken(server, code, send):
    """Make the service fail with this code inside the block, if only its state can cause it.

    `send` sends the request of the block.
    """
    file = sqlite3.connect(server.database_url.removeprefix("sqlite:///"), isolation_level=None)
    if code == "internal_error":  # metadata that is not JSON, which the service never writes
        file.execute("UPDATE leads SET metadata = '{' || metadata")
        yield
        file.execute("UPDATE leads SET metadata = substr(metadata, 2)")
    elif code == "read_only_key":
        file.execute("UPDATE api_keys SET read_only = 1")
        yield
        file.execute("UPDATE api_keys SET read_only = 0")
    elif code == "too_many_webhooks":  # copies of the one that the page makes
        rows = file.execute("SELECT * FROM webhooks").fetchall()
        for number in range(19):
            (_, *rest), places = rows[0], ", ".join("?" * len(rows[0]))
            file.execute(f"INSERT INTO webhooks VALUES ({places})", (f"copy-{number}", *rest))
        yield
        file.execute("DELETE FROM webhooks WHERE id LIKE 'copy-%'")
    elif code == "idempotency_key_in_progress":
        lock, first = hold_write_lock("sqlite", server.database_url), threading.Thread(target=send)
        first.start()
        time.sleep(0.2)  # the second request comes while the first waits for the lock
        yield
        first.join()
        lock.close()
    elif code == "unavailable":
        lock = hold_write_lock("sqlite", server.database_url)
        yield
        lock.close()
    else:
        yield
    file.close()


def check(printed, shown, real):
    """Compare the real response to a printed request with the response shown."""
    (status, headers, body), (real_status, real_headers, real_body) = shown, real
    assert comparable(real_body) == comparable(body), printed
    assert real_status == status or (status is None and real_status.split()[1] in ("200", "201"))
    for name, value in headers.items():
        if name == "Allow":
            assert set(real_headers[name].split(", ")) == set(value.split(", "))
        elif name == "X-Request-Id" and name not in printed:
            assert real_headers[name] == real_body.get("request_id", real_headers[name])
        else:
            assert comparable(real_headers[name]) == comparable(value), name


def test_every_request_gets_the_response_shown(tmp_path):
    requests = re.findall(rf"^(?:[A-Z]+ /\S+ HTTP/1\.1$|curl .*{HOST})", PAGE, re.MULTILINE)
    assert len(EXCHANGES) == len(requests) > len(CODES)
    settings = {"DB_TIMEOUT_SECONDS": "0.5", "LOG_LEVEL": "INFO", "WEB_CONCURRENCY": "1"}
    with serving_demo(tmp_path, **settings) as (server, demo):
        conversation = Conversation(server, demo["api_key"])
        for request, answer in EXCHANGES:
            printed, shown = as_http(request), parse(answer)
            send = partial(conversation.send, printed)
            with broken(server, shown[2].get("code"), send):
                real = send()
            check(printed, shown, real)
            conversation.learn(printed, shown[2], real[2])

        log = server.stop()

    printed = re.search(r"```text\n(.*?)\n```", PAGE)[1]
    request_id = re.search(r"request_id=\S+", printed)[0]
    line = next(line for line in log.splitlines() if request_id in line)
    assert re.sub(r"[0-9a-f-]{36}|[0-9][0-9.:TZ-]{9,}|[0-9.]+$", "", line) == re.sub(
        r"[0-9a-f-]{36}|[0-9][0-9.:TZ-]{9,}|[0-9.]+$", "", printed
    )


def test_every_error_code_has_one_section_and_an_example():
    headings = re.findall(r"^### `(\w+)` \((\d+)\)$", PAGE, re.MULTILINE)
    answered = [
        (body["code"], status.split()[1])
        for status, _, body in map(parse, (answer for _, answer in EXCHANGES))
        if not body["success"]
    ]

    assert sorted(code for code, _ in headings) == sorted(CODES)
    assert set(headings) <= set(answered)
