"""docs/openapi.json is valid and up to date, and describes the service correctly."""

import re

import jsonschema_rs
import pytest
from conftest import booking
from marshmallow.fields import String
from openapi_checks import CODES, DOCUMENT, component_validator, resolve, validator
from openapi_spec_validator import validate

from bases import ResponseSchema
from config.settings import ROOT
from reference import mcp_tools, openapi, shapes

OPERATIONS = {
    operation["operationId"]: operation
    for item in DOCUMENT["paths"].values()
    for method, operation in item.items()
    if method != "parameters"
}
SCHEMAS = DOCUMENT["components"]["schemas"]
UNKNOWN_ID = "0198c0de-0000-7000-8000-000000000000"
HOST = {"name": "Pepper", "email": "pepper@example.com"}


def test_the_stored_document_is_up_to_date():
    stored = (ROOT / "docs" / "openapi.json").read_text()

    assert openapi.text_of(openapi.build()) == stored, "out of date: run make openapi"


def test_the_stored_tools_are_up_to_date():
    stored = (ROOT / "docs" / "mcp_tools.json").read_text()

    assert openapi.text_of(mcp_tools.build()) == stored, "out of date: run make openapi"


def test_the_document_is_valid_openapi():
    assert DOCUMENT["openapi"].startswith("3.1.")
    validate(DOCUMENT)


def test_every_route_is_documented_except_those_that_serve_the_document(app):
    routes = {
        (openapi.PATH_ARGUMENT.sub(r"{\2}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if not rule.endpoint.startswith("desk.")  # pages for people
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    described = {
        (path, method)
        for path, item in DOCUMENT["paths"].items()
        for method in item.keys() - {"parameters"}
    }

    assert {path for path, _ in routes ^ described} == {
        "/",
        "/openapi.json",
        "/docs",
        "/docs/{version}/{name}",
        "/mcp",  # another protocol, which describes itself
    }


def test_exactly_the_errors_of_the_service_are_documented():
    codes = [
        schema["properties"]["code"]["enum"][0]
        for schema in SCHEMAS.values()
        if "request_id" in schema.get("properties", {})
    ]
    table = re.findall(r"^\| \d{3} \| `(\w+)` \|", DOCUMENT["info"]["description"], re.MULTILINE)
    # GoHighLevel gets `unavailable` with another status.
    assert sorted(codes) == sorted(table) == sorted([*CODES, "unavailable"])


def contents():
    """Yield every documented body of a request, a response or an error."""
    for name, operation in OPERATIONS.items():
        bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for where, body in bodies.items():
            for content in resolve(body).get("content", {}).values():
                yield pytest.param(content, id=f"{name}-{where}")


@pytest.mark.parametrize("content", [*contents()])
def test_every_body_has_an_example_that_its_schema_accepts(content):
    examples = [content["example"]] if "example" in content else []
    examples += [example["value"] for example in content.get("examples", {}).values()]

    assert examples
    for example in examples:
        validator(content["schema"]).validate(example)


def test_a_response_field_without_an_example_is_named():
    class Colour(ResponseSchema):
        name = String()

    with pytest.raises(LookupError, match=r"Colour\.name needs an example"):
        shapes.example_of(Colour)


def test_the_example_of_a_booking_gets_the_documented_response(api):
    api.new_lead(last_name="Stark", email="tony.stark@gmail.com")
    request = OPERATIONS["log_meeting"]["requestBody"]["content"]["application/json"]
    shown = OPERATIONS["log_meeting"]["responses"]["201"]["content"]["application/json"]["example"]

    real = api.post("/meetings", json=request["examples"]["one"]["value"])

    assert list(real.json["meeting"]) == list(shown["meeting"])
    unique = dict.fromkeys(("id", "lead_id", "created_at"))
    assert real.json["meeting"] | unique == shown["meeting"] | unique


@pytest.mark.parametrize(
    ("changes", "valid"),
    [
        ({}, True),
        ({"lead_email": ...}, False),
        ({"lead_email": None}, False),
        ({"ends_at": ...}, False),
        ({"ends_at": None, "duration_minutes": None}, False),
        ({"ends_at": ..., "duration_minutes": 60}, True),
        ({"ends_at": ..., "duration_minutes": 0}, False),
        ({"ends_at": ..., "duration_minutes": 44_640}, True),
        ({"ends_at": ..., "duration_minutes": 44_641}, False),
        ({"ends_at": ..., "duration_minutes": True}, False),
        ({"title": ...}, False),
        ({"title": ""}, False),
        ({"title": "x" * 255}, True),
        ({"title": "x" * 256}, False),
        ({"title": 5}, False),
        ({"title": "a\u0007b"}, False),
        ({"title": "a\tb\u00e9\U0001f600"}, True),
        ({"starts_at": "tomorrow"}, False),
        ({"starts_at": "2025-12-29T13:00:00+00:00", "ends_at": "2025-12-29T14:00:00Z"}, True),
        ({"location_type": "moon"}, False),
        ({"location_type": None}, True),
        ({"status": "cancelled"}, False),
        ({"attendee_email": "nope"}, False),
        ({"meeting_url": "ftp://example.com"}, False),
        ({"additional_attendees": [HOST] * 100}, True),
        ({"additional_attendees": [HOST] * 101}, False),
        ({"additional_attendees": [{"name": "No email"}]}, False),
        ({"previous_external_event_id": "a"}, True),
        ({"previous_external_event_id": "a", "external_event_id": ...}, False),
        ({"previous_external_event_id": "a", "external_event_id": None}, False),
        ({"previous_external_event_id": None, "external_event_id": None}, True),
        ({"start_at": "2025-12-29T14:00:00"}, False),
    ],
)
def test_a_booking_is_valid_by_the_document_exactly_if_the_service_accepts_it(
    api, lead, changes, valid
):
    body = booking(**changes)

    assert component_validator("MeetingRequest").is_valid(body) is valid
    assert api.post("/meetings", json=body).status_code == (201 if valid else 400)


@pytest.mark.parametrize(
    ("body", "valid"),
    [
        ({"first_name": "Tony"}, True),
        ({}, False),
        ({"first_name": None}, False),
        ({"first_name": "Tony", "utm_source": "ads", "score": 1.5, "hot": True, "x": None}, True),
        ({"first_name": "Tony", "tags": ["a"]}, False),
        ({"first_name": "Tony", "metadata": {"nested": {}}}, False),
        ({"first_name": "Tony", "metadata": {"n": 2**63 - 1}}, True),
        ({"first_name": "Tony", "metadata": {"n": 2**63}}, False),
        ({"first_name": "Tony", "metadata": {"k" * 256: 1}}, False),
        ({"first_name": "Tony", "metadata": {f"k{n}": n for n in range(101)}}, False),
    ],
)
def test_a_lead_is_valid_by_the_document_exactly_if_the_service_accepts_it(api, body, valid):
    assert component_validator("LeadRequest").is_valid(body) is valid
    assert api.post("/leads", json=body).status_code == (201 if valid else 400)


PAGED = [
    name
    for name, operation in OPERATIONS.items()
    if name.startswith("list_")
    and any(parameter["name"] == "limit" for parameter in operation.get("parameters", ()))
]


@pytest.mark.parametrize("name", PAGED)
def test_a_list_has_the_limits_that_the_document_states(api, lead, name):
    path = next(
        path
        for path, item in DOCUMENT["paths"].items()
        if item.get("get", {}).get("operationId") == name
    ).removeprefix("/api/public")
    limit = next(
        parameter["schema"]
        for parameter in OPERATIONS[name]["parameters"]
        if parameter["name"] == "limit"
    )
    meeting = api.post("/meetings", json=booking()).json["meeting"]
    path = path.replace("{lead_id}", lead["id"]).replace("{meeting_id}", meeting["id"])
    if "{webhook_id}" in path:
        made = api.post("/webhooks", json={"url": "https://8.8.8.8/"}).json["webhook"]
        path = path.replace("{webhook_id}", made["id"])

    assert api.get(path).json["pagination"]["limit"] == limit["default"]
    assert api.get(path, query_string={"limit": limit["maximum"]}).status_code == 200
    assert api.get(path, query_string={"limit": limit["maximum"] + 1}).status_code == 400
    assert api.get(path, query_string={"limit": limit["minimum"] - 1}).status_code == 400


def test_all_operations_but_the_public_ones_document_the_key():
    public = {name for name, operation in OPERATIONS.items() if not operation["security"]}

    assert public == {"get_feed", "probe_hook", "receive_hook", "healthz", "readyz"}
    assert all(
        operation["security"] == [{"ApiKey": []}, {"Bearer": []}]
        for name, operation in OPERATIONS.items()
        if name not in public
    )


def test_a_response_that_differs_from_the_document_fails_a_test(api, lead, monkeypatch):
    """Every other test relies on this: `api` checks each response against the document."""
    monkeypatch.setattr("lead_schemas.LeadResponse.dump", lambda schema, row: {"id": row.id})

    with pytest.raises(jsonschema_rs.ValidationError, match="is a required property"):
        api.get(f"/leads/{lead['id']}")


def test_the_document_is_public_and_sent_again_only_if_it_changed(app):
    http = app.test_client()

    first = http.get("/openapi.json")
    again = http.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
    other = http.get("/openapi.json", headers={"If-None-Match": '"another"'})

    assert (first.status_code, first.mimetype) == (200, "application/json")
    assert first.json == DOCUMENT
    assert (again.status_code, again.data) == (304, b"")
    assert again.headers["X-Request-Id"]
    assert other.status_code == 200
    assert http.head("/openapi.json").headers["Content-Length"] == str(len(first.data))


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
def test_the_documentation_refuses_unknown_parameters_and_methods(app, path):
    http = app.test_client()

    misspelt = http.get(f"{path}?version=2")
    posted = http.post(path)

    assert (misspelt.status_code, misspelt.json["code"]) == (400, "validation_error")
    assert set(misspelt.json["details"]) == {"version"}
    assert (posted.status_code, posted.json["code"]) == (405, "method_not_allowed")
    assert set(posted.headers["Allow"].split(", ")) == {"GET", "HEAD"}
