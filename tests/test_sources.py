"""Sources: the addresses that booking systems post to, and their secrets."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from conftest import using
from freezegun import freeze_time

import database
from config.logging import JsonFormatter, TextFormatter
from database.queries import Insert
from ids import new_id
from intake_models import Receipt
from services import sources
from services.errors import NotFound, SourceNotFound
from services.providers import generic
from times import utc_now
from web.addresses import hook_url

KEYS = ["id", "name", "provider", "signed", "create_leads", "timezone", "mapping", "created_at",
        "last_received_at"]  # fmt: skip
UNKNOWN_ID = "0198c0de-0000-7000-8000-000000000000"
MAPPING = {
    "external_event_id": "/id",
    "lead_email": "/email",
    "title": "Call",
    "starts_at": "/start",
    "duration_minutes": "/length",
    "event": {"at": "/type", "log": ["booked"]},
}
SECRET = "correct horse"
CALLS = [
    ("GET", "", None),
    ("PATCH", "", {"name": "Mine"}),
    ("POST", "/rotate", None),
    ("DELETE", "", None),
]


def given(**changes):
    fields = {"name": "Calendly", "provider": "calendly"} | changes
    return {name: value for name, value in fields.items() if value is not ...}


def make(api, **changes):
    answer = api.post("/sources", json=given(**changes))
    assert answer.status_code == 201, answer.json
    return answer.json["source"], answer.json["url"].rpartition("/")[2]


def stored(source_id):
    """Return the row of a source, deleted or not."""
    cursor = database.db.execute_sql(f"SELECT * FROM sources WHERE id = '{source_id}'")
    row = dict(zip([column[0] for column in cursor.description], cursor.fetchone(), strict=True))
    database.release()
    return row


def find_by_token(token):
    try:
        return sources.find_by_token(token)
    finally:
        database.release()


def is_known(token):
    try:
        return bool(find_by_token(token))
    except NotFound:
        return False


def receive(source, *times):
    """Store receipts of a source, as its webhook does."""
    row = dict.fromkeys(Receipt._meta.fields) | {
        "source": source["id"],
        "client": source["client"],
        "provider": "calendly",
        "outcome": "ignored",
        "message": "",
        "payload": "{}",
        "attempts": 1,
    }
    Insert(Receipt)([Receipt.of({**row, "id": new_id(), "received_at": at}) for at in times])
    database.release()


class TestCreation:
    def test_a_source_is_created_with_an_address_that_is_shown_once(self, api):
        with freeze_time("2026-04-15T12:00:00.9Z"):
            answer = api.post("/sources", json={"name": "Calendly", "provider": "calendly"})

        assert answer.status_code == 201
        assert list(answer.json) == ["success", "source", "url"]
        source = answer.json["source"]
        assert list(source) == KEYS
        assert source == {
            "id": source["id"],
            "name": "Calendly",
            "provider": "calendly",
            "signed": False,
            "create_leads": True,
            "timezone": "UTC",
            "mapping": None,
            "created_at": "2026-04-15T12:00:00Z",
            "last_received_at": None,
        }
        assert answer.headers["Location"] == f"/api/public/sources/{source['id']}"
        assert api.get(f"/sources/{source['id']}").json == {"success": True, "source": source}
        assert api.get("/sources").json == {"success": True, "sources": [source]}

    @pytest.mark.parametrize("provider", ["calendly", "calcom", "ghl", "generic"])
    def test_a_token_is_the_providers_name_and_256_random_bits(self, api, provider):
        mapping = MAPPING if provider == "generic" else None

        _, token = make(api, provider=provider, mapping=mapping)

        assert re.fullmatch(provider + "_[A-Za-z0-9_-]{43}", token)
        assert token != make(api, name="Other", provider=provider, mapping=mapping)[1]

    def test_every_field_can_be_given(self, api):
        source, _ = make(
            api,
            provider="generic",
            signing_secret=SECRET,
            create_leads="false",
            timezone="America/Santiago",
            mapping=MAPPING,
        )

        assert (source["signed"], source["create_leads"]) == (True, False)
        assert (source["timezone"], source["mapping"]) == ("America/Santiago", MAPPING)
        assert list(source["mapping"]) == list(MAPPING)

    def test_null_and_empty_text_mean_the_default(self, api):
        nothing = {"signing_secret": None, "create_leads": None, "timezone": "", "mapping": None}

        source, _ = make(api, **nothing)

        assert not source["signed"]
        assert (source["create_leads"], source["timezone"]) == (True, "UTC")

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"name": ...}, "name"),
            ({"name": None}, "name"),
            ({"name": " "}, "name"),
            ({"name": 5}, "name"),
            ({"name": "x" * 256}, "name"),
            ({"name": "a\u0007b"}, "name"),
            ({"provider": ...}, "provider"),
            ({"provider": None}, "provider"),
            ({"provider": "zoom"}, "provider"),
            ({"provider": ["ghl"]}, "provider"),
            ({"signing_secret": "7 chars"}, "signing_secret"),
            ({"signing_secret": "  7 chars  "}, "signing_secret"),
            ({"signing_secret": "x" * 256}, "signing_secret"),
            ({"signing_secret": "a secret\u0000"}, "signing_secret"),
            ({"create_leads": 1}, "create_leads"),
            ({"timezone": "Mars/Olympus"}, "timezone"),
            ({"timezone": "america/santiago"}, "timezone"),
            ({"mapping": MAPPING}, "mapping"),
            ({"mapping": {}}, "mapping"),
            ({"provider": "calcom", "mapping": MAPPING}, "mapping"),
            ({"provider": "ghl", "mapping": MAPPING}, "mapping"),
            ({"provider": "generic"}, "mapping"),
            ({"provider": "generic", "mapping": None}, "mapping"),
            ({"provider": "generic", "mapping": ""}, "mapping"),
            ({"provider": "generic", "mapping": "/id"}, "mapping"),
            ({"provider": "generic", "mapping": [MAPPING]}, "mapping"),
            ({"secret": SECRET}, "secret"),
            ({"token": "calendly_x"}, "token"),
        ],
    )
    def test_an_invalid_field_is_named(self, api, changes, field):
        answer = api.post("/sources", json=given(**changes))

        assert (answer.status_code, answer.json["code"]) == (400, "validation_error")
        assert list(answer.json["details"]) == [field]
        assert api.get("/sources").json["sources"] == []

    @pytest.mark.parametrize(
        "value",
        [
            "\u0000",
            "\ud800",
            {"a\u0007": 1},
            {"\ud800": 1},
            ["\u0007"],
            10**30,
            [[float("1e300")] * 3],
            {"a": "x" * 65536},
        ],
        ids=repr,
    )
    def test_a_mapping_that_cannot_be_stored_is_refused(self, api, value):
        body = given(provider="generic", mapping=MAPPING | {"title": value})

        answer = api.post("/sources", data=json.dumps(body))

        assert (answer.status_code, list(answer.json["details"])) == (400, ["mapping"])

    def test_a_mapping_that_cannot_work_is_refused_with_the_reason(self, api, monkeypatch):
        monkeypatch.setattr(generic, "mapping_faults", lambda given: [f"title: not {len(given)}."])

        answer = api.post("/sources", json=given(provider="generic", mapping=MAPPING, timezone="X"))

        assert answer.status_code == 400
        assert answer.json["details"]["mapping"] == ["title: not 6."]
        assert list(answer.json["details"]) == ["timezone", "mapping"]

    def test_a_mapping_that_is_no_object_is_not_called_missing(self, api):
        answer = api.post("/sources", json=given(provider="generic", mapping="/id"))

        assert answer.json["details"]["mapping"] == ["Must be an object."]

    def test_one_error_names_every_wrong_field(self, api):
        body = {"provider": "generic", "signing_secret": "short", "timezone": "x", "zone": 1}

        answer = api.post("/sources?limit=1", json=body)

        assert set(answer.json["details"]) == {*body, "name", "mapping", "limit"} - {"provider"}

    def test_the_shortest_and_the_longest_values_are_accepted(self, api):
        source, _ = make(api, name="n", signing_secret="8 signs!")
        other, _ = make(api, name="é" * 255, signing_secret="é" * 255)

        assert source["signed"]
        assert other["name"] == "é" * 255

    def test_a_taken_name_is_refused(self, api, stranger):
        make(api)

        answer = api.post("/sources", json=given(provider="ghl"))

        assert (answer.status_code, answer.json["code"]) == (409, "name_taken")
        assert "Calendly" in answer.json["message"]
        assert len(api.get("/sources").json["sources"]) == 1
        make(stranger)
        make(api, name="calendly")

    def test_of_many_sources_with_one_name_at_once_one_is_created(self, app, api):
        def create(_):
            return api.on(app).post("/sources", json=given()).status_code

        with ThreadPoolExecutor(8) as pool:
            statuses = sorted(pool.map(create, range(8)))

        assert statuses == [201] + [409] * 7

    @pytest.mark.parametrize(
        ("changes", "event_provider"),
        [
            ({"name": "My Calendly"}, "calendly"),
            ({"name": "Cal", "provider": "calcom"}, "calcom"),
            ({"name": "GHL", "provider": "ghl"}, "ghl"),
            ({"name": "Acuity", "provider": "generic", "mapping": MAPPING}, "acuity"),
            ({"name": "A" * 63 + " B", "provider": "generic", "mapping": MAPPING}, "a" * 63),
            ({"name": "İ" * 64, "provider": "generic", "mapping": MAPPING}, "i\u0307" * 32),
        ],
    )
    def test_the_provider_of_external_events_is_set_at_creation(self, api, changes, event_provider):
        source, _ = make(api, **changes)
        api.patch(f"/sources/{source['id']}", json={"name": "Renamed"})

        assert stored(source["id"])["event_provider"] == event_provider


class TestAddress:
    def test_the_address_begins_as_the_request_did(self, api):
        headers = {"Host": "meetings.example.com:8443"}

        answer = api.post("/sources", json=given(), headers=headers)

        assert answer.json["url"].startswith("http://meetings.example.com:8443/hooks/calendly_")

    @pytest.mark.parametrize("host", ["", "a b", "[::::]", "x<y", "é", "a:b:c"])
    def test_a_host_that_is_none_causes_no_error(self, app, host):
        with app.test_request_context(environ_overrides={"HTTP_HOST": host}):
            url = hook_url("ghl_token")

        assert re.fullmatch(r"http://[^/]+/hooks/ghl_token", url)

    def test_public_url_takes_precedence(self, api, database_url):
        with using(database_url, public_url="https://meetings.example.com") as app:
            created = api.on(app).post("/sources", json=given()).json
            path = f"/sources/{created['source']['id']}/rotate"
            rotated = api.on(app).post(path).json

        for answer in (created, rotated):
            assert answer["url"].startswith("https://meetings.example.com/hooks/calendly_")

    def test_only_the_hash_of_a_token_is_stored(self, api):
        source, token = make(api, signing_secret=SECRET)

        row = stored(source["id"])

        assert token not in str(row)
        assert len(row["token_hash"]) == 64
        assert row["signing_secret"] == SECRET

    def test_a_token_finds_its_source(self, api, stranger):
        source, token = make(api)
        make(stranger)

        assert find_by_token(token).id == source["id"]
        for other in ("", token[:-1], token.upper(), "calendly_", "\ud800", "\u0000"):
            assert not is_known(other)

    def test_no_token_and_no_secret_is_shown_or_logged(self, app, api, caplog):
        caplog.set_level("INFO")  # of every logger
        caplog.set_level("INFO", logger="meetings")
        source, first = make(api, signing_secret=SECRET)
        path = f"/sources/{source['id']}"
        changed = api.patch(path, json={"signing_secret": SECRET + " 2"})
        second = api.post(f"{path}/rotate").json["url"].rpartition("/")[2]
        shown = [changed, api.get(path), api.get("/sources"), api.delete(path)]
        shown += [api.post("/sources", json=given(name=..., signing_secret=SECRET))]
        for token in (first, second):
            shown.append(app.test_client().post(f"/hooks/{token}", json={}))
            shown.append(app.test_client().get(f"/hooks/{token}/x"))

        lines = [formatter.format(record) for record in caplog.records
                 for formatter in (TextFormatter(), JsonFormatter())]  # fmt: skip
        assert "path=/hooks/*" in str(lines)
        for secret in (first, second, SECRET):
            assert secret not in str(lines)
            assert not any(secret in answer.text for answer in shown)


class TestLists:
    def test_sources_are_sorted_by_name(self, api, stranger):
        for name in ("b", "C", "a", "ä", "B"):
            make(api, name=name)
        make(stranger, name="0")

        names = [source["name"] for source in api.get("/sources").json["sources"]]

        assert names == ["B", "C", "a", "b", "ä"]

    @pytest.mark.parametrize("path", ["/sources", f"/sources/{UNKNOWN_ID}"])
    def test_unknown_parameters_are_refused(self, api, path):
        assert list(api.get(f"{path}?name=x").json["details"]) == ["name"]
        assert api.get(f"{path}?verbose=1").status_code in (200, 404)

    def test_a_source_shows_when_its_latest_receipt_arrived(self, api, stranger):
        now = utc_now().replace(microsecond=0)
        busy, _ = make(api, name="busy")
        quiet, _ = make(api, name="quiet")
        theirs, _ = make(stranger)
        ago = [now - timedelta(minutes=minutes) for minutes in (3, 1, 2)]
        receive(busy | {"client": api.client_id}, *ago)
        receive(theirs | {"client": stranger.client_id}, now)

        path = f"/sources/{busy['id']}"
        latest = (now - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        times = {source["id"]: source["last_received_at"]
                 for source in api.get("/sources").json["sources"]}  # fmt: skip
        assert times == {busy["id"]: latest, quiet["id"]: None}
        for answer in (
            api.get(path),
            api.patch(path, json={"timezone": "Europe/Berlin"}),
            api.post(f"{path}/rotate"),
        ):
            assert answer.json["source"]["last_received_at"] == latest

    def test_a_list_takes_as_many_queries_for_many_sources_as_for_one(self, api, count_queries):
        make(api, name="0")
        with count_queries() as for_one:
            api.get("/sources")
        for number in range(1, 5):
            make(api, name=str(number))
        with count_queries() as for_many:
            assert len(api.get("/sources").json["sources"]) == 5

        assert len(for_one) == len(for_many) == 3, for_many  # key, sources, receipts

    def test_the_latest_receipts_are_read_from_an_index(self, api, kind):
        source, _ = make(api)
        now = utc_now()
        receive(
            source | {"client": api.client_id}, *(now - timedelta(seconds=n) for n in range(3000))
        )
        database.db.execute_sql("ANALYZE")

        values = {"source_ids": [source["id"]]}
        statement = sources.latest_receipts.statement(values)
        explain = "EXPLAIN QUERY PLAN " if kind == "sqlite" else "EXPLAIN "
        plan = database.db.execute_sql(explain + statement.sql, statement.bind(values)).fetchall()
        database.release()

        assert "receipts_source_id_received_at_id" in str(plan), plan
        assert not re.search(r"Seq Scan on receipts|SCAN t[13]\b", str(plan)), plan


class TestChanges:
    @pytest.fixture
    def source(self, api):
        return make(api, name="Acuity", provider="generic", mapping=MAPPING)[0]

    def test_given_fields_are_replaced_and_the_others_stay(self, api, source):
        changes = {"name": "Other", "create_leads": False, "timezone": "Europe/Berlin"}

        answer = api.patch(f"/sources/{source['id']}", json=changes)

        assert answer.status_code == 200
        assert answer.json == {"success": True, "source": source | changes}
        assert list(answer.json["source"]) == KEYS
        assert api.get(f"/sources/{source['id']}").json["source"] == source | changes
        mapping = MAPPING | {"external_event_id": "/other"}
        answer = api.patch(f"/sources/{source['id']}", json={"mapping": mapping})
        assert answer.json["source"] == source | changes | {"mapping": mapping}

    def test_an_empty_change_changes_nothing(self, api, source):
        assert api.patch(f"/sources/{source['id']}", json={}).json["source"] == source

    def test_null_sets_the_default(self, api, source):
        path = f"/sources/{source['id']}"
        api.patch(path, json={"create_leads": False, "timezone": "Europe/Berlin"})

        answer = api.patch(path, json={"create_leads": None, "timezone": None})

        assert answer.json["source"] == source

    def test_a_signing_secret_is_replaced_kept_and_removed(self, api, source):
        path = f"/sources/{source['id']}"
        for change, signed, secret in (
            ({"signing_secret": SECRET}, True, SECRET),
            ({"signing_secret": "another secret"}, True, "another secret"),
            ({"name": "Other"}, True, "another secret"),
            ({"signing_secret": ""}, True, "another secret"),
            ({"signing_secret": None}, False, None),
        ):
            answer = api.patch(path, json=change)

            assert answer.json["source"]["signed"] is signed
            assert stored(source["id"])["signing_secret"] == secret

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"name": None}, "name"),
            ({"name": "x" * 256}, "name"),
            ({"provider": "calendly"}, "provider"),
            ({"provider": "generic"}, "provider"),
            ({"provider": None}, "provider"),
            ({"signing_secret": "short"}, "signing_secret"),
            ({"create_leads": "yes"}, "create_leads"),
            ({"timezone": "x"}, "timezone"),
            ({"mapping": None}, "mapping"),
            ({"mapping": 5}, "mapping"),
            ({"id": UNKNOWN_ID}, "id"),
            ({"url": "x"}, "url"),
        ],
    )
    def test_an_invalid_change_is_named(self, api, source, change, field):
        answer = api.patch(f"/sources/{source['id']}", json={"create_leads": False} | change)

        assert (answer.status_code, list(answer.json["details"])) == (400, [field])
        assert api.get(f"/sources/{source['id']}").json["source"] == source

    def test_the_error_says_that_the_provider_cannot_be_changed(self, api, source):
        answer = api.patch(f"/sources/{source['id']}", json={"provider": "ghl"})

        assert "Cannot be changed" in answer.json["details"]["provider"][0]

    def test_a_mapping_is_for_the_provider_generic_only(self, api):
        path = f"/sources/{make(api)[0]['id']}"

        assert list(api.patch(path, json={"mapping": MAPPING}).json["details"]) == ["mapping"]
        assert api.patch(path, json={"mapping": None}).status_code == 200

    def test_a_mapping_that_cannot_work_is_refused(self, api, source, monkeypatch):
        monkeypatch.setattr(generic, "mapping_faults", lambda mapping: ["title: no such field."])

        change = {"mapping": {"x": "/x"}, "timezone": "x"}
        answer = api.patch(f"/sources/{source['id']}", json=change)

        assert answer.json["details"]["mapping"] == ["title: no such field."]
        assert list(answer.json["details"]) == ["timezone", "mapping"]

    def test_a_taken_name_is_refused(self, api, source):
        make(api)

        answer = api.patch(f"/sources/{source['id']}", json={"name": "Calendly"})

        assert (answer.status_code, answer.json["code"]) == (409, "name_taken")
        assert api.patch(f"/sources/{source['id']}", json={"name": "Acuity"}).status_code == 200

    def test_a_rotated_address_replaces_the_old_one_at_once(self, api):
        source, old = make(api, signing_secret=SECRET)

        answer = api.post(f"/sources/{source['id']}/rotate")

        assert answer.status_code == 200
        assert list(answer.json) == ["success", "source", "url"]
        assert answer.json["source"] == source
        new = answer.json["url"].rpartition("/")[2]
        assert new.startswith("calendly_")
        assert find_by_token(new).id == source["id"]
        assert not is_known(old)

    def test_a_deleted_source_is_unknown_and_keeps_its_receipts_but_no_secret(self, api):
        source, token = make(api, signing_secret=SECRET)
        receive(source | {"client": api.client_id}, utc_now())

        answer = api.delete(f"/sources/{source['id']}")

        assert (answer.status_code, answer.json) == (200, {"success": True})
        assert not is_known(token)
        assert api.get("/sources").json["sources"] == []
        row = stored(source["id"])
        assert (row["token_hash"], row["signing_secret"]) == (None, None)
        assert row["deleted_at"]
        count = f"SELECT count(*) FROM receipts WHERE source_id = '{source['id']}'"
        assert database.db.execute_sql(count).fetchone() == (1,)
        database.release()

    def test_the_name_of_a_deleted_source_is_free_again(self, api):
        for _ in range(2):
            source, _ = make(api)
            api.delete(f"/sources/{source['id']}")

        make(api)

    @pytest.mark.parametrize(("method", "call", "body"), CALLS)
    def test_unknown_deleted_and_other_clients_sources_are_not_found(
        self, api, stranger, method, call, body
    ):
        theirs, _ = make(stranger)
        deleted, _ = make(api)
        api.delete(f"/sources/{deleted['id']}")

        for source_id in (UNKNOWN_ID, theirs["id"], deleted["id"]):
            answer = api.open(method, f"/sources/{source_id}{call}", json=body)

            assert (answer.status_code, answer.json["code"]) == (404, "source_not_found")
            assert source_id in answer.json["message"]
        assert stranger.get(f"/sources/{theirs['id']}").json["source"] == theirs

    @pytest.mark.parametrize(("method", "call", "body"), CALLS)
    def test_an_id_that_is_no_uuid_is_not_found(self, api, method, call, body):
        answer = api.open(method, f"/sources/5{call}", json=body)

        assert (answer.status_code, answer.json["code"]) == (404, "not_found")

    @pytest.mark.parametrize(("method", "call", "body"), CALLS)
    def test_a_call_refuses_unknown_parameters_before_it_looks_for_the_source(
        self, api, method, call, body
    ):
        answer = api.open(method, f"/sources/{UNKNOWN_ID}{call}?x=1", json=body)

        assert (answer.status_code, list(answer.json["details"])) == (400, ["x"])

    def test_the_command_line_finds_a_source_by_its_id_alone(self, api, stranger):
        source, _ = make(api)

        assert sources.find_of_any_client(source["id"].upper()).client_id == api.client_id
        api.delete(f"/sources/{source['id']}")
        for source_id in (source["id"], UNKNOWN_ID, "5", ""):
            with pytest.raises(SourceNotFound):
                sources.find_of_any_client(source_id)
        database.release()
