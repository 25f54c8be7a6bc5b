"""GET /metrics: the counts of all workers, also of dead ones; nothing with METRICS=off."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from uuid import uuid4

import pytest
from conftest import booking, hold_write_lock, save_lead, using
from mcp_calls import call
from server import Server, copy_service
from test_desk import Desk
from test_outcomes import UNKNOWN_ID

import database
from services import clients

MEETINGS = "/api/public/meetings"
LIST = "/api/public/leads/<uuid:lead_id>/meetings"


@pytest.fixture(scope="module")
def service_copy(tmp_path_factory):
    """A copy of the service with a separate var/."""
    return copy_service(tmp_path_factory.mktemp("service"))


@pytest.fixture
def start(app, database_url, service_copy):
    """`start()` starts a server with METRICS=on from the copy."""
    servers = []

    def start(metrics="on"):
        server = Server(database_url, environment={"METRICS": metrics}, folder=service_copy)
        servers.append(server.start())
        return server

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture
def run_python(service_copy):
    """`run_python(program, **environment)` runs code in the copy and returns its printed words."""

    def run(program, **environment):
        return subprocess.run(
            [sys.executable, "-c", program],
            cwd=service_copy,
            env={"PATH": os.environ["PATH"], "LOG_LEVEL": "CRITICAL", **environment},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()

    return run


@pytest.fixture
def tony(app):
    """A lead and its client's key."""
    client, key = clients.create(f"Client {uuid4()}")
    lead = save_lead(client.id, first_name="Tony", email="tony@example.com")
    database.release()
    return lead.id, key


def read(server):
    """Return the server's counts: `{"name{labels}": value}`."""
    answer = server.call("GET", "/metrics")
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse(answer.body.decode())


def parse(text):
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}


def requests_of(counted, route, method, status):
    labels = f'method="{method}",route="{route}",status="{status}"'
    return counted.get(f"meetings_http_requests_total{{{labels}}}", 0)


def logged(counted, result, code=""):
    return counted.get(f'meetings_logged_total{{code="{code}",result="{result}"}}', 0)


def post(key, **changes):
    fields = {"lead_email": "tony@example.com", "external_event_id": str(uuid4())} | changes
    return ("POST", MEETINGS, booking(**fields), key)


def folders(service_copy):
    return [path for path in (service_copy / "var" / "metrics").iterdir() if path.is_dir()]


def test_requests_to_all_workers_are_added_up(start, tony):
    lead_id, key = tony
    server = start()
    calls = [post(key) for _ in range(60)]
    calls += [("GET", f"/api/public/leads/{lead_id}/meetings", None, key)] * 40
    calls += [("GET", f"/nowhere/{uuid4()}", None, key) for _ in range(10)]
    calls += [("BREW", MEETINGS, None, key), ("TEA", MEETINGS, None, key)]

    server.call_many(calls, at_once=16)

    counted = read(server)
    assert requests_of(counted, MEETINGS, "POST", 201) == 60
    assert requests_of(counted, LIST, "GET", 200) == 40
    assert requests_of(counted, "unknown", "GET", 404) == 10
    assert requests_of(counted, "unknown", "other", 405) == 2
    took = "meetings_http_request_duration_seconds"
    labels = f'method="POST",route="{MEETINGS}"'
    assert counted[f"{took}_count{{{labels}}}"] == 60
    assert counted[f'{took}_bucket{{le="+Inf",{labels}}}'] == 60
    assert counted[f'{took}_bucket{{le="10.0",{labels}}}'] == 60
    assert 0 < counted[f"{took}_sum{{{labels}}}"] < 60 * 10
    spent = counted[f'meetings_database_seconds_total{{route="{MEETINGS}"}}']
    assert 0 < spent < counted[f"{took}_sum{{{labels}}}"]
    paths = set(re.findall(r'route="([^"]*)"', str(counted)))
    assert {MEETINGS, LIST, "unknown", "/healthz"} <= paths <= {
        MEETINGS, LIST, "unknown", "/healthz", "/metrics"
    }  # fmt: skip


def test_meetings_are_counted_by_result_and_error_code(start, tony):
    _, key = tony
    server = start()
    body = booking(lead_email="tony@example.com")
    for sent in (
        body,
        body,
        body | {"title": "Moved"},
        body | {"lead_email": "nobody@example.com", "external_event_id": "x"},
        body | {"title": ""},
        b"{",
        [body, body | {"title": "Again"}, body | {"title": "Again"}, {}, post(key)[2]],
        [],
    ):
        server.call("POST", MEETINGS, sent, key)
    server.call("POST", MEETINGS, body, "nxr_live_wrong")
    server.call("GET", MEETINGS, None, "nxr_live_wrong")
    server.call("POST", "/api/public/leads", {}, key)

    counted = read(server)

    assert logged(counted, "created") == 2
    assert logged(counted, "updated") == 3
    assert logged(counted, "unchanged") == 2
    assert logged(counted, "refused", "lead_not_found") == 1
    assert logged(counted, "refused", "validation_error") == 3
    assert logged(counted, "refused", "invalid_json") == 1
    assert logged(counted, "refused", "invalid_api_key") == 1
    assert sum(v for series, v in counted.items() if series.startswith("meetings_logged")) == 13


def test_meetings_of_the_tool_and_of_the_desk_are_counted_as_those_of_the_api(
    database_url, api, lead
):
    pair = {"external_calendar_provider": ..., "external_event_id": ...}
    body = booking(lead_email=..., lead_id=lead["id"], **pair)
    with using(database_url, metrics=True) as counting:
        desk, assistant = Desk(counting, api.client_id, api.key), api.on(counting)
        for changes in ({}, {"title": ""}, {"lead_id": UNKNOWN_ID}):
            call(assistant, "create_meeting", **body | changes)
            desk.post("/meetings/new", form_id=str(changes), **body | changes)
        desk.post("/meetings/new", form_id="{}", **body)  # the form sent again
        text = counting.test_client().get("/metrics").text

    counted = parse(text)
    assert logged(counted, "created") == 2
    assert logged(counted, "refused", "validation_error") == 2
    assert logged(counted, "refused", "lead_not_found") == 2
    assert sum(v for series, v in counted.items() if series.startswith("meetings_logged")) == 6


def test_a_wait_for_a_lock_is_database_time(start, tony, kind, database_url):
    server = start()
    holder = hold_write_lock(kind, database_url)
    release = threading.Timer(2.0, holder.close)
    release.start()
    began = time.monotonic()
    server.call(*post(tony[1]))
    took = time.monotonic() - began
    release.join()

    spent = read(server)[f'meetings_database_seconds_total{{route="{MEETINGS}"}}']

    # On a busy machine, the request reaches the lock late, but not by more than a second.
    assert 1 < spent < took


def test_the_counts_of_a_killed_worker_remain_and_its_files_are_used_again(
    start, tony, service_copy
):
    _, key = tony
    server = start()
    [folder] = folders(service_copy)

    for killed in range(4):
        server.call_many([post(key) for _ in range(20)], at_once=8)
        files = sorted(path.name for path in folder.iterdir())
        assert requests_of(read(server), MEETINGS, "POST", 201) == 20 * (killed + 1)
        before = server.workers_pids()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        while len(after := server.workers_pids()) < 2 or set(after) & set(before):
            time.sleep(0.05)

    assert requests_of(read(server), MEETINGS, "POST", 201) == 80
    assert sorted(path.name for path in folder.iterdir()) == files


def test_counts_survive_a_reload_of_the_configuration(start, tony):
    _, key = tony
    server = start()
    server.call_many([post(key) for _ in range(10)])
    before = server.workers_pids()

    server.process.send_signal(signal.SIGHUP)
    while set(server.workers_pids()) & set(before):
        time.sleep(0.05)

    server.call_many([post(key) for _ in range(10)])
    assert requests_of(read(server), MEETINGS, "POST", 201) == 20


def test_each_start_counts_from_zero_and_deletes_the_folders_of_dead_servers(
    start, tony, service_copy
):
    _, key = tony
    first = start()
    first.call(*post(key))
    other = start()
    assert len(folders(service_copy)) == 2
    first.kill()

    again = start()

    assert len(folders(service_copy)) == 2  # those of `other` and of `again`
    assert requests_of(read(again), MEETINGS, "POST", 201) == 0
    other.call(*post(key))
    assert requests_of(read(other), MEETINGS, "POST", 201) == 1


def test_metrics_contain_no_personal_data(start, tony):
    lead_id, key = tony
    server = start()
    server.call(*post(key))
    server.call("GET", f"/api/public/leads/{lead_id}?email=tony@example.com", None, key)
    server.call("GET", "/feeds/token-of-somebody.ics")
    server.call("GET", f"/{key}/tony@example.com", None, key)
    server.call("TONY", "/healthz", None, key)

    shown = server.call("GET", "/metrics").body.decode()

    for secret in ("tony", "TONY", "stark", "example.com", lead_id, key, "nxr_", "token", "ghl"):
        assert secret not in shown.replace("/feeds/<token>.ics", "")


def test_metrics_need_no_key_and_accept_no_parameters(start):
    server = start()

    assert server.call("GET", "/metrics", key="nxr_live_wrong").status == 200
    refused = server.call("GET", "/metrics?name=x")
    assert (refused.status, refused.json["code"]) == (400, "validation_error")
    assert server.call("POST", "/metrics").status == 405


def test_with_metrics_off_the_path_is_unknown_and_no_file_is_written(start, tony, service_copy):
    shutil.rmtree(service_copy / "var", ignore_errors=True)
    server = start("off")
    server.call(*post(tony[1]))

    answer = server.call("GET", "/metrics")

    assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert list((service_copy / "var").iterdir()) == []


def test_with_metrics_off_their_code_is_not_loaded(run_python):
    loaded = run_python("import sys, app; app.create_app(); print(*sys.modules)", METRICS="off")

    assert "flask" in loaded
    assert not {"web.metrics", "prometheus_client"} & set(loaded)


def test_a_command_writes_no_files_even_with_metrics_on(run_python, service_copy):
    shutil.rmtree(service_copy / "var", ignore_errors=True)

    loaded = run_python("import sys, app; app.create_app(); print(*sys.modules)", METRICS="on")

    assert "prometheus_client" in loaded
    assert not (service_copy / "var").exists()


def test_one_process_counts_without_files(run_python, service_copy):
    shutil.rmtree(service_copy / "var", ignore_errors=True)

    lines = run_python(
        "import app; http = app.create_app().test_client();"
        "http.get('/healthz'); print(http.get('/metrics').text)",
        METRICS="on",
    )

    assert "meetings_http_requests_total{" in " ".join(lines)
    assert not (service_copy / "var").exists()
