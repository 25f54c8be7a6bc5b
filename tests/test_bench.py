"""`make bench` runs: a second of each kind of load, and no answer is an error."""

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


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk, which makes the load, is not here")
def test_the_service_and_the_floor_are_loaded_and_told_in_a_table(tmp_path):
    short = ["--rounds", "1", "--seconds", "1", "--warm-up", "0", "--leads", "5"]

    told = bench("--databases", "sqlite", "--folder", tmp_path, *short, path=os.environ["PATH"])

    assert told.returncode == 0, told.stderr
    rows = [line.strip("| ").split(" | ") for line in told.stdout.splitlines() if " | " in line]
    heads = [row for row in rows if row[0] == "server"]
    servers = [dict(zip(heads[0], row, strict=True)) for row in rows if row[0][0] in "fs"]
    results = [row for row in servers if row["server"] != "server"]
    assert [row["server"] for row in results] == ["floor", "service"] * 3
    for row in results:
        assert float(row["requests/s"]) > 1
        assert float(row["CPU ms a request"]) > 0
        assert row["errors"] == "0"
    assert list(tmp_path.iterdir()) == []


def test_without_wrk_it_says_how_to_get_it():
    told = bench(path="/nowhere")

    assert told.returncode == 1
    [line] = told.stderr.splitlines()
    assert "apt install wrk" in line


@pytest.mark.parametrize("wrong", [["--cases", "post,put"], ["--databases", "oracle"]])
def test_a_wrong_choice_is_refused(wrong):
    told = bench(*wrong, path=os.environ["PATH"])

    assert told.returncode == 2
    assert "choose from" in told.stderr
