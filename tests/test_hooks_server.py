"""Webhooks over real sockets, with two workers."""

from collections import Counter

import pytest
from hooks import Hook, calendly
from server import Server


@pytest.fixture(scope="module")
def server(app, database_url):
    server = Server(database_url, environment={"LOG_LEVEL": "INFO"}).start()
    yield server
    server.stop()


def test_sixty_four_identical_webhooks_at_once_log_one_meeting(server, api):
    hook = Hook(api)

    answers = server.call_many([("POST", f"/hooks/{hook.token}", calendly())] * 64)

    received = [answer.json["receipt"] for answer in answers]
    assert Counter(r["outcome"] for r in received) == {"logged": 1, "unchanged": 63}
    assert len({r["meeting_id"] for r in received}) == 1
    stored = api.get("/receipts?limit=200").json["receipts"]
    assert {r["id"] for r in stored} == {r["id"] for r in received}
    assert len(stored) == 64


def test_sixty_four_bookings_at_once_for_one_unknown_email_create_one_lead(server, api):
    hook = Hook(api)

    answers = server.call_many(
        [("POST", f"/hooks/{hook.token}", calendly(invitee=f"I{n}")) for n in range(64)]
    )

    assert Counter(a.json["receipt"]["outcome"] for a in answers) == {"logged": 64}
    assert len({a.json["receipt"]["meeting_id"] for a in answers}) == 64
    assert len(api.get("/leads").json["leads"]) == 1


@pytest.mark.parametrize("action", ["invitee.canceled", "invitee_no_show.created"])
def test_bookings_and_outcomes_at_once_end_in_one_meeting_each(server, api, action):
    hook = Hook(api)
    payloads = [calendly(invitee=f"I{n}") for n in range(16)]
    payloads += [calendly(action, invitee=f"I{n}") for n in range(16)]

    answers = server.call_many([("POST", f"/hooks/{hook.token}", p) for p in payloads * 2])

    assert {answer.status for answer in answers} == {200}
    meetings = api.get("/meetings?limit=200").json["meetings"]
    assert len(meetings) == 16
    assert {meeting["status"] for meeting in meetings} <= {"cancelled", "no_show"}
    assert api.get("/receipts?outcome=refused,unmatched").json["receipts"] == []
