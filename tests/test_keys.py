"""API keys: a scope, a name, a last day, and the day of their last use."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import hold_write_lock, using
from freezegun import freeze_time
from server import Server
from tables import TABLES

import database
from config.logging import TextFormatter
from database import db
from services import clients, migrations
from services.errors import InvalidApiKey

LEADS = "/api/public/leads"


@pytest.fixture
def run(app):
    """Run a command; returns its exit status, and its JSON or with `text` all that it prints."""

    def run(*arguments, text=False):
        result = app.test_cli_runner().invoke(args=[*arguments, *["--json"] * (not text)])
        assert "Traceback" not in result.output
        is_json = result.exit_code == 0 and not text
        return result.exit_code, json.loads(result.output) if is_json else result.output

    return run


@pytest.fixture
def make_key(run, api):
    """`make_key(*options)` creates a key of the client with the command."""

    def make(*options):
        status, made = run("keys", "create", api.client_id, *options)
        assert status == 0, made
        return made

    return make


@pytest.fixture
def call(app):
    """`call(key, method, path)` sends a request with a key."""

    def call(key, method="GET", path=LEADS, **options):
        headers = {"X-API-Key": key["api_key"]}
        return app.test_client().open(path, method=method, headers=headers, **options)

    return call


def listed(run, api, key):
    return next(row for row in run("keys", "list", api.client_id)[1] if row["id"] == key["id"])


def test_a_read_only_key_may_read(make_key, call, lead):
    key = make_key("--read-only")

    assert call(key).json["leads"][0]["id"] == lead["id"]
    assert call(key, "HEAD").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", LEADS),
        ("POST", "/api/public/meetings"),
        ("PATCH", f"{LEADS}/0198c0de-0000-7000-8000-000000000000"),
        ("PUT", f"{LEADS}/0198c0de-0000-7000-8000-000000000000"),
        ("DELETE", "/api/public/sources/0198c0de-0000-7000-8000-000000000000"),
    ],
)
def test_a_read_only_key_gets_403_for_any_other_method(make_key, call, method, path, api, caplog):
    caplog.set_level("INFO", logger="meetings")

    answer = call(make_key("--read-only"), method, path, json={"first_name": "Tony"})

    assert (answer.status_code, answer.json["code"]) == (403, "read_only_key")
    assert f"client_id={api.client_id}" in TextFormatter().format(caplog.records[-1])
    assert answer.json["error"] == "Read-only key"


def test_403_comes_after_401_and_before_413_and_400(make_key, call):
    key = make_key("--read-only")
    broken = {"data": b"{" * 9_000_000}

    assert call(key, "POST", **broken).status_code == 403
    assert call(key, "POST", data=b"{").status_code == 403
    assert call({"api_key": "nxr_live_x"}, "POST", **broken).status_code == 401


def test_a_key_is_valid_through_its_last_day_in_utc(make_key, call):
    with freeze_time("2026-03-01T12:00:00Z"):
        key = make_key("--expires", "2026-03-02")

    with freeze_time("2026-03-02T23:59:59Z"):
        assert call(key).status_code == 200
    with freeze_time("2026-03-03T00:00:00Z"):
        answer = call(key)
    assert (answer.status_code, answer.json["code"]) == (401, "invalid_api_key")


def test_a_last_day_of_today_is_accepted_and_one_in_the_past_is_refused(run, api):
    with freeze_time("2026-03-02T23:00:00Z"):
        today, _ = run("keys", "create", api.client_id, "--expires", "2026-03-02")
        past, output = run("keys", "create", api.client_id, "--expires", "2026-03-01")

    assert today == 0
    assert past == 2
    assert "expires: Must not be in the past; today is 2026-03-02 in UTC." in output


@pytest.mark.parametrize("day", ["tomorrow", "2026-02-30", "20260302", "2026-03-02T10:00"])
def test_a_last_day_in_another_form_is_refused(run, api, day):
    status, output = run("keys", "create", api.client_id, "--expires", day)

    assert status == 2
    assert "--expires" in output


def test_the_list_shows_name_scope_last_day_and_last_use(run, api, make_key, call):
    key = make_key("--read-only", "--name", "Dashboard", "--expires", "2199-12-31")
    assert listed(run, api, key)["last_used_on"] is None

    with freeze_time("2026-03-02T23:59:00Z"):
        call(key)

    row = listed(run, api, key)
    assert (row["name"], row["scope"]) == ("Dashboard", "read_only")
    assert (row["expires_on"], row["last_used_on"]) == ("2199-12-31", "2026-03-02")
    _, text = run("keys", "list", api.client_id, text=True)
    for words in ("Dashboard", "read_only", "expires 2199-12-31", "last used 2026-03-02"):
        assert words in text.splitlines()[-1]


def test_the_list_shows_which_keys_have_expired(run, api, make_key):
    key = make_key("--expires", "2199-12-31")

    for now, state in (("2199-12-31T23:59:59Z", "in use"), ("2200-01-01T00:00:00Z", "expired")):
        with freeze_time(now):
            _, text = run("keys", "list", api.client_id, text=True)
        assert text.splitlines()[-1].endswith(state)
    run("keys", "revoke", key["id"])
    with freeze_time("2200-01-01"):
        assert "  revoked " in run("keys", "list", api.client_id, text=True)[1].splitlines()[-1]


def test_each_key_is_one_line_of_the_list_whatever_its_name(run, api, make_key):
    key = make_key("--name", "Dash\r\nboard")

    _, text = run("keys", "list", api.client_id, text=True)
    assert text.splitlines()[-1].startswith(key["id"])
    assert "Dash board" in text


def test_a_key_without_options_may_write_and_never_expires(run, api, make_key, call):
    key = make_key()

    assert call(key, "POST", json={"first_name": "Tony"}).status_code == 201
    row = listed(run, api, key)
    assert (row["name"], row["scope"], row["expires_on"]) == (None, "read_write", None)


def test_the_id_of_a_new_key_is_that_of_the_key_and_the_client_has_its_own_field(
    run, api, make_key
):
    key = make_key("--name", "Make")

    assert key["client_id"] == api.client_id
    assert {name: key[name] for name in listed(run, api, key)} == listed(run, api, key)
    status, text = run("keys", "create", api.client_id, text=True)
    made = run("keys", "list", api.client_id)[1][-1]
    assert status == 0
    assert made["id"] in text
    assert api.client_id not in text


def test_the_last_use_is_written_once_a_day_and_authentication_stays_one_query(
    make_key, call, count_queries
):
    key = make_key()
    counts = []
    for at in ("2026-03-02T10:00", "2026-03-02T18:00", "2026-03-03T00:00", "2026-03-03T00:01"):
        with freeze_time(at), count_queries() as queries:
            call(key)
        counts.append([sql.split()[0] for sql in queries if "api_keys" in sql])

    assert counts == [["SELECT", "UPDATE"], ["SELECT"]] * 2


def test_a_late_process_does_not_set_the_last_use_back(run, api, make_key, call):
    key = make_key()
    with freeze_time("2026-03-02T10:00"):
        call(key)
    clients._noted.clear()

    with freeze_time("2026-03-01T23:59"):
        call(key)

    assert listed(run, api, key)["last_used_on"] == "2026-03-02"


def test_a_locked_database_does_not_keep_a_new_key_from_reading(
    kind, app, make_key, call, database_url
):
    key = make_key()
    if kind == "postgresql":
        pytest.skip("PostgreSQL locks rows, not the database")
    with using(database_url, db_timeout_seconds=0.2) as impatient:
        holder = hold_write_lock(kind, database_url)
        answer = impatient.test_client().get(LEADS, headers={"X-API-Key": key["api_key"]})
        holder.close()

    assert answer.status_code == 200


def test_64_first_requests_with_a_key_over_two_workers_store_its_last_use(app, run, api, make_key):
    key = make_key()
    database.release()
    server = Server(db.obj.database if "://" in db.obj.database else f"sqlite:///{db.obj.database}")
    server.start()

    answers = server.call_many([("GET", LEADS, None, key["api_key"])] * 64)
    server.stop()

    assert {answer.status for answer in answers} == {200}
    assert listed(run, api, key)["last_used_on"] is not None


def test_concurrent_look_ups_of_several_keys_each_get_their_own(api, stranger, make_key):
    with freeze_time("2026-03-01"):
        expired = make_key("--expires", "2026-03-01")["api_key"]
    wanted = [(api.key, api.client_id), (stranger.key, stranger.client_id), (expired, None)] * 8
    together = threading.Barrier(len(wanted))

    def ask(key):
        together.wait()
        try:
            return clients.find_key(key).client_id
        except InvalidApiKey:
            return None
        finally:
            database.release()

    with ThreadPoolExecutor(len(wanted)) as pool:
        found = list(pool.map(ask, [key for key, _ in wanted]))

    assert found == [client_id for _, client_id in wanted]


def test_the_migration_rewrites_no_table_and_keeps_the_keys(kind, empty_databases):
    with using(empty_databases()):
        migrations._runner().up("0004_meeting_types")
        at = "2026-03-01T00:00:00.000000Z"
        client_id, key_id = "0198c0de-0000-7000-8000-000000000000", clients.new_id()
        mark = "?" if kind == "sqlite" else "%s"
        for sql, values in (
            (f"INSERT INTO clients VALUES ({mark}, {mark}, {mark})", (client_id, "Old", at)),
            (
                "INSERT INTO api_keys (id, client_id, key_hash, prefix, last_four, created_at)"
                f" VALUES ({', '.join([mark] * 6)})",
                (key_id, client_id, clients.hash_secret("nxr_live_old"), "nxr_live_", "_old", at),
            ),
        ):
            db.execute_sql(sql, values)
        before = _storage(kind)

        migrations.upgrade()

        assert _storage(kind) == before
        assert clients.find_key("nxr_live_old").client_id == client_id
        assert [table._meta.table_name for table in TABLES if not table.table_exists()] == []


def _storage(kind):
    """Return where the table of keys is stored: PostgreSQL moves it when it writes it anew."""
    if kind == "sqlite":
        query = "SELECT rootpage FROM sqlite_master WHERE name = 'api_keys'"
    else:
        query = "SELECT pg_relation_filenode('api_keys')"
    return db.execute_sql(query).fetchall()
