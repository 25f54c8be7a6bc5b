"""PostgreSQL's locks: all transactions take them in one order, so none of them deadlocks."""

import random
import threading
import time
from functools import partial

import pytest
from conftest import CALLERS, booking, call_at_once

import database
from database import db

CALLS = 12


def test_arrays_in_different_orders_do_not_deadlock(callers, lead, deadlocks):
    before = deadlocks()
    together = threading.Barrier(CALLERS, timeout=20)

    def send_arrays(api, seed):
        chooser = random.Random(seed)
        for round in range(CALLS):
            rows = [
                booking(external_event_id=f"{round}-{n}", title=f"Title {chooser.random()}")
                for n in range(20)
            ]
            rows += [
                booking(
                    external_event_id=f"{round}-{n}",
                    previous_external_event_id=f"{round}-{n + 10}",
                    lead_email=chooser.choice(["nobody@example.com", lead["email"]]),
                )
                for n in range(20, 30)
            ]
            chooser.shuffle(rows)
            together.wait()
            assert api.post("/meetings", json=rows).status_code == 200

    call_at_once(*[partial(send_arrays, *of) for of in zip(callers, range(CALLERS), strict=True)])

    assert deadlocks() == before


def test_outcomes_reschedules_and_replays_of_the_same_meetings_do_not_deadlock(
    api, callers, lead, deadlocks
):
    before = deadlocks()
    together = threading.Barrier(CALLERS, timeout=20)
    events = [f"event-{n}" for n in range(6)]
    ids = [
        api.post("/meetings", json=booking(external_event_id=event)).json["meeting"]["id"]
        for event in events
    ]

    def change_meetings(api, seed):
        chooser = random.Random(seed)
        for number in range(CALLS):
            meeting_id = chooser.choice(ids)
            api.post(f"/meetings/{meeting_id}/{chooser.choice(['cancel', 'reopen', 'confirm'])}")
            new_id = f"{number}-{chooser.randrange(2)}"
            together.wait()
            times = {"starts_at": f"2026-01-{number + 1:02}T10:00:00", "external_event_id": new_id}
            api.post(f"/meetings/{meeting_id}/reschedule", json=times)
            rows = [booking(external_event_id=event, title=f"{seed}") for event in events]
            rows.append(booking(external_event_id=new_id))
            chooser.shuffle(rows)
            api.post("/meetings", json=rows)
            api.patch(f"/leads/{lead['id']}", json={"company": f"{seed}-{number}"})

    call_at_once(
        *[partial(change_meetings, *of) for of in zip(callers, range(CALLERS), strict=True)]
    )

    assert deadlocks() == before


def test_arrays_of_leads_in_different_orders_do_not_deadlock(callers, deadlocks):
    before = deadlocks()

    def send_arrays(api, seed):
        chooser = random.Random(seed)
        for _ in range(CALLS):
            rows = [
                {"first_name": f"{chooser.random()}", "external_id": f"{chooser.randrange(60)}"}
                for _ in range(30)
            ]
            assert api.post("/leads", json=rows).status_code == 200

    call_at_once(*[partial(send_arrays, *of) for of in zip(callers, range(CALLERS), strict=True)])

    assert deadlocks() == before


def test_a_lead_is_saved_while_another_call_changes_the_external_id_it_names(callers):
    together = threading.Barrier(CALLERS, timeout=20)
    owners = [callers[0].new_lead(external_id=f"old-{round}") for round in range(3 * CALLS)]
    statuses = []

    def change_external_id(api):
        for round, lead in enumerate(owners):
            together.wait()
            answer = api.patch(f"/leads/{lead['id']}", json={"external_id": f"new-{round}"})
            statuses.append(answer.status_code)

    def save_lead(api):
        for round in range(len(owners)):
            together.wait()
            lead = {"first_name": "Tony", "external_id": f"old-{round}"}
            statuses.append(api.post("/leads", json=lead).status_code)

    changes = [change_external_id] + [save_lead] * (CALLERS - 1)
    call_at_once(*[partial(*of) for of in zip(changes, callers, strict=True)])

    assert set(statuses) <= {200, 201}


def test_a_locked_name_keeps_other_transactions_out_until_the_end(app, kind):
    if kind == "sqlite":
        pytest.skip("the write transaction of SQLite excludes all others")
    is_locked, order = threading.Event(), []

    @database.transaction
    def first():
        db.lock_names(["client tony.stark@gmail.com"])
        is_locked.set()
        time.sleep(0.2)
        order.append("first")

    @database.transaction
    def second():
        is_locked.wait(5)
        db.lock_names(["client tony.stark@gmail.com"], shared=True)
        order.append("second")

    call_at_once(first, second)

    assert order == ["first", "second"]
