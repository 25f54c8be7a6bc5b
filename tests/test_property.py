"""schemathesis, let loose on a running service with nothing but its document."""

import os
import re
import subprocess
import sys

from server import flask, serving_demo

from config.settings import ROOT

EXAMPLES = 12  # of each call and phase; takes about half a minute in all


def test_schemathesis_finds_nothing(tmp_path):
    with serving_demo(tmp_path) as (server, told):
        feed = flask(server.database_url, "feeds", "create", told["name"])
        there_are = (
            told["host_email"],
            told["meeting_type_id"],
            told["lead_id"],
            re.search(r"/feeds/(.+)\.ics", feed["url"])[1],
        )
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"http://127.0.0.1:{server.port}/openapi.json",
            *("--checks", "all"),
            # By `bad_input_is_refused` in its place, which knows that an array is refused by rows.
            *("--exclude-checks", "negative_data_rejection"),
            *("--header", f"X-API-Key: {told['api_key']}"),
            *("--max-examples", str(EXAMPLES)),
            *("--generation-deterministic", "--no-color"),
        ]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
                "SCHEMATHESIS_HOOKS": str(ROOT / "tests" / "schemathesis_hooks.py"),
                "DEMO": " ".join(there_are),
            },
            capture_output=True,
            text=True,
            timeout=300,
        )

    tested = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(set(tested.groups())) == 1, "not every call was tested"
    print(re.search(r"\d+ generated.*", done.stdout)[0])
