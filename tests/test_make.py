"""The targets of the Makefile that need no installation, and what the tests may install."""

import os
import re
import socket
import subprocess

import programs
import pytest
from server import copy_project

from config.settings import ROOT


@pytest.fixture
def project(tmp_path):
    return copy_project(tmp_path / "project")


def make(project, *arguments, **environment):
    return subprocess.run(
        ["make", *arguments],
        cwd=project,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_make_run_on_a_taken_port_changes_nothing(project):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = make(project, "run", PORT=str(taken.getsockname()[1]))

    assert done.returncode != 0
    assert "HOST, PORT: cannot listen on 127.0.0.1" in done.stderr
    assert "Applied" not in done.stdout
    assert [path.name for path in (project / "var").iterdir()] == []


def test_make_help_lists_every_target(project):
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    listed = make(project, "help").stdout.splitlines()

    assert [line.split()[1] for line in listed] == targets
    assert all(len(line.split()) > 3 for line in listed)


@pytest.mark.parametrize("variable", [None, "CI", "INSTALL"])
def test_a_missing_program_is_installed_only_if_that_is_wanted(monkeypatch, variable):
    for name in ("CI", "INSTALL"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, "1")
    ran = []

    def run(command, **options):
        ran.append(command[0])
        return subprocess.CompletedProcess(command, 1, "", "no network")

    monkeypatch.setattr(programs.subprocess, "run", run)
    monkeypatch.setattr(programs.os, "geteuid", lambda: 0)
    monkeypatch.setattr(programs.shutil, "which", lambda n: n if n == "apt-get" else None)

    with pytest.raises(pytest.skip.Exception) as skipped:
        programs.find_or_install("chromium", ("chromium",))

    assert "chromium is not installed" in str(skipped.value)
    assert ran == (["apt-get"] if variable else [])


def test_make_test_reports_what_it_skips_and_why():
    shown = subprocess.run(
        ["make", "--dry-run", "-W", "none", "test"], cwd=ROOT, capture_output=True, text=True
    )

    assert "pytest -rs" in shown.stdout
