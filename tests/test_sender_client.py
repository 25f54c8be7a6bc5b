"""The sender's HTTP client: bounds on everything, TLS by name, no redirects and no proxies."""

import base64
import hashlib
import hmac
import json
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest
from receiver import Receiver
from standardwebhooks.webhooks import Webhook as StandardWebhook
from standardwebhooks.webhooks import WebhookVerificationError

from config.version import VERSION
from sender import client as client_module
from sender import signatures
from sender.client import Client
from services import network
from webhook_models import Webhook

LOCAL = (ip_network("127.0.0.0/8"),)
SECRETS = ["whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2)]
BODY = b'{"event_type":"meeting.scheduled"}'


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def client():
    client = Client(LOCAL, f"Meetings/{VERSION}")
    yield client
    client.close_idle(everything=True)


@pytest.fixture
def short(monkeypatch):
    """Shorter limits, and the watch that the sender's loop keeps over them."""
    monkeypatch.setattr(client_module, "TOTAL_SECONDS", 0.5)
    monkeypatch.setattr(client_module, "BODY_SECONDS", 0.2)


def post(client, url, **headers):
    """Send a body while the late tries are ended, as the sender's loop does."""
    done = threading.Event()

    def watch():
        while not done.wait(0.05):
            client.abort_late()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        return client.post(url, BODY, headers)
    finally:
        done.set()
        thread.join()


class TestSignatures:
    def test_standard_webhooks_verifies_them_with_either_secret_after_a_rotation(self):
        now = datetime.now(UTC)
        headers = signatures.sign(BODY, "event-1", SECRETS, now)

        for secret in SECRETS:
            assert StandardWebhook(secret).verify(BODY, headers) == json.loads(BODY)
        with pytest.raises(WebhookVerificationError):
            StandardWebhook(SECRETS[0]).verify(BODY + b" ", headers)
        assert len(headers["webhook-signature"].split(" ")) == 2

    def test_nexors_signature_is_keyed_with_the_text_of_the_new_secret(self):
        headers = signatures.sign(BODY, "event-1", SECRETS, datetime.now(UTC))

        expected = hmac.new(SECRETS[0].encode(), BODY, hashlib.sha256).hexdigest()
        assert headers["X-Nexor-Signature"] == expected

    def test_the_timestamp_is_that_of_the_try_in_whole_seconds(self):
        now = datetime(2026, 3, 2, 14, 0, 0, 900_000, tzinfo=UTC)

        headers = signatures.sign(BODY, "event-1", SECRETS[:1], now)

        assert headers["webhook-timestamp"] == str(int(now.timestamp()))
        assert headers["webhook-id"] == "event-1"

    def test_the_former_secret_signs_for_a_day(self):
        now = datetime.now(UTC)
        webhook = Webhook.of(
            {
                "secret": SECRETS[0],
                "previous_secret": SECRETS[1],
                "previous_secret_until": now + timedelta(hours=24),
            }
        )

        assert signatures.secrets_of(webhook, now) == SECRETS
        assert signatures.secrets_of(webhook, now + timedelta(hours=24)) == SECRETS[:1]


class TestRequests:
    def test_a_receiver_gets_the_body_and_the_headers(self, receiver, client):
        answer = post(client, receiver.url + "?a=b", **{"webhook-id": "1"})

        assert (answer.status_code, answer.error, answer.response) == (200, None, "ok")
        [got] = receiver.received
        assert (got.path, got.body) == ("/hook?a=b", BODY)
        assert got.headers["Content-Type"] == "application/json"
        assert got.headers["User-Agent"] == f"Meetings/{VERSION}"
        assert got.headers["Host"] == f"127.0.0.1:{receiver.port}"
        assert got.headers["webhook-id"] == "1"

    def test_a_connection_serves_several_requests(self, receiver, client):
        for _ in range(5):
            assert post(client, receiver.url).is_success

        assert (len(receiver.received), receiver.connections) == (5, 1)

    def test_a_kept_connection_that_the_server_closed_is_replaced(self, receiver, client):
        def answer_and_close(handler, received):
            receiver.answer(handler, received)
            handler.close_connection = True

        receiver.behave = answer_and_close
        answers = [post(client, receiver.url) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [200] * 3
        assert len(receiver.received) == 3

    def test_a_kept_connection_that_ends_during_the_next_request_is_replaced(
        self, receiver, client
    ):
        def answer_once(handler, received):
            if len(receiver.received) == 2:
                receiver.reset(handler, received)
            else:
                receiver.answer(handler, received)

        receiver.behave = answer_once
        answers = [post(client, receiver.url) for _ in range(2)]

        assert [answer.status_code for answer in answers] == [200, 200]
        assert receiver.connections == 2

    def test_an_answer_may_take_longer_than_a_connection(self, receiver, client, monkeypatch):
        monkeypatch.setattr(client_module, "CONNECT_SECONDS", 0.2)

        def answer_late(handler, received):
            time.sleep(0.6)
            receiver.answer(handler, received)

        receiver.behave = answer_late
        answers = [post(client, receiver.url) for _ in range(2)]  # both on one connection

        assert [answer.error for answer in answers] == [None, None]
        assert (len(receiver.received), receiver.connections) == (2, 1)

    @pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
    def test_any_2xx_is_a_success(self, receiver, client, status):
        receiver.status, receiver.text = status, "" if status == 204 else "ok"

        assert post(client, receiver.url).is_success

    @pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
    def test_any_other_status_is_a_failure(self, receiver, client, status):
        receiver.status, receiver.headers = status, {"Retry-After": "7"}

        answer = post(client, receiver.url)

        assert not answer.is_success
        assert (answer.status_code, answer.retry_after) == (status, "7")
        assert answer.error == f"The receiver answered {status}."

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed(self, receiver, client, status):
        receiver.status = status
        receiver.headers = {"Location": "http://169.254.169.254/latest/meta-data"}

        answer = post(client, receiver.url)

        assert (answer.status_code, answer.is_success) == (status, False)
        assert "redirect" in answer.error
        assert len(receiver.received) == 1

    def test_proxy_variables_are_ignored(self, receiver, client, monkeypatch):
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")

        assert post(client, receiver.url).is_success

    def test_the_response_is_cut_in_the_log_and_read_only_in_part(self, receiver, client):
        receiver.text = "é" * 1_000_000

        receiver.behave = lambda handler, got: handler.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + receiver.text.encode()
        )
        answer = post(client, receiver.url)

        assert answer.is_success
        assert answer.response == "é" * 1000

    def test_nothing_is_sent_to_a_refused_address(self, receiver):
        answer = post(Client((), "x"), receiver.url)

        assert answer.status_code is None
        assert "WEBHOOK_ALLOW_NETWORKS" in answer.error
        assert receiver.connections == 0

    def test_it_connects_to_the_address_that_was_checked(self, receiver, client, monkeypatch):
        """A second look-up would lead elsewhere."""
        looked_up = []

        def resolve(host, port):
            looked_up.append(host)
            return ("127.0.0.1",) if len(looked_up) == 1 else ("127.0.0.2",)

        monkeypatch.setattr(network, "resolve", resolve)
        url = f"http://rebinding.example:{receiver.port}/"

        assert post(client, url).is_success
        assert looked_up == ["rebinding.example"]
        assert receiver.received[0].headers["Host"] == f"rebinding.example:{receiver.port}"

    def test_a_host_with_several_addresses_is_reached_at_the_first_that_accepts(
        self, receiver, client, monkeypatch
    ):
        monkeypatch.setattr(network, "resolve", lambda host, port: ("127.0.0.9", "127.0.0.1"))

        assert post(client, f"http://two.example:{receiver.port}/").is_success


class TestFailures:
    def test_a_receiver_that_hangs_is_given_up(self, receiver, client, short):
        receiver.behave = receiver.hang

        began = time.monotonic()
        answer = post(client, receiver.url)

        assert time.monotonic() - began < 2
        assert (answer.status_code, answer.error) == (None, client_module.LATE)

    def test_a_head_that_drips_is_given_up(self, receiver, client, short):
        receiver.behave = receiver.drip

        began = time.monotonic()
        answer = post(client, receiver.url)

        assert time.monotonic() - began < 2
        assert (answer.status_code, answer.error) == (None, client_module.LATE)

    def test_a_head_decides_although_its_body_never_ends(self, receiver, client, short):
        receiver.behave = receiver.drip_body

        began = time.monotonic()
        answer = post(client, receiver.url)

        assert time.monotonic() - began < 2
        assert answer.is_success

    @pytest.mark.parametrize("headers", [{}, {"Connection": "close"}])
    def test_the_next_request_does_not_wait_for_a_body_that_does_not_end(
        self, receiver, client, monkeypatch, headers
    ):
        monkeypatch.setattr(client_module, "BODY_SECONDS", 0.2)

        def answer_in_part(handler, received):
            if len(receiver.received) > 1:
                return receiver.answer(handler, received)
            handler.send_response(200)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", "100")
            handler.end_headers()
            handler.wfile.write(b"abc")
            return receiver.stopped.wait(60)

        receiver.behave = answer_in_part
        began = time.monotonic()
        answers = [post(client, receiver.url) for _ in range(2)]

        assert time.monotonic() - began < 2
        assert [answer.response for answer in answers] == ["abc", "ok"]
        assert (len(receiver.received), receiver.connections) == (2, 2)

    def test_a_reset_is_a_failure(self, receiver, client):
        receiver.behave = receiver.reset

        answer = post(client, receiver.url)

        assert answer.status_code is None
        assert answer.error.startswith("The connection failed")

    def test_garbage_is_a_failure(self, receiver, client):
        receiver.behave = receiver.garbage

        assert post(client, receiver.url).status_code is None

    def test_a_closed_port_is_a_failure(self, client):
        with Receiver() as gone:
            url = gone.url

        answer = post(client, url)

        assert answer.error == "The connection failed: Connection refused."


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for hooks.example.com that no authority has signed."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = str(folder / "key.pem"), str(folder / "certificate.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", key, "-out", certificate, "-subj", "/CN=hooks.example.com"),
            *("-addext", "subjectAltName=DNS:hooks.example.com"),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


class TestTls:
    @pytest.fixture
    def secure(self, certificate):
        with Receiver(certificate=certificate) as receiver:
            yield receiver

    @pytest.fixture(autouse=True)
    def names(self, monkeypatch):
        monkeypatch.setattr(network, "resolve", lambda host, port: ("127.0.0.1",))

    def test_the_name_is_kept_for_the_certificate_and_the_host_header(
        self, secure, client, certificate
    ):
        client._tls.load_verify_locations(certificate[0])

        answer = post(client, f"https://Hooks.example.com.:{secure.port}/")

        assert answer.is_success, answer.error
        [got] = secure.received
        assert got.headers["Host"] == f"hooks.example.com:{secure.port}"
        assert got.server_name == "hooks.example.com"

    def test_a_certificate_for_another_name_is_refused(self, secure, client, certificate):
        client._tls.load_verify_locations(certificate[0])

        answer = post(client, f"https://other.example.com:{secure.port}/")

        assert (answer.status_code, secure.received) == (None, [])
        assert "certificate" in answer.error

    def test_a_certificate_that_nobody_signed_is_refused(self, secure, client):
        answer = post(client, f"https://hooks.example.com:{secure.port}/")

        assert (answer.status_code, secure.received) == (None, [])
        assert answer.error == "The certificate is not valid: self-signed certificate."
