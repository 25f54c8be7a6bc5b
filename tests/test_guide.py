"""docs/guide.md: its lines run in one shell, in order, and return the answers shown."""

import json
import os
import re
import subprocess

from server import Server, copy_project

from config.settings import ROOT

GUIDE = (ROOT / "docs" / "guide.md").read_text()
# The lines to paste, and the answer to each call.
BLOCKS = re.findall(r"```bash\n(.*?)```(?:\n\n```json\n(.*?)\n```)?", GUIDE, re.DOTALL)
MARK = "=== next ==="
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
HOOK = re.compile(r"https?://[^/]+/hooks/[\w…-]+")
SERVER_TIMES = {
    *("created_at", "updated_at", "outcome_at", "cancelled_at", "timestamp", "at"),
    *("received_at", "last_received_at"),
}


def comparable(value, name=""):
    """Return the answer with ids, secrets and the service's own times replaced by fixed words."""
    if isinstance(value, dict):
        return [(key, comparable(inner, key)) for key, inner in value.items()]
    if isinstance(value, list):
        if name in SERVER_TIMES or (len(value) == 2 and name in ("outcome_at", "cancelled_at")):
            return [item and "now" for item in value]
        return [comparable(item) for item in value]
    if name in SERVER_TIMES and value is not None:
        return "now"
    if name == "signing_secret":
        return "secret"
    if name == "next_cursor" and value is not None:
        return "cursor"
    return HOOK.sub("url", UUID.sub("id", value)) if isinstance(value, str) else value


def test_the_lines_pasted_into_one_shell_return_the_answers_shown(kind, empty_databases, tmp_path):
    folder = copy_project(tmp_path / "project")
    server = Server(empty_databases(), folder=folder)
    surroundings = {"PATH": os.environ["PATH"], "DATABASE_URL": server.database_url}
    for command in ("db upgrade", "demo"):
        flask = [folder / ".venv/bin/flask", "--app", "app", *command.split()]
        subprocess.run(flask, cwd=folder, env=surroundings, check=True, capture_output=True)
    lines = "".join(f"{block}echo; echo {MARK}\n" for block, _ in BLOCKS)
    server.start()
    try:
        done = subprocess.run(
            ["bash"],
            input=lines.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}"),
            cwd=folder,
            env=surroundings,
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        server.stop()

    printed = done.stdout.split(f"{MARK}\n")
    for (block, shown), answer in zip(BLOCKS, printed, strict=False):
        if shown:
            assert comparable(json.loads(answer)) == comparable(json.loads(shown)), block
    assert (folder / "var" / "meetings-2026-03-02.db").exists() == (kind == "sqlite")


def test_every_call_of_the_guide_has_its_answer():
    calls = [block for block, _ in BLOCKS if "curl" in block and "id_of" not in block]

    assert calls == [block for block, shown in BLOCKS if shown]
    assert len(calls) == 19
