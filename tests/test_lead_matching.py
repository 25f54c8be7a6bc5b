"""POST /leads?match=…: a lead that has the email or the phone is updated, not created again."""

import threading
from functools import partial

import pytest
from conftest import CALLERS, call_at_once, save_lead
from server import Server

from services import lead_matching, lead_queries, leads, waiting
from services.results import Loaded

CALLS = 12


def save(api, match="email", **lead):
    return api.post(f"/leads?match={match}", json={"first_name": "Anthony"} | lead)


def count(api):
    return len(api.get("/leads?limit=200").json["leads"])


class TestOneLead:
    def test_a_known_email_in_any_case_updates_its_lead(self, api, lead):
        answer = save(api, email="TONY.stark@gmail.com", company="Stark Industries")

        assert answer.status_code == 200
        assert list(answer.json) == ["success", "lead", "existed"]
        assert answer.json["existed"] is True
        assert answer.headers["Location"] == f"/api/public/leads/{lead['id']}"
        changed = {"first_name": "Anthony", "company": "Stark Industries"}
        changed |= {"email": "TONY.stark@gmail.com"}
        shown = answer.json["lead"]
        assert shown == lead | changed | {"updated_at": shown["updated_at"]}
        assert api.get(f"/leads/{lead['id']}").json["lead"] == shown
        assert [e["activity_type"] for e in api.history(lead)] == ["lead_created", "lead_updated"]

    @pytest.mark.parametrize("phone", ["+1 212 970 4133", "12129704133", "1-212-970.4133"])
    def test_a_known_phone_in_any_notation_updates_its_lead(self, api, lead, phone):
        answer = save(api, "phone", phone=phone, email="other@example.com")

        assert (answer.status_code, answer.json["lead"]["id"]) == (200, lead["id"])
        assert answer.json["lead"]["email"] == "other@example.com"

    def test_without_a_match_a_lead_is_created(self, api, lead):
        answer = save(api, "email,phone", email="other@example.com", phone="5")

        assert answer.status_code == 201
        assert list(answer.json) == ["success", "lead"]
        assert [e["activity_type"] for e in api.history(answer.json["lead"])] == ["lead_created"]
        assert count(api) == 2

    @pytest.mark.parametrize("match", ["email", "phone", "email,phone"])
    @pytest.mark.parametrize("given", [{}, {"email": None, "phone": None}, {"phone": "none"}])
    def test_a_row_without_the_value_is_created(self, api, match, given):
        api.new_lead(**given)

        assert save(api, match, **given).status_code == 201

    def test_only_the_fields_named_by_match_are_compared(self, api, lead):
        assert save(api, "phone", email=lead["email"]).status_code == 201
        assert save(api, "email", phone=lead["phone"]).status_code == 201

    @pytest.mark.parametrize("match", ["email,phone", "phone,email"])
    def test_the_email_is_tried_before_the_phone(self, api, lead, match):
        other = api.new_lead(email="other@example.com")

        by_email = save(api, match, email="other@example.com", phone=lead["phone"])
        by_phone = save(api, match, email="unknown@example.com", phone=lead["phone"])

        assert by_email.json["lead"]["id"] == other["id"]
        assert by_phone.json["lead"]["id"] == other["id"]  # which got the phone, and is the latest

    def test_of_several_leads_the_one_updated_last_is_used(self, api):
        first, second = api.new_lead(email="a@b.co"), api.new_lead(email="a@b.co")
        assert save(api, email="a@b.co").json["lead"]["id"] == second["id"]

        api.patch(f"/leads/{first['id']}", json={"company": "X"})

        assert save(api, email="a@b.co", company="Y").json["lead"]["id"] == first["id"]

    def test_a_known_external_id_takes_precedence(self, api, lead):
        known = api.new_lead(external_id="crm-1")

        answer = save(api, email=lead["email"], external_id="crm-1")

        assert (answer.status_code, answer.json["lead"]["id"]) == (200, known["id"])
        assert answer.json["lead"]["email"] == lead["email"]

    def test_the_lead_that_is_matched_gets_an_unknown_external_id(self, api, lead):
        answer = save(api, email=lead["email"], external_id="crm-1")

        assert (answer.json["lead"]["id"], answer.json["lead"]["external_id"]) == (
            lead["id"], "crm-1",
        )  # fmt: skip

    def test_the_update_works_as_patch_does(self, api):
        lead = api.new_lead(email="a@b.co", company="X", metadata={"a": 1, "b": 2}, source="ads")

        updated = save(api, email="a@b.co", company=None, b=None, c=3).json["lead"]

        assert (updated["company"], updated["metadata"]) == (None, {"a": 1, "c": 3})
        assert (updated["source"], updated["created_at"]) == ("ads", lead["created_at"])

    def test_the_same_lead_sent_again_changes_nothing(self, api):
        first = save(api, email="a@b.co").json["lead"]

        again = save(api, email="a@b.co")

        assert again.json == {"success": True, "lead": first, "existed": True}
        assert len(api.history(first)) == 1

    def test_a_first_name_is_required(self, api, lead):
        answer = api.post("/leads?match=email", json={"email": lead["email"]})

        assert answer.json["details"] == {"first_name": ["Required."]}

    def test_another_clients_lead_is_never_matched(self, api, lead, stranger):
        answer = save(stranger, "email,phone", email=lead["email"], phone=lead["phone"])

        assert answer.status_code == 201
        assert api.get(f"/leads/{lead['id']}").json["lead"] == lead

    @pytest.mark.parametrize("match", ["mail", "email,name", "external_id", ",", "Email"])
    def test_another_word_is_refused_with_the_other_faults(self, api, match):
        answer = api.post(f"/leads?match={match}&x=1", json={"email": "nope"})
        array = api.post(f"/leads?match={match}", json=[{"first_name": "A"}])

        assert set(answer.json["details"]) == {"match", "x", "first_name", "email"}
        assert (array.status_code, set(array.json["details"])) == (400, {"match"})
        assert count(api) == 0

    def test_an_empty_match_counts_as_absent(self, api, lead):
        assert save(api, "", email=lead["email"]).status_code == 201


class TestArrays:
    def test_rows_behave_as_if_sent_one_after_another(self, api, stranger):
        rows = [
            {"first_name": "A", "email": "a@b.co", "phone": "1"},
            {"first_name": "B", "email": "A@b.co", "company": "X"},  # updates the row before
            {"last_name": "Nobody"},
            {"first_name": "C", "phone": "(1)", "email": "c@b.co"},  # gives it another email
            {"first_name": "D", "email": "a@b.co"},  # the email is free again
            {"first_name": "E", "external_id": "x", "email": "e@b.co"},
            {"first_name": "F", "external_id": "x", "email": "a@b.co"},
            {"first_name": "G", "email": "a@b.co"},  # two have it; the last updated is F
            {"first_name": "H", "email": "a@b.co", "external_id": "y"},  # so x is free again
            {"first_name": "I", "email": "c@b.co", "external_id": "x"},
            {"first_name": "J"},
            {"first_name": "K", "email": "k@b.co", "metadata": {"a": []}},
        ]

        in_array = api.post("/leads?match=email,phone", json=rows).json["results"]
        alone = [stranger.post("/leads?match=email,phone", json=row) for row in rows]

        def comparable(results):
            ids: list[str] = []
            for status, body in results:
                lead = body.get("lead", {})
                ids.append(lead.get("id"))
                shown = {k: v for k, v in lead.items() if k not in ("id", "created_at")}
                shown.pop("updated_at", None)
                yield status, ids.index(lead.get("id")), body.get("existed"), shown

        assert [*comparable((r["status"], r) for r in in_array)] == [
            *comparable((answer.status_code, answer.json) for answer in alone)
        ]
        for mine, theirs in zip(in_array, alone, strict=True):
            if "lead" in mine:
                stored = api.get(f"/leads/{mine['lead']['id']}").json["lead"]
                other = stranger.get(f"/leads/{theirs.json['lead']['id']}").json["lead"]
                assert [stored[k] for k in ("first_name", "email", "external_id")] == [
                    other[k] for k in ("first_name", "email", "external_id")
                ]
                assert [e["changes"] for e in api.history(mine["lead"])] == [
                    e["changes"] for e in stranger.history(theirs.json["lead"])
                ]

    def test_two_leads_can_exchange_their_external_ids(self, api):
        first = api.new_lead(email="1@b.co", external_id="x")
        second = api.new_lead(email="2@b.co", external_id="y")
        rows = [("1@b.co", "z"), ("2@b.co", "x"), ("1@b.co", "y")]

        answer = api.post(
            "/leads?match=email",
            json=[{"first_name": "A", "email": email, "external_id": x} for email, x in rows],
        )

        assert [result["status"] for result in answer.json["results"]] == [200] * 3
        for lead, external_id in ((first, "y"), (second, "x")):
            assert api.get(f"/leads/{lead['id']}").json["lead"]["external_id"] == external_id

    def test_the_next_lead_with_an_email_is_found_after_the_latest_has_lost_it(self, api):
        older, newer = (api.new_lead(email="a@b.co", phone=phone) for phone in "12")
        rows = [{"phone": "2", "email": "new@b.co"}, {"email": "a@b.co"}]

        answer = api.post("/leads?match=email,phone", json=[{"first_name": "A"} | r for r in rows])

        ids = [result["lead"]["id"] for result in answer.json["results"]]
        assert ids == [newer["id"], older["id"]]

    def test_a_thousand_leads_are_created_and_then_updated(self, api):
        people = [
            {"first_name": f"L{n}", "email": f"{n}@b.co", "phone": f"{n}"} for n in range(999)
        ]

        first = api.post("/leads?match=email,phone", json=people).json
        again = api.post("/leads?match=phone", json=people).json

        assert (first["created"], again["updated"]) == (999, 999)

    def test_the_number_of_queries_does_not_grow_with_the_rows(self, api, count_queries):
        people = [{"first_name": f"L{n}", "email": f"{n}@b.co"} for n in range(100)]
        api.get("/leads")  # the first use of a key on a day is stored

        with count_queries() as queries:
            api.post("/leads?match=email", json=people)

        # key, names (PostgreSQL), latest change, leads, insert, activities, receipts that wait
        assert len(queries) <= 7, queries


class TestConcurrency:
    def test_sixty_four_requests_with_one_email_create_one_lead(self, app, api, database_url):
        server = Server(database_url).start()
        lead = {"first_name": "Tony", "email": "tony@example.com"}

        answers = server.call_many([("POST", "/api/public/leads?match=email", lead, api.key)] * 64)
        server.stop()

        assert sorted(answer.status for answer in answers) == [200] * 63 + [201]
        assert count(api) == 1
        [stored] = api.get("/leads").json["leads"]
        assert len(api.history(stored)) == 1

    def test_several_processes_create_one_lead_for_an_email_and_one_for_a_phone(
        self,
        callers,
    ):
        together = threading.Barrier(CALLERS, timeout=20)
        created = []

        def send(api):
            for round in range(CALLS):
                together.wait()
                given = {"email": f"{round}@b.co", "phone": f"1{round}"}
                created.append(save(api, "email,phone", **given).status_code)
                created.append(save(api, "phone", phone=f"2 {round}").status_code)

        call_at_once(*[partial(send, api) for api in callers])

        assert sorted(set(created)) == [200, 201]
        assert created.count(201) == count(callers[0]) == 2 * CALLS

    def test_concurrent_calls_for_the_same_leads_neither_fail_nor_deadlock(
        self,
        callers,
        deadlocks,
    ):
        before = deadlocks()
        together = threading.Barrier(CALLERS, timeout=20)
        lead_ids = []
        for n in range(20):
            lead = {"email": f"{n}@b.co", "phone": f"{n}", "external_id": f"lead-{n}"}
            lead_ids.append(callers[0].new_lead(**lead)["id"])

        def send(number, api):
            for round in range(CALLS):
                numbers = [*range(20)][:: 1 if (number + round) % 2 else -1]
                names = [{"external_id": f"lead-{n}"} for n in numbers]
                names.append({"external_id": f"new-{round}"})
                if number % 3:
                    names += [{"email": f"{n}@b.co"} for n in numbers]
                    names += [{"phone": f"{n}"} for n in reversed(numbers)]
                path = "/leads?match=email,phone" if number % 3 else "/leads"
                together.wait()
                answer = api.post(path, json=[{"first_name": f"{number}"} | n for n in names])
                assert answer.json["failed"] == 0, answer.json
                changed = {"email": f"{round}@b.co", "phone": f"{number}"}
                path = f"/leads/{lead_ids[(number + round) % 20]}"
                assert api.patch(path, json=changed).status_code == 200

        call_at_once(*[partial(send, *of) for of in enumerate(callers)])

        assert deadlocks() == before

    def test_a_lead_that_loses_its_email_meanwhile_is_replaced_by_the_next_one(
        self, app, api, kind, monkeypatch
    ):
        older, newer = api.new_lead(email="a@b.co"), api.new_lead(email="a@b.co")
        find = lead_queries.leads_by_keys_locked
        calls = []

        def find_after_a_change(**given):
            found = find(**given)
            calls.append(found)
            if len(calls) == 1:  # what PostgreSQL returns after it waited for the changed row
                found[0].email_key = "other@b.co"
            return found

        monkeypatch.setattr(lead_matching, "leads_by_keys_locked", find_after_a_change)

        answer = save(api, email="a@b.co")

        assert len(calls) == 2
        assert answer.json["lead"]["id"] == newer["id"] != older["id"]


class TestReceipts:
    """Unmatched receipts are processed again when a lead gets the email that they wait for."""

    @pytest.fixture
    def released(self, monkeypatch):
        released = []
        monkeypatch.setattr(
            waiting, "release", lambda client_id, *, email_keys: released.append([*email_keys])
        )
        return released

    def test_a_new_lead_releases_those_that_wait_for_its_email(self, api, released):
        save_lead(api.client_id, first_name="A", email="A@b.co")
        leads.save(api.client_id, [Loaded({"first_name": "B", "email": "B@b.co"}, {})],
                   frozenset({"email"}))  # fmt: skip

        assert released == [["a@b.co"], ["b@b.co"]]

    def test_an_update_releases_them_only_if_the_email_is_new(self, api, lead, released):
        path = f"/leads/{lead['id']}"

        for email in ("TONY.STARK@gmail.com", "new@b.co", "new@b.co", None):
            api.patch(path, json={"email": email, "company": f"{email}"})
        api.post("/leads", json={"first_name": "A", "external_id": "x"})
        api.post("/leads", json={"first_name": "A", "external_id": "x", "email": "x@b.co"})
        save(api, "phone", phone=lead["phone"], email="y@b.co")

        assert released == [["new@b.co"], ["x@b.co"], ["y@b.co"]]

    def test_a_refused_change_releases_none(self, api, lead, released):
        api.new_lead(external_id="x")

        answer = api.patch(f"/leads/{lead['id']}", json={"external_id": "x", "email": "n@b.co"})

        assert answer.status_code == 409
        assert released == []
