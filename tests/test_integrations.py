"""docs/integrations.md: every request in it is sent to a running service, as printed."""

import json
import re
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass, field

from conftest import hold_write_lock
from openapi_checks import CODES
from server import Server, serving_demo
from test_guide import comparable

from config.settings import ROOT

PAGE = (ROOT / "docs" / "integrations.md").read_text()
EXCHANGES = re.findall(r"```http\n([A-Z].*?)```\n\n```http\n(HTTP/1\.1 .*?)```", PAGE, re.DOTALL)


def parse(answer):
    """Split a response into its status line, its headers and its JSON body."""
    head, _, body = answer.partition("\n\n")
    status, *lines = head.split("\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return status, headers, json.loads(body)


@dataclass
class Conversation:
    """Sends printed requests, with the real key, host and ids in place of those shown."""

    server: Server
    key: str
    real_ids: dict[str, str] = field(default_factory=dict)  # by the ids that the page shows

    def send(self, printed):
        head, _, body = printed.partition("\n\n")
        for shown, real in self.real_ids.items():
            head = head.replace(shown, real)
        head = head.replace("nxr_live_…", self.key).strip()
        head = head.replace("meetings.example.com", f"127.0.0.1:{self.server.port}")
        body = b"" if body.startswith("…") else body.strip().encode()
        if body:
            head += f"\nContent-Length: {len(body)}"
        received = self.server.raw(f"{head}\n\n".replace("\n", "\r\n").encode() + body)
        return parse(received.decode().replace("\r\n", "\n"))

    def learn(self, shown, real):
        """Remember the real id of a lead or meeting by the id that the page shows."""
        for thing in {"lead", "meeting"} & set(shown):
            self.real_ids[shown[thing]["id"]] = real[thing]["id"]


@contextmanager
def broken(database_url, code):
    """Make the service fail with this code inside the block, if it is a server error."""
    file = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)
    if code == "internal_error":  # metadata that is not JSON, which the service never writes
        file.execute("UPDATE leads SET metadata = '{' || metadata")
        yield
        file.execute("UPDATE leads SET metadata = substr(metadata, 2)")
    elif code == "unavailable":
        lock = hold_write_lock("sqlite", database_url)
        yield
        lock.close()
    else:
        yield
    file.close()


def check(printed, shown, real):
    """Compare the real response to a printed request with the response shown."""
    (status, headers, body), (real_status, real_headers, real_body) = shown, real
    assert (real_status, comparable(real_body)) == (status, comparable(body))
    for name, value in headers.items():
        if name == "Allow":
            assert set(real_headers[name].split(", ")) == set(value.split(", "))
        elif name == "X-Request-Id" and name not in printed:
            assert real_headers[name] == real_body.get("request_id", real_headers[name])
        else:
            assert comparable(real_headers[name]) == comparable(value), name


def test_every_request_gets_the_response_shown(tmp_path):
    assert len(EXCHANGES) == 8 + len(CODES)
    with serving_demo(tmp_path, DB_TIMEOUT_SECONDS="0.5", LOG_LEVEL="INFO") as (server, demo):
        conversation = Conversation(server, demo["api_key"])
        for request, answer in EXCHANGES:
            shown = parse(answer)
            with broken(server.database_url, shown[2].get("code")):
                real = conversation.send(request)
            check(request, shown, real)
            conversation.learn(shown[2], real[2])

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
