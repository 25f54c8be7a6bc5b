"""A person with a text in every field, and what a database holds of it."""

import threading
from typing import Any

import psycopg
from conftest import Api, booking
from hooks import Hook, calendly

from database import db, release
from services import feeds

# Every text that the person brings contains one of these.
MARKS = ("zaphod", "2079460991", "zx-")
EMAIL, FORMER_EMAIL = "zaphod@example.com", "zaphod.b@example.com"
PHONE = "+44 (20) 7946-0991"
EVENT = {"external_calendar_provider": "ghl", "external_event_id": "zx-1"}


def store_person(api: Api, **lead: Any) -> dict[str, Any]:
    """Store a lead with everything that the service stores about one; returns the lead."""
    fields = {"last_name": "Zaphod L", "company": "Zaphod C", "title": "Zaphod T", "phone": PHONE}
    fields |= {"external_id": "zx-lead", "source": "zaphod-ads", "favourite": "Zaphod M"}
    made = api.new_lead(**(fields | {"first_name": "Zaphod F", "email": FORMER_EMAIL} | lead))
    _store_meetings(api)
    api.patch(f"/leads/{made['id']}", json={"email": EMAIL, "last_name": "Zaphod B"})
    _store_notes(api)
    _store_receipts(api)
    feeds.create(api.client_id, None, made["id"])
    release()
    return api.get(f"/leads/{made['id']}").json["lead"]


def _post(api: Api, path: str, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    answer = api.post(path, json=body, headers={"Idempotency-Key": f"zaphod {path}"})
    assert answer.status_code == status, answer.text
    return answer.json


def _store_meetings(api: Api) -> None:
    body = booking(
        lead_email=FORMER_EMAIL, title="Zaphod title", meeting_url="https://zaphod.example.com/1",
        location_details="Zaphod street", description="Zaphod description",
        attendee_name="Zaphod A", attendee_email="zaphod.a@example.com", attendee_phone=PHONE,
        additional_attendees=[{"name": "Zaphod G", "email": "zaphod.g@example.com"}], **EVENT,
    )  # fmt: skip
    meeting = _post(api, "/meetings", body, 201)["meeting"]
    move = {"starts_at": "2026-01-01T10:00", "reason": "Zaphod is ill", "external_event_id": "zx-2"}
    _post(api, f"/meetings/{meeting['id']}/reschedule", move)
    _post(api, f"/meetings/{meeting['id']}/cancel", {"reason": "Zaphod forgot"})
    _post(api, f"/meetings/{meeting['id']}/reopen", {})
    _post(api, "/meetings/complete", EVENT | {"notes": "Zaphod came"})


def _store_notes(api: Api) -> None:
    note = {"external_calendar_provider": "ghl", "external_calendar_event_id": "zx-2"}
    note |= {"notes": "Zaphod N", "summary": "Zaphod S", "transcript_text": "Zaphod " * 5000}
    _post(api, "/meeting-notes", note | {"action_items": ["Zaphod I"]}, 201)


def _store_receipts(api: Api) -> None:
    """Store receipts of every kind, also ones that name no lead."""
    person = {"name": "Zaphod W", "text_reminder_number": PHONE}
    hook = Hook(api, create_leads=False)
    moved = calendly("invitee.canceled", "zx-3", email=EMAIL, rescheduled=True, **person)
    outcomes = [
        hook.receive(payload)["outcome"]
        for payload in (
            calendly(invitee="zx-3", email=EMAIL, **person),  # logs a meeting
            moved,
            calendly(invitee="zx-4", old="zx-3", email=EMAIL, slot=2, **person),
            calendly(invitee="zx-4", old="zx-3", email=EMAIL, slot=2, **person),
            calendly(invitee="zx-5", email=EMAIL, scheduled_event=..., **person),
            calendly(invitee="zx-4", email="zaphod.x@example.com", slot=2, **person),
            calendly("invitee_no_show.created", "zx-6", email=EMAIL, scheduled_event=..., **person),
            calendly("invitee_no_show.created", "zx-6", email=..., scheduled_event=...),
            {**calendly(email=EMAIL, **person), "event": "routing_form_submission.created"},
        )
    ]
    assert outcomes == [
        *("logged", "ignored", "rescheduled", "unchanged", "refused", "refused"),
        *("unmatched", "unmatched", "ignored"),
    ]
    refused = api.get("/receipts?outcome=unmatched&limit=1").json["receipts"][0]
    _post(api, f"/receipts/{refused['id']}/retry", {})


def dump() -> dict[str, list[str]]:
    """Return every row of every table as text, by table, in lower case."""
    database = db.obj
    if database.database.startswith("postgres"):
        with psycopg.connect(database.database) as session:
            names = session.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
            ).fetchall()
            rows = {
                name: session.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in names
            }
    else:
        names = database.execute_sql("SELECT name FROM sqlite_master WHERE type = 'table'")
        rows = {
            name: database.execute_sql(f'SELECT * FROM "{name}"').fetchall()
            for (name,) in names.fetchall()
        }
        release()
    return {name: [repr(row).lower() for row in found] for name, found in rows.items()}


def find_marks(known: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the rows that hold a text of the person, by table, except those of a `dump`."""
    marked = {
        table: [
            row for row in set(rows).difference(known[table]) if any(mark in row for mark in MARKS)
        ]
        for table, rows in dump().items()
    }
    return {table: rows for table, rows in marked.items() if rows}


def in_thread(call: Any) -> None:
    """Run a call in another thread, which has connections of its own, and wait for it."""
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
