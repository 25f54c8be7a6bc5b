"""POST /mcp: the protocol, its authentication, and its log lines."""

import base64
import random
from datetime import date

import pytest
from conftest import Api, using
from freezegun import freeze_time
from mcp_calls import META, VERSION, call, message, modern, post

from config.logging import TextFormatter
from services import clients
from services.errors import Unavailable
from web import mcp

READING = [
    *("whoami", "list_leads", "get_lead", "get_lead_history", "list_meetings"),
    *("list_lead_meetings", "get_meeting_stats", "list_meeting_types"),
]
WRITING = [
    *("upsert_leads", "create_meeting", "reschedule_meeting", "cancel_meeting"),
    *("set_meeting_status", "ingest_meeting_notes"),
]
UNKNOWN_ID = "0198c0de-0000-7000-8000-000000000000"


def names(answer):
    return [tool["name"] for tool in answer.json["result"]["tools"]]


@pytest.fixture
def reader(api):
    """The same client with a key that may only read."""
    _, key = clients.create_key(api.client_id, read_only=True)
    return Api(api.http, api.client_id, key)


class TestWhoMayCall:
    @pytest.mark.parametrize(
        ("headers", "code"),
        [
            ({}, "missing_api_key"),
            ({"X-API-Key": "nxr_live_wrong"}, "invalid_api_key"),
            ({"Authorization": "Bearer nxr_live_wrong"}, "invalid_api_key"),
        ],
    )
    def test_a_call_without_a_valid_key_gets_401(self, app, headers, code):
        answer = app.test_client().post("/mcp", json=message("tools/list"), headers=headers)

        assert (answer.status_code, answer.json["code"]) == (401, code)

    def test_an_expired_key_gets_401(self, api):
        with freeze_time("2026-03-01"):
            _, key = clients.create_key(api.client_id, expires_on=date(2026, 3, 1))

        with freeze_time("2026-03-02"):
            answer = post(Api(api.http, api.client_id, key), message("tools/list"))

        assert (answer.status_code, answer.json["code"]) == (401, "invalid_api_key")

    def test_a_bearer_token_is_accepted(self, api):
        headers = {"Authorization": f"bearer {api.key}"}

        assert api.http.post("/mcp", json=message("ping"), headers=headers).status_code == 200

    @pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "OPTIONS"])
    def test_only_post_is_possible(self, api, method):
        answer = api.http.open("/mcp", method=method, headers={"X-API-Key": api.key})

        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")

    @pytest.mark.parametrize(
        "origin",
        [*("https://evil.example", "null", "http://localhost:1", "localhost", "", "http://")],
    )
    def test_a_page_of_another_site_is_refused(self, api, origin):
        answer = post(api, message("ping"), {"Origin": origin})

        assert (answer.status_code, answer.json["code"]) == (403, "forbidden")

    def test_a_page_of_this_service_is_accepted(self, api, database_url):
        with using(database_url, public_url="https://meetings.example.com/a") as app:
            for origin in ("http://localhost", "https://Meetings.example.com"):
                answer = post(api.on(app), message("ping"), {"Origin": origin})
                assert answer.status_code == 200, origin

    def test_a_reading_key_sees_only_the_reading_tools(self, api, reader):
        assert names(post(api, message("tools/list"))) == READING + WRITING
        assert names(post(reader, message("tools/list"))) == READING
        assert call(reader, "whoami")["read_only"] is True

    @pytest.mark.parametrize("tool", WRITING)
    def test_a_writing_tool_is_unknown_to_a_reading_key(self, reader, tool):
        unknown = post(reader, message("tools/call", {"name": "fly", "arguments": {}}))

        answer = post(reader, message("tools/call", {"name": tool, "arguments": {}}))

        assert answer.json == unknown.json
        assert answer.json["error"]["code"] == mcp.INVALID_PARAMS


class TestMessages:
    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"", mcp.PARSE_ERROR),
            (b"{", mcp.PARSE_ERROR),
            (b"\xff", mcp.PARSE_ERROR),
            (b'{"jsonrpc": "2.0", "id": NaN, "method": "ping"}', mcp.PARSE_ERROR),
            (b"[" * 100 + b"]" * 100, mcp.PARSE_ERROR),
            ([message("ping")], mcp.INVALID_REQUEST),
            ([], mcp.INVALID_REQUEST),
            ("ping", mcp.INVALID_REQUEST),
            ({"id": 1, "method": "ping"}, mcp.INVALID_REQUEST),
            ({"jsonrpc": "1.0", "id": 1, "method": "ping"}, mcp.INVALID_REQUEST),
            ({"jsonrpc": "2.0", "id": 1}, mcp.INVALID_REQUEST),
            ({"jsonrpc": "2.0", "id": 1, "result": {}}, mcp.INVALID_REQUEST),
            ({"jsonrpc": "2.0", "id": 1, "method": 5}, mcp.INVALID_REQUEST),
            (message("ping") | {"params": [1]}, mcp.INVALID_REQUEST),
        ],
    )
    def test_what_is_no_message_gets_a_protocol_error(self, api, body, code):
        answer = post(api, body)

        assert answer.status_code == 400
        assert answer.json["jsonrpc"] == "2.0"
        assert answer.json["error"]["code"] == code
        assert answer.json["error"]["message"]

    @pytest.mark.parametrize(
        "headers",
        [{"Accept": "text/html", "Content-Type": "text/plain"}, {"Mcp-Session-Id": "gone"}],
    )
    def test_a_message_is_json_whatever_its_headers_say(self, api, headers):
        answer = post(api, message("ping"), headers)

        assert (answer.status_code, answer.mimetype) == (200, "application/json")

    @pytest.mark.parametrize("given", [0, -5, 2**63 - 1, "", "a", "1", "ä\ud800"])
    def test_text_and_whole_numbers_are_ids(self, api, given):
        answer = post(api, message("ping") | {"id": given})

        assert (answer.status_code, answer.json["result"]) == (200, {})
        assert answer.json["id"] == given

    @pytest.mark.parametrize("given", [None, True, 1.5, 1.0, 2**63, 10**40, [1], {"a": 1}])
    def test_other_ids_are_refused(self, api, given):
        answer = post(api, message("ping") | {"id": given})

        assert (answer.status_code, answer.json["id"]) == (400, None)
        assert answer.json["error"]["code"] == mcp.INVALID_REQUEST

    @pytest.mark.parametrize("method", ["notifications/initialized", "tools/call", "fly"])
    def test_a_notification_gets_no_answer_and_does_nothing(self, api, method):
        params = {"name": "upsert_leads", "arguments": {"first_name": "Tony"}}

        answer = post(api, {"jsonrpc": "2.0", "method": method, "params": params})

        assert (answer.status_code, answer.data) == (202, b"")
        assert call(api, "list_leads")["leads"] == []

    def test_an_unknown_method_is_named_as_such(self, api):
        earlier = post(api, message("resources/list"))
        today = post(api, *modern("resources/list"))

        assert [answer.status_code for answer in (earlier, today)] == [200, 404]
        assert all(a.json["error"]["code"] == mcp.METHOD_NOT_FOUND for a in (earlier, today))

    @pytest.mark.parametrize(
        "params",
        [{}, {"name": 5}, {"name": "fly"}, {"name": "whoami", "arguments": [1]}],
    )
    def test_a_call_of_no_tool_is_a_protocol_error(self, api, params):
        answer = post(api, message("tools/call", params))

        assert answer.json["error"]["code"] == mcp.INVALID_PARAMS

    def test_there_is_one_page_of_tools(self, api):
        answer = post(api, message("tools/list", {"cursor": "x"}))

        assert answer.json["error"]["code"] == mcp.INVALID_PARAMS

    def test_a_body_has_the_limit_of_the_api_for_its_tool(self, api):
        large = {"summary": "x" * 450_000, "notes": "x" * 450_000, "transcript_text": "x" * 450_000}

        notes = {"name": "ingest_meeting_notes", "arguments": large}
        others = {"name": "list_leads", "arguments": large}

        assert post(api, message("tools/call", notes)).json["result"]["isError"]
        assert post(api, message("tools/call", others)).status_code == 413
        assert post(api, message("ping", large)).status_code == 413
        assert post(api, b" " * (mcp.LONGEST_BODY + 1)).status_code == 413

    def test_an_unknown_query_parameter_is_refused(self, api):
        answer = api.http.post("/mcp?a=1", json=message("ping"), headers={"X-API-Key": api.key})

        assert answer.json["details"] == {"a": ["Unknown parameter."]}


class TestEarlierRevisions:
    @pytest.mark.parametrize(
        ("requested", "version"),
        [
            *[(version, version) for version in mcp.EARLIER],
            ("1999-01-01", mcp.EARLIER[0]),
            (VERSION, mcp.EARLIER[0]),
            (None, mcp.EARLIER[0]),
        ],
    )
    def test_initialize_agrees_on_a_revision(self, api, requested, version):
        params = {"protocolVersion": requested, "capabilities": {}, "clientInfo": {"name": "a"}}

        result = post(api, message("initialize", params)).json["result"]

        assert result["protocolVersion"] == version
        assert result["capabilities"] == {"tools": {}}
        assert result["serverInfo"]["name"] == "meetings"

    @pytest.mark.parametrize("version", mcp.EARLIER)
    def test_each_revision_lists_the_tools(self, api, version):
        answer = post(api, message("tools/list"), {"MCP-Protocol-Version": version})

        assert answer.json["result"].keys() == {"tools"}

    def test_an_unknown_revision_is_refused_with_the_known_ones(self, api):
        answer = post(api, message("tools/list"), {"MCP-Protocol-Version": "2024-01-01"})

        assert answer.status_code == 400
        assert answer.json["error"]["code"] == mcp.UNSUPPORTED_VERSION
        assert answer.json["error"]["data"] == {
            "supported": [*mcp.MODERN, *mcp.EARLIER],
            "requested": "2024-01-01",
        }


class TestStatelessRevision:
    def test_a_client_can_discover_the_server(self, api):
        answer = post(api, *modern("server/discover"))

        result = answer.json["result"]
        assert answer.status_code == 200
        assert result["resultType"] == "complete"
        assert result["supportedVersions"][0] == VERSION
        assert result["_meta"][f"{META}serverInfo"]["name"] == "meetings"
        assert (result["cacheScope"], result["ttlMs"] > 0) == ("public", True)

    def test_a_list_of_tools_is_cached_for_its_key_only(self, api):
        result = post(api, *modern("tools/list")).json["result"]

        assert (result["cacheScope"], result["ttlMs"] > 0) == ("private", True)

    def test_a_tool_can_be_called_at_once(self, api):
        answer = post(api, *modern("tools/call", name="whoami", arguments={}))

        assert answer.json["result"]["resultType"] == "complete"
        assert answer.json["result"]["structuredContent"]["client"]["id"] == api.client_id

    def test_a_name_in_base64_is_decoded(self, api):
        body, headers = modern("tools/call", name="whoami")
        encoded = base64.b64encode(b"whoami").decode()

        answer = post(api, body, headers | {"Mcp-Name": f"=?base64?{encoded}?="})

        assert answer.status_code == 200

    @pytest.mark.parametrize(
        ("changed", "code"),
        [
            ({"MCP-Protocol-Version": "2025-11-25"}, mcp.HEADER_MISMATCH),
            ({"MCP-Protocol-Version": None}, mcp.HEADER_MISMATCH),
            ({"Mcp-Method": "tools/list"}, mcp.HEADER_MISMATCH),
            ({"Mcp-Method": None}, mcp.HEADER_MISMATCH),
            ({"Mcp-Name": "list_leads"}, mcp.HEADER_MISMATCH),
            ({"Mcp-Name": None}, mcp.HEADER_MISMATCH),
            ({"Mcp-Name": "=?base64?_?="}, mcp.HEADER_MISMATCH),
            ({"Mcp-Name": "=?base64?/w==?="}, mcp.HEADER_MISMATCH),
            ({f"{META}protocolVersion": None}, mcp.INVALID_PARAMS),
            ({f"{META}protocolVersion": 5}, mcp.INVALID_PARAMS),
            ({f"{META}clientCapabilities": None}, mcp.INVALID_PARAMS),
            (
                {"MCP-Protocol-Version": "2027-01-01", f"{META}protocolVersion": "2027-01-01"},
                mcp.UNSUPPORTED_VERSION,
            ),
        ],
    )
    def test_a_request_that_contradicts_itself_is_refused(self, api, changed, code):
        body, headers = modern("tools/call", name="whoami")
        for name, value in changed.items():
            place = body["params"]["_meta"] if name.startswith(META) else headers
            place.pop(name)
            place |= {} if value is None else {name: value}

        answer = post(api, body, headers)

        assert (answer.status_code, answer.json["error"]["code"]) == (400, code)


def test_the_log_names_the_method_and_the_tool_but_no_argument(api, caplog):
    caplog.set_level("INFO", logger="meetings")

    call(api, "list_leads", search="tony")
    post(api, message("tools/call", {"name": "tony"}))
    post(api, message("tony"))

    lines = [TextFormatter().format(record) for record in caplog.records]
    assert " path=/mcp status=200 rpc=tools/call tool=list_leads milliseconds=" in lines[0]
    assert " rpc=tools/call milliseconds=" in lines[1]
    assert " rpc=* milliseconds=" in lines[2]
    assert "tony" not in "".join(lines)


def test_a_bug_in_a_tool_is_a_500_that_shows_nothing(api, monkeypatch):
    monkeypatch.setattr("web.tools.clients.get", lambda client_id: 1 / 0)

    answer = post(api, message("tools/call", {"name": "whoami"}))

    assert (answer.status_code, answer.json["code"]) == (500, "internal_error")


def test_an_unavailable_database_is_a_503_that_asks_to_try_again(api, monkeypatch):
    def fail(client_id):
        raise Unavailable("The database is locked.")

    monkeypatch.setattr("web.tools.clients.get", fail)

    answer = post(api, message("tools/call", {"name": "whoami"}))

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


# ----------------------------------------------------------------------------------- damaged calls

JUNK = [
    *(None, True, False, 0, -1, 1.5, 10**30, "", " ", "\ud800", "\x00", "x" * 3000, [], {}, [[]]),
    *("UTC", "a@b.co", "2026-04-20T14:00", "60", "scheduled", UNKNOWN_ID, "W10=", "WzEsIDFd"),
    *([None], {"": ""}, {"a": {"b": []}}, ["\ud800"], [{"first_name": "x", "email": 5}]),
]


def damaged(rng, tools, ids):
    """Return the body of a call that is wrong in some way, and its headers."""
    tool = rng.choice(tools)
    properties = tool["inputSchema"]["properties"]
    arguments = {
        name: rng.choice([*JUNK, *ids])
        for name in rng.sample([*properties], rng.randint(0, min(6, len(properties))))
    }
    if rng.random() < 0.3:
        arguments |= {rng.choice(["colour", "\ud800", "", "id"]): rng.choice(JUNK)}
    for name in ("lead_id", "meeting_id"):
        if name in properties and rng.random() < 0.7:
            arguments[name] = rng.choice(ids)
    make = rng.choice([modern, lambda *a, **k: (modern(*a, **k)[0], {})])
    body, headers = make("tools/call", name=tool["name"], arguments=arguments)
    if rng.random() < 0.5:
        body["params"].pop("_meta")
        headers = {}
    for place in (body, body["params"]):
        if rng.random() < 0.1:
            place[rng.choice([*place])] = rng.choice(JUNK)
            return body, headers
    return body, headers


def test_a_thousand_damaged_calls_cause_no_5xx(api, lead):
    meeting = call(
        *(api, "create_meeting"),
        **{"lead_id": lead["id"], "title": "Intro", "starts_at": "2026-03-02T14:00Z"},
        duration_minutes=30,
    )["meeting"]
    tools = post(api, message("tools/list")).json["result"]["tools"]
    rng = random.Random(17)
    results = 0
    for _ in range(1000):
        body, headers = damaged(rng, tools, [lead["id"], meeting["id"]])

        answer = post(api, body, headers)

        assert answer.status_code < 500, (body, answer.text)
        assert answer.status_code == 202 or answer.json.keys() & {"result", "error"}, body
        results += answer.status_code == 200 and "result" in answer.json

    assert results > 300  # the others do not get as far as a tool
