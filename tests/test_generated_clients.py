"""Code generated from the OpenAPI document works: a Python client and types for TypeScript."""

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
    """`client_package(name)` imports a module of the client made by openapi-python-client."""
    folder = tmp_path_factory.mktemp("generated")
    # The generator formats its code with ruff, so this folder is on its PATH.
    binaries = Path(sys.executable).parent
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
    """A generated client that sends the demo's key, once in each header."""
    server, demo_data = demo
    client = client_package("client").AuthenticatedClient(
        base_url=f"http://127.0.0.1:{server.port}", token=demo_data["api_key"], **request.param
    )
    with client:
        yield client


def test_the_generated_client_logs_and_replays_a_meeting(client_package, client, demo):
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


def test_the_generated_client_returns_each_error_as_its_own_type(client_package, client):
    models = client_package("models")
    log_meeting = client_package("api.meetings.log_meeting")
    booking = {"title": "x", "starts_at": "2025-12-29T14:00:00", "duration_minutes": 30}

    unknown_lead = log_meeting.sync(
        client=client, body=models.MeetingRequest(lead_email="nobody@example.com", **booking)
    )
    without_lead = log_meeting.sync(client=client, body=models.MeetingRequest(**booking))

    assert isinstance(unknown_lead, models.LeadNotFound)
    assert isinstance(without_lead, models.InvalidRequest)
    assert without_lead.details["lead_email"] == ["Required unless lead_id is given."]


def test_the_generated_client_handles_arrays_lists_and_outcomes(client_package, client, demo):
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


def test_typescript_types_are_generated_without_warnings_and_check_a_caller(tmp_path):
    find_or_install("npm", names=("npm",))
    shutil.copytree(ROOT / "tests" / "typescript", tmp_path, dirs_exist_ok=True)
    run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], tmp_path)

    output = run(["npx", "openapi-typescript", str(DOCUMENT), "--output", "api.d.ts"], tmp_path)
    run(["npx", "tsc", "--noEmit", "--strict", "caller.ts"], tmp_path)

    assert "warn" not in output.lower().replace("npm warn", "")
