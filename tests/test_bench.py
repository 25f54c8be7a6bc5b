"""`python -m bench`: one second of each case, without errors."""

import os
import shutil
import subprocess
import sys

import pytest

from config.settings import ROOT


def bench(*options, path):
    return subprocess.run(
        [sys.executable, "-m", "bench", *options],
        cwd=ROOT,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=90,
    )


@pytest.mark.skipif(
    shutil.which("wrk") is None, reason="wrk, which generates the load, is not installed"
)
def test_a_short_run_prints_a_table_without_errors(tmp_path):
    short = ["--rounds", "1", "--seconds", "1", "--warm-up", "0", "--leads", "5"]

    done = bench("--databases", "sqlite", "--folder", tmp_path, *short, path=os.environ["PATH"])

    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if " | " in line]
    columns = next(row for row in rows if row[0] == "server")
    servers = [row for row in rows if row[0] in ("floor", "service")]
    results = [dict(zip(columns, row, strict=True)) for row in servers]
    assert [row["server"] for row in results] == ["floor", "service"] * 3
    for row in results:
        assert float(row["requests/s"]) > 1
        assert float(row["CPU ms a request"]) > 0
        assert row["errors"] == "0"
    assert list(tmp_path.iterdir()) == []


def test_without_wrk_the_error_says_how_to_install_it():
    done = bench(path="/nowhere")

    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "apt install wrk" in line


@pytest.mark.parametrize("options", [["--cases", "post,put"], ["--databases", "oracle"]])
def test_an_unknown_case_or_database_is_refused(options):
    done = bench(*options, path=os.environ["PATH"])

    assert done.returncode == 2
    assert "choose from" in done.stderr
