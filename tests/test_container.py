"""The container: its files, and the script that starts the service in it."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from dockerfile import argument, ignore_patterns, read_stages
from server import copy_service, free_port

from config.settings import ROOT

COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_both_stages_have_the_same_pinned_slim_base():
    build, final = read_stages()

    image = argument(final, "FROM")
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", image)
    assert argument(build, "FROM") == f"{image} AS build"


def test_the_packages_of_the_image_are_the_pinned_ones():
    build, final = read_stages()

    assert "-r /tmp/requirements.txt" in argument(build, "RUN")
    assert "pip install" not in argument(final, "RUN")
    pins = re.findall(r"^[^#\s].*", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert all("==" in pin for pin in pins)


def test_the_image_runs_unprivileged_with_one_volume_and_a_health_check():
    _, final = read_stages()

    environment = dict(word.split("=", 1) for word in shlex.split(argument(final, "ENV")))
    assert argument(final, "USER") == "10001:10001"
    assert argument(final, "VOLUME") == environment["STATE_DIR"] == "/data"
    assert argument(final, "STOPSIGNAL") == "SIGTERM"
    assert argument(final, "ENTRYPOINT") == '["sh", "/app/deploy/start.sh"]'
    assert "/app/deploy/ready.sh" in argument(final, "HEALTHCHECK")


def test_the_image_leaves_out_everything_but_the_service():
    patterns = ignore_patterns()

    assert patterns[0] == "*"
    folders = {name[1:] for name in patterns if re.fullmatch(r"!\w+", name)}
    assert folders - {"LICENSE"} == {
        path.name
        for path in ROOT.iterdir()
        if (path / "__init__.py").exists() or path.name == "migrations"
    } - {"bench", "reference", "tests"}


def test_compose_runs_the_service_with_postgresql_18_and_secrets_from_files():
    service, database = COMPOSE["services"]["meetings"], COMPOSE["services"]["database"]

    assert re.fullmatch(r"postgres:18\.\d+-\w+", database["image"])
    assert service["environment"]["DATABASE_URL_FILE"] == "/run/secrets/database_url"
    assert database["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/database_password"
    assert service["depends_on"]["database"]["condition"] == "service_healthy"
    assert service["read_only"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert set(COMPOSE["secrets"]) == {"database_url", "database_password"}
    assert "secrets/" in (ROOT / ".gitignore").read_text().split()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The files of the image, in a folder."""
    folder = copy_service(tmp_path_factory.mktemp("image") / "app")
    (folder / "deploy").mkdir()
    for name in ("start.sh", "ready.sh"):
        (folder / "deploy" / name).write_text((ROOT / "deploy" / name).read_text())
    return folder


def start(image, state, *arguments, **environment):
    state.mkdir(exist_ok=True)
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    base = {"PATH": programs, "STATE_DIR": str(state), "WEB_CONCURRENCY": "1"}
    return subprocess.Popen(
        ["sh", str(image / "deploy" / "start.sh"), *arguments],
        env=base | {"PYTHONDONTWRITEBYTECODE": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def is_ready(image, port):
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    check = ["sh", str(image / "deploy" / "ready.sh")]
    done = subprocess.run(check, env={"PATH": programs, "PORT": port}, capture_output=True)
    return done.returncode == 0


def test_the_container_migrates_serves_and_stops_at_sigterm(image, tmp_path):
    port = str(free_port())
    before = sorted(image.rglob("*"))
    assert not is_ready(image, port)
    process = start(image, tmp_path / "data", PORT=port)

    deadline = time.monotonic() + 30
    while not is_ready(image, port):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline, "the service did not become ready"
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=40)[0]

    assert process.returncode == 0, output
    assert "Applied" in output
    assert sorted(image.rglob("*")) == before


def test_without_migrate_the_container_refuses_a_database_that_is_behind(image, tmp_path):
    process = start(image, tmp_path / "data", MIGRATE="off", PORT=str(free_port()))

    output = process.communicate(timeout=30)[0]

    assert process.returncode != 0
    assert "db upgrade" in output
    assert "Applied" not in output


def test_a_wrong_migrate_stops_the_container(image, tmp_path):
    process = start(image, tmp_path / "data", MIGRATE="maybe")

    assert process.communicate(timeout=30)[0] == "MIGRATE: maybe must be on or off.\n"
    assert process.returncode == 1


def test_the_container_runs_a_command_of_the_service(image, tmp_path):
    output = start(image, tmp_path / "data", "version").communicate(timeout=30)[0]

    assert output.startswith("Meetings ")
