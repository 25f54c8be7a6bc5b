"""The commands: what they do and what they print, as text and as JSON."""

import json
import shlex

import pytest
from conftest import booking, using

from cli.demo import DEMO_BOOKING


@pytest.fixture
def run(app):
    """Run a command; returns the JSON it prints, with `text` or `fails` its output as text."""

    def run(*arguments, fails=False, text=False):
        result = app.test_cli_runner().invoke(args=list(arguments) + ["--json"] * (not text))
        if fails:
            assert result.exit_code == 2
            assert "Traceback" not in result.output
            return result.output
        assert result.exit_code == 0, result.output
        return result.output if text else json.loads(result.output)

    return run


@pytest.fixture
def client(run, api):
    return next(row for row in run("clients", "list") if row["id"] == api.client_id)


def status_with(app, key):
    return app.test_client().get("/api/public/leads", headers={"X-API-Key": key}).status_code


def test_a_new_client_gets_a_first_key_that_is_shown_once(app, run):
    made = run("clients", "create", "Stark Industries " + str(id(run)))

    assert list(made) == ["id", "name", "api_key"]
    assert made["api_key"].startswith("nxr_live_")
    assert status_with(app, made["api_key"]) == 200
    assert made["api_key"] not in json.dumps(run("clients", "list"))


@pytest.mark.parametrize("name", ["", "  ", "x" * 256, "a\u0007b"])
def test_an_invalid_client_name_is_refused(run, name):
    assert "NAME" in run("clients", "create", name, fails=True)


def test_a_second_client_with_the_same_name_is_refused(run, client):
    assert client["name"] in run("clients", "create", client["name"], fails=True)


def test_keys_are_created_listed_and_revoked(app, run, client):
    made = run("keys", "create", client["name"])
    assert status_with(app, made["api_key"]) == 200

    _, second = run("keys", "list", client["id"])
    assert second["id"] == made["id"]
    assert second["last_four"] == made["api_key"][-4:]
    assert (second["prefix"], second["revoked"], second["revoked_at"]) == ("nxr_live_", False, None)
    assert second["created_at"].endswith("Z")
    assert made["api_key"] not in json.dumps(second)

    revoked = run("keys", "revoke", second["id"])
    assert revoked["revoked"]
    assert run("keys", "revoke", second["id"].upper()) == revoked
    assert status_with(app, made["api_key"]) == 401
    assert not run("keys", "list", client["name"])[0]["revoked"]


def test_users_are_added_listed_deactivated_and_activated(run, client, stranger):
    add = ["users", "add", client["name"], "--first-name", "Pepper", "--last-name", "Potts"]
    pepper = run(*add, "--email", "Pepper@example.com")
    happy = run(*add, "--email", "happy@example.com", "--inactive")

    assert list(pepper) == ["id", "email", "first_name", "last_name", "active"]
    assert (pepper["active"], happy["active"]) == (True, False)
    assert run("users", "list", client["id"]) == [happy, pepper]
    assert run("users", "list", stranger.client_id) == []
    assert not run("users", "deactivate", client["id"], "PEPPER@example.com")["active"]
    assert run("users", "activate", client["id"], "pepper@example.com")["active"]
    assert "already" in run(*add, "--email", "PEPPER@EXAMPLE.COM", fails=True)
    assert "nobody" in run("users", "activate", client["id"], "nobody@example.com", fails=True)
    assert "--email" in run(*add, "--email", "nonsense", fails=True)
    assert "--email" in run(*add, fails=True)


def test_meeting_types_are_added_and_listed(run, client, stranger):
    made = run("meeting-types", "add", client["name"], "Discovery")

    assert list(made) == ["id", "name"]
    assert run("meeting-types", "list", client["name"]) == [made]
    assert run("meeting-types", "list", stranger.client_id) == []
    assert "already" in run("meeting-types", "add", client["name"], "Discovery", fails=True)


@pytest.mark.parametrize(
    "command",
    [
        ["keys", "create", "nobody"],
        ["keys", "list", "0198c0de-0000-7000-8000-000000000000"],
        ["keys", "revoke", "nonsense"],
        ["keys", "list", "\udcff"],
        ["users", "deactivate", "nobody", "\udcff"],
        ["keys", "revoke", "0198c0de-0000-7000-8000-000000000000"],
        ["users", "list", "nobody"],
        ["users", "add", "nobody", "--email", "a@b.co", "--first-name", "A", "--last-name", "B"],
        ["meeting-types", "add", "nobody", "X"],
        ["meeting-types", "list"],
        ["clients", "create"],
        ["clients", "destroy"],
        ["clients", "list", "--nonsense"],
    ],
    ids=" ".join,
)
def test_an_invalid_argument_prints_an_error_without_a_traceback(run, command):
    assert "Error" in run(*command, fails=True)


def test_every_command_prints_text_without_the_json_option(run, client):
    for command in (
        ["clients", "list"],
        ["keys", "create", client["name"]],
        ["keys", "list", client["name"]],
        [
            "users",
            "add",
            client["id"],
            "--email",
            "a@b.co",
            "--first-name",
            "A",
            "--last-name",
            "B",
        ],
        ["users", "list", client["name"]],
        ["meeting-types", "add", client["name"], "X"],
        ["meeting-types", "list", client["name"]],
        ["db", "status"],
        ["db", "upgrade"],
        ["demo"],
    ):
        assert run(*command, text=True).strip()


def test_the_migrations_are_applied_and_listed(run):
    assert run("db", "upgrade") == {"applied": []}
    steps = run("db", "status")
    assert steps[0]["name"] == "0001_initial"
    assert all(step["applied_at"].endswith("Z") for step in steps)


def test_the_demo_can_be_run_again_and_its_curl_works_as_pasted(app, run):
    first = run("demo")
    second = run("demo")

    assert status_with(app, first["api_key"]) == 401
    words = shlex.split(second["curl"])
    headers = dict(h.split(": ") for h in words if ": nxr" in h or h.startswith("Content-Type"))
    answers = [
        app.test_client().post(
            words[3].removeprefix("http://127.0.0.1:8000"),
            headers=headers,
            data=words[words.index("-d") + 1],
        )
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers][1] == 200
    assert answers[0].json == answers[1].json
    assert answers[0].json["meeting"]["lead_id"] == second["lead_id"]
    assert booking() == DEMO_BOOKING


def test_the_demo_keeps_keys_that_it_did_not_create(app, run):
    run("demo")
    own = run("keys", "create", "Demo")

    run("demo")

    assert status_with(app, own["api_key"]) == 200


def test_a_database_that_lacks_migrations_is_reported_in_one_line(app, run, tmp_path):
    with using(f"sqlite:///{tmp_path / 'new.db'}") as other:
        result = other.test_cli_runner().invoke(args=["clients", "list"])

    assert result.exit_code == 1
    assert "flask --app app db upgrade" in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_an_unreachable_database_is_reported_in_one_line(app, run):
    with using("postgresql://nobody@127.0.0.1:1/none") as other:
        result = other.test_cli_runner().invoke(args=["clients", "list"])

    assert result.exit_code == 1
    assert "cannot be reached" in result.output
    assert len(result.output.strip().splitlines()) == 1
