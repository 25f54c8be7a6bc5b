"""The commands: what they do and what they print, as text and as JSON."""

import json
import shlex
import stat
from pathlib import Path

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
    assert run("users", "list", client["id"]) == [pepper, happy]
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


MAPPING = {
    "external_event_id": "/id",
    "lead_email": "/email",
    "title": " Call ",
    "starts_at": "/start",
    "duration_minutes": "/length",
}


@pytest.fixture
def mapping_file(tmp_path):
    """`mapping_file(content)`: the path of a file with the content."""

    def write(content):
        file = tmp_path / "mapping.json"
        file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return str(file)

    return write


class TestSources:
    def create(self, run, owner, *options, provider="calendly", **how):
        names = ["--provider", provider, "--name", "Bookings"]
        return run("sources", "create", owner, *names, *options, **how)

    def test_a_source_is_created_with_the_defaults_of_the_api(self, run, api, client):
        made = self.create(run, client["name"])

        assert made["url"].startswith("http://127.0.0.1:8000/hooks/calendly_")
        source = {key: value for key, value in made.items() if key != "url"}
        assert source == api.get("/sources").json["sources"][0]
        assert list(source) == list(api.get("/sources").json["sources"][0])
        assert (source["signed"], source["create_leads"]) == (False, True)
        assert (source["timezone"], source["mapping"]) == ("UTC", None)

    def test_every_field_can_be_given(self, run, client, mapping_file):
        made = self.create(
            *(run, client["id"], "--secret", "correct horse", "--no-create-leads"),
            *("--timezone", "America/Santiago", "--mapping", mapping_file(MAPPING)),
            provider="generic",
        )

        assert (made["signed"], made["create_leads"]) == (True, False)
        assert (made["timezone"], made["mapping"]) == (
            "America/Santiago",
            MAPPING | {"title": "Call"},
        )
        assert "correct horse" not in json.dumps([made, *run("sources", "list", client["id"])])

    def test_sources_are_listed_rotated_and_deleted(self, app, run, client, stranger):
        made = self.create(run, client["name"])

        rotated = run("sources", "rotate", made["id"].upper())
        assert list(rotated) == list(made)
        assert rotated["url"] != made["url"]
        del rotated["url"]
        assert run("sources", "list", client["id"]) == [rotated]
        assert run("sources", "list", stranger.client_id) == []
        assert run("sources", "delete", made["id"]) == {"id": made["id"], "name": "Bookings"}
        assert run("sources", "list", client["id"]) == []
        for command in ("rotate", "delete"):
            assert made["id"] in run("sources", command, made["id"], fails=True)

    def test_an_address_begins_with_public_url(self, run, api, database_url):
        with using(database_url, public_url="https://meetings.example.com") as app:
            options = ["--provider", "ghl", "--name", "GHL"]
            made = app.test_cli_runner().invoke(args=["sources", "create", api.client_id, *options])

        assert " https://meetings.example.com/hooks/ghl_" in made.output

    @pytest.mark.parametrize(
        ("options", "provider", "named"),
        [
            ([], "zoom", "provider: Must be one of: calendly, calcom, ghl, generic."),
            ([], "\udcff", "provider"),
            (["--name", ""], "ghl", "name: Required."),
            (["--name", "x" * 256], "ghl", "name: Must be at most 255"),
            (["--name", "\udcff"], "ghl", "name"),
            (["--secret", "short"], "ghl", "signing_secret: Must be at least 8"),
            (["--timezone", "Mars"], "ghl", "timezone: Must be the name"),
            ([], "generic", "mapping: Required"),
            (["--mapping", "/nowhere/mapping.json"], "generic", "/nowhere/mapping.json"),
            (["--mapping", "/"], "generic", "'/'"),
            (["--nonsense"], "ghl", "--nonsense"),
        ],
    )
    def test_an_invalid_option_is_named_in_one_line(self, run, client, options, provider, named):
        *_, line = self.create(run, client["id"], *options, provider=provider, fails=True).split(
            "\n\n"
        )

        assert named in line
        assert len(line.strip().splitlines()) == 1
        assert run("sources", "list", client["id"]) == []

    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"\xff", b"[" * 100_000, b"[" * 500 + b"]" * 500, b"9" * 5000, [1], 5,
         {"title": "\x00"}, {"title": 10**30}, b'{"a": NaN}', b'{"a": ' * 400 + b"1" + b"}" * 400],
        ids=lambda content: str(content)[:20],
    )  # fmt: skip
    def test_a_file_that_holds_no_mapping_is_refused(self, run, client, mapping_file, content):
        options = ["--mapping", mapping_file(content)]

        output = self.create(run, client["id"], *options, provider="generic", fails=True)

        assert "mapping" in output
        assert run("sources", "list", client["id"]) == []

    def test_a_taken_name_and_a_mapping_of_another_provider_are_refused(
        self, run, client, mapping_file
    ):
        self.create(run, client["id"])

        assert "'Bookings' already" in self.create(run, client["id"], fails=True)
        options = ["--mapping", mapping_file(MAPPING)]
        assert "mapping: Must be absent" in self.create(run, client["id"], *options, fails=True)

    def test_each_command_prints_one_line_as_text(self, run, client):
        made = self.create(run, client["id"], text=True)
        source_id, url = made.split()

        [listed] = run("sources", "list", client["id"], text=True).splitlines()
        rotated = run("sources", "rotate", source_id, text=True)
        deleted = run("sources", "delete", source_id, text=True)

        assert url.startswith("http://")
        assert listed == f"{source_id}  Bookings  calendly  unsigned  last received never"
        assert rotated.split()[0] == source_id
        assert deleted == "Deleted Bookings.\n"


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
        ["sources", "create", "nobody", "--provider", "ghl", "--name", "X"],
        ["sources", "create", "nobody"],
        ["sources", "list", "nobody"],
        ["sources", "rotate", "nonsense"],
        ["sources", "rotate", "0198c0de-0000-7000-8000-000000000000"],
        ["sources", "delete", "\udcff"],
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


class TestDemo:
    @pytest.fixture(autouse=True)
    def file(self, app):
        """The file that keeps the demo's key."""
        return app.config["SETTINGS"].state_dir / "demo.key"

    def test_it_can_be_run_again_and_its_curl_works_as_pasted(self, app, run):
        first, second = run("demo"), run("demo")

        assert first == second
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

    def test_its_key_is_in_a_file_that_only_the_owner_can_read(self, run, file):
        file.unlink(missing_ok=True)
        file.touch(0o644)
        made = run("demo")

        assert file.read_text() == made["api_key"] + "\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    @pytest.mark.parametrize("how", ["revoked", "of another client", "nonsense", "lost"])
    def test_a_key_that_is_not_valid_in_this_database_is_replaced(self, app, run, api, file, how):
        first = run("demo")
        if how == "revoked":
            run("keys", "revoke", run("keys", "list", "Demo")[-1]["id"])
        elif how == "lost":
            file.unlink()
        else:
            file.write_text({"of another client": api.key, "nonsense": "\x00"}[how])

        second = run("demo")

        assert second["api_key"] not in (first["api_key"], api.key)
        assert file.read_text() == second["api_key"] + "\n"
        assert status_with(app, first["api_key"]) == 401
        assert run("demo") == second

    def test_the_file_of_the_key_is_closed_to_others_again(self, run, file):
        key = run("demo")["api_key"]
        file.chmod(0o644)

        assert run("demo")["api_key"] == key
        assert file.stat().st_mode & 0o777 == 0o600

    def test_it_keeps_keys_that_it_did_not_create(self, app, run, file):
        run("demo")
        own = run("keys", "create", "Demo")
        file.unlink()

        run("demo")

        assert status_with(app, own["api_key"]) == 200

    def test_it_says_where_the_documentation_is(self, app, run):
        made = run("demo")

        assert list(made["pages"]) == ["docs", "desk"]
        for page, url in made["pages"].items():
            assert url == f"http://127.0.0.1:8000/{page}"
            assert f"In a browser: {url}\n" in run("demo", text=True)
            answer = app.test_client().get(f"/{page}", follow_redirects=True)
            assert answer.status_code == 200

    def test_a_state_folder_that_cannot_be_written_is_named_in_one_line(self, database_url):
        with using(database_url, state_dir=Path("/dev/null")) as other:
            result = other.test_cli_runner().invoke(args=["demo"])

        assert result.exit_code == 1
        assert result.output.startswith("Error: STATE_DIR: /dev/null/demo.key cannot be written")
        assert len(result.output.splitlines()) == 1

    def test_no_id_is_that_of_something_unsaid(self, run):
        assert [name for name in run("demo") if name.endswith("id")] == [
            *("client_id", "lead_id", "meeting_type_id")
        ]


def test_the_first_page_that_is_on_is_where_the_root_leads(app, monkeypatch):
    answer = app.test_client().get("/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "docs")
    assert app.test_client().get("/", query_string={"x": 1}).status_code == 400

    monkeypatch.setattr("web.pages.PAGES", ("nothing", "desk"))
    assert app.test_client().get("/").headers["Location"] == "desk"
    monkeypatch.setattr("web.pages.PAGES", ("nothing", "metrics"))
    assert app.test_client().get("/").headers["Location"] == "healthz"


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
