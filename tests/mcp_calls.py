"""Messages of assistants to POST /mcp."""

import json
from typing import Any

from conftest import Api
from werkzeug.test import TestResponse

VERSION = "2026-07-28"
META = "io.modelcontextprotocol/"


def post(api: Api, body: Any, headers: dict[str, str] | None = None) -> TestResponse:
    """Post a message, or bytes that are none."""
    data = body if isinstance(body, bytes) else json.dumps(body)
    headers = {"X-API-Key": api.key} | (headers or {})
    return api.http.post("/mcp", data=data, headers=headers)


def message(method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}


def modern(method: str, **params: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a message of revision 2026-07-28, and its headers."""
    meta = {f"{META}protocolVersion": VERSION, f"{META}clientCapabilities": {}}
    headers = {"MCP-Protocol-Version": VERSION, "Mcp-Method": method}
    if "name" in params:
        headers["Mcp-Name"] = params["name"]
    return message(method, {**params, "_meta": meta}), headers


def call(api: Api, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool; returns what its result holds, which its text repeats."""
    params = {"name": tool, "arguments": arguments}
    answer = post(api, message("tools/call", params))
    assert answer.status_code == 200, answer.text
    result = answer.json["result"]
    [content] = result["content"]
    assert json.loads(content["text"]) == result["structuredContent"]
    assert result["isError"] is not result["structuredContent"]["success"]
    return result["structuredContent"]
