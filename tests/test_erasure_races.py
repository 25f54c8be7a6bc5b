"""Erasures that meet other calls: each of these is carried out before, or finds nothing."""

import threading
from functools import partial
from unittest.mock import Mock

import pytest
from conftest import CALLERS, booking, call_at_once
from hooks import Hook, calendly
from stored_texts import dump

from database import ATTEMPTS, RowGone
from services import external_events, idempotency, meetings, receipts

ROUNDS = 12


class Round:
    """A lead with a meeting and a webhook's booking, and calls about them, all at one moment."""

    def __init__(self, api, hook, number):
        self.hook, self.event_id = hook, f"round-{number}"
        self.email = f"{self.event_id}@example.com"
        self.lead = api.new_lead(first_name="Round", email=self.email)
        self.invitee = calendly(invitee=self.event_id, email=self.email)
        assert hook.receive(self.invitee)["outcome"] == "logged"
        self.body = booking(
            lead_email=..., lead_id=self.lead["id"], external_event_id=self.event_id
        )
        self.meeting = api.post("/meetings", json=self.body).json["meeting"]
        self.statuses = []
        self.together = threading.Barrier(CALLERS, timeout=20)

    def calls(self):
        """Return as many calls as there are callers; the first is the erasure."""
        path = f"/meetings/{self.meeting['id']}"
        note = {"calendar_event_id": self.meeting["id"], "notes": self.email}
        keyed = {"Idempotency-Key": self.event_id}
        return [
            lambda api: api.delete(f"/leads/{self.lead['id']}"),
            lambda api: api.post("/meetings", json=self.body, headers=keyed),
            lambda api: api.post("/meetings", json=self.body | {"external_event_id": "new"}),
            lambda api: self.hook.post(self.invitee, api),
            lambda api: api.post("/meeting-notes", json=note),
            lambda api: api.post(f"{path}/cancel", json={"reason": self.email}),
        ]

    def run(self, call, api):
        self.together.wait()
        self.statuses.append(call(api).status_code)

    def left(self):
        """Return all rows that still hold the lead's id, its email or its booking."""
        marks = (self.lead["id"], self.email, self.event_id)
        return [
            row for rows in dump().values() for row in rows if any(mark in row for mark in marks)
        ]


@pytest.fixture
def rounds(api, callers):
    """Carry out the rounds; returns them with what each left behind."""
    hook, done = Hook(api), []
    for number in range(ROUNDS):
        one = Round(api, hook, number)
        calls = one.calls()
        turned = calls[number % len(calls) :] + calls[: number % len(calls)]
        call_at_once(*map(partial, [one.run] * CALLERS, turned, callers))
        done.append((one, one.left()))
    return done


def test_whatever_is_sent_meanwhile_an_erasure_leaves_nothing_behind(rounds):
    for one, left in rounds:
        assert left == []
        assert set(one.statuses) <= {200, 201, 404}, one.statuses


def test_it_meets_a_first_booking_of_the_lead_with_a_defined_result(api, callers):
    for number in range(ROUNDS):
        lead = api.new_lead(email=f"first-{number}@example.com")
        bodies = [
            booking(lead_email=lead["email"], external_event_id=f"{number}-{n}", create_lead=True)
            for n in range(CALLERS - 1)
        ]
        statuses = []

        def book(caller, body, statuses=statuses):
            statuses.append(caller.post("/meetings", json=body).status_code)

        erase = partial(callers[0].delete, f"/leads/{lead['id']}")
        call_at_once(erase, *map(partial, [book] * (CALLERS - 1), callers[1:], bodies))

        assert set(statuses) == {201}
        assert api.get(f"/leads/{lead['id']}").status_code == 404
        again = api.get(f"/leads?email={lead['email']}").json["leads"]
        assert len(again) <= 1  # the bookings that came afterwards created one lead


@pytest.mark.parametrize("stored", ["receipts", "idempotency_keys"])
def test_it_waits_for_what_is_just_being_stored_about_the_lead(
    kind, api, callers, monkeypatch, stored
):
    """A webhook or a replay that changes nothing locks no row of the lead."""
    if kind == "sqlite":
        pytest.skip("the pause would be longer than the write lock is waited for")
    one = Round(api, Hook(api), 0)
    may_end, began = threading.Event(), threading.Event()
    holder, name = {
        "receipts": (receipts, "insert"),
        "idempotency_keys": (idempotency.complete, "run"),
    }[stored]
    store = getattr(holder, name)

    def store_later(*rows, **values):
        began.set()
        may_end.wait(0.5)
        return store(*rows, **values)

    monkeypatch.setattr(holder, name, store_later)
    calls = {
        "receipts": lambda: one.hook.post(one.invitee, callers[0]),
        "idempotency_keys": lambda: one.calls()[1](callers[0]),
    }

    def erase():
        assert began.wait(5)
        callers[1].delete(f"/leads/{one.lead['id']}")
        may_end.set()

    call_at_once(calls[stored], erase)

    assert one.left() == []


@pytest.fixture
def erase_before(kind, callers, monkeypatch):
    """`erase_before(holder, name, lead)`: erase a lead just before a function is first called."""
    if kind == "sqlite":
        pytest.skip("SQLite has one writer, so nothing is erased meanwhile")

    def erase_before(holder, name, lead):
        function, statuses = getattr(holder, name), []

        def erase_first(*args, **values):
            if not statuses:
                erase = partial(callers[0].delete, f"/leads/{lead['id']}")
                call_at_once(lambda: statuses.append(erase().status_code))
            return function(*args, **values)

        monkeypatch.setattr(holder, name, erase_first)
        return statuses

    return erase_before


class TestACallWhoseMeetingIsErasedHalfWay:
    """Rows that a call reads without a lock may be gone at its next query."""

    @pytest.mark.parametrize(
        ("holder", "name"),
        [
            (external_events, "owners"),
            (meetings, "add_host_and_type"),
            (external_events, "owners_locked"),
        ],
    )
    def test_a_replay_is_logged_as_a_new_booking(self, api, erase_before, holder, name):
        lead = api.new_lead(email="before@example.com")
        body = booking(lead_email="before@example.com", create_lead=True)
        api.post("/meetings", json=body)
        api.patch(f"/leads/{lead['id']}", json={"email": "after@example.com"})
        erased = erase_before(holder, name, lead)

        first = api.post("/meetings", json=body | {"title": "New"})
        again = api.post("/meetings", json=body | {"title": "New"})

        assert erased == [200]
        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json["meeting"] == first.json["meeting"]

    def test_a_row_that_is_gone_at_every_attempt_makes_the_call_fail_for_now(
        self, api, lead, monkeypatch
    ):
        api.post("/meetings", json=booking())
        monkeypatch.setattr(external_events, "owners", Mock(side_effect=RowGone))

        answer = api.post("/meetings", json=booking())

        assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
        assert external_events.owners.call_count == ATTEMPTS

    def test_its_pair_is_free_for_another_meeting(self, api, erase_before):
        lead = api.new_lead(email="tony@example.com")
        other = api.new_lead(email="pepper@example.com")
        api.post("/meetings", json=booking(lead_id=lead["id"], external_event_id="free"))
        body = booking(lead_id=other["id"], external_event_id="another")
        meeting = api.post("/meetings", json=body).json["meeting"]
        move = {"starts_at": "2026-03-03T10:00:00Z", "external_event_id": "free"}
        erased = erase_before(external_events.take_waiting_pair, "run", lead)

        answer = api.post(f"/meetings/{meeting['id']}/reschedule", json=move)

        assert erased == [200]
        assert answer.status_code == 200
        assert api.meetings(other)[0]["external_event_id"] == "free"
