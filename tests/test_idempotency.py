"""`Idempotency-Key`: a POST sent again gets the response of the first, and takes effect once."""

import json
import re
import threading
from contextlib import contextmanager

import psycopg
import pytest
from conftest import Api, booking, call_at_once, using
from freezegun import freeze_time
from openapi_checks import DOCUMENT
from peewee import OperationalError

import database
from database import db
from database.queries import rows_of
from models import IdempotencyKey, Lead
from services import clients, idempotency, leads

REPLAYED = "Idempotent-Replayed"
TONY = {"first_name": "Tony", "email": "tony@example.com"}


def post(api, path="/leads", key="k", **options):
    """Send a POST under a key; by default it creates a lead, as often as it takes effect."""
    return api.post(path, headers={"Idempotency-Key": key}, **({"json": TONY} | options))


def leads_of(api):
    return api.get("/leads").json["leads"]


def stored(api):
    rows = rows_of(IdempotencyKey.select().where(IdempotencyKey.client == api.client_id))
    database.release()
    return rows


class TestReplay:
    def test_the_same_request_gets_the_same_status_and_bytes_and_takes_effect_once(self, api):
        first, again = post(api), post(api)

        assert (first.status_code, again.status_code) == (201, 201)
        assert again.data == first.data
        assert again.headers["Location"] == first.headers["Location"]
        assert len(leads_of(api)) == 1

    def test_only_the_later_response_says_that_it_is_replayed(self, api):
        first, again = post(api), post(api)

        assert REPLAYED not in first.headers
        assert again.headers[REPLAYED] == "true"
        assert again.headers["X-Request-Id"] != first.headers["X-Request-Id"]

    def test_it_stays_as_it_was_whatever_happened_since(self, api, lead):
        first = post(api, "/meetings", json=booking())
        meeting_id = first.json["meeting"]["id"]
        api.post(f"/meetings/{meeting_id}/cancel")
        api.patch(f"/meetings/{meeting_id}", json={"title": "Moved"})

        assert post(api, "/meetings", json=booking()).data == first.data

    def test_a_no_op_is_replayed_too(self, api, lead):
        meeting = api.post("/meetings", json=booking()).json["meeting"]
        confirm = f"/meetings/{meeting['id']}/confirm"
        first = post(api, confirm, json={})
        api.post(f"/meetings/{meeting['id']}/reopen")

        assert post(api, confirm, json={}).data == first.data
        assert post(api, confirm, key="other", json={}).headers.get(REPLAYED) is None

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            ("/leads?match=email", TONY),
            ("/leads", {"email": "tony@example.com", "first_name": "Tony"}),
            ("/meetings", TONY),
            ("/leads", TONY | {"company": "Stark"}),
        ],
    )
    def test_another_request_under_the_key_is_refused(self, api, path, body):
        post(api)

        answer = post(api, path, json=body)

        assert (answer.status_code, answer.json["code"]) == (409, "idempotency_key_reused")
        assert answer.json["error"] == "Idempotency key reused"
        assert "Retry-After" not in answer.headers
        assert len(leads_of(api)) == 1

    def test_a_body_that_differs_in_a_single_byte_is_another_request(self, api):
        post(api, data=b'{"first_name": "Tony"}', json=None)

        assert post(api, data=b'{"first_name":"Tony"}', json=None).status_code == 409

    def test_the_key_of_another_client_is_another_key(self, api, stranger):
        first = post(api)
        other = post(stranger)

        assert REPLAYED not in other.headers
        assert other.json["lead"]["id"] != first.json["lead"]["id"]
        assert post(stranger, json={"first_name": "Pepper"}).status_code == 409
        assert post(api).data == first.data

    def test_another_api_key_of_the_client_replays_it_too(self, api):
        first = post(api)
        _, second = clients.create_key(api.client_id)
        database.release()

        assert post(Api(api.http, api.client_id, second)).data == first.data

    def test_an_error_is_not_stored(self, api):
        refused = post(api, "/meetings", json=booking(lead_email=TONY["email"]))
        api.new_lead(**TONY)

        assert refused.json["code"] == "lead_not_found"
        assert stored(api) == []
        assert post(api, "/meetings", json=booking(lead_email=TONY["email"])).status_code == 201

    def test_after_an_error_the_key_serves_any_request(self, api):
        assert post(api, json={}).status_code == 400

        assert post(api).status_code == 201

    def test_a_request_without_the_header_is_no_replay(self, api):
        post(api)

        assert REPLAYED not in api.post("/leads", json=TONY).headers
        assert len(leads_of(api)) == 2

    @pytest.mark.parametrize("method", ["PATCH", "PUT", "GET"])
    def test_other_methods_ignore_the_header(self, api, lead, method):
        headers = {"Idempotency-Key": "k" * 999}

        answer = api.open(method, f"/leads/{lead['id']}", headers=headers, json={"company": "x"})

        assert answer.status_code == 200
        assert stored(api) == []

    def test_the_webhooks_of_booking_systems_ignore_the_header(self, app):
        answer = app.test_client().post("/hooks/ghl_x", headers={"Idempotency-Key": "k"})

        assert answer.json["code"] == "not_found"


class TestForm:
    @pytest.mark.parametrize("key", ["k", "k" * 255, "a b", '"', "#~!", '"' + "k" * 255 + '"'])
    def test_one_to_255_printable_ascii_characters_are_a_key(self, api, key):
        assert post(api, key=key).status_code == 201
        assert post(api, key=key).headers[REPLAYED] == "true"

    @pytest.mark.parametrize("key", ["", '""', "k" * 256, "é", "a\tb", '"' + "k" * 256 + '"'])
    def test_anything_else_is_refused(self, api, key):
        answer = post(api, key=key)

        assert (answer.status_code, answer.json["code"]) == (400, "validation_error")
        assert set(answer.json["details"]) == {"Idempotency-Key"}
        assert leads_of(api) == []

    def test_quotes_do_not_belong_to_the_key(self, api):
        assert post(api, key='"k"').status_code == 201

        assert post(api, key="k").headers[REPLAYED] == "true"

    def test_one_error_names_the_header_with_every_other_fault(self, api):
        answer = api.post(
            "/meetings?statsu=x",
            headers={"Idempotency-Key": "é"},
            json={"titel": "x", "host_email": "nobody@example.com"},
        )

        assert set(answer.json["details"]) >= {
            *("Idempotency-Key", "statsu", "titel", "title", "starts_at", "host_email"),
        }

    def test_an_array_is_refused_and_stores_nothing(self, api):
        answer = post(api, json=[TONY])

        assert (answer.status_code, answer.json["code"]) == (400, "validation_error")
        assert set(answer.json["details"]) == {"Idempotency-Key"}
        assert leads_of(api) == stored(api) == []

    def test_errors_come_in_the_usual_order(self, api):
        bad = {"Idempotency-Key": "é"}
        too_long = b" " * (1024 * 1024 + 1)

        def code(**options):
            return api.http.post("/api/public/leads", **options).json["code"]

        key = {"X-API-Key": api.key}
        assert code(headers=bad, data=too_long) == "missing_api_key"
        assert code(headers=bad | key, data=too_long) == "payload_too_large"
        assert code(headers={"Idempotency-Key": "k"} | key, data=too_long) == "payload_too_large"
        assert code(headers=bad | key, data=b"{") == "invalid_json"
        assert code(headers={"Idempotency-Key": "k"} | key, data=b"{") == "invalid_json"


POSTS = sorted(path for path, item in DOCUMENT["paths"].items() if "post" in item)
UNKNOWN_ID = "0198c0de-0000-7000-8000-000000000000"


class TestWhichCalls:
    @pytest.mark.parametrize("path", [path for path in POSTS if path.startswith("/api/public")])
    def test_every_post_takes_a_key_or_refuses_it_as_the_document_says(self, api, path):
        """A key is refused together with an unknown parameter, and taken with nothing stored."""
        operation = DOCUMENT["paths"][path]["post"]
        takes_key = {"$ref": "#/components/parameters/Idempotency-Key"} in operation.get(
            "parameters", []
        )
        path = path.removeprefix("/api/public")
        path = re.sub(r"\{\w+\}", UNKNOWN_ID, path)

        answer = post(api, f"{path}?statsu=x", json={})

        assert answer.status_code == 400
        assert ("Idempotency-Key" in answer.json["details"]) is not takes_key

    def test_calls_whose_responses_hold_a_secret_refuse_it(self, api):
        source = {"name": "Calendly", "provider": "calendly"}
        source_id = api.post("/sources", json=source).json["source"]["id"]

        for path, body in (("/sources", source), (f"/sources/{source_id}/rotate", {})):
            answer = post(api, path, json=body)
            assert (answer.status_code, answer.json["code"]) == (400, "validation_error")
            assert "secret" in answer.json["details"]["Idempotency-Key"][0]
        assert stored(api) == []


class TestAtOnce:
    def test_of_many_at_once_one_takes_effect_and_all_get_its_response(self, api, callers):
        answers = []

        call_at_once(*(lambda c=c: answers.append(post(c)) for c in callers * 4))

        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.data for answer in answers}) == 1
        assert sum(REPLAYED in answer.headers for answer in answers) == len(answers) - 1
        assert len(leads_of(api)) == 1

    def test_others_that_run_meanwhile_do_not_join_its_transaction(self, api, lead, callers):
        """A failure of the group commit of others must not undo it, nor the reverse."""
        answers = []

        def book(caller, number):
            body = booking(external_event_id=f"{number}")
            send = post if number % 2 else (lambda c, p, key, json: c.post(p, json=json))
            answers.append(send(caller, "/meetings", key=f"{number}", json=body))

        call_at_once(*(lambda n=n: book(callers[n % 2], n) for n in range(24)))

        assert {answer.status_code for answer in answers} == {201}
        assert len(api.meetings(lead)) == 24
        assert len(stored(api)) == 12

    def test_while_the_first_is_in_progress_the_second_waits_and_then_gets_409(
        self, api, database_url, monkeypatch
    ):
        began, may_end = threading.Event(), threading.Event()
        save = leads.save

        def slowly(*arguments):
            began.set()
            assert may_end.wait(10)
            return save(*arguments)

        monkeypatch.setattr("services.leads.save", slowly)
        answers = []
        with using(database_url, db_timeout_seconds=0.3) as app:
            caller = api.on(app)
            first = threading.Thread(target=lambda: answers.append(post(caller)))
            first.start()
            assert began.wait(10)
            second = post(caller)
            may_end.set()
            first.join()
            third = post(caller)

        assert (second.status_code, second.json["code"]) == (409, "idempotency_key_in_progress")
        assert second.json["error"] == "Idempotency key in progress"
        assert second.headers["Retry-After"] == "1"
        # PostgreSQL ends the first, which idles in its transaction: the third creates the lead.
        assert third.status_code == 201
        assert answers[0].status_code == 503 or answers[0].data == third.data
        assert len(leads_of(api)) == 1

    def test_a_first_request_in_another_process_is_waited_for_as_well(
        self, kind, api, database_url
    ):
        if kind == "sqlite":
            pytest.skip("another process that writes keeps all writers out: 503")
        with using(database_url, db_timeout_seconds=0.3) as app, _claimed(api, "k"):
            answer = post(api.on(app))
            other = post(api.on(app), key="other")

        assert (answer.status_code, answer.json["code"]) == (409, "idempotency_key_in_progress")
        assert other.status_code == 201
        assert post(api).status_code == 201  # that process was killed


@contextmanager
def _claimed(api, key):
    """Claim a key in a transaction of another session, which ends without a commit."""
    with psycopg.connect(db.obj.database) as other:
        other.execute(
            "INSERT INTO idempotency_keys (client_id, key, request_hash, created_at)"
            " VALUES (%s, %s, '', now())",
            (api.client_id, key),
        )
        yield
        other.rollback()


class Deadlock(Exception):
    sqlstate = "40P01"


class TestTransaction:
    def test_a_transaction_that_has_to_run_again_takes_effect_once(self, api, monkeypatch):
        save, made = leads.save, []

        def fail_at_first(*arguments):
            results = save(*arguments)
            made.append(results[0].row.id)
            if len(made) == 1:
                raise OperationalError() from Deadlock()
            return results

        monkeypatch.setattr("services.leads.save", fail_at_first)

        first = post(api)

        assert first.status_code == 201
        assert [lead["id"] for lead in leads_of(api)] == [made[1]] == [first.json["lead"]["id"]]
        assert post(api).data == first.data
        assert len(made) == 2

    def test_the_response_and_its_effect_are_stored_together_or_not_at_all(self, api, monkeypatch):
        def fail(**values):
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr(idempotency.complete, "run", fail)
            assert post(api).status_code == 500

        assert leads_of(api) == stored(api) == []
        assert post(api).status_code == 201

    def test_a_request_under_a_key_takes_few_more_queries(self, kind, api, lead, count_queries):
        post(api, key="first")  # looks for old keys
        with count_queries() as plain:
            api.post("/meetings", json=booking(external_event_id="a"))
        with count_queries() as keyed:
            post(api, "/meetings", json=booking(external_event_id="b"))
        with count_queries() as replayed:
            post(api, "/meetings", json=booking(external_event_id="b"))

        # Look for the key, keep erasures out (PostgreSQL), claim the key, store the response.
        assert len(keyed) - len(plain) == (3 if kind == "sqlite" else 4)
        assert len(replayed) == 2  # the API key, the response


class TestPruning:
    def test_a_key_is_kept_for_a_day_and_then_deleted_as_others_arrive(self, api):
        with freeze_time("2026-01-01T12:00:00Z") as clock:
            first = post(api)
            clock.move_to("2026-01-02T12:00:00Z")
            assert post(api).data == first.data
            post(api, key="another")
            assert len(stored(api)) == 2

            clock.move_to("2026-01-02T12:02:00Z")
            post(api, key="one more")

        assert sorted(row.key for row in stored(api)) == ["another", "one more"]
        assert rows_of(Lead.select().where(Lead.client == api.client_id))
        database.release()

    def test_the_command_deletes_them_for_every_client(self, app, api, stranger):
        with freeze_time("2026-01-01T12:00:00Z"):
            post(api)
            post(stranger)
        post(api, key="recent")

        done = app.test_cli_runner().invoke(args=["prune", "--json"])

        assert json.loads(done.output)["idempotency_keys"] >= 2
        assert [row.key for row in stored(api)] == ["recent"]
        assert stored(stranger) == []
