"""Webhooks in any order and in any condition: one booking is one meeting, and none causes a 5xx."""

import copy
import json
import random
from pathlib import Path
from uuid import uuid4

import pytest
from hooks import SLOTS, Hook, calendly
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PAYLOADS = Path(__file__).parent / "payloads"
MAPPING = json.loads((PAYLOADS / "generic" / "mapping.json").read_text())
# A booking, two moves and a cancellation: own id, previous id, slot, is a cancellation.
CHAIN = {
    "booked": ("A", None, 1, False),
    "moved": ("B", "A", 2, False),
    "moved again": ("C", "B", 3, False),
    "cancelled": ("C", "B", 3, True),
}


def from_calendly(own, previous, slot, cancels, email):
    event = "invitee.canceled" if cancels else "invitee.created"
    return calendly(event, own, previous, slot, email=email, cancellation={"reason": "ill"})


def from_calcom(own, previous, slot, cancels, email):
    body = {
        "uid": own,
        "rescheduleUid": previous,
        "eventTitle": "Discovery Call",
        "startTime": SLOTS[slot][0],
        "endTime": SLOTS[slot][1],
        "attendees": [{"email": email, "name": "Peter Parker"}],
        "cancellationReason": "ill",
    }
    event = "BOOKING_RESCHEDULED" if previous else "BOOKING_CREATED"
    return {"triggerEvent": "BOOKING_CANCELLED" if cancels else event, "payload": body}


def from_any_other(own, previous, slot, cancels, email):
    return {
        "id": own,
        "moved_from": previous,
        "email": email,
        "name": "Discovery Call",
        "start": SLOTS[slot][0],
        "length": 30,
        "why": "ill",
        "type": "gone" if cancels else "booked",
    }


OTHER_MAPPING = {
    "external_event_id": "/id",
    "previous_external_event_id": "/moved_from",
    "lead_email": "/email",
    "title": "/name",
    "starts_at": "/start",
    "duration_minutes": "/length",
    "reason": "/why",
    "event": {"at": "/type", "log": ["booked"], "cancel": ["gone"]},
}
SYSTEMS = {
    "calendly": (from_calendly, {}),
    "calcom": (from_calcom, {}),
    "generic": (from_any_other, {"mapping": OTHER_MAPPING}),
}


def is_linked(order):
    """Whether each event arrives after one that links its id to a known meeting."""
    known = set()
    for name in order:
        ids = set(CHAIN[name][:2]) - {None}
        if known and not ids & known:
            return False
        known |= ids
    return True


def final_state(meeting):
    changing = ("id", "lead_id", "created_at", "updated_at", "cancelled_at", "reschedules")
    return {
        name: value
        for name, value in meeting.items()
        if name not in changing and "attendee" not in name
    }


@st.composite
def orders(draw):
    """All events, each once or twice, in any order."""
    again = draw(st.lists(st.sampled_from([*CHAIN]), unique=True))
    return draw(st.permutations([*CHAIN, *again]))


@pytest.mark.parametrize("provider", SYSTEMS)
@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(order=orders())
def test_a_booking_two_moves_and_a_cancellation_end_the_same_in_every_order(api, provider, order):
    make, settings_of_source = SYSTEMS[provider]
    states = []
    for sequence in (order, [*CHAIN]):
        hook = Hook(api, provider, name=str(uuid4()), **settings_of_source)
        unique = uuid4().hex
        email = f"{unique}@example.com"
        outcomes = []
        for name in sequence:
            own, previous, slot, cancels = CHAIN[name]
            ids = (own + unique, previous and previous + unique)
            outcomes.append(hook.receive(make(*ids, slot, cancels, email))["outcome"])
        if "refused" in outcomes:
            assert not is_linked(sequence)
            return
        found = api.get("/meetings", query_string={"lead_email": email}).json["meetings"]
        state = [final_state(meeting) for meeting in found]
        for meeting in state:
            meeting["external_event_id"] = meeting["external_event_id"].removesuffix(unique)
            meeting["external_calendar_provider"] = provider
        states.append(state)

    assert len(states[0]) == 1
    assert states[0] == states[1]
    assert states[0][0]["status"] == "cancelled"
    assert states[0][0]["external_event_id"] == "C"


# ------------------------------------------------------------------------------- damaged payloads


ODD_VALUES = [
    *(None, True, 0, -1, 10**30, 1.5, "", " ", "x" * 3000, "\x00\x1f", "\ud800", "😀"),
    *([], {}, [[]], {"email": "a@b.co"}, ["a@b.co"], "a@b.co", "https://[", "2026-13-01T00:00"),
    *("2199-12-31T23:59:00Z", "1969-12-31T23:59:00-01:00", "America/Santiago", "cancelled"),
]


def places(value, path=()):
    """Yield the path of everything inside a JSON value."""
    inside = value if isinstance(value, dict) else {}
    if isinstance(value, list):
        inside = dict(enumerate(value))
    for key, inner in inside.items():
        yield (*path, key)
        yield from places(inner, (*path, key))


def damage(payload, chooser):
    """Return a payload with some keys missing and some values swapped, as bytes; perhaps cut."""
    damaged = copy.deepcopy(payload)
    for _ in range(chooser.randrange(1, 6)):
        found = [*places(damaged)]
        if not found:
            break
        *way, key = chooser.choice(found)
        holder = damaged
        for step in way:
            holder = holder[step]
        if chooser.random() < 0.4:
            del holder[key]
        else:
            holder[key] = chooser.choice(ODD_VALUES)
    raw = json.dumps(damaged).encode()
    return raw[: chooser.randrange(len(raw))] if chooser.random() < 0.1 else raw


@pytest.mark.parametrize("provider", ["calendly", "calcom", "ghl", "generic"])
def test_damaged_payloads_end_in_a_receipt_or_a_400(api, kind, provider):
    """A thousand of each system; the code that reads them does not depend on the database."""
    mapping = {"mapping": MAPPING} if provider == "generic" else {}
    hook, chooser = Hook(api, provider, **mapping), random.Random(provider)
    files = sorted((PAYLOADS / provider).glob("*.json"))
    whole = [json.loads(file.read_text()) for file in files if file.name != "mapping.json"]
    received = 0

    for _ in range(1000 if kind == "sqlite" else 200):
        answer = hook.post(damage(chooser.choice(whole), chooser))
        assert answer.status_code in (200, 400), answer.text
        if answer.status_code == 400:
            assert answer.json["code"] == "invalid_json"
        else:
            received += 1
            assert answer.json["receipt"]["outcome"]

    count = 0
    page = api.get("/receipts?limit=200").json
    while True:
        count += len(page["receipts"])
        if not page["pagination"]["has_more"]:
            break
        page = api.get(f"/receipts?limit=200&cursor={page['pagination']['next_cursor']}").json
    assert count == received
