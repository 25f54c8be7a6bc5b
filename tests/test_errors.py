"""What all endpoints share: keys, error envelopes, request bodies and queries."""

import json
import re

import pytest
from conftest import booking
from flask import Flask

import database
import routes
from database.queries import rows_of
from models import ApiKey
from services import clients

UNKNOWN_ID = "0198c0de-0000-7000-8000-000000000000"


def calls_of_the_api():
    """Return the method and path of every call that needs a key."""
    app = Flask(__name__)
    routes.register(app)
    prefix = routes.api.url_prefix
    return sorted(
        (method, re.sub("<uuid:\\w+>", UNKNOWN_ID, rule.rule).removeprefix(prefix))
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        if rule.rule.startswith(prefix)
    )


CALLS = calls_of_the_api()
each_call = pytest.mark.parametrize(("method", "path"), CALLS)


@each_call
def test_a_request_without_a_key_reveals_nothing(app, method, path):
    answer = app.test_client().open(f"/api/public{path}?nonsense=1", method=method, data="nonsense")

    assert answer.status_code == 401
    assert answer.json == {
        "success": False,
        "error": "Missing API key",
        "message": "Please provide your API key in the X-API-Key header",
        "code": "missing_api_key",
        "request_id": answer.headers["X-Request-Id"],
    }


@each_call
def test_no_cache_keeps_a_response(api, method, path):
    answer = api.open(method, path, json={})

    assert answer.headers["Cache-Control"] in ("no-store", "private, no-cache")


@each_call
@pytest.mark.parametrize("key", ["nxr_live_unknown", "x", "é", "nxr_live_" + "0" * 64, "a b"])
def test_an_invalid_key_is_refused(app, method, path, key):
    answer = app.test_client().open(f"/api/public{path}", method=method, headers={"X-API-Key": key})

    assert (answer.status_code, answer.json["code"]) == (401, "invalid_api_key")
    assert answer.json["message"] == "The provided API key is not valid"
    assert answer.json["error"] == "Invalid API key"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", " Bearer "])
def test_a_bearer_token_is_accepted_as_the_key(api, scheme):
    answer = api.http.get("/api/public/leads", headers={"Authorization": f"{scheme} {api.key}"})

    assert answer.status_code == 200


@pytest.mark.parametrize("value", ["Basic abc", "Bearer", "Bearer ", "", "nxr_live_abc"])
def test_another_authorization_scheme_is_not_a_key(api, value):
    answer = api.http.get("/api/public/leads", headers={"Authorization": value})

    assert answer.json["code"] == "missing_api_key"


def test_x_api_key_takes_precedence_over_a_bearer_token(api):
    right, wrong = api.key, "nxr_live_wrong"

    first = api.get("/leads", headers={"Authorization": f"Bearer {wrong}"})
    second = api.get("/leads", headers={"X-API-Key": wrong, "Authorization": f"Bearer {right}"})
    third = api.get("/leads", headers={"X-API-Key": " ", "Authorization": f"Bearer {right}"})

    assert (first.status_code, second.status_code, third.status_code) == (200, 401, 200)


def test_revoking_one_key_of_a_client_stops_only_that_key_and_at_once(api):
    row, second_key = clients.create_key(api.client_id)
    assert api.get("/leads", headers={"X-API-Key": second_key}).status_code == 200

    clients.revoke_key(row.id)
    database.release()

    assert api.get("/leads", headers={"X-API-Key": second_key}).json["code"] == "invalid_api_key"
    assert api.get("/leads").status_code == 200


def test_only_the_hash_of_a_key_is_stored(api):
    stored = rows_of(ApiKey.select().where(ApiKey.client == api.client_id))
    database.release()

    assert api.key not in str([row.__data__ for row in stored])
    assert re.fullmatch("[0-9a-f]{64}", stored[0].key_hash)


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/api/public",
        "/api/public/",
        "/api/public/leads/",
        "/api/public//leads",
        "/api/public/leads/not-a-uuid",
        "/api/public/leads/not-a-uuid/meetings",
        "/api/public/leads/%00",
        "/api/public/leads/%ff%fe/history",
        f"/api/public/leads/{UNKNOWN_ID}x",
    ],
)
@pytest.mark.parametrize("with_key", [True, False])
def test_an_unknown_path_is_not_found_with_or_without_a_key(api, path, with_key):
    answer = api.http.get(path, headers={"X-API-Key": api.key} if with_key else {})

    assert (answer.status_code, answer.json["code"]) == (404, "not_found")
    assert answer.json["error"] == "Not found"
    assert answer.mimetype == "application/json"


def test_a_wrong_method_is_refused_and_the_allowed_ones_named(api):
    answer = api.post(f"/leads/{UNKNOWN_ID}")

    assert (answer.status_code, answer.json["code"]) == (405, "method_not_allowed")
    assert answer.json["error"] == "Method not allowed"
    assert {"GET", "PATCH", "PUT", "DELETE"} <= set(answer.headers["Allow"].split(", "))


@each_call
def test_an_unknown_parameter_is_refused_and_named_on_every_call(api, method, path):
    answer = api.open(method, f"{path}?verbose=true&statsu=x", json={"first_name": "A"})

    assert answer.status_code == 400
    assert answer.json["details"]["statsu"] == ["Unknown parameter."]
    assert "verbose" not in answer.json["details"]


@pytest.mark.parametrize("path", ["/healthz?x=1", "/readyz?x=1"])
def test_the_health_checks_refuse_unknown_parameters(app, path):
    assert app.test_client().get(path).json["code"] == "validation_error"


@pytest.mark.parametrize("given", ["abc", "A.b_c-9", "x" * 128])
def test_a_valid_request_id_is_returned(api, given):
    answer = api.get("/leads", headers={"X-Request-Id": given})

    assert answer.headers["X-Request-Id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "ä", "<script>", "nxr_live_abc"])
def test_an_invalid_request_id_is_replaced_by_a_new_uuid(api, given):
    answer = api.get("/nope", headers={"X-Request-Id": given})

    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["X-Request-Id"])
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b'{"title": ',
        b"{'title': 1}",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": "\xff"}',
        '{"a": "b"}'.encode("utf-16"),
        b'{"a": "\xed\xa0\x80"}',
        b"[" * 100_000,
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b'{"a": 01}',
        b'{"a": 1}}',
        b"nonsense",
    ],
    ids=lambda body: repr(body[:20]),
)
@pytest.mark.parametrize("path", ["/meetings", "/leads"])
def test_a_body_that_is_not_json_is_invalid_json(api, path, body):
    answer = api.post(path, data=body)

    assert (answer.status_code, answer.json["code"]) == (400, "invalid_json")
    assert answer.json["error"] == "Invalid JSON"
    assert "details" not in answer.json


@pytest.mark.parametrize("body", ["[]", '"text"', "1", "null", "true"])
@pytest.mark.parametrize("path", ["/meetings", "/leads"])
def test_a_json_body_that_is_not_an_object_is_a_validation_error(api, path, body):
    answer = api.post(path, data=body)

    assert (answer.status_code, answer.json["code"]) == (400, "validation_error")


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_is_read_as_json_whatever_its_content_type(api, lead, content_type):
    answer = api.post("/meetings", data=json.dumps(booking()), content_type=content_type)

    assert answer.status_code == 201


def test_a_byte_order_mark_is_skipped_and_the_last_of_repeated_keys_counts(api):
    body = b'\xef\xbb\xbf{"first_name": "Anthony", "first_name": "Tony"}'

    assert api.post("/leads", data=body).json["lead"]["first_name"] == "Tony"


def test_a_body_over_one_mebibyte_is_too_large(api):
    body = json.dumps({"first_name": "Tony", "last_name": "x"})
    at_limit = body + " " * (1024 * 1024 - len(body))

    assert api.post("/leads", data=at_limit).status_code == 201
    answer = api.post("/leads", data=at_limit + " ")
    assert (answer.status_code, answer.json["code"]) == (413, "payload_too_large")
    assert answer.json["error"] == "Payload too large"


def test_a_body_may_be_nested_sixty_four_deep(api):
    answer = api.post("/leads", data="[" * 64 + "]" * 64)

    assert answer.json["results"][0]["code"] == "validation_error"


def test_an_array_may_be_eight_mebibytes_long(api):
    lead = b'[{"first_name": "Tony"}'
    at_limit = lead + b" " * (8 * 1024 * 1024 - len(lead) - 1) + b"]"

    assert api.post("/leads", data=at_limit).json["created"] == 1
    assert api.post("/leads", data=b" " + at_limit).status_code == 413
    assert api.patch("/leads/" + UNKNOWN_ID, data=at_limit).status_code == 413


def test_a_missing_key_is_reported_before_an_oversized_body(app):
    answer = app.test_client().post("/api/public/leads", data=b" " * 2_000_000)

    assert answer.status_code == 401


@pytest.mark.parametrize("name", ["\\ud800", "\\u0000", "x" * 5000])
def test_an_unknown_field_is_named_whatever_characters_its_name_has(api, name):
    answer = api.post("/meetings", data=f'{{"{name}": 1}}')

    assert answer.json["details"][json.loads(f'"{name}"')] == ["Unknown field."]


def test_one_error_names_every_wrong_field_in_sentences(api):
    answer = api.post(
        "/meetings?page=1",
        json={
            "start_at": "2025-12-29T14:00:00",
            "ends_at": "tomorrow",
            "timezone": "Mars/Base",
            "location_type": "moon",
            "host_email": "nobody@example.com",
            "meeting_type_id": UNKNOWN_ID,
            "additional_attendees": [{"email": "a@example.com"}, {"email": "nope", "x": 1}],
        },
    )

    details = answer.json["details"]
    assert set(details) == {
        "page",
        "lead_email",
        "title",
        "starts_at",
        "start_at",
        "ends_at",
        "timezone",
        "location_type",
        "host_email",
        "meeting_type_id",
        "additional_attendees",
    }
    assert set(details["additional_attendees"]) == {"1"}
    assert set(details["additional_attendees"]["1"]) == {"email", "x"}
    assert "title: Required." in answer.json["message"]
    assert "additional_attendees.1.x: Unknown field." in answer.json["message"]


def test_a_long_list_of_errors_is_cut_in_the_message_but_not_in_details(api):
    answer = api.post("/meetings", json={f"field{n}": 1 for n in range(100)})

    assert len(answer.json["details"]) == 104  # the unknown fields and four required ones
    assert answer.json["message"].endswith("And 84 more, in details.")


@pytest.mark.parametrize("method", ["OPTIONS", "DELETE", "TRACE"])
def test_an_unsupported_method_is_refused_even_with_an_unknown_parameter(api, method):
    answer = api.open(method, "/leads?x=1")

    assert (answer.status_code, answer.json["code"]) == (405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}


def test_a_validation_error_has_the_documented_shape(api, lead):
    answer = api.post("/meetings", json=booking(ends_at=...))

    assert answer.json == {
        "success": False,
        "error": "Validation error",
        "message": "ends_at: Required unless duration_minutes is given.",
        "code": "validation_error",
        "details": {"ends_at": ["Required unless duration_minutes is given."]},
        "request_id": answer.headers["X-Request-Id"],
    }
    assert list(answer.json) == [
        "success",
        "error",
        "message",
        "code",
        "details",
        "request_id",
    ]


def test_a_bug_is_logged_and_its_response_reveals_nothing(api, monkeypatch, caplog):
    def fail(*args):
        raise ZeroDivisionError("secret inside")

    monkeypatch.setattr("services.leads.list_leads", fail)
    caplog.set_level("ERROR", logger="meetings")

    answer = api.get("/leads")

    assert (answer.status_code, answer.json["code"]) == (500, "internal_error")
    assert answer.json["error"] == "Internal server error"
    assert "secret" not in answer.text
    assert answer.json["request_id"] in caplog.text
    assert "ZeroDivisionError: secret inside" in caplog.text


def test_health_and_readiness_need_no_key(app):
    http = app.test_client()

    assert http.get("/healthz").json["status"] == "ok"
    assert http.get("/readyz").json == {"success": True, "status": "ready"}


def test_ids_are_time_ordered_uuids(api):
    ids = [api.new_lead()["id"] for _ in range(20)]

    assert ids == sorted(ids)
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", i) for i in ids)  # fmt: skip  # noqa: E501


def test_an_upper_case_id_in_a_path_or_a_body_is_the_same_id(api, lead):
    shouted = lead["id"].upper()

    assert api.get(f"/leads/{shouted}").json["lead"]["id"] == lead["id"]
    answer = api.post("/meetings", json=booking(lead_id=shouted))
    assert answer.json["meeting"]["lead_id"] == lead["id"]


def test_keys_are_random(api, stranger):
    assert api.key.startswith("nxr_live_")
    assert api.key != stranger.key
