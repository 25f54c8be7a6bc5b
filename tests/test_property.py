"""schemathesis sends a running service requests that it generates from the OpenAPI document."""

import os
import re
import subprocess
import sys

from server import run_flask, serving_demo

from config.settings import ROOT

EXAMPLES = 3  # for each call and phase; the whole test takes about a minute


def test_schemathesis_finds_no_difference_from_the_openapi_document(tmp_path):
    with serving_demo(tmp_path) as (server, demo):
        feed = run_flask(server.database_url, "feeds", "create", demo["name"])
        [host] = run_flask(server.database_url, "users", "list", demo["name"])
        known_values = (
            demo["host_email"],
            host["id"],
            demo["meeting_type_id"],
            demo["lead_id"],
            re.search(r"/feeds/(.+)\.ics", feed["url"])[1],
        )
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"http://127.0.0.1:{server.port}/openapi.json",
            *("--checks", "all"),
            # Replaced by `bad_input_is_refused`, which knows that an array is refused row by row.
            *("--exclude-checks", "negative_data_rejection"),
            *("--header", f"X-API-Key: {demo['api_key']}"),
            *("--max-examples", str(EXAMPLES)),
            *("--phases", "examples,coverage,fuzzing"),
            *("--generation-deterministic", "--no-color"),
        ]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
                "SCHEMATHESIS_HOOKS": str(ROOT / "tests" / "schemathesis_hooks.py"),
                "DEMO": " ".join(known_values),
            },
            capture_output=True,
            text=True,
            timeout=300,
        )

    tested = re.search(r"Selected: (\d+)/(\d+)\s+Tested: (\d+)", done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(set(tested.groups())) == 1, "not every call was tested"
    print(re.search(r"\d+ generated.*", done.stdout)[0])
