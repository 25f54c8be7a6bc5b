"""docs/guide.md: every call in it is made, in order, and returns the answer shown."""

import json
import re
import shlex

from config.settings import ROOT

GUIDE = (ROOT / "docs" / "guide.md").read_text()
STEPS = re.findall(r"```bash\n(curl .*?)```\n\n```json\n(.*?)\n```", GUIDE, re.DOTALL)
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


def test_every_call_in_the_guide_returns_the_answer_shown(api):
    names = {"$URL": "/api/public", "$KEY": api.key}
    assert len(STEPS) == len(re.findall(r"^curl ", GUIDE, re.MULTILINE)) == 18

    for command, shown in STEPS:
        for name, value in sorted(names.items(), key=lambda item: -len(item[0])):
            command = command.replace(name, value)
        words = shlex.split(command)
        url = next(word for word in words if word.startswith(("/api/public", "/hooks/")))
        method = words[words.index("-X") + 1] if "-X" in words else "GET"
        data = words[words.index("-d") + 1] if "-d" in words else None
        answer = api.http.open(url, method=method, data=data, headers={"X-API-Key": api.key})

        real = json.loads(answer.data)
        assert comparable(real) == comparable(json.loads(shown)), command
        for noun in {"lead", "meeting"} & set(real):
            names.setdefault(f"${noun.upper()}", real[noun]["id"])
        if "url" in real:
            names["$HOOK"] = real["url"][real["url"].index("/hooks/") :]
