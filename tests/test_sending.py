"""Supervision, commands, counts and warnings of sending."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from ipaddress import ip_network
from unittest.mock import Mock

import psutil
import pytest
from conftest import save_lead, using
from receiver import Receiver
from server import Server
from test_webhooks import add, log_meeting, log_of, public_names  # noqa: F401

import database
from config import supervisor as supervisor_module
from config.settings import ROOT
from config.supervisor import Supervisor
from sender import run as run_module
from services import clients, migrations, sending
from times import utc_now
from webhook_models import Delivery, Sender

NETWORKS = (ip_network("127.0.0.0/8"),)
ALLOW = {"WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8", "LOG_LEVEL": "INFO"}


@pytest.fixture(scope="module")
def own_url(empty_databases):
    url = empty_databases()
    with using(url):
        migrations.upgrade()
    return url


@pytest.fixture
def key(own_url):
    with using(own_url):
        return clients.create(f"Client {time.monotonic_ns()}")[1]


@pytest.fixture
def serve(own_url):
    """`serve(WEBHOOK_SENDER="on")` starts a server with its sender."""
    servers = []

    def start(**environment):
        environment = {"WEBHOOK_SENDER": "on", **ALLOW, **environment}
        servers.append(Server(own_url, environment=environment))
        return servers[-1].start()

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()


def sender_of(server, seconds=10):
    """The sender's process, as the list of processes shows it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for process in psutil.Process(server.process.pid).children(recursive=True):
            try:
                if "flask webhooks send" in " ".join(process.cmdline()):
                    return process
            except psutil.Error:
                pass
        time.sleep(0.05)
    return None


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "too late"
        time.sleep(0.02)


def call(server, key, method, path, body=None):
    answer = server.call(method, f"/api/public{path}", body, key)
    assert answer.status in (200, 201), answer.body
    return answer.json


def make_event(server, key, name):
    call(server, key, "POST", "/leads", {"first_name": name})


class TestSupervision:
    def test_a_server_sends_events_within_two_seconds_and_answers_tests(self, serve, key):
        server = serve()
        assert sender_of(server)
        with Receiver() as receiver:
            webhook = call(server, key, "POST", "/webhooks", {"url": receiver.url})["webhook"]
            make_event(server, key, "Tony")
            wait_until(lambda: receiver.received, 3)
            tested = call(server, key, "POST", f"/webhooks/{webhook['id']}/test")

        assert tested["delivery"]["status"] == "delivered"
        assert receiver.received[0].json["data"]["lead"]["first_name"] == "Tony"

    def test_a_killed_sender_is_started_again_and_the_server_goes_on(self, serve, key):
        server = serve()
        first = sender_of(server)
        with Receiver() as receiver:
            call(server, key, "POST", "/webhooks", {"url": receiver.url})
            first.kill()
            make_event(server, key, "Pepper")
            wait_until(lambda: receiver.received)

        assert sender_of(server).pid != first.pid
        assert server.call("GET", "/readyz").status == 200

    def test_sigterm_ends_server_and_sender(self, serve):
        server = serve()
        sender = sender_of(server)
        time.sleep(1)  # for it to have loaded

        began = time.monotonic()
        printed = server.stop()

        assert time.monotonic() - began < 5
        assert not sender.is_running()
        assert "The sender of webhooks ends." in printed

    def test_after_a_kill_of_the_server_its_sender_ends(self, serve):
        server = serve()
        sender = sender_of(server)
        children = psutil.Process(server.process.pid).children(recursive=True)

        server.process.kill()
        _, left = psutil.wait_procs(children, timeout=10)
        server.process.communicate()

        assert not sender.is_running()
        assert left == []

    def test_a_sender_outlives_its_supervisor_but_not_the_server(self, serve):
        server = serve()
        sender = sender_of(server)
        time.sleep(1)
        sender.parent().kill()
        time.sleep(1)
        assert sender.is_running()

        server.stop()

        wait_until(lambda: not sender.is_running())

    def test_sighup_leaves_the_sender_running(self, serve):
        server = serve()
        sender = sender_of(server)

        server.process.send_signal(signal.SIGHUP)
        time.sleep(2)

        assert sender_of(server).pid == sender.pid

    def test_a_host_that_forbids_a_lower_priority_does_not_stop_the_sender(
        self, own_url, monkeypatch, caplog
    ):
        """As a filter of system calls does. The server has ended, so the sender ends too."""
        ended = subprocess.Popen(["true"])
        ended.wait()
        monkeypatch.setenv(run_module.SERVER_VARIABLE, str(ended.pid))
        monkeypatch.setattr(os, "nice", Mock(side_effect=PermissionError))
        monkeypatch.setattr(signal, "signal", Mock())

        with using(own_url), caplog.at_level(logging.INFO, "meetings"):
            run_module.run(NETWORKS, (1.0,), 1, once=False)

        assert "The sender of webhooks ends." in caplog.text

    def test_the_setting_leaves_the_sender_out(self, serve):
        server = serve(WEBHOOK_SENDER="off")
        time.sleep(1.5)

        assert sender_of(server, 0.1) is None
        assert len(server.workers_pids()) == 2

    def test_the_web_processes_do_not_load_the_http_client(self, own_url):
        loaded = subprocess.run(
            [sys.executable, "-c", "import sys, app; app.create_app(); print(*sys.modules)"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "DATABASE_URL": own_url, "METRICS": "on"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()

        assert not {"urllib3", "sender", "sender.loop"} & set(loaded)

    def test_the_sender_stays_small(self, serve, key):
        server = serve()
        with Receiver() as receiver:
            call(server, key, "POST", "/webhooks", {"url": receiver.url})
            leads = [{"first_name": str(n)} for n in range(200)]
            call(server, key, "POST", "/leads", leads)
            wait_until(lambda: len(receiver.received) == 200, 20)
            memory = sender_of(server).memory_full_info()

        assert memory.pss < 45 * 1024 * 1024

    def test_a_sender_that_dies_at_once_is_started_after_growing_pauses(
        self, monkeypatch, tmp_path
    ):
        starts = tmp_path / "starts"
        program = f"open({str(starts)!r}, 'a').write('x')"
        monkeypatch.setattr(supervisor_module, "SENDER", [sys.executable, "-S", "-c", program])
        monkeypatch.setattr(supervisor_module, "FIRST_PAUSE_SECONDS", 0.25)
        monkeypatch.setattr(supervisor_module, "POLL_SECONDS", 0.02)
        supervisor = Supervisor(os.getppid())
        began = time.monotonic()
        monkeypatch.setattr(supervisor, "is_needed", lambda: time.monotonic() < began + 3)

        supervisor.run()

        assert 3 <= len(starts.read_text()) <= 4  # after 0.25, 0.75 and 1.75 s

    def test_a_sender_on_an_old_database_says_which_command_to_run(self, empty_databases):
        done = subprocess.run(
            [sys.executable, "-m", "sender"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "DATABASE_URL": empty_databases()},
            capture_output=True,
            text=True,
            timeout=20,
        )

        assert done.returncode != 0
        [line] = done.stderr.strip().splitlines()
        assert "db upgrade" in line


class TestCommands:
    @pytest.fixture
    def run(self, own_url):
        """`run("list", …)` runs a command of `webhooks` and returns its output."""
        with using(own_url, webhook_allow_networks=NETWORKS, webhook_retry_seconds=()) as app:

            def invoke(*words, code=0):
                done = app.test_cli_runner().invoke(args=["webhooks", *words])
                assert done.exit_code == code, done.output
                return done.output

            yield invoke

    @pytest.fixture
    def client(self, own_url):
        with using(own_url):
            return clients.create(f"Client {time.monotonic_ns()}")[0]

    def test_webhooks_are_added_listed_and_deleted(self, run, client):
        url = "https://8.8.8.8/hook"
        made = json.loads(run("add", client.name, url, "--event", "lead.created", "--json"))
        [listed] = json.loads(run("list", client.id, "--json"))

        assert made["signing_secret"].startswith("whsec_")
        assert listed == {k: v for k, v in made.items() if k != "signing_secret"}
        assert (listed["url"], listed["events"]) == (url, ["lead.created"])
        assert url in run("list", client.name)
        assert made["id"] in run("delete", made["id"])
        assert json.loads(run("list", client.name, "--json")) == []

    @pytest.mark.parametrize(
        "words",
        [
            ("add", "nobody", "https://8.8.8.8/"),
            ("add", "{client}", "https://10.0.0.1/"),
            ("add", "{client}", "not a url"),
            ("add", "{client}", "https://8.8.8.8/", "--event", "meeting.vanished"),
            ("list", "nobody"),
            ("delete", "0198c0de-0000-7000-8000-000000000000"),
            ("delete", "x"),
        ],
    )
    def test_a_wrong_argument_gives_one_line(self, run, client, words):
        output = run(*(word.format(client=client.name) for word in words), code=2)

        assert "Traceback" not in output
        assert output.strip().splitlines()[-1].startswith("Error: ")

    def test_what_is_due_is_sent_once(self, run, client, own_url):
        with Receiver() as receiver:
            run("add", client.name, receiver.url)
            with using(own_url):
                save_lead(client.id, first_name="Tony")
            run("send", "--once")

        assert len(receiver.received) == 1
        status = json.loads(run("status", "--json"))
        assert list(status) == [
            *("waiting", "oldest_waiting_seconds", "delivered", "failed", "failed_tries"),
            "senders",
        ]
        assert status["waiting"] == 0
        assert status["delivered"] >= 1
        assert status["senders"]
        assert "0 waiting" in run("status")


class TestWarning:
    @pytest.fixture(autouse=True)
    def no_senders(self, app):
        Sender.update(seen_at=utc_now() - timedelta(minutes=2)).execute()
        Delivery.update(status="failed").where(Delivery.status == "pending").execute()
        database.release()

    @pytest.fixture
    def waiting(self, api, lead):
        """A delivery that has been due for six minutes."""
        webhook = add(api)
        log_meeting(api)
        [delivery] = log_of(api, webhook)
        due = Delivery.update(next_attempt_at=utc_now() - timedelta(minutes=6))
        due.where(Delivery.id == delivery["id"]).execute()
        database.release()
        return delivery

    def test_it_is_written_while_a_delivery_waits_and_no_sender_lives(self, waiting, caplog):
        with caplog.at_level(logging.WARNING, "meetings"):
            sending.warn_if_stuck()

        assert "has waited for 6 minutes" in caplog.text
        assert "webhooks send" in caplog.text

    def test_it_is_not_written_while_a_sender_lives(self, waiting, caplog):
        Sender.create(
            id=waiting["id"], started_at=utc_now(), seen_at=utc_now(), delivered=0, failed=0,
            failed_tries=0,
        )  # fmt: skip
        sending.warn_if_stuck()
        Sender.delete().where(Sender.id == waiting["id"]).execute()
        database.release()

        assert caplog.text == ""

    def test_it_is_not_written_while_a_delivery_waits_for_its_next_try(self, api, waiting, caplog):
        later = Delivery.update(next_attempt_at=utc_now() + timedelta(minutes=6))
        later.where(Delivery.id == waiting["id"]).execute()

        sending.warn_if_stuck()
        database.release()

        assert caplog.text == ""


def test_metrics_count_deliveries(own_url, key):
    delivered = 'meetings_deliveries_total{result="delivered"}'
    with Receiver() as receiver:
        environment = {"WEBHOOK_SENDER": "on", "METRICS": "on", **ALLOW}
        server = Server(own_url, environment=environment).start()
        try:
            before = read_metrics(server)
            call(server, key, "POST", "/webhooks", {"url": receiver.url})
            make_event(server, key, "Tony")
            wait_until(lambda: receiver.received)
            wait_until(lambda: read_metrics(server)[delivered] > before[delivered])
            after = read_metrics(server)
        finally:
            server.stop()

    assert after[delivered] == before[delivered] + 1
    assert after["meetings_deliveries_waiting"] == 0
    assert after["meetings_deliveries_oldest_waiting_seconds"] == 0


def read_metrics(server):
    lines = server.call("GET", "/metrics").body.decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if line.startswith("meetings_deliver"))
    return {name: float(value) for name, _, value in pairs}
