"""The request log: one line for each request, without keys, bodies or emails."""

import json
import logging

import pytest
from conftest import booking

from config.logging import JsonFormatter, TextFormatter, configuration, mask_path


@pytest.fixture
def lines(caplog):
    caplog.set_level("INFO", logger="meetings")
    return caplog


def test_a_request_is_logged_as_one_line(api, lines):
    answer = api.get("/leads?email=tony.stark@gmail.com&limit=5")

    [record] = lines.records
    line = TextFormatter().format(record)
    request_id = answer.headers["X-Request-Id"]
    who = f"request_id={request_id} client_id={api.client_id} address=127.0.0.1"
    assert f"INFO {who} method=GET" in line
    assert "path=/api/public/leads status=200 milliseconds=" in line


def test_the_json_format_logs_an_object(api, lines):
    api.get("/leads")

    line = json.loads(JsonFormatter().format(lines.records[0]))
    assert list(line) == [
        "time",
        "level",
        "request_id",
        "client_id",
        "address",
        "method",
        "path",
        "status",
        "milliseconds",
    ]
    assert line["time"].endswith("Z")


def last_line(lines):
    return TextFormatter().format(lines.records[-1])


def test_an_error_is_logged_with_its_code(api, lines):
    api.get("/leads/0198c0de-0000-7000-8000-000000000000")

    assert " status=404 code=lead_not_found milliseconds=" in last_line(lines)


def test_a_validation_error_is_logged_with_the_names_of_the_wrong_fields(api, lead, lines):
    api.post("/meetings?statsu=tony", json=booking(ends_at="tony", additional_attendees=[{}]))

    fields = "statsu,ends_at,additional_attendees"
    assert f" status=400 code=validation_error fields={fields} milliseconds=" in last_line(lines)
    assert "tony" not in last_line(lines)
    line = json.loads(JsonFormatter().format(lines.records[-1]))
    assert (line["code"], line["fields"]) == ("validation_error", fields)


@pytest.mark.parametrize(
    "name", ["tony@stark.com", "nxr_live_abc", "a b", "x\nINFO forged", "+1 212", "x" * 41, "é", ""]
)
def test_the_name_of_a_field_that_could_be_a_value_is_masked(api, lines, name):
    api.post("/meetings", json={name: 1})

    fields = next(word for word in last_line(lines).split() if word.startswith("fields="))
    assert fields.endswith(",*") or ",*," in fields
    assert not name or name not in last_line(lines)


def test_at_most_ten_names_are_logged(api, lines):
    api.post("/meetings", json={f"field_{chr(97 + n)}": 1 for n in range(20)})

    fields = next(word for word in last_line(lines).split() if word.startswith("fields="))
    assert fields.count(",") == 10
    assert fields.endswith(",+14")  # the unknown fields and four required ones


def test_the_caller_of_an_unknown_path_is_logged_too(app, lines):
    app.test_client().get("/nope", environ_base={"REMOTE_ADDR": "2001:db8::1"})

    assert " address=2001:db8::1 method=GET path=/nope status=404 code=not_found" in last_line(
        lines
    )


def test_keys_emails_and_bodies_are_never_logged(api, lead, lines):
    api.post(f"/meetings?key={api.key}&email=tony.stark@gmail.com", json=booking())
    api.post("/meetings", json=booking())
    api.get(f"/leads/{api.key}")
    api.get("/leads/tony.stark@gmail.com/history")
    api.get("/leads?email=tony.stark@gmail.com", headers={"X-API-Key": "nxr_live_wrong"})
    api.get("/x%0aINFO forged")

    text = "\n".join(TextFormatter().format(record) for record in lines.records)
    assert len(lines.records) == 6
    for secret in (api.key, "stark", "gmail", "nxr_live", "forged", "Discovery"):
        assert secret not in text
    assert len(text.splitlines()) == 6


def test_gunicorn_never_logs_at_debug_level():
    """gunicorn's DEBUG lines hold paths unmasked, with any secret in them."""
    assert configuration("DEBUG", "text")["loggers"]["gunicorn.error"]["level"] == "INFO"
    assert configuration("ERROR", "text")["loggers"]["gunicorn.error"]["level"] == "ERROR"


@pytest.mark.parametrize(
    ("path", "masked"),
    [
        ("/api/public/leads/0198c0de-0000-7000-8000-000000000000/meetings", None),
        ("/api/public/meetings/0198c0de-0000-7000-8000-000000000000/no-show", None),
        ("/healthz", None),
        ("/", None),
        ("/api/public/leads/tony@stark.com", "/api/public/leads/*"),
        ("/api/public/leads/nxr_live_abc", "/api/public/leads/*"),
        ("/openapi.json", "/openapi.json"),
        ("/feeds/AbC-123_x.ics", "/feeds/*"),
        ("/feeds/word.ics", "/feeds/*"),
        ("/hooks/calendly_AbC-123_x", "/hooks/*"),
        ("/hooks/word", "/hooks/*"),
        ("/hooks/0198c0de-0000-7000-8000-000000000000", "/hooks/*"),
        ("/hooks/word/word", "/hooks/*/word"),
        ("/hooks", None),
        ("/hooks/", None),
        ("/a\nb/c", "/*/c"),
    ],
)
def test_a_logged_path_shows_only_its_words_and_ids(path, masked):
    assert mask_path(path) == (masked or path)


def test_a_traceback_is_logged_with_its_request_id(lines):
    try:
        raise ValueError("inside")
    except ValueError:
        logging.getLogger("meetings").exception("Bug in request %s", "abc")

    line = json.loads(JsonFormatter().format(lines.records[0]))
    assert line["message"] == "Bug in request abc"
    assert "ValueError: inside" in line["traceback"]
