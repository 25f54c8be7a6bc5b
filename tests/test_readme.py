"""The README lists every endpoint, command and setting, and its curl lines work as pasted."""

import re
import shlex
from dataclasses import fields
from ipaddress import ip_network

from conftest import booking, using
from openapi_checks import CODES

from cli import COMMANDS
from config.settings import ROOT, Settings

README = (ROOT / "README.md").read_text()


def test_every_endpoint_is_listed(app):
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith("desk."):  # its pages are in docs/desk.md
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule).removeprefix("/api/public")
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            assert f"`{method} {path}`" in README


def test_every_command_is_listed():
    groups = {command.name: getattr(command, "commands", {}) for command in COMMANDS}

    assert all(f"`{name}`" in README for name, commands in groups.items() if not commands)
    for group, commands in groups.items():
        for name in commands:
            assert f"`{group} {name}" in README


def test_every_setting_is_listed():
    for name in (field.name.upper() for field in fields(Settings)):
        assert re.search(rf"^\| .*`{name}`", README, re.MULTILINE), name


def test_every_error_code_is_listed():
    for code in CODES:
        assert f"`{code}`" in README, code


NAMES = {
    "meeting": "$MEETING",
    "user": "$HOST_ID",
    "meeting_type": "$TYPE",
    "source": "$SOURCE",
    "receipt": "$RECEIPT",
    "webhook": "$WEBHOOK",
    "delivery": "$DELIVERY",
}
CURLS = re.findall(r"^curl .*(?:\n .*)*", README, re.MULTILINE)


def test_every_curl_works_as_pasted(api, lead, database_url, monkeypatch):
    """The lines run in order, with real values in place of $LEAD, $MEETING and the like."""
    monkeypatch.setattr("routes.webhooks.TEST_SECONDS", 0)
    values = {"$KEY": api.key, "$LEAD": lead["id"]}
    with using(database_url, webhook_allow_networks=(ip_network("127.0.0.0/8"),)) as app:
        paste_lines(api.on(app), values)


def paste_lines(api, values):
    for line in CURLS:
        for name, value in values.items():
            line = line.replace(name, value)
        words = shlex.split(line)
        url = next(word for word in words if word.startswith("http://127.0.0.1:8000"))
        method = words[words.index("-X") + 1] if "-X" in words else "GET"
        data = words[words.index("-d") + 1] if "-d" in words else None
        path = url.removeprefix("http://127.0.0.1:8000")
        headers = {"X-API-Key": api.key} if "-H" in words else {}

        answer = api.http.open(path, method=method, data=data, headers=headers)

        assert answer.status_code in (200, 201), (line, answer.text)
        if answer.is_json and "url" in answer.json:
            values["$TOKEN"] = answer.json["url"].rpartition("/")[2]
        for noun, name in NAMES.items():
            if answer.is_json and noun in answer.json:
                values.setdefault(name, answer.json[noun]["id"])


def test_every_endpoint_has_a_curl_example(app):
    shown = {
        re.sub(r"\$[A-Z_]+", "{}", re.sub(r"\?.*", "", url))
        for url in re.findall(r"http://127\.0\.0\.1:8000([^\s\"]+)", "\n".join(CURLS))
    }
    endpoints = {re.sub("<[^>]*>", "{}", rule.rule) for rule in app.url_map.iter_rules()}

    # Nobody types these: a command prints the address of a feed, /docs loads its own files, and a
    # browser follows the redirect of / and the links of the desk.
    not_typed = {path for path in endpoints - shown if not path.startswith("/desk")}
    assert not_typed == {"/", "/feeds/{}.ics", "/docs/{}/{}"}


def test_the_response_shown_has_the_keys_of_a_real_one(api, lead):
    shown = re.search(r'"meeting": \{(.*?)\}\}', README, re.DOTALL).group(1)

    real = api.post("/meetings", json=booking()).json["meeting"]

    assert re.findall(r'"(\w+)":', shown) == list(real)
