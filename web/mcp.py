"""The Model Context Protocol: JSON-RPC over POST, without sessions.

Clients of revision 2026-07-28 describe themselves in every request, in `_meta` and in headers:
https://modelcontextprotocol.io/specification/2026-07-28/basic/transports/streamable-http. Earlier
revisions begin with `initialize`, which needs no state here either.
"""

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from flask import Response, abort, current_app, g, request

from bases import Request
from config.version import VERSION
from fields import INT64
from services.errors import InvalidJson, PayloadTooLarge, ServiceError
from web import tools
from web.answers import on_service_error, write_json
from web.body import parse_json, read_body

MODERN = ("2026-07-28",)
EARLIER = ("2025-11-25", "2025-06-18", "2025-03-26")  # the latest first
SERVER = {"name": "meetings", "version": VERSION}
CAPABILITIES: dict[str, Any] = {"tools": {}}
META = "io.modelcontextprotocol/"
INSTRUCTIONS = (
    "Meetings that were booked elsewhere, logged against leads, the people sold to. Find ids with"
    " the lists first. Times in results are UTC. A refusal has `code`, `message` and, for wrong"
    " arguments, `details` by argument: correct the call and repeat it. Where a message names POST"
    " /leads, use upsert_leads; for POST /meetings/{id}/reopen, use set_meeting_status with the"
    " status scheduled."
)
TOOLS_FRESH_MS = 300_000  # how long a client may keep the list of tools
LONGEST_BODY = max(tool.arguments.BODY_BYTES for tool in tools.TOOLS.values())

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022


class Fault(Exception):
    """A message that breaks the protocol."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error: dict[str, Any] = {"code": code, "message": message}
        if data is not None:
            self.error["data"] = data


class Call(NamedTuple):
    """A request of an assistant, or a notification, which has no id and gets no answer."""

    method: str
    params: dict[str, Any]
    id: str | int | None

    @property
    def version(self) -> Any:
        """The revision that the request itself names; None before 2026-07-28."""
        meta = self.params.get("_meta")
        return meta.get(f"{META}protocolVersion") if isinstance(meta, dict) else None

    @property
    def is_modern(self) -> bool:
        """Whether the client speaks a revision without `initialize`."""
        if self.version is not None or self.method == "server/discover":
            return True
        header = request.headers.get("MCP-Protocol-Version", EARLIER[0])
        return header not in EARLIER and self.method != "initialize"


def check_origin() -> None:
    """Refuse a call from a web page of another site, with 403.

    A page could otherwise reach a service on its visitor's own machine.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return
    public_url = current_app.config["SETTINGS"].public_url
    ours = {request.host.lower(), urlsplit(public_url or "").netloc.lower()}
    scheme, _, host = origin.lower().partition("://")
    if scheme not in ("http", "https") or not host or host not in ours:
        abort(403, "The Origin is not this service.")


def respond() -> Response:
    """Respond to a message: 200 with the result, 202 to a notification, or a protocol error."""
    call_id, is_modern = None, True
    try:
        raw, message = _read_message()
        call_id = _read_id(message)
        call = _read_call(message, call_id)
        if "id" not in message:
            g.rpc = {"rpc": "notification"}
            return Response(status=202)
        is_modern = call.is_modern
        return _success(call, _result(call, raw))
    except Fault as fault:
        status = _status(fault.error["code"], is_modern)
        return write_json(status, {"jsonrpc": "2.0", "id": call_id, "error": fault.error})


def _status(code: int, is_modern: bool) -> int:
    # Clients of earlier revisions take 404 for the end of their session.
    if not is_modern and code not in (PARSE_ERROR, INVALID_REQUEST):
        return 200
    return 404 if code == METHOD_NOT_FOUND else 400


def _read_message() -> tuple[bytes, dict[str, Any]]:
    try:
        raw = read_body(LONGEST_BODY)
        message = parse_json(raw)
    except InvalidJson as error:
        raise Fault(PARSE_ERROR, error.message) from error
    if not isinstance(message, dict):
        raise Fault(INVALID_REQUEST, "A message must be a JSON object; there are no batches.")
    return raw, message


def _read_id(message: dict[str, Any]) -> str | int | None:
    """Return the id of a request; None for a notification."""
    given: Any = message.get("id")
    is_whole = type(given) is int and given in INT64  # `in` would search the range for a float
    if "id" in message and not is_whole and not isinstance(given, str):
        raise Fault(INVALID_REQUEST, "id must be text or a whole number of 64 bits.")
    return given  # type: ignore[no-any-return]


def _read_call(message: dict[str, Any], call_id: str | int | None) -> Call:
    method, params = message.get("method"), message.get("params", {})
    if message.get("jsonrpc") != "2.0":
        raise Fault(INVALID_REQUEST, 'jsonrpc must be "2.0".')
    if not isinstance(method, str):
        raise Fault(INVALID_REQUEST, "method must be text.")
    if not isinstance(params, dict):
        raise Fault(INVALID_REQUEST, "params must be an object.")
    return Call(method, params, call_id)


def _result(call: Call, raw: bytes) -> dict[str, Any]:
    """Carry out a request; raises Fault, and the service's errors unless a tool returns them."""
    methods = MODERN_METHODS if call.is_modern else EARLIER_METHODS
    method = methods.get(call.method)
    g.rpc = {"rpc": call.method if method else "*"}
    if call.is_modern:
        _check_metadata(call)
    if method is None:
        raise Fault(METHOD_NOT_FOUND, "There is no such method.")
    limit = Request.BODY_BYTES
    if call.method == "tools/call" and (tool := tools.find_or_none(call.params.get("name"))):
        limit = tool.arguments.BODY_BYTES
    if len(raw) > limit:
        raise PayloadTooLarge(limit)
    return method(call.params)


def _success(call: Call, result: dict[str, Any]) -> Response:
    if call.is_modern:
        result = {"resultType": "complete", **result, "_meta": {f"{META}serverInfo": SERVER}}
    return write_json(200, {"jsonrpc": "2.0", "id": call.id, "result": result})


def _check_metadata(call: Call) -> None:
    """Check what a request of revision 2026-07-28 says about itself, in `_meta` and in headers."""
    header = request.headers.get("MCP-Protocol-Version")
    requested = header if call.version is None else call.version
    if call.version is None and requested in (None, *MODERN):
        raise Fault(INVALID_PARAMS, f"params._meta must have {META}protocolVersion.")
    if not isinstance(requested, str):
        raise Fault(INVALID_PARAMS, f"{META}protocolVersion must be text.")
    if requested != header:
        raise Fault(HEADER_MISMATCH, "MCP-Protocol-Version must be the version in params._meta.")
    if requested not in MODERN:
        data = {"supported": [*MODERN, *EARLIER], "requested": requested}
        raise Fault(UNSUPPORTED_VERSION, "Unsupported protocol version", data)
    if not isinstance(call.params["_meta"].get(f"{META}clientCapabilities"), dict):
        raise Fault(INVALID_PARAMS, f"params._meta must have {META}clientCapabilities.")
    if request.headers.get("Mcp-Method") != call.method:
        raise Fault(HEADER_MISMATCH, "Mcp-Method must be the method.")
    if call.method == "tools/call" and _decoded("Mcp-Name") != call.params.get("name"):
        raise Fault(HEADER_MISMATCH, "Mcp-Name must be the name in params.")


def _decoded(header: str) -> str | None:
    """Return a header that may be written in Base64, as `=?base64?…?=`."""
    text = request.headers.get(header)
    if text is None or not (text.startswith("=?base64?") and text.endswith("?=")):
        return text
    try:
        return base64.b64decode(text[9:-2].encode(), validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise Fault(HEADER_MISMATCH, f"{header} is not valid Base64 of UTF-8.") from error


# ----------------------------------------------------------------------------------------- methods


def _initialize(params: dict[str, Any]) -> dict[str, Any]:
    requested = params.get("protocolVersion")
    return {
        "protocolVersion": requested if requested in EARLIER else EARLIER[0],
        "capabilities": CAPABILITIES,
        "serverInfo": SERVER,
        "instructions": INSTRUCTIONS,
    }


def _discover(params: dict[str, Any]) -> dict[str, Any]:
    return {
        "supportedVersions": [*MODERN, *EARLIER],
        "capabilities": CAPABILITIES,
        "instructions": INSTRUCTIONS,
        "ttlMs": TOOLS_FRESH_MS,
        "cacheScope": "public",
    }


def _ping(params: dict[str, Any]) -> dict[str, Any]:
    return {}


def _list_tools(params: dict[str, Any]) -> dict[str, Any]:
    if params.get("cursor") is not None:
        raise Fault(INVALID_PARAMS, "cursor: there is only one page of tools.")
    return {"tools": tools.list_tools()}


def _list_tools_cacheable(params: dict[str, Any]) -> dict[str, Any]:
    return _list_tools(params) | {"ttlMs": TOOLS_FRESH_MS, "cacheScope": "private"}


def _call_tool(params: dict[str, Any]) -> dict[str, Any]:
    """Call a tool. A refusal is a result too, so that the model can correct its call."""
    name, arguments = params.get("name"), params.get("arguments")
    tool = tools.find_or_none(name)
    if tool is None:
        raise Fault(INVALID_PARAMS, "name: there is no such tool. tools/list lists them.")
    g.rpc["tool"] = name
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise Fault(INVALID_PARAMS, "arguments must be an object.")
    try:
        response = tool.call(arguments)
    except ServiceError as error:
        if error.status >= 500:
            raise
        response = on_service_error(error)
    text = response.get_data(as_text=True).strip()
    structured = json.loads(text)
    return {
        "content": [{"type": "text", "text": text}],
        "structuredContent": structured,
        "isError": not structured["success"],
    }


Method = Callable[[dict[str, Any]], dict[str, Any]]
MODERN_METHODS: dict[str, Method] = {
    "server/discover": _discover,
    "tools/list": _list_tools_cacheable,
    "tools/call": _call_tool,
}
EARLIER_METHODS: dict[str, Method] = {
    "initialize": _initialize,
    "ping": _ping,
    "tools/list": _list_tools,
    "tools/call": _call_tool,
}
