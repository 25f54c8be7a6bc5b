"""Clients that others generate from the document work: one in Python, types for TypeScript."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from programs import find_or_install
from server import serving_demo

from config.settings import ROOT

DOCUMENT = ROOT / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    with serving_demo(tmp_path_factory.mktemp("clients")) as demo:
        yield demo


@pytest.fixture(scope="module")
def client_package(tmp_path_factory):
    """The client that openapi-python-client makes, which counts a warning as a failure."""
    folder = tmp_path_factory.mktemp("generated")
    binaries = Path(sys.executable).parent  # where it finds ruff, which formats what it made
    done = subprocess.run(
        [
            *(binaries / "openapi-python-client", "generate", "--path", DOCUMENT),
            *("--output-path", folder / "meetings_client", "--meta", "none", "--fail-on-warning"),
        ],
        env=os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield lambda name: importlib.import_module(f"meetings_client.{name}")
    sys.path.remove(str(folder))


@pytest.fixture(params=[{"prefix": "", "auth_header_name": "X-API-Key"}, {}], ids=["key", "bearer"])
def client(demo, client_package, request):
    """A generated client with the demo's key, in either header."""
    server, told = demo
    made = client_package("client").AuthenticatedClient(
        base_url=f"http://127.0.0.1:{server.port}", token=told["api_key"], **request.param
    )
    with made:
        yield made


def test_a_meeting_is_logged_and_replayed_with_the_generated_client(client_package, client, demo):
    models = client_package("models")
    log_meeting = client_package("api.meetings.log_meeting")
    booking = models.MeetingRequest(
        lead_email="tony.stark@gmail.com",
        title="Generated",
        starts_at="2025-12-29T14:00:00",
        duration_minutes=30,
        timezone="America/Santiago",
        location_type=models.LocationType.PHONE,
        status=models.BookingStatus.CONFIRMED,
        external_calendar_provider="generated",
        external_event_id=client.auth_header_name,
    )

    first = log_meeting.sync_detailed(client=client, body=booking)
    again = log_meeting.sync_detailed(client=client, body=booking)

    assert (first.status_code, again.status_code) == (201, 200)
    meeting = first.parsed.meeting
    assert again.parsed.meeting.id == meeting.id
    assert meeting.status is models.MeetingStatus.CONFIRMED
    assert meeting.starts_at.isoformat() == "2025-12-29T17:00:00+00:00"
    assert str(meeting.lead_id) == demo[1]["lead_id"]


def test_what_is_wrong_comes_as_a_type_of_its_own(client_package, client):
    models = client_package("models")
    log_meeting = client_package("api.meetings.log_meeting")
    booking = {"title": "x", "starts_at": "2025-12-29T14:00:00", "duration_minutes": 30}

    of_nobody = log_meeting.sync(
        client=client, body=models.MeetingRequest(lead_email="nobody@example.com", **booking)
    )
    of_no_lead = log_meeting.sync(client=client, body=models.MeetingRequest(**booking))

    assert isinstance(of_nobody, models.LeadNotFound)
    assert isinstance(of_no_lead, models.InvalidRequest)
    assert of_no_lead.details["lead_email"] == ["Required unless lead_id is given."]


def test_arrays_lists_and_outcomes_work_with_the_generated_client(client_package, client, demo):
    models = client_package("models")
    times = {"starts_at": "2026-01-05T10:00:00Z", "ends_at": "2026-01-05T10:30:00Z"}
    rows = [
        models.MeetingRequest(lead_id=demo[1]["lead_id"], title="One of two", **times),
        models.MeetingRequest(lead_email="nobody@example.com", title="Two of two", **times),
    ]

    stored = client_package("api.meetings.log_meeting").sync(client=client, body=rows)
    good, bad = stored.results
    cancelled = client_package("api.a_meetings_life.cancel_meeting").sync(
        good.meeting.id, client=client, body=models.Reason(reason="generated")
    )
    listed = client_package("api.meetings.list_meetings").sync(
        client=client, status="cancelled", limit=5
    )

    assert isinstance(bad, models.RefusedMeeting)
    assert bad.code is models.RefusedMeetingCode.LEAD_NOT_FOUND
    assert cancelled.meeting.cancellation_reason == "generated"
    assert good.meeting.id in [meeting.id for meeting in listed.meetings]


def run(command, folder):
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_typescript_types_are_made_without_warnings_and_hold_a_caller_to_the_rules(tmp_path):
    find_or_install("npm", names=("npm",))
    shutil.copytree(ROOT / "tests" / "typescript", tmp_path, dirs_exist_ok=True)
    run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], tmp_path)

    told = run(["npx", "openapi-typescript", str(DOCUMENT), "--output", "api.d.ts"], tmp_path)
    run(["npx", "tsc", "--noEmit", "--strict", "caller.ts"], tmp_path)

    assert "warn" not in told.lower().replace("npm warn", "")
