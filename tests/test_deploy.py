"""The examples for a host: the systemd unit, and the proxies Caddy and nginx with HTTPS."""

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import time

import pytest
from programs import find_or_install
from server import Server, free_port, run_flask

from config.settings import ROOT, Settings

DEPLOY = ROOT / "deploy"
UNIT = (DEPLOY / "meetings.service").read_text()
NAME = "meetings.example.com"


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_systemd_accepts_the_unit(tmp_path):
    analyze = find_or_install("systemd", ("systemd-analyze",))
    file = tmp_path / "meetings.service"
    # The programs of the unit must exist, and here they do not.
    file.write_text(re.sub(r"/opt/meetings/\.venv/bin/\w+", "/bin/true", UNIT))

    done = run(analyze, "verify", str(file))

    assert (done.returncode, [s for s in done.stderr.splitlines() if "meetings" in s]) == (0, [])


def test_the_unit_is_hardened():
    analyze = find_or_install("systemd", ("systemd-analyze",))
    file = str(DEPLOY / "meetings.service")

    done = run(analyze, "security", "--offline=yes", "--threshold=15", file)

    assert done.returncode == 0, done.stdout


def test_the_unit_writes_to_its_state_folder_and_waits_for_the_server_to_be_ready():
    lines = UNIT.splitlines()

    assert {"Type=notify", "DynamicUser=yes", "StateDirectory=meetings"} <= set(lines)
    assert any("STATE_DIR=/var/lib/meetings" in line for line in lines)
    assert "KillMode=control-group" in lines  # so that the sender gets SIGTERM too
    # os.nice; the last line on a system call counts.
    assert [s for s in lines if s.startswith("SystemCallFilter=")][-1].endswith("=setpriority")


def test_the_server_tells_systemd_that_it_is_ready(tmp_path):
    """The variable is the one that `Type=notify` sets."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        url = f"sqlite:///{tmp_path}/new.db"
        run_flask(url, "db", "upgrade")
        server = Server(url, 1, {"NOTIFY_SOCKET": str(tmp_path / "notify")}).start(wait=False)
        try:
            assert b"READY=1" in systemd.recv(4096).splitlines()
        finally:
            server.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    openssl = find_or_install("openssl", ("openssl",))
    made = run(
        *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
        *("-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"),
        *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
    )
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('proxied')}/new.db"
    run_flask(url, "db", "upgrade")
    running = Server(url, 1, {"TRUSTED_PROXIES": "127.0.0.1,::1", "LOG_LEVEL": "INFO"}).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def key(server):
    return run_flask(server.database_url, "clients", "create", "Proxied")["api_key"]


def configure_nginx(folder, server, certificate, http_port, https_port):
    nginx = find_or_install("nginx", ("nginx",))
    text = (DEPLOY / "nginx.conf").read_text()
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    text = re.sub(r"listen (\[::\]:)80;", "", text).replace("listen 80;", f"listen {http_port};")
    text = re.sub(r"listen \[::\]:443 ssl http2;", "", text)
    text = text.replace("listen 443", f"listen {https_port}")
    text = re.sub(r"\S+fullchain\.pem", f"{certificate}/cert.pem", text)
    text = re.sub(r"\S+privkey\.pem", f"{certificate}/key.pem", text)
    paths = "".join(
        f"{name}_temp_path {folder}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.geteuid() == 0 else ""  # the folder of a test is the tester's
    main = f"daemon off; {user} pid {folder}/pid; error_log {folder}/log; events {{}}"
    (folder / "nginx.conf").write_text(f"{main} http {{ {paths}\n{text}\n}}")
    return [nginx, "-e", f"{folder}/log", "-c", f"{folder}/nginx.conf"]


def configure_caddy(folder, server, certificate, http_port, https_port):
    caddy = find_or_install("caddy", ("caddy",))
    text = (DEPLOY / "Caddyfile").read_text()
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
    ports = f"admin off\nhttp_port {http_port}\nhttps_port {https_port}\n"
    text = text.replace("{\n", f"{{\n{ports}", 1)
    site = f"{NAME} {{\n"
    assert site in text
    text = text.replace(site, f"{site}tls {certificate}/cert.pem {certificate}/key.pem\n")
    (folder / "Caddyfile").write_text(text)
    return [caddy, "run", "--adapter", "caddyfile", "--config", f"{folder}/Caddyfile"]


class Proxy:
    """A running proxy; `call` makes a request over HTTPS and checks the certificate."""

    def __init__(self, http_port, https_port, certificate):
        self.http_port, self.https_port = http_port, https_port
        self.context = ssl.create_default_context(cafile=str(certificate / "cert.pem"))

    def call(self, method, path, body=None, headers=None):
        connection = http.client.HTTPSConnection(NAME, self.https_port, context=self.context)
        plain = socket.create_connection(("127.0.0.1", self.https_port), 30)
        connection.sock = self.context.wrap_socket(plain, server_hostname=NAME)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@pytest.fixture(scope="module", params=[configure_nginx, configure_caddy], ids=["nginx", "caddy"])
def proxy(request, tmp_path_factory, server, certificate):
    folder = tmp_path_factory.mktemp("proxy")
    running = Proxy(free_port(), free_port(), certificate)
    command = request.param(folder, server, certificate, running.http_port, running.https_port)
    with open(folder / "output", "w") as output:
        home = os.environ | {"HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        process = subprocess.Popen(command, env=home, stdout=output, stderr=output)
    deadline = time.monotonic() + 20
    while True:
        try:
            if running.call("GET", "/readyz")[0] == 200:
                break
        except OSError:
            assert process.poll() is None, (folder / "output").read_text()
            assert time.monotonic() < deadline, "the proxy did not start"
            time.sleep(0.05)
    yield running
    process.terminate()
    process.wait(20)


def test_the_proxy_serves_the_service_over_https_and_redirects_http(proxy):
    assert proxy.call("GET", "/readyz")[0] == 200
    plain = http.client.HTTPConnection("127.0.0.1", proxy.http_port, timeout=10)
    plain.request("GET", "/docs", headers={"Host": NAME})
    response = plain.getresponse()

    assert response.status == 308
    assert response.headers["Location"].startswith(f"https://{NAME}")
    plain.close()


def test_a_body_of_eight_mebibytes_reaches_the_service_and_a_larger_one_does_not(proxy, key):
    largest = b"[" + b" " * ((8 << 20) - 2) + b"]"
    status, answer = proxy.call("POST", "/api/public/leads", largest, {"X-API-Key": key})
    assert (status, json.loads(answer)["code"]) == (400, "validation_error")

    try:
        status, answer = proxy.call("POST", "/api/public/leads", b" " * (11 << 20))
    except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
        return  # the proxy hung up while the body was being sent
    assert status == 413
    assert b'"success"' not in answer


def test_a_caller_cannot_forge_its_address_or_scheme(proxy, server, key):
    forged = {"X-Forwarded-For": "198.51.100.7", "X-Forwarded-Proto": "http", "Host": NAME}
    id = f"forged-{proxy.https_port}"
    source = json.dumps({"name": id, "provider": "calcom"}).encode()
    headers = forged | {"X-Request-Id": id, "X-API-Key": key}

    status, answer = proxy.call("POST", "/api/public/sources", source, headers)

    assert status == 201
    assert json.loads(answer)["url"].startswith(f"https://{NAME}/hooks/")

    line = ""
    while f"request_id={id} " not in line:
        line = server.process.stdout.readline()
        assert line, "the server has ended"
    assert " address=127.0.0.1 " in line


@pytest.mark.parametrize(
    ("file", "pattern"),
    [("nginx.conf", r"keepalive_timeout (\d+)s"), ("Caddyfile", r"keepalive (\d+)s")],
)
def test_the_proxy_drops_an_idle_connection_before_the_service_does(file, pattern):
    [seconds] = re.findall(pattern, (DEPLOY / file).read_text())

    assert int(seconds) < Settings.keepalive_seconds


def test_the_guide_names_files_that_exist_and_what_the_unit_says():
    guide = (ROOT / "docs" / "deploy.md").read_text()

    named = set(re.findall(r"deploy/[\w.]+", guide))
    assert named == {"deploy/meetings.service", "deploy/Caddyfile", "deploy/nginx.conf"}
    assert all((ROOT / name).is_file() for name in named)
    for path in ("/opt/meetings", "/etc/meetings/meetings.env", "/etc/meetings/database_url"):
        assert path in UNIT
        assert path in guide
    assert f"({Settings.keepalive_seconds:.0f})" in guide


def test_the_audit_checks_the_packages_of_the_service_with_pinned_tools():
    makefile = (ROOT / "Makefile").read_text()
    tools = (ROOT / "requirements-audit.txt").read_text()

    assert re.search(r"pip-audit .*--requirement requirements\.txt", makefile)
    assert re.search(r"cyclonedx-py requirements .*var/sbom\.json requirements\.txt", makefile)
    pins = re.findall(r"^[^#\s].*", tools, re.MULTILINE)
    assert {pin.partition("==")[0] for pin in pins} >= {"pip-audit", "cyclonedx-bom"}
    assert all("==" in pin for pin in pins)
