"""Receipts: finding them, processing them again, and how long they are kept."""

import json

import pytest
from conftest import new_api, using
from freezegun import freeze_time
from hooks import Hook, calendly

from intake_models import Receipt
from services import migrations, pruning, receipts

START = "2026-03-02T12:00:00Z"


@pytest.fixture
def hook(api):
    return Hook(api)


def found(api, **query):
    return [r["id"] for r in api.get("/receipts", query_string=query).json["receipts"]]


class TestLists:
    def test_the_latest_comes_first_and_pages_miss_none(self, api, hook):
        ids = [hook.receive(calendly(invitee=f"{n}"))["id"] for n in range(7)]

        seen, cursor = [], None
        while True:
            query = {"limit": 3, "cursor": cursor} if cursor else {"limit": 3}
            page = api.get("/receipts", query_string=query).json
            seen += [receipt["id"] for receipt in page["receipts"]]
            hook.receive(calendly(invitee="another"))
            cursor = page["pagination"]["next_cursor"]
            if not page["pagination"]["has_more"]:
                break

        assert seen == ids[::-1]
        assert "payload" not in page["receipts"][0]

    def test_each_filter_leaves_out_the_others(self, api, hook):
        with freeze_time(START) as clock:
            logged = hook.receive(calendly())["id"]
            clock.tick(60)
            refused = hook.receive(calendly(email="other@example.com"))["id"]
            elsewhere = Hook(api, name="elsewhere")
            ignored = elsewhere.receive({"event": "routing_form_submission.created"})["id"]

        assert found(api, outcome="refused") == [refused]
        assert found(api, outcome="logged,ignored") == [ignored, logged]
        assert found(api, source_id=hook.source_id) == [refused, logged]
        assert found(api, lead_email="PETER.parker@example.com") == [logged]
        assert found(api, received_after="2026-03-02T12:01:00Z") == [ignored, refused]
        assert found(api, received_after="2026-03-02T12:01:01+00:00") == []

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("outcome=lost", "outcome"),
            ("outcome=,", "outcome"),
            ("source_id=7", "source_id"),
            ("received_after=2026-03-02T12:00:00", "received_after"),
            ("limit=201", "limit"),
            ("limit=0", "limit"),
            ("cursor=x", "cursor"),
            ("lead=x", "lead"),
        ],
    )
    def test_a_wrong_filter_is_named(self, api, query, field):
        answer = api.get(f"/receipts?{query}")

        assert (answer.status_code, list(answer.json["details"])) == (400, [field])

    def test_the_cursor_of_another_list_is_refused(self, api, lead):
        with_cursor = "WyItc3RhcnRzX2F0IiwgIjIwMjYtMDEtMDFUMDA6MDA6MDArMDA6MDAiLCAiMDE5OGMwZGUtMDAwMC03MDAwLTgwMDAtMDAwMDAwMDAwMDAwIl0="  # noqa: E501

        assert api.get(f"/meetings?cursor={with_cursor}").status_code == 200
        assert api.get(f"/receipts?cursor={with_cursor}").status_code == 400

    def test_an_unknown_receipt_is_not_found(self, api):
        answer = api.get("/receipts/0198c0de-0000-7000-8000-000000000000")

        assert (answer.status_code, answer.json["code"]) == (404, "receipt_not_found")

    def test_the_number_of_queries_does_not_grow_with_the_receipts(self, api, hook, count_queries):
        hook.receive(calendly())
        api.get("/receipts")  # the first use of a key on a day is stored
        with count_queries() as few:
            api.get("/receipts")
        for number in range(20):
            hook.receive(calendly(invitee=f"{number}"))
        with count_queries() as many:
            api.get("/receipts")

        assert len(few) == len(many) == 2


class TestRetry:
    def test_a_refused_receipt_succeeds_after_its_cause_is_gone(self, api):
        mapping = {
            "external_event_id": "/id",
            "lead_email": "/mail",
            "title": "Call",
            "starts_at": "/begins",
            "duration_minutes": "30",
        }
        hook = Hook(api, "generic", mapping=mapping)
        sent = {"id": 7, "mail": "a@b.example", "start": "2026-03-03T10:00:00"}
        refused = hook.receive(sent)
        assert (refused["outcome"], list(refused["details"])) == ("refused", ["starts_at"])

        mapping["starts_at"] = "/start"
        api.patch(f"/sources/{hook.source_id}", json={"mapping": mapping})
        retried = api.post(f"/receipts/{refused['id']}/retry").json["receipt"]

        assert (retried["outcome"], retried["attempts"]) == ("logged", 2)
        stored = api.get(f"/receipts/{refused['id']}").json["receipt"]
        assert stored == retried | {"payload": sent}

    def test_a_receipt_of_a_deleted_source_is_still_processed(self, api):
        hook = Hook(api, create_leads=False)
        receipt = hook.receive(calendly())
        api.open("DELETE", f"/sources/{hook.source_id}")
        assert hook.post(calendly()).status_code == 404

        api.new_lead(email="peter.parker@example.com")

        assert found(api, outcome="logged") == [receipt["id"]]

    def test_many_are_retried_oldest_first_and_the_rest_is_counted(self, api, monkeypatch):
        hook = Hook(api, create_leads=False)
        for number in range(5):
            hook.receive(calendly(invitee=f"{number}"))
        monkeypatch.setattr("services.intake.RETRIED", 3)

        body = {"lead_email": "PETER.PARKER@example.com", "outcome": "unmatched,refused"}
        answer = api.post("/receipts/retry", json=body)

        outcomes = {"unmatched": 3}
        expected = {"success": True, "retried": 3, "outcomes": outcomes, "left": 2}
        assert answer.json == expected
        attempts = [r["attempts"] for r in api.get("/receipts").json["receipts"]]
        assert attempts == [1, 1, 2, 2, 2]

    def test_those_that_succeeded_are_unchanged(self, api, hook):
        hook.receive(calendly())

        answer = api.post("/receipts/retry", json={"source_id": hook.source_id})

        assert answer.json["outcomes"] == {"unchanged": 1}
        assert found(api, outcome="logged")

    @pytest.mark.parametrize("body", [{}, {"outcome": None}, {"outcome": "", "source_id": ""}])
    def test_a_filter_is_required(self, api, body):
        answer = api.post("/receipts/retry", json=body)

        assert answer.json["details"] == {
            "outcome": ["Required unless source_id or lead_email is given."]
        }


class TestPruning:
    @pytest.fixture
    def kept(self, api, database_url):
        """`kept(after_days)`: the outcomes left when a receipt arrives so much later."""

        def outcomes(days, **settings):
            with using(database_url, **settings) as app:
                caller = api.on(app)
                with freeze_time(START) as clock:
                    hook = Hook(api, create_leads=False, name="strict")
                    for payload in (calendly(), calendly(email="other@example.com"), {}):
                        hook.receive(payload, caller)
                    hook.receive({"event": "routing_form_submission.created"}, caller)
                    clock.tick(days * 86_400 + 1)
                    hook.receive({"event": "late"}, caller)
                listed = api.get("/receipts").json["receipts"]
                return sorted(receipt["outcome"] for receipt in listed)

        return outcomes

    def test_receipts_are_deleted_after_their_time_as_others_arrive(self, kept):
        assert kept(30) == ["ignored", "refused", "unmatched", "unmatched"]

    def test_unmatched_and_refused_ones_are_kept_twice_as_long(self, kept):
        assert kept(60) == ["ignored"]

    def test_they_are_kept_until_then(self, kept):
        assert len(kept(29)) == 5

    def test_the_setting_decides(self, kept):
        assert len(kept(6, receipt_days=7)) == 5

    def test_the_setting_may_keep_them_for_ever(self, kept):
        assert len(kept(30_000, receipt_days=0)) == 5

    def test_the_command_deletes_them_for_every_client(self, empty_databases):
        with using(empty_databases()) as app:
            migrations.upgrade()
            one, other = new_api(app), new_api(app)
            with freeze_time(START):
                Hook(one).receive(calendly())
                Hook(other).receive(calendly())

            done = app.test_cli_runner().invoke(args=["prune", "--json"])

            assert json.loads(done.output)["receipts"] == 2
            assert found(one) == found(other) == []

    def test_it_deletes_more_than_one_statement_does(self, api, hook, monkeypatch):
        monkeypatch.setattr(pruning, "PRUNE_ROWS", 2)
        with freeze_time(START):
            for number in range(5):
                hook.receive(calendly(invitee=f"{number}"))

        assert receipts.prune(30) >= 5
        assert found(api) == []


class TestTrial:
    def test_it_says_what_a_payload_would_do_and_stores_nothing(self, app, api, hook, tmp_path):
        file = tmp_path / "payload.json"
        file.write_text(json.dumps(calendly()))

        run = app.test_cli_runner().invoke
        as_json = run(args=["sources", "try", hook.source_id, str(file), "--json"])
        for_people = run(args=["sources", "try", hook.source_id, str(file)])

        assert json.loads(as_json.output)["outcome"] == "logged"
        assert for_people.output == "logged: Logged a new meeting.\n"
        assert found(api) == []
        assert api.get("/meetings").json["meetings"] == api.get("/leads").json["leads"] == []

    def test_it_shows_what_was_repaired(self, app, hook, tmp_path):
        file = tmp_path / "payload.json"
        file.write_text(json.dumps(calendly(timezone="Mars")))

        done = app.test_cli_runner().invoke(args=["sources", "try", hook.source_id, str(file)])

        assert done.output.splitlines()[1].startswith("  timezone: ")

    @pytest.mark.parametrize("text", ["{", "", "\xff", "NaN"])
    def test_a_file_that_is_not_json_is_refused_in_one_line(self, app, hook, tmp_path, text):
        file = tmp_path / "payload.json"
        file.write_text(text, encoding="latin-1")

        done = app.test_cli_runner().invoke(args=["sources", "try", hook.source_id, str(file)])

        assert done.exit_code == 2
        assert "Traceback" not in done.output


def test_a_receipt_can_be_found_by_the_lead_even_after_its_email_changed(api, hook):
    receipt = hook.receive(calendly())
    api.patch(f"/leads/{receipt['lead_id']}", json={"email": "new@example.com"})

    stored = Receipt.select().where(Receipt.lead == receipt["lead_id"])

    assert [row.id for row in stored] == [receipt["id"]]
