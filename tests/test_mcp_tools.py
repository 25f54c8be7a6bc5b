"""The tools for assistants: their schemas, and what each does."""

import json

import jsonschema_rs
import pytest
from conftest import booking
from mcp_calls import call

import intake_schemas
import lead_schemas
import schemas
from config.settings import ROOT
from web.tools import NOT_YET, TOOLS

DESCRIBED = {tool["name"]: tool for tool in json.loads((ROOT / "docs/mcp_tools.json").read_text())}
UNKNOWN_ID = "0198c0de-0000-7000-8000-000000000000"
PAGING = {"page", "offset", "order"}  # a cursor and a fixed order stand for them
OWN = {
    *("lead_id", "meeting_id", "cursor", "limit", "confirm", "idempotency_key", "leads", "status"),
}


@pytest.fixture
def meeting(api, lead):
    return call(api, "create_meeting", **booking(lead_email=lead["email"]))["meeting"]


class TestSchemas:
    @pytest.mark.parametrize(
        ("tool", "schema"),
        [
            ("list_leads", lead_schemas.LeadsQuery),
            ("get_lead_history", lead_schemas.HistoryQuery),
            ("list_meetings", schemas.MeetingsQuery),
            ("list_lead_meetings", schemas.LeadMeetingsQuery),
            ("get_meeting_stats", schemas.MeetingFilters),
            ("upsert_leads", lead_schemas.LeadRequest),
            ("create_meeting", schemas.MeetingRequest),
            ("reschedule_meeting", schemas.RescheduleRequest),
            ("cancel_meeting", schemas.Reason),
            ("set_meeting_status", schemas.ReasonAndNotes),
            ("ingest_meeting_notes", intake_schemas.MeetingNoteRequest),
        ],
    )
    def test_a_tool_has_the_fields_of_its_call(self, tool, schema):
        arguments = DESCRIBED[tool]["inputSchema"]["properties"].keys()

        assert arguments - OWN == schema().fields.keys() - PAGING - OWN

    @pytest.mark.parametrize("name", TOOLS)
    def test_a_schema_is_closed_and_has_no_rule_at_its_top_and_no_reference(self, name):
        schema = DESCRIBED[name]["inputSchema"]

        jsonschema_rs.Draft202012Validator(schema)
        assert schema.keys() == {"type", "properties", "required", "additionalProperties"}
        assert schema["additionalProperties"] is False
        assert "$ref" not in json.dumps(schema)
        assert {"limit", "cursor"} & schema["properties"].keys() in (set(), {"limit", "cursor"})
        if "limit" in schema["properties"]:
            assert schema["properties"]["limit"]["maximum"] == 50

    @pytest.mark.parametrize("name", TOOLS)
    def test_an_unknown_argument_is_refused_and_the_known_ones_named(self, api, name):
        refusal = call(api, name, colour="red")

        [sentence] = refusal["details"]["colour"]
        assert refusal["code"] == "validation_error"
        assert all(argument in sentence for argument in DESCRIBED[name]["inputSchema"]["required"])

    def test_only_the_tools_that_replace_values_are_destructive(self):
        hints = {name: tool["annotations"] for name, tool in DESCRIBED.items()}

        assert {name for name, hint in hints.items() if hint["destructiveHint"]} == {
            *("upsert_leads", "reschedule_meeting", "cancel_meeting", "set_meeting_status"),
        }
        assert {name for name, hint in hints.items() if not hint["idempotentHint"]} == {
            *("upsert_leads", "create_meeting", "ingest_meeting_notes"),
        }
        assert [hint["readOnlyHint"] for hint in hints.values()] == [True] * 8 + [False] * 6

    def test_a_description_names_the_rules_about_several_fields(self):
        assert "Give `ends_at` or `duration_minutes`." in DESCRIBED["create_meeting"]["description"]


class TestReading:
    def test_whoami_names_the_client(self, api):
        answer = call(api, "whoami")

        assert answer["client"]["id"] == api.client_id
        assert answer["read_only"] is False

    def test_a_reading_tool_returns_what_its_call_returns(self, api, lead, meeting):
        api.post("/meeting-types", json={"name": "Demo"})
        later = {"starts_at": "2026-01-05T14:00:00", "ends_at": "2026-01-05T15:00:00"}
        api.post("/meetings", json=booking(external_event_id="2", **later))
        chosen = {"lead_id": lead["id"]}

        def same(tool, path, arguments, *without):
            theirs, ours = api.get(path).json, call(api, tool, **arguments)
            for name in without:
                theirs.pop(name, None)
                ours.pop(name, None)
            return theirs == ours

        assert same("get_lead", f"/leads/{lead['id']}", chosen)
        assert same("list_leads", "/leads?search=tony", {"search": "tony"}, "pagination")
        assert same("get_lead_history", f"/leads/{lead['id']}/history", chosen, "pagination")
        assert same("list_meetings", "/meetings?limit=50", {})
        assert same("list_lead_meetings", f"/leads/{lead['id']}/meetings?limit=50", chosen)
        assert same(
            "get_meeting_stats", "/meetings/stats?status=confirmed", {"status": "confirmed"}
        )
        assert same("list_meeting_types", "/meeting-types", {}, "pagination")

    def test_null_is_an_absent_filter(self, api, lead):
        assert len(call(api, "list_leads", email=None, limit=None, cursor=None)["leads"]) == 1

    @pytest.mark.parametrize(
        ("tool", "noun"),
        [
            ("list_leads", "leads"),
            ("list_meetings", "meetings"),
            ("list_lead_meetings", "meetings"),
            ("get_lead_history", "history"),
            ("list_meeting_types", "meeting_types"),
        ],
    )
    def test_a_list_is_read_page_by_page(self, api, lead, tool, noun):
        for number in range(3):
            api.new_lead()
            api.post("/meeting-types", json={"name": str(number)})
            api.post("/meetings", json=booking(external_event_id=str(number)))
        chosen = (
            {"lead_id": lead["id"]}
            if "lead_id" in DESCRIBED[tool]["inputSchema"]["required"]
            else {}
        )
        whole = call(api, tool, **chosen)
        rows, cursor, pages = [], None, 0
        while True:
            part = call(api, tool, **chosen, limit=2, cursor=cursor)
            rows += part[noun]
            pages += 1
            assert part["pagination"].keys() == {"limit", "has_more", "next_cursor"}
            cursor = part["pagination"]["next_cursor"]
            if cursor is None:
                break

        assert whole["pagination"] == {"limit": 50, "has_more": False, "next_cursor": None}
        assert rows == whole[noun]
        assert (len(rows), pages) in ((3, 2), (4, 2))

    def test_a_cursor_keeps_the_size_of_its_pages(self, api):
        made = [api.new_lead()["id"] for _ in range(5)]
        first = call(api, "list_leads", limit=2)

        second = call(api, "list_leads", limit=50, cursor=first["pagination"]["next_cursor"])

        assert [lead["id"] for lead in second["leads"]] == [made[2], made[1]]

    @pytest.mark.parametrize("tool", ["list_leads", "list_meetings", "list_meeting_types"])
    @pytest.mark.parametrize(
        "cursor",
        # the last: [0,0], [0,51], [-1,1], [true,1], [1.0,1], [10**13,1], {"a":1}, NaN
        [
            *("x", "=", "é", "W10=", "WzAsMF0=", "WzAsNTFd", "Wy0xLDFd", "W3RydWUsMV0="),
            *("WzEuMCwxXQ==", "WzEwMDAwMDAwMDAwMDAwLDFd", "eyJhIjoxfQ==", "TmFO", "x" * 256),
        ],
    )
    def test_a_made_up_cursor_is_refused(self, api, tool, cursor):
        refusal = call(api, tool, cursor=cursor)

        assert list(refusal["details"]) == ["cursor"]

    def test_a_list_shows_at_most_fifty_rows(self, api):
        assert list(call(api, "list_leads", limit=51)["details"]) == ["limit"]

    def test_a_tool_runs_the_queries_of_its_call(self, api, lead, count_queries):
        with count_queries() as theirs:
            api.get(f"/leads/{lead['id']}")
        with count_queries() as ours:
            call(api, "get_lead", lead_id=lead["id"])

        assert ours == theirs
        assert len(ours) == 2  # the key, the lead


class TestLeads:
    def test_a_lead_with_a_known_email_is_updated(self, api, lead):
        answer = call(api, "upsert_leads", first_name="Anthony", email="TONY.stark@gmail.com")

        assert (answer["lead"]["id"], answer["existed"]) == (lead["id"], True)
        assert answer["lead"]["first_name"] == "Anthony"

    def test_many_leads_each_get_a_result(self, api, lead):
        rows = [
            {"first_name": "Tony", "email": lead["email"]},
            {"first_name": "Pepper", "metadata": {"plan": "gold"}},
            {"first_name": "Happy", "plan": "gold"},
        ]

        answer = call(api, "upsert_leads", leads=rows)

        assert [answer[name] for name in ("created", "updated", "failed")] == [1, 1, 1]
        assert answer["results"][2]["details"] == {"plan": ["Unknown field."]}

    def test_if_all_leads_fail_the_result_is_an_error(self, api):
        assert call(api, "upsert_leads", leads=[{"email": "x"}])["success"] is False

    @pytest.mark.parametrize(
        ("arguments", "wrong"),
        [
            ({}, ["first_name"]),
            ({"leads": []}, ["leads"]),
            ({"leads": {}}, ["leads"]),
            ({"leads": [{}] * 1001}, ["leads"]),
            ({"leads": [{}], "email": "a@b.co"}, ["email"]),
            ({"leads": None, "email": "a@b.co"}, ["first_name"]),
            ({"first_name": "Tony", "plan": "gold"}, ["plan"]),
        ],
    )
    def test_wrong_arguments_are_named(self, api, arguments, wrong):
        assert list(call(api, "upsert_leads", **arguments)["details"]) == wrong


class TestNewMeetings:
    def test_a_meeting_is_logged_as_by_its_call(self, api, lead):
        ours = call(api, "create_meeting", **booking(external_event_id="1"))
        theirs = api.post("/meetings", json=booking(external_event_id="2")).json

        assert ours.keys() == theirs.keys()
        assert ours["meeting"].keys() == theirs["meeting"].keys()

    def test_a_refusal_names_all_wrong_fields(self, api, lead):
        refusal = call(api, "create_meeting", **booking(host_email="x@y.co", ends_at="soon"))

        assert refusal["details"].keys() == {"host_email", "ends_at"}
        assert "ends_at: Must be an ISO 8601 date and time" in refusal["message"]

    def test_an_unknown_lead_is_named(self, api):
        refusal = call(api, "create_meeting", **booking())

        assert refusal["code"] == "lead_not_found"
        assert "tony.stark@gmail.com" in refusal["message"]

    def test_a_call_repeated_with_its_key_returns_the_same(self, api, lead):
        arguments = booking(external_event_id=..., idempotency_key="one")

        first = call(api, "create_meeting", **arguments)
        again = call(api, "create_meeting", **dict(reversed(arguments.items())))

        assert again == first
        assert len(api.meetings(lead)) == 1

    def test_a_key_is_not_for_another_call(self, api, lead):
        call(api, "create_meeting", **booking(idempotency_key="one"))

        other = call(api, "create_meeting", **booking(title="Other", idempotency_key="one"))
        rest = api.post("/meetings", json=booking(), headers={"Idempotency-Key": "one"})

        assert other["code"] == rest.json["code"] == "idempotency_key_reused"

    def test_a_refused_call_does_not_use_up_its_key(self, api, lead):
        assert not call(api, "create_meeting", idempotency_key="one")["success"]

        assert call(api, "create_meeting", **booking(idempotency_key="one"))["success"]

    @pytest.mark.parametrize("key", ["ä", "x" * 256, 5, "a\nb"])
    def test_a_wrong_key_is_named(self, api, lead, key):
        refusal = call(api, "create_meeting", **booking(idempotency_key=key))

        assert list(refusal["details"]) == ["idempotency_key"]
        assert api.meetings(lead) == []


MOVE = {"starts_at": "2025-12-30T17:00:00Z"}


class TestConfirmation:
    @pytest.mark.parametrize("confirm", [{}, {"confirm": False}, {"confirm": None}])
    def test_without_it_a_cancellation_only_says_what_it_would_do(
        self, api, lead, meeting, confirm
    ):
        before = api.history(lead)

        answer = call(api, "cancel_meeting", meeting_id=meeting["id"], reason="ill", **confirm)

        assert (answer["confirm_required"], answer["message"]) == (True, NOT_YET)
        assert answer["would_change"]["status"] == ["confirmed", "cancelled"]
        assert answer["would_change"]["cancellation_reason"] == [None, "ill"]
        assert api.get(f"/meetings/{meeting['id']}").json["meeting"] == answer["meeting"]
        assert answer["meeting"]["status"] == "confirmed"
        assert api.history(lead) == before

    def test_with_it_the_meeting_is_cancelled(self, api, meeting):
        answer = call(api, "cancel_meeting", meeting_id=meeting["id"], confirm=True)
        again = call(api, "cancel_meeting", meeting_id=meeting["id"], confirm=True)

        assert answer["meeting"]["status"] == "cancelled"
        assert again["idempotent"] is True

    def test_without_it_a_move_only_says_what_it_would_do(self, api, meeting):
        answer = call(
            *(api, "reschedule_meeting"), meeting_id=meeting["id"], external_event_id="new", **MOVE
        )

        assert answer["would_change"]["starts_at"] == [meeting["starts_at"], MOVE["starts_at"]]
        assert answer["would_change"]["status"] == ["confirmed", "scheduled"]
        assert api.get("/meetings?external_event_id=new").json["meetings"] == []
        assert api.get(f"/meetings/{meeting['id']}").json["meeting"] == answer["meeting"]

    def test_with_it_the_meeting_is_moved(self, api, meeting):
        answer = call(api, "reschedule_meeting", meeting_id=meeting["id"], confirm=True, **MOVE)

        assert answer["meeting"]["starts_at"] == MOVE["starts_at"]
        assert len(answer["meeting"]["reschedules"]) == 1

    @pytest.mark.parametrize(
        ("tool", "given"), [("cancel_meeting", {}), ("reschedule_meeting", MOVE)]
    )
    def test_a_call_that_would_change_nothing_needs_none(self, api, meeting, tool, given):
        call(api, tool, meeting_id=meeting["id"], confirm=True, **given)

        answer = call(api, tool, meeting_id=meeting["id"], **given)

        assert answer["idempotent"] is True
        assert "confirm_required" not in answer

    @pytest.mark.parametrize("tool", ["cancel_meeting", "reschedule_meeting"])
    @pytest.mark.parametrize("confirm", [True, False])
    def test_a_refusal_needs_none(self, api, meeting, tool, confirm):
        given = {"confirm": confirm} | (MOVE if tool == "reschedule_meeting" else {})
        call(api, "set_meeting_status", meeting_id=meeting["id"], status="completed")

        unknown = call(api, tool, meeting_id=UNKNOWN_ID, **given)
        impossible = call(api, tool, meeting_id=meeting["id"], **given)
        unnamed = call(api, tool, **given)

        assert unknown["code"] == "meeting_not_found"
        assert impossible["code"] == "invalid_transition"
        assert unnamed["details"] == {"meeting_id": ["Required."]}

    def test_a_wrong_move_names_all_wrong_fields(self, api, meeting):
        refusal = call(
            *(api, "reschedule_meeting"),
            **{"meeting_id": meeting["id"], "starts_at": "2025-12-30T17:00:00Z"},
            **{"ends_at": "2025-12-30T16:00:00Z", "confirm": "perhaps"},
        )

        assert refusal["details"].keys() == {"ends_at", "confirm"}


class TestStatus:
    @pytest.mark.parametrize(
        ("given", "shown"),
        [
            ({"status": "confirmed"}, {"confirmed_by_lead": True}),
            ({"status": "completed", "notes": "went well"}, {"outcome_notes": "went well"}),
            ({"status": "no_show", "reason": "ill"}, {"no_show_reason": "ill"}),
        ],
    )
    def test_a_status_is_set_as_by_its_call_and_taken_back(self, api, meeting, given, shown):
        if given["status"] == "confirmed":
            call(api, "set_meeting_status", meeting_id=meeting["id"], status="completed")
            call(api, "set_meeting_status", meeting_id=meeting["id"], status="scheduled")
        answer = call(api, "set_meeting_status", meeting_id=meeting["id"], **given)

        assert answer["meeting"].items() >= {**shown, "status": given["status"]}.items()
        reopened = call(api, "set_meeting_status", meeting_id=meeting["id"], status="scheduled")
        assert reopened["meeting"]["outcome_notes"] is None

    @pytest.mark.parametrize(
        ("given", "wrong"),
        [
            ({"status": "confirmed", "reason": "a", "notes": "b"}, ["reason", "notes"]),
            ({"status": "completed", "reason": "a"}, ["reason"]),
            ({"status": "scheduled", "notes": "b"}, ["notes"]),
            ({"status": "cancelled"}, ["status"]),
            ({"reason": "a"}, ["status"]),
        ],
    )
    def test_what_a_status_does_not_take_is_refused(self, api, meeting, given, wrong):
        refusal = call(api, "set_meeting_status", meeting_id=meeting["id"], **given)

        assert sorted(refusal["details"]) == sorted(wrong)

    def test_an_impossible_change_is_a_conflict(self, api, meeting):
        call(api, "cancel_meeting", meeting_id=meeting["id"], confirm=True)

        refusal = call(api, "set_meeting_status", meeting_id=meeting["id"], status="completed")

        assert refusal["code"] == "invalid_transition"


def test_notes_are_stored(api, meeting):
    given = {"calendar_event_id": meeting["id"], "summary": "Wants a demo."}

    note = call(api, "ingest_meeting_notes", **given)["note"]

    assert (note["meeting_id"], note["summary"]) == (meeting["id"], "Wants a demo.")


@pytest.mark.parametrize("tool", [name for name, tool in TOOLS.items()])
def test_ids_of_another_client_look_like_unknown_ones(api, stranger, lead, meeting, tool):
    needed = {"set_meeting_status": {"status": "no_show"}, "reschedule_meeting": MOVE}
    ids = {"lead_id": lead["id"], "meeting_id": meeting["id"]}
    if tool == "create_meeting":
        needed[tool] = booking(lead_email=...)
    if tool == "ingest_meeting_notes":
        ids, needed[tool] = {"calendar_event_id": meeting["id"]}, {"notes": "x"}
    taken = {
        name: ids[name] for name in DESCRIBED[tool]["inputSchema"]["properties"] if name in ids
    }
    rest = needed.get(tool, {})
    before = api.history(lead)

    theirs = call(stranger, tool, **taken, **rest)
    unknown = call(stranger, tool, **dict.fromkeys(taken, UNKNOWN_ID), **rest)

    text = json.dumps(theirs)
    for own_id in ids.values():
        text = text.replace(own_id, UNKNOWN_ID)
    assert json.loads(text) | {"request_id": 1} == unknown | {"request_id": 1}
    assert lead["first_name"] not in text
    assert api.history(lead) == before
