"""How the tests of another project use the service: copy this file and change the tests.

Run it with the service's folder on the path: `PYTHONPATH=/path/to/meetings pytest test_recipe.py`.
Each test has a database of its own, which takes a few milliseconds: an empty one is migrated once
and then copied. No server runs; `meetings` sends requests to the application itself.
"""

import json
import shutil
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from freezegun import freeze_time

import database
from app import create_app
from config.settings import Settings

API = "/api/public"


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database without rows."""
    file = tmp_path_factory.mktemp("meetings") / "empty.db"
    app = create_app(Settings(database_url=f"sqlite:///{file}", log_level="ERROR"))
    result = app.test_cli_runner().invoke(args=["db", "upgrade"])
    assert result.exit_code == 0, result.output
    app.extensions["database"].database.close_all()  # so that the file is complete
    return file


@pytest.fixture
def meetings(empty_database: Path, tmp_path: Path) -> FlaskClient:
    """A caller of a service with a database of its own; it sends the key of a new client."""
    file = shutil.copy(empty_database, tmp_path / "meetings.db")
    settings = Settings(database_url=f"sqlite:///{file}", log_level="ERROR", state_dir=tmp_path)
    app = create_app(settings)
    made = app.test_cli_runner().invoke(args=["clients", "create", "Tests", "--json"])
    caller = app.test_client()
    caller.environ_base["HTTP_X_API_KEY"] = json.loads(made.output)["api_key"]
    yield caller
    database.db.close_all()


@pytest.fixture
def tony(meetings: FlaskClient) -> dict:
    """A lead."""
    body = {"first_name": "Tony", "email": "tony@example.com", "external_id": "crm-1"}
    return meetings.post(f"{API}/leads", json=body).json["lead"]


BOOKING = {
    "lead_email": "tony@example.com",
    "title": "Discovery Call",
    "starts_at": "2026-03-02T14:00:00Z",
    "duration_minutes": 30,
    "external_calendar_provider": "ghl",
    "external_event_id": "evt-1",
}


def test_a_booking_sent_twice_is_one_meeting(meetings, tony):
    first = meetings.post(f"{API}/meetings", json=BOOKING)
    again = meetings.post(f"{API}/meetings", json=BOOKING)

    assert (first.status_code, again.status_code) == (201, 200)
    assert len(meetings.get(f"{API}/leads/{tony['id']}/meetings").json["meetings"]) == 1


@freeze_time("2026-03-02T15:00:00Z")
def test_an_outcome_has_the_time_at_which_it_is_recorded(meetings, tony):
    meeting = meetings.post(f"{API}/meetings", json=BOOKING).json["meeting"]

    done = meetings.post(f"{API}/meetings/{meeting['id']}/complete", json={"notes": "went well"})

    assert done.json["meeting"]["outcome_at"] == "2026-03-02T15:00:00Z"


def test_no_test_sees_the_rows_of_another(meetings):
    assert meetings.get(f"{API}/meetings").json["meetings"] == []
