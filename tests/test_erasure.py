"""Erasing a lead: nothing of it is left, and nothing of it comes back."""

import json
from functools import partial
from pathlib import Path

import pytest
import stored_texts
from conftest import Api, booking, using
from freezegun import freeze_time
from hooks import Hook, calendly
from stored_texts import EMAIL, EVENT, dump, find_marks, store_person

import database
from schemas import PAIR
from services import clients, deliveries, erased_events, feeds, migrations, personal_data

UNKNOWN_ID = "0198c0de-0000-7000-8000-000000000000"


@pytest.fixture
def found_marks(app):
    """`found_marks()`: the rows with a text of the person, of all tables, by table."""
    return partial(find_marks, dump())


@pytest.fixture
def person(api, found_marks):
    return store_person(api)


def erase(api, lead):
    answer = api.delete(f"/leads/{lead['id']}")
    assert answer.status_code == 200, answer.text
    return answer.json["erased"]


class TestWhatGoes:
    def test_the_response_counts_what_was_erased(self, api, person):
        answer = api.delete(f"/leads/{person['id']}")

        assert answer.json == {
            "success": True,
            "erased": {"meetings": 2, "activities": 10, "notes": 1, "receipts": 9},
        }
        assert list(answer.json["erased"]) == ["meetings", "activities", "notes", "receipts"]

    def test_no_table_holds_a_text_of_the_lead(self, api, person, found_marks):
        before = found_marks()

        erase(api, person)

        assert before.keys() >= {
            *("leads", "meetings", "activities", "external_events", "meeting_notes", "receipts"),
            "idempotency_keys",
        }
        assert found_marks() == {}
        assert not [row for table, rows in dump().items() for row in rows if person["id"] in row], (
            "the id is left in a row"
        )

    def test_all_of_it_is_unknown_afterwards(self, api, person):
        meetings = api.meetings(person)
        receipts = api.get("/receipts").json["receipts"]
        erase(api, person)

        for path in ("", "/meetings", "/history", "/export", "/meetings.ics"):
            assert api.get(f"/leads/{person['id']}{path}").status_code == 404, path
        for meeting in meetings:
            assert api.get(f"/meetings/{meeting['id']}").status_code == 404
            assert api.get(f"/meetings/{meeting['id']}/notes").status_code == 404
        for receipt in receipts:
            assert api.get(f"/receipts/{receipt['id']}").status_code == 404
        again = api.delete(f"/leads/{person['id']}")
        assert (again.status_code, again.json["code"]) == (404, "lead_not_found")

    def test_a_feed_of_the_lead_is_unknown_as_well(self, api, lead):
        _, token = feeds.create(api.client_id, None, lead["id"])
        database.release()

        erase(api, lead)

        assert api.http.get(f"/feeds/{token}.ics").status_code == 404

    def test_a_stored_response_about_it_is_not_replayed(self, api):
        def save():
            return api.post("/leads", json={"first_name": "Z"}, headers={"Idempotency-Key": "k"})

        first = save()
        erase(api, first.json["lead"])

        again = save()
        assert "Idempotent-Replayed" not in again.headers
        assert again.json["lead"]["id"] != first.json["lead"]["id"]

    def test_a_lead_without_anything_else_is_erased_too(self, api, lead):
        assert erase(api, lead) == {"meetings": 0, "activities": 1, "notes": 0, "receipts": 0}


class TestWhatStays:
    def test_other_leads_keep_everything_even_with_the_same_email(self, api, person):
        other = api.new_lead(first_name="Other", email="other@example.com")
        api.post("/meetings", json=booking(lead_id=other["id"], external_event_id="other"))
        Hook(api, name="2").receive(calendly(invitee="other", email="other@example.com"))
        api.patch(f"/leads/{other['id']}", json={"email": EMAIL})
        Hook(api, name="3").receive(calendly(invitee="more", email=EMAIL))
        before = self.exported(api, other)

        erase(api, person)

        after = self.exported(api, other)
        assert after == before
        assert len(after["meetings"]) == 3
        assert len(after["receipts"]) == 2

    def exported(self, api, lead):
        """Return the export of a lead, without the receipts that name no lead but its email."""
        data = api.get(f"/leads/{lead['id']}/export").json
        own = [receipt for receipt in data["receipts"] if receipt["lead_id"] == lead["id"]]
        return data | {"receipts": own}

    def test_another_client_can_neither_erase_nor_export_it(self, api, stranger, person):
        stranger.get("/leads")  # the first use of a key on a day is stored
        before = dump()

        for answer in (
            stranger.delete(f"/leads/{person['id']}"),
            stranger.get(f"/leads/{person['id']}/export"),
            stranger.delete(f"/leads/{UNKNOWN_ID}"),
        ):
            assert (answer.status_code, answer.json["code"]) == (404, "lead_not_found")
        assert dump() == before

    def test_the_same_person_of_another_client_stays(self, api, stranger, person):
        theirs = store_person(stranger)
        before = stranger.get(f"/leads/{theirs['id']}/export").json

        erase(api, person)

        assert stranger.get(f"/leads/{theirs['id']}/export").json == before
        assert Hook(stranger, name="2").receive(calendly(invitee="zx-4"))["outcome"] != "ignored"


class TestWebhooksAfterwards:
    @pytest.fixture
    def hook(self, api, person):
        erase(api, person)
        return Hook(api, name="afterwards")

    @pytest.mark.parametrize("invitee", ["zx-3", "zx-4", "zx-6"])
    @pytest.mark.parametrize("event", ["invitee.created", "invitee.canceled"])
    def test_one_about_an_erased_pair_is_ignored_and_brings_nothing_back(
        self, api, hook, invitee, event, found_marks
    ):
        """Whether the id is the latest, an earlier one, or one that a receipt waited for."""
        receipt = hook.receive(calendly(event, invitee, email=EMAIL, name="Zaphod"))

        assert receipt["outcome"] == "ignored"
        assert receipt["lead_email"] is None
        assert "erased" in receipt["message"]
        assert api.get(f"/receipts/{receipt['id']}").json["receipt"]["payload"] is None
        assert found_marks() == {}
        assert api.get("/leads").json["leads"] == []

    def test_a_move_to_a_new_id_is_ignored_and_so_is_what_follows_it(self, hook, found_marks):
        first = hook.receive(calendly(invitee="zx-7", old="zx-4", email=EMAIL))
        second = hook.receive(calendly(invitee="zx-8", old="zx-7", email=EMAIL))

        assert first["outcome"] == second["outcome"] == "ignored"
        assert found_marks() == {}

    def test_it_stays_ignored_when_it_is_processed_again(self, api, hook):
        receipt = hook.receive(calendly(invitee="zx-4", email=EMAIL))

        again = api.post(f"/receipts/{receipt['id']}/retry").json["receipt"]

        assert (again["outcome"], again["message"]) == ("ignored", receipt["message"])

    def test_another_booking_of_the_same_person_is_logged(self, hook):
        assert hook.receive(calendly(invitee="new", email=EMAIL))["outcome"] == "logged"

    def test_the_hash_is_kept_as_long_as_receipts(self, api, lead, database_url):
        with (
            freeze_time("2026-01-01T12:00:00Z") as clock,
            using(database_url, receipt_days=7) as other,
        ):
            caller, hook = api.on(other), Hook(api)
            hook.receive(calendly(email=lead["email"]), caller)
            erase(caller, lead)
            clock.move_to("2026-01-08T11:59:00Z")
            assert hook.receive(calendly(), caller)["outcome"] == "ignored"
            clock.move_to("2026-01-08T12:01:00Z")
            assert erased_events.prune() >= 1
            assert hook.receive(calendly(), caller)["outcome"] == "logged"

    def test_a_second_erasure_of_a_pair_keeps_its_hash_as_long_again(self, api, lead, database_url):
        with (
            freeze_time("2026-01-01T12:00:00Z") as clock,
            using(database_url, receipt_days=7) as other,
        ):
            caller, hook = api.on(other), Hook(api)
            receipt = hook.receive(calendly(email=lead["email"]), caller)
            meeting = caller.get(f"/meetings/{receipt['meeting_id']}").json["meeting"]
            erase(caller, lead)
            clock.move_to("2026-01-05T12:00:00Z")
            again = caller.new_lead(email="again@example.com")
            pair = {name: meeting[name] for name in PAIR}
            caller.post("/meetings", json=booking(lead_id=again["id"], **pair))
            erase(caller, again)
            clock.move_to("2026-01-12T11:59:00Z")
            assert hook.receive(calendly(), caller)["outcome"] == "ignored"

    def test_a_booking_through_the_api_takes_an_erased_pair(self, api, person):
        erase(api, person)
        new = api.new_lead(email="new@example.com")

        for event_id in ("zx-1", "zx-2"):
            body = booking(lead_id=new["id"], **(EVENT | {"external_event_id": event_id}))
            assert api.post("/meetings", json=body).status_code == 201
        assert (
            api.post("/leads", json={"first_name": "Z", "external_id": "zx-lead"}).status_code
            == 201
        )


class TestCommand:
    def test_it_erases_like_the_endpoint(self, app, api, person, found_marks):
        run = app.test_cli_runner().invoke

        done = run(args=["leads", "erase", api.client_id, person["id"], "--json"])

        assert json.loads(done.output) == {
            "lead_id": person["id"],
            "erased": {"meetings": 2, "activities": 10, "notes": 1, "receipts": 9},
        }
        assert found_marks() == {}

    def test_it_prints_a_line_for_people(self, app, api, lead):
        done = app.test_cli_runner().invoke(args=["leads", "erase", api.client_id, lead["id"]])

        assert done.output == (
            f"Erased lead {lead['id']}: 0 meetings, 1 activities, 0 notes, 0 receipts.\n"
        )

    @pytest.mark.parametrize("lead_id", [UNKNOWN_ID, "tony"])
    def test_an_unknown_lead_is_one_line_and_exit_status_2(self, app, api, lead_id):
        done = app.test_cli_runner().invoke(args=["leads", "erase", api.client_id, lead_id])

        assert done.exit_code == 2
        assert "Traceback" not in done.output

    def test_the_lead_of_another_client_is_unknown(self, app, api, stranger, lead):
        done = app.test_cli_runner().invoke(args=["leads", "erase", stranger.client_id, lead["id"]])

        assert done.exit_code == 2
        assert api.get(f"/leads/{lead['id']}").status_code == 200


class TestExport:
    def test_it_holds_everything_in_one_object(self, api, person):
        answer = api.get(f"/leads/{person['id']}/export")

        assert list(answer.json) == ["success", "lead", "meetings", "history", "notes", "receipts"]
        assert answer.json["lead"] == person
        assert answer.json["meetings"] == api.meetings(person)
        assert answer.json["history"] == api.history(person)
        meeting_id = answer.json["notes"][0]["meeting_id"]
        assert answer.json["notes"] == api.get(f"/meetings/{meeting_id}/notes").json["notes"]
        listed = api.get("/receipts").json["receipts"]
        assert answer.json["receipts"] == [
            api.get(f"/receipts/{receipt['id']}").json["receipt"] for receipt in reversed(listed)
        ]

    def test_it_is_complete_however_much_there_is(self, api, lead):
        rows = [booking(lead_id=lead["id"], external_event_id=f"{n}") for n in range(250)]
        assert api.post("/meetings", json=rows).json["created"] == 250

        exported = api.get(f"/leads/{lead['id']}/export").json

        assert len(exported["meetings"]) == 250
        assert len(exported["history"]) == 251

    def test_it_is_read_from_one_snapshot(self, api, lead, callers, monkeypatch):
        """A booking that is committed between two of its reads is in none of them."""
        find_subject = personal_data.find_subject

        def book_and_find(row):
            subject = find_subject(row)
            monkeypatch.undo()
            selected = database.selected.get()
            done = []

            def book():
                done.append(callers[1].post("/meetings", json=booking()).status_code)

            stored_texts.in_thread(book)
            database.selected.set(selected)
            assert done == [201]
            return subject

        monkeypatch.setattr(personal_data, "find_subject", book_and_find)

        exported = callers[0].get(f"/leads/{lead['id']}/export").json

        assert exported["meetings"] == []
        assert len(exported["history"]) == 1
        assert len(api.meetings(lead)) == 1


class TestFile:
    def test_the_files_of_sqlite_hold_no_text_of_the_lead(self, kind, empty_databases):
        """Neither the database nor its write-ahead log, with many other rows around."""
        if kind == "postgresql":
            pytest.skip("PostgreSQL's files keep deleted rows until a vacuum")
        url = empty_databases()
        with using(url) as app:
            migrations.upgrade()
            client, key = clients.create("Client")
            api = Api(app.test_client(), client.id, key)
            _add_others(api, "before")
            person = store_person(api)
            _add_others(api, "after")
            assert _marks_in_files(url)

            erase(api, person)

            assert _marks_in_files(url) == {}
            _add_others(api, "later")
            assert _marks_in_files(url) == {}


def _add_others(api, name):
    lead = api.new_lead(first_name=name, email=f"{name}@example.com")
    rows = [
        booking(lead_id=lead["id"], external_event_id=f"{name}-{n}", description="x" * (n % 900))
        for n in range(300)
    ]
    assert api.post("/meetings", json=rows).json["created"] == 300


def _marks_in_files(url):
    path = Path(url.removeprefix("sqlite:///"))
    found = {}
    for file in path.parent.glob(f"{path.name}*"):
        content = file.read_bytes().lower()
        marks = [mark for mark in stored_texts.MARKS if mark.encode() in content]
        if marks:
            found[file.name] = marks
    return found


def test_the_sequence_of_events_grows_although_the_newest_events_are_deleted(api):
    body = {"url": "https://8.8.8.8/hook", "events": ["lead.created"]}
    log = f"/webhooks/{api.post('/webhooks', json=body).json['webhook']['id']}/deliveries"

    def newest():
        newest_id = api.get(f"{log}?limit=1").json["deliveries"][0]["id"]
        return api.get(f"{log}/{newest_id}").json["delivery"]["payload"]["data"]["sequence"]

    lead = api.new_lead()
    first = newest()
    erase(api, lead)
    api.new_lead()
    second = newest()
    database.db.obj.execute_sql("UPDATE deliveries SET status = 'delivered'")
    with freeze_time("2199-01-01"):
        deliveries.prune(30)
    api.new_lead()

    assert first < second < newest()


def test_the_migration_keeps_the_history_as_it_was(empty_databases):
    with using(empty_databases()) as app:
        migrations.upgrade()
        client, key = clients.create("Client")
        api = Api(app.test_client(), client.id, key)
        lead = api.new_lead(email="tony.stark@gmail.com")
        api.post("/meetings", json=booking())
        before = api.history(lead)
        while "0008_erasure" in [
            step["name"] for step in migrations.status() if step["applied_at"]
        ]:
            migrations._runner().down()

        migrations.upgrade()

        assert api.history(lead) == before
        assert len(before) == 2
        api.post("/meetings", json=booking(title="Later"))
        assert len(api.history(lead)) == 3


class TestWebhooks:
    def test_deliveries_about_the_lead_are_erased_and_the_erasure_is_reported(self, api, person):
        webhook = api.post("/webhooks", json={"url": "https://8.8.8.8/"}).json["webhook"]
        log = f"/webhooks/{webhook['id']}/deliveries"
        api.patch(f"/leads/{person['id']}", json={"company": "Oscorp"})
        other = api.new_lead(first_name="Other")
        assert len(api.get(log).json["deliveries"]) == 2

        api.delete(f"/leads/{person['id']}")

        erased, created = api.get(log).json["deliveries"]
        assert (created["event_type"], created["lead_id"]) == ("lead.created", other["id"])
        assert (erased["event_type"], erased["lead_id"]) == ("lead.erased", person["id"])
        payload = api.get(f"{log}/{erased['id']}").json["delivery"]["payload"]
        assert payload["data"]["lead"] == {"id": person["id"]}
        assert payload["data"]["changes"] is None

    def test_a_webhook_that_does_not_want_it_is_not_told(self, api, person):
        wanted = {"url": "https://8.8.8.8/", "events": ["meeting.cancelled"]}
        webhook = api.post("/webhooks", json=wanted).json["webhook"]

        api.delete(f"/leads/{person['id']}")

        assert api.get(f"/webhooks/{webhook['id']}/deliveries").json["deliveries"] == []
