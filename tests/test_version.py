"""The version has one source, pyproject.toml, and everything that shows it agrees."""

import json
import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from server import Server, run_flask

from config.settings import ROOT
from config.version import VERSION

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_is_that_of_the_project():
    assert PROJECT["version"] == VERSION
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)


def test_no_other_file_of_code_repeats_the_version():
    code = [path for path in ROOT.glob("**/*.py") if not {".venv", "var"} & {*path.parts}]

    repeating = [p.name for p in code if "tests" not in p.parts and f'"{VERSION}"' in p.read_text()]

    assert repeating == []


def test_the_command_shows_the_version(app):
    assert app.test_cli_runner().invoke(args=["version"]).output == f"Meetings {VERSION}\n"


def test_the_command_needs_no_database(tmp_path):
    assert run_flask(f"sqlite:///{tmp_path}/none.db", "version") == {"version": VERSION}
    assert list(tmp_path.iterdir()) == []


def test_healthz_shows_the_version(app):
    answer = app.test_client().get("/healthz")

    assert answer.json == {"success": True, "status": "ok", "version": VERSION}


def test_the_document_has_the_version(app):
    assert app.test_client().get("/openapi.json").json["info"]["version"] == VERSION


def test_the_log_of_a_server_begins_with_the_version(tmp_path):
    """This server then ends, since its database is not migrated."""
    log = {"LOG_LEVEL": "INFO", "LOG_FORMAT": "json"}
    server = Server(f"sqlite:///{tmp_path}/new.db", 1, environment=log).start(wait=False)

    first_line = server.process.communicate(timeout=20)[0].splitlines()[0]

    assert json.loads(first_line)["message"] == f"Meetings {VERSION} starts."


def test_the_newest_version_of_the_changelog_is_that_of_the_project():
    titles = re.findall(r"^## (.+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    versions = [title for title in titles if title != "Unreleased"]
    assert versions[0].split()[0] == VERSION


def read_pins(text):
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {canonicalize_name(p.name): p for p in map(Requirement, lines)}


def test_the_direct_dependencies_agree_with_the_pinned_ones():
    direct, _, indirect = (ROOT / "requirements.txt").read_text().partition("# Dependencies of ")
    pins = read_pins(direct)
    wanted = {canonicalize_name(r.name): r for r in map(Requirement, PROJECT["dependencies"])}

    assert wanted.keys() == pins.keys()
    assert not wanted.keys() & read_pins(indirect.partition("\n")[2]).keys()
    for name, requirement in wanted.items():
        [pinned] = pins[name].specifier
        assert pinned.operator == "=="
        assert requirement.specifier.contains(pinned.version), name
        assert requirement.extras == pins[name].extras, name
