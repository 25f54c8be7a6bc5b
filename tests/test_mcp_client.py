"""POST /mcp as assistants reach it: the official client, over a socket, in both eras."""

import asyncio
import re
import shlex
from contextlib import asynccontextmanager

import httpx2
import pytest
from conftest import using
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_calls import message
from server import Server

from config.settings import ROOT
from services import clients, migrations
from web.tools import TOOLS

GUIDE = (ROOT / "docs" / "guide.md").read_text()
ERAS = {"legacy": "2025-11-25", "auto": "2026-07-28", "2026-07-28": "2026-07-28"}


@pytest.fixture(scope="module")
def served(empty_databases):
    """A server, and the key of a client."""
    url = empty_databases()
    with using(url):
        migrations.upgrade()
        _, key = clients.create("Stark Industries")
    server = Server(url).start()
    yield server, key
    server.stop()


@asynccontextmanager
async def connected(url, headers, era):
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        Client(streamable_http_client(url, http_client=http), mode=era) as client,
    ):
        yield client


async def take_a_lead_through(client, era):
    """Log, reschedule, no-show, reopen and complete one lead's meeting; returns its history."""

    async def call(tool, **arguments):
        result = await client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        return result.structured_content

    lead = (await call("upsert_leads", first_name="Tony", email=f"{era}@example.com"))["lead"]
    booking = {"lead_id": lead["id"], "title": "Intro", "starts_at": "2026-03-02T14:00Z"}
    logged = await call("create_meeting", **booking, duration_minutes=30, idempotency_key=era)
    chosen = {"meeting_id": logged["meeting"]["id"]}
    move = {**chosen, "starts_at": "2026-03-03T14:00Z"}
    assert (await call("reschedule_meeting", **move))["confirm_required"]
    await call("reschedule_meeting", **move, confirm=True)
    for status in ("no_show", "scheduled", "completed"):
        changed = await call("set_meeting_status", **chosen, status=status)
        assert changed["meeting"]["status"] == status
    [meeting] = (await call("list_lead_meetings", lead_id=lead["id"]))["meetings"]
    assert (meeting["status"], meeting["starts_at"]) == ("completed", "2026-03-03T14:00:00Z")
    history = (await call("get_lead_history", lead_id=lead["id"]))["history"]
    return [activity["activity_type"] for activity in history]


@pytest.mark.parametrize("era", ERAS)
def test_an_assistant_takes_a_lead_through_its_story(served, era):
    server, key = served

    async def story():
        url = f"http://127.0.0.1:{server.port}/mcp"
        async with connected(url, {"X-API-Key": key}, era) as client:
            tools = (await client.list_tools()).tools
            refused = await client.call_tool("get_lead", {"lead_id": "x"})
            history = await take_a_lead_through(client, era)
            return client.protocol_version, [tool.name for tool in tools], refused, history

    version, names, refused, history = asyncio.run(story())

    assert version == ERAS[era]
    assert names == list(TOOLS)
    assert refused.is_error
    assert "lead_id: Must be a UUID" in refused.content[0].text
    assert history == [
        "lead_created",
        "meeting_scheduled",
        "meeting_rescheduled",
        "meeting_no_show",
        "meeting_reopened",
        "meeting_completed",
    ]


def test_calls_with_one_idempotency_key_at_once_log_one_meeting(served):
    server, key = served

    def call(tool, **arguments):
        return "POST", "/mcp", message("tools/call", {"name": tool, "arguments": arguments}), key

    def content(answer):
        return answer.json["result"]["structuredContent"]

    lead = content(server.call(*call("upsert_leads", first_name="Pepper")))["lead"]
    booking = {"lead_id": lead["id"], "title": "Intro", "starts_at": "2026-03-02T14:00Z"}
    same = call("create_meeting", **booking, duration_minutes=30, idempotency_key="once")
    answers = server.call_many([same] * 16)

    [logged] = content(server.call(*call("list_lead_meetings", lead_id=lead["id"])))["meetings"]
    assert {content(answer)["meeting"]["id"] for answer in answers} == {logged["id"]}


def test_a_body_that_ends_too_soon_is_not_json(served):
    server, key = served
    head = f"POST /mcp HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nContent-Length: 99\r\n\r\n{{"

    answer = server.raw(head.encode())

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"code":-32700' in answer


def test_the_line_of_the_guide_connects(served):
    server, key = served
    line = re.search(r"^claude mcp add .*$", GUIDE, re.MULTILINE).group()
    words = shlex.split(line.replace("$KEY", key).replace("8000", str(server.port)))
    assert words[:5] == ["claude", "mcp", "add", "--transport", "http"]
    assert words[7] == "--header"
    url, (name, _, value) = words[6], words[8].partition(": ")

    async def whoami():
        async with connected(url, {name: value}, "auto") as client:
            return (await client.call_tool("whoami", {})).structured_content

    assert asyncio.run(whoami())["client"]["name"] == "Stark Industries"
