"""Leads: creating, finding, updating and listing them, and reading their history."""

import json
import threading

import pytest
from conftest import booking
from freezegun import freeze_time

LEAD_KEYS = [
    "id",
    "first_name",
    "last_name",
    "email",
    "phone",
    "source",
    "company",
    "title",
    "external_id",
    "metadata",
    "created_at",
    "updated_at",
]
FULL = {
    "first_name": "Tony",
    "last_name": "Stark",
    "email": "Tony.Stark@gmail.com",
    "phone": "+1 (212) 970-4133",
    "source": "webinar",
    "company": "Stark Industries",
    "title": "CEO",
    "external_id": "ghl-1",
    "metadata": {"utm": "x", "score": 7, "ratio": 0.5, "vip": True, "big": 2**63 - 1},
}


class TestCreate:
    def test_a_created_lead_is_returned_with_every_field(self, api):
        with freeze_time("2026-04-15T12:00:00.9Z"):
            answer = api.post("/leads", json=FULL)

        lead = answer.json["lead"]
        assert answer.status_code == 201
        assert list(answer.json) == ["success", "lead"]
        assert list(lead) == LEAD_KEYS
        assert lead == FULL | {
            "id": lead["id"],
            "created_at": "2026-04-15T12:00:00Z",
            "updated_at": "2026-04-15T12:00:00Z",
        }
        assert api.get(f"/leads/{lead['id']}").json == {"success": True, "lead": lead}

    @pytest.mark.parametrize("empty", [..., None, "", " "])
    def test_absent_and_empty_optional_fields_get_their_defaults(self, api, empty):
        fields = {field: empty for field in FULL if field != "first_name" and empty is not ...}

        lead = api.new_lead(**fields)

        assert lead["source"] == "api"
        assert lead["metadata"] == {}
        for field in ("last_name", "email", "phone", "company", "title", "external_id"):
            assert lead[field] is None

    @pytest.mark.parametrize("value", [..., None, "", "  "])
    def test_the_first_name_is_required(self, api, value):
        body = {} if value is ... else {"first_name": value}

        assert api.post("/leads", json=body).json["details"] == {"first_name": ["Required."]}

    def test_every_call_creates_a_lead_even_if_the_email_already_exists(self, api):
        assert api.new_lead(email="a@b.co")["id"] != api.new_lead(email="a@b.co")["id"]

    def test_an_id_and_timestamps_in_the_body_are_ignored(self, api):
        lead = api.new_lead(id="mine", created_at="1999", updated_at=5)

        assert len(lead["id"]) == 36
        assert lead["metadata"] == {}

    @pytest.mark.parametrize(
        ("field", "longest"),
        [("first_name", 255), ("last_name", 255), ("phone", 50), ("company", 255),
         ("title", 255), ("source", 255), ("external_id", 255)],
    )  # fmt: skip
    def test_text_length_is_limited(self, api, field, longest):
        assert api.new_lead(**{field: "é" * longest})[field] == "é" * longest
        over = api.post("/leads", json={"first_name": "Tony"} | {field: "x" * (longest + 1)})
        assert set(over.json["details"]) == {field}

    @pytest.mark.parametrize("field", [field for field in FULL if field != "metadata"])
    @pytest.mark.parametrize("value", [5, True, [], {}, "\u0000", "\ud800"])
    def test_text_fields_refuse_other_types_and_control_characters(self, api, field, value):
        answer = api.post("/leads", json={"first_name": "Tony"} | {field: value})

        assert set(answer.json["details"]) == {field}


class TestMetadata:
    def test_unknown_fields_become_metadata_and_an_explicit_key_wins(self, api):
        lead = api.new_lead(
            utm_source="ads", plan="folded", empty="", nothing=None, metadata={"plan": " pro "}
        )

        assert lead["metadata"] == {"utm_source": "ads", "plan": "pro"}

    def test_metadata_keeps_the_order_of_keys_and_the_type_of_numbers(self, api):
        given = {"zz": 1, "a": 1.0, "mm": 1e20 / 1e10, "b": -(2**63), "c": 1e-300, "d": False}

        answer = api.post("/leads", json={"first_name": "T", "metadata": given})

        assert json.dumps(answer.json["lead"]["metadata"]) == json.dumps(given)
        stored = api.get(f"/leads/{answer.json['lead']['id']}").json["lead"]
        assert json.dumps(stored["metadata"]) == json.dumps(given)

    @pytest.mark.parametrize(
        "value",
        ["[]", "{}", '{"a": 1}', "1e400", "-1e400", "9223372036854775808", "1e300",
         "-9223372036854775809", "9" * 10_000, '"\\u0000"', '"\\ud800"', '"a\\u001f"'],
    )  # fmt: skip
    @pytest.mark.parametrize("way", ["explicit", "folded"])
    def test_an_unsupported_metadata_value_is_refused_and_its_key_named(self, api, value, way):
        inner = f'{{"bad": {value}, "good": 1}}'
        fields = f'"metadata": {inner}' if way == "explicit" else inner[1:-1]

        answer = api.post("/leads", data=f'{{"first_name": "T", {fields}}}')

        assert answer.status_code == 400
        assert set(answer.json["details"]) == {"metadata"}
        assert set(answer.json["details"]["metadata"]) == {"bad"}

    @pytest.mark.parametrize("metadata", ["text", 5, [], [1], True])
    def test_metadata_that_is_not_an_object_is_refused(self, api, metadata):
        answer = api.post("/leads", json={"first_name": "T", "metadata": metadata})

        assert set(answer.json["details"]) == {"metadata"}

    @pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\u0000", "\ud800"])
    def test_an_invalid_metadata_key_is_refused(self, api, key):
        answer = api.post("/leads", json={"first_name": "T", "metadata": {key: 1}})

        assert answer.status_code == 400
        assert set(answer.json["details"]) == {"metadata"}

    @pytest.mark.parametrize(("before", "after"), [(1, True), (0, False), (False, 0), (1, 1.0)])
    def test_values_that_only_python_considers_equal_are_a_change(self, api, before, after):
        lead = api.new_lead(metadata={"a": before})

        changed = api.patch(f"/leads/{lead['id']}", json={"a": after}).json["lead"]

        assert json.dumps(changed["metadata"]["a"]) == json.dumps(after)
        assert len(api.history(lead)) == 2

    def test_oversized_metadata_is_reported_together_with_other_errors(self, api):
        answer = api.post(
            "/leads?x=1", json={"email": "nope", "metadata": {f"k{n}": n for n in range(101)}}
        )
        unknown = api.patch(
            "/leads/0198c0de-0000-7000-8000-000000000000",
            json={"metadata": {"a": "x" * 70_000}},
        )

        assert set(answer.json["details"]) == {"x", "first_name", "email", "metadata"}
        assert (unknown.status_code, set(unknown.json["details"])) == (400, {"metadata"})

    def test_metadata_holds_at_most_a_hundred_keys(self, api):
        keys = {f"k{n}": n for n in range(100)}
        lead = api.new_lead(metadata=keys)

        over = api.post("/leads", json={"first_name": "T", "metadata": keys | {"more": 1}})
        merged = api.patch(f"/leads/{lead['id']}", json={"more": 1})
        swapped = api.patch(f"/leads/{lead['id']}", json={"more": 1, "k0": None})

        assert over.status_code == merged.status_code == 400
        assert set(merged.json["details"]) == {"metadata"}
        assert swapped.status_code == 200

    def test_metadata_holds_at_most_64_kibibytes(self, api):
        room = 64 * 1024 - len('{"a":""}')

        assert api.new_lead(metadata={"a": "x" * room})
        over = api.post("/leads", json={"first_name": "T", "metadata": {"a": "x" * (room + 1)}})
        wide = api.post(
            "/leads", json={"first_name": "T", "metadata": {"a": "é" * (room // 2 + 1)}}
        )
        assert over.status_code == wide.status_code == 400


class TestExternalId:
    def test_a_known_external_id_updates_that_lead(self, api):
        first = api.post("/leads", json=FULL).json["lead"]

        answer = api.post(
            "/leads",
            json={"first_name": "Anthony", "external_id": "ghl-1", "company": None, "plan": "pro"},
        )

        assert answer.status_code == 200
        assert list(answer.json) == ["success", "lead", "existed"]
        assert answer.json["existed"] is True
        lead = answer.json["lead"]
        assert (lead["id"], lead["first_name"], lead["company"]) == (first["id"], "Anthony", None)
        assert (lead["source"], lead["title"]) == ("webinar", "CEO")
        assert lead["metadata"] == FULL["metadata"] | {"plan": "pro"}
        assert [e["activity_type"] for e in api.history(lead)] == ["lead_created", "lead_updated"]

    def test_the_same_lead_sent_again_changes_nothing(self, api):
        first = api.post("/leads", json=FULL).json["lead"]

        with freeze_time("2031-01-01"):
            again = api.post("/leads", json=FULL)

        assert again.json == {"success": True, "lead": first, "existed": True}
        assert len(api.history(first)) == 1

    def test_a_known_external_id_still_requires_a_first_name(self, api):
        api.post("/leads", json=FULL)

        answer = api.post("/leads", json={"external_id": "ghl-1", "company": "X"})

        assert answer.json["details"] == {"first_name": ["Required."]}

    def test_two_clients_may_use_the_same_external_id(self, api, stranger):
        mine = api.post("/leads", json=FULL)
        theirs = stranger.post("/leads", json=FULL)

        assert (mine.status_code, theirs.status_code) == (201, 201)

    @pytest.mark.parametrize("method", ["PATCH", "PUT"])
    def test_an_update_to_another_leads_external_id_is_a_conflict(self, api, method):
        api.post("/leads", json=FULL)
        other = api.new_lead(external_id="ghl-2")

        answer = api.open(
            method, f"/leads/{other['id']}", json={"external_id": "ghl-1", "company": "X"}
        )

        assert (answer.status_code, answer.json["code"]) == (409, "external_id_conflict")
        assert answer.json["error"] == "External id conflict"
        assert api.get(f"/leads/{other['id']}").json["lead"] == other
        assert len(api.history(other)) == 1

    def test_concurrent_requests_with_one_external_id_create_one_lead(self, app, api):
        answers = []

        def send():
            http = app.test_client()
            headers = {"X-API-Key": api.key}
            answers.append(http.post("/api/public/leads", json=FULL, headers=headers))

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
        assert len({answer.json["lead"]["id"] for answer in answers}) == 1
        assert len(api.history(answers[0].json["lead"])) == 1


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
class TestUpdate:
    def test_given_fields_are_replaced_and_the_others_are_kept(self, api, method):
        lead = api.post("/leads", json=FULL).json["lead"]

        with freeze_time("2031-01-01T00:00:00Z"):
            answer = api.open(
                method, f"/leads/{lead['id']}", json={"company": "SHIELD", "title": ""}
            )

        changed = lead | {"company": "SHIELD", "updated_at": "2031-01-01T00:00:00Z"}
        assert answer.json == {"success": True, "lead": changed}
        entry = api.history(lead)[1]
        assert entry["activity_type"] == "lead_updated"
        assert entry["changes"] == {"company": ["Stark Industries", "SHIELD"]}

    @pytest.mark.parametrize(
        "field", ["last_name", "email", "phone", "company", "title", "external_id"]
    )
    def test_null_clears_a_field(self, api, method, field):
        lead = api.post("/leads", json=FULL).json["lead"]

        answer = api.open(method, f"/leads/{lead['id']}", json={field: None})

        assert answer.json["lead"][field] is None

    def test_null_resets_the_source_and_empties_the_metadata(self, api, method):
        lead = api.post("/leads", json=FULL).json["lead"]

        answer = api.open(
            method, f"/leads/{lead['id']}", json={"source": None, "metadata": None, "plan": "pro"}
        )

        assert answer.json["lead"]["source"] == "api"
        assert answer.json["lead"]["metadata"] == {"plan": "pro"}

    def test_the_first_name_cannot_be_cleared(self, api, lead, method):
        answer = api.open(method, f"/leads/{lead['id']}", json={"first_name": None})

        assert (answer.status_code, set(answer.json["details"])) == (400, {"first_name"})

    def test_metadata_is_merged_key_by_key(self, api, method):
        lead = api.new_lead(metadata={"a": 1, "b": 2, "c": 3})

        answer = api.open(
            method,
            f"/leads/{lead['id']}",
            json={"metadata": {"a": None, "b": 20, "gone": None}, "c": "", "d": 4},
        )

        assert answer.json["lead"]["metadata"] == {"b": 20, "c": 3, "d": 4}

    @pytest.mark.parametrize(
        "body",
        [{}, {"company": "Stark Industries"}, {"company": ""}, {"id": "x"}, {"unknown": None}],
    )
    def test_an_update_that_changes_nothing_writes_nothing(self, api, method, body):
        lead = api.post("/leads", json=FULL).json["lead"]

        with freeze_time("2031-01-01"):
            answer = api.open(method, f"/leads/{lead['id']}", json=body)

        assert (answer.status_code, answer.json["lead"]) == (200, lead)
        assert len(api.history(lead)) == 1

    def test_another_clients_lead_is_not_found(self, api, lead, stranger, method):
        answer = stranger.open(method, f"/leads/{lead['id']}", json={"company": "Mine"})

        assert (answer.status_code, answer.json["code"]) == (404, "lead_not_found")
        assert api.get(f"/leads/{lead['id']}").json["lead"] == lead


def test_another_clients_lead_cannot_be_read(api, lead, stranger):
    answer = stranger.get(f"/leads/{lead['id']}")

    assert (answer.status_code, answer.json["code"]) == (404, "lead_not_found")


class TestList:
    def found(self, api, **query):
        answer = api.get("/leads", query_string=query)
        assert answer.status_code == 200, answer.json
        return [lead["first_name"] for lead in answer.json["leads"]]

    def test_leads_are_listed_in_pages_latest_updated_first(self, api, stranger):
        stranger.new_lead()
        leads = [api.new_lead(first_name=name) for name in "ABCDE"]
        api.patch(f"/leads/{leads[1]['id']}", json={"company": "X"})

        answer = api.get("/leads?limit=2&page=1")

        assert list(answer.json) == ["success", "leads", "pagination"]
        assert [lead["first_name"] for lead in answer.json["leads"]] == ["D", "C"]
        assert answer.json["pagination"] == {"page": 1, "limit": 2, "has_more": True}
        assert list(answer.json["leads"][0]) == LEAD_KEYS
        assert self.found(api) == ["B", "E", "D", "C", "A"]
        assert self.found(api, limit=2, page=2) == ["A"]
        assert self.found(api, page=99) == []
        assert api.get("/leads").json["pagination"] == {"page": 0, "limit": 50, "has_more": False}

    def test_leads_are_found_by_their_exact_email_in_any_case(self, api, lead):
        api.new_lead(first_name="Other", email="other@example.com")

        assert self.found(api, email=" TONY.stark@GMAIL.com ") == ["Tony"]
        assert self.found(api, email="tony") == []
        assert len(self.found(api, email="")) == 2

    @pytest.mark.parametrize(
        ("phone", "found"),
        [("12129704133", True), (" +1-212 970.4133", True), ("2129704133", False), ("+", False),
         ("none", False), ("", True)],
    )  # fmt: skip
    def test_leads_are_found_by_the_digits_of_their_phone(self, api, lead, phone, found):
        assert self.found(api, phone=phone) == (["Tony"] if found else [])

    def test_a_phone_without_digits_finds_no_lead_without_a_phone(self, api):
        api.new_lead()
        api.new_lead(phone="unknown")

        assert self.found(api, phone="unknown") == []

    def test_leads_are_found_by_their_exact_external_id(self, api, lead):
        api.new_lead(first_name="Pepper", external_id="CRM-1")

        assert self.found(api, external_id="CRM-1") == ["Pepper"]
        assert self.found(api, external_id="crm-1") == []
        assert self.found(api, external_id="CRM-1", phone="5") == []

    def test_another_clients_lead_is_not_found(self, api, lead, stranger):
        api.patch(f"/leads/{lead['id']}", json={"external_id": "CRM-1"})

        for name, value in (("email", lead["email"]), ("phone", lead["phone"]),
                            ("external_id", "CRM-1"), ("search", "tony")):  # fmt: skip
            assert self.found(api, **{name: value}) == ["Tony"]
            assert self.found(stranger, **{name: value}) == []

    @pytest.mark.parametrize(
        ("search", "found"),
        [
            ("tony", True),
            ("ONY STA", True),
            ("stark@GMAIL", True),
            ("212) 970", True),
            ("2129704133", True),
            ("12129704133", True),
            ("970 41", True),
            ("+1-212-970", True),
            ("2.1.2.9", True),
            ("970\u20104133", True),
            ("970\u00a04133", True),
            ("970,4133", True),
            ("2129%", False),
            ("97 04 133 9", False),
            ("pepper", False),
            ("%", False),
            ("_ony", False),
            ("\\", False),
            ("starktony", False),
            ("stark\ntony", False),
        ],
    )
    def test_leads_are_found_by_part_of_their_name_email_or_phone(self, api, lead, search, found):
        assert self.found(api, search=search) == (["Tony"] if found else [])

    def test_a_search_ignores_case_and_unicode_composition(self, api):
        api.new_lead(first_name="José", last_name="MUÑOZ", email="jm@example.com")

        for search in ("josé muñoz", "JOSE\u0301", "mun\u0303oz"):
            assert self.found(api, search=search) == ["José"], search

    def test_a_search_matches_wildcard_characters_literally(self, api):
        api.new_lead(first_name="100%", last_name="a_b\\c")

        for search in ("100%", "a_b", "b\\c", "0% a_"):
            assert self.found(api, search=search) == ["100%"], search
        assert self.found(api, search="axb") == []

    def test_a_search_finds_a_changed_lead_by_its_new_values_only(self, api, lead):
        api.patch(f"/leads/{lead['id']}", json={"first_name": "Howard", "phone": "555"})

        assert self.found(api, search="howard stark") == ["Howard"]
        assert self.found(api, search="tony stark") == []
        assert self.found(api, search="(555)") == ["Howard"]

    @pytest.mark.parametrize(
        ("query", "field"),
        [("limit=0", "limit"), ("limit=201", "limit"), ("page=-1", "page"), ("page=x", "page"),
         ("page=99999999999999999999", "page"), ("search=" + "x" * 256, "search"),
         ("search=%00", "search"), ("email=%1f", "email"), ("cursor=x", "cursor"),
         ("emial=x", "emial")],
    )  # fmt: skip
    def test_an_invalid_parameter_is_refused_and_named(self, api, query, field):
        answer = api.get(f"/leads?{query}")

        assert (answer.status_code, set(answer.json["details"])) == (400, {field})

    def test_the_largest_allowed_page_number_returns_an_empty_page(self, api, lead):
        assert self.found(api, page=10**15 // 200, limit=200) == []


class TestHistory:
    def test_the_history_returns_the_lead_and_its_entries(self, api, lead):
        with freeze_time("2026-04-15T12:00:00Z"):
            meeting = api.post("/meetings", json=booking()).json["meeting"]

        answer = api.get(f"/leads/{lead['id']}/history")

        assert list(answer.json) == ["success", "lead", "history"]
        assert answer.json["lead"] == {
            key: lead[key]
            for key in ("id", "first_name", "last_name", "phone", "email", "source", "created_at")
        }
        assert list(answer.json["lead"])[3:5] == ["phone", "email"]
        entry = answer.json["history"][1]
        assert list(entry) == [
            "type",
            "channel",
            "activity_type",
            "title",
            "description",
            "actor_type",
            "meeting_id",
            "changes",
            "timestamp",
        ]
        assert entry | {"title": "", "description": ""} == {
            "type": "activity",
            "channel": "system",
            "activity_type": "meeting_scheduled",
            "title": "",
            "description": "",
            "actor_type": "api",
            "meeting_id": meeting["id"],
            "changes": None,
            "timestamp": "2026-04-15T12:00:00Z",
        }
        assert "Discovery Call with Tony Stark" in entry["title"]

    def test_the_history_is_listed_oldest_first_with_limit_and_offset(self, api, lead):
        for n in range(4):
            api.patch(f"/leads/{lead['id']}", json={"company": str(n)})
        path = f"/leads/{lead['id']}/history"
        everything = api.get(path).json["history"]

        assert [e["activity_type"] for e in everything] == ["lead_created"] + ["lead_updated"] * 4
        assert [e["changes"]["company"][1] for e in everything[1:]] == list("0123")
        assert api.get(f"{path}?limit=2&offset=1").json["history"] == everything[1:3]
        assert api.get(f"{path}?offset=1000000000").json["history"] == []

    @pytest.mark.parametrize(
        ("channel", "entries"),
        [("system", 1), ("email, system", 1), ("email,sms", 0), ("", 1), (",", 1)],
    )
    def test_the_history_can_be_filtered_by_channel(self, api, lead, channel, entries):
        answer = api.get(f"/leads/{lead['id']}/history", query_string={"channel": channel})

        assert len(answer.json["history"]) == entries

    @pytest.mark.parametrize(
        ("query", "field"),
        [("limit=0", "limit"), ("limit=201", "limit"), ("offset=-1", "offset"), ("page=1", "page"),
         ("offset=9999999999999999999", "offset"), ("offset=1000000000000001", "offset")],
    )  # fmt: skip
    def test_an_invalid_parameter_is_refused_and_named(self, api, lead, query, field):
        answer = api.get(f"/leads/{lead['id']}/history?{query}")

        assert (answer.status_code, set(answer.json["details"])) == (400, {field})

    def test_the_history_of_another_clients_lead_is_not_found(self, api, lead, stranger):
        answer = stranger.get(f"/leads/{lead['id']}/history")

        assert (answer.status_code, answer.json["code"]) == (404, "lead_not_found")
