"""TRUSTED_PROXIES: whose X-Forwarded-For and X-Forwarded-Proto count, and nobody can forge them."""

import http.client
import re
from ipaddress import ip_network

import pytest
from conftest import using
from server import Server

from web.proxies import TrustedProxies

TRUSTED = ("10.0.0.1", "10.0.0.2", "fd00::/8")
PROXY, CALLER = "10.0.0.1", "203.0.113.7"


def seen(peer, forwarded=None, scheme=None):
    """Return the address and the scheme that the application sees."""
    environ = {"REMOTE_ADDR": peer, "wsgi.url_scheme": "http"}
    if forwarded is not None:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded
    if scheme is not None:
        environ["HTTP_X_FORWARDED_PROTO"] = scheme
    networks = [ip_network(text) for text in TRUSTED]
    after = TrustedProxies(lambda environ, _: environ, networks)(environ, None)
    return after["REMOTE_ADDR"], after["wsgi.url_scheme"]


def test_a_trusted_proxy_reports_the_address_and_the_scheme():
    assert seen(PROXY, CALLER, "https") == (CALLER, "https")


@pytest.mark.parametrize("peer", [CALLER, "127.0.0.1", "10.0.0.3", "::ffff:10.0.0.3", "::1", ""])
def test_the_headers_of_any_other_peer_are_ignored(peer):
    assert seen(peer, "198.51.100.1", "https") == (peer, "http")


def test_what_a_caller_sends_to_the_proxy_is_not_believed():
    assert seen(PROXY, f"198.51.100.1, {PROXY}, {CALLER}", "https, http") == (CALLER, "http")


@pytest.mark.parametrize("scheme", ["https", "https, http", "HTTPS , http"])
def test_a_chain_of_two_proxies_reports_the_caller_of_the_first(scheme):
    """The second one leaves the scheme as it is, or appends its own."""
    assert seen(PROXY, f"198.51.100.1, {CALLER}, 10.0.0.2", scheme) == (CALLER, "https")


def test_an_address_that_a_caller_puts_before_a_chain_of_two_is_not_believed():
    forged = f"10.0.0.1, 10.0.0.2, {CALLER}, 10.0.0.2"
    assert seen(PROXY, forged, "https, https, http, http") == (CALLER, "http")


def test_without_a_forwarded_address_the_proxy_itself_calls():
    assert seen(PROXY, None, "https") == (PROXY, "https")
    assert seen(PROXY, "10.0.0.2", None) == ("10.0.0.2", "http")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.7:4711", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        (f" ,{CALLER} , ", CALLER),
    ],
)
def test_an_address_may_be_ipv6_or_have_a_port(text, address):
    assert seen(PROXY, text) == (address, "http")
    assert seen("fd00::2", text) == (address, "http")
    assert seen("::ffff:10.0.0.1", text) == (address, "http")


@pytest.mark.parametrize(
    "text",
    ["unknown", "_hidden", "999.1.1.1", "1.2.3", "fe80::1%a status=200", "x status=200", "[]", ":",
     "unix:", "203.0.113.7 path=/x", "203.0.113.7:x", "1" * 8000, "é"],
)  # fmt: skip
def test_what_is_no_address_never_reaches_the_log(text):
    assert seen(PROXY, text) == (PROXY, "http")
    assert seen(PROXY, f"{CALLER}, {text}, 10.0.0.2") == ("10.0.0.2", "http")


@pytest.mark.parametrize("scheme", ["ftp", "javascript", "", ",", "https http"])
def test_an_unknown_scheme_is_ignored(scheme):
    assert seen(PROXY, CALLER, scheme) == (CALLER, "http")


@pytest.mark.parametrize(
    ("trusted", "begins"), [("127.0.0.1", "https://book.example/"), ("::1", "http://book.example/")]
)
def test_addresses_in_responses_have_the_scheme_that_a_trusted_proxy_reports(
    api, database_url, trusted, begins
):
    headers = {"X-Forwarded-Proto": "https", "Host": "book.example", "X-Forwarded-Host": "evil.com"}
    body = {"provider": "calcom", "name": "Form"}

    with using(database_url, trusted_proxies=(ip_network(trusted),)) as app:
        source = api.on(app).post("/sources", json=body, headers=headers)

    assert source.json["url"].startswith(f"{begins}hooks/")
    assert source.headers["Location"] == f"/api/public/sources/{source.json['source']['id']}"


def call(server, source, **headers):
    """Call a server from a local address with forwarding headers; `Forwarded_For` is a name."""
    connection = http.client.HTTPConnection(source, server.port, source_address=(source, 0))
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET", "/healthz", headers=names)
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_server_logs_the_caller_that_a_trusted_proxy_reports(database_url):
    settings = {
        **{"HOST": "::", "TRUSTED_PROXIES": "127.0.0.2,::1", "LOG_LEVEL": "INFO"},
        # These would let gunicorn believe every caller.
        **{"FORWARDED_ALLOW_IPS": "*"},
    }
    server = Server(database_url, 1, settings).start()
    forged = {"X_Forwarded_For": "198.51.100.1", "X_Forwarded_Proto": "https"}
    huge = {"X_Forwarded_For": "10.0.0.1," * 2000}
    # gunicorn refuses contradicting schemes if it reads them.
    contradicting = {"X_Forwarded_Proto": "https", "X_Forwarded_Ssl": "off"}

    assert call(server, "127.0.0.2", X_Request_Id="proxy", **forged) == 200
    assert call(server, "::1", X_Request_Id="proxy6", X_Forwarded_For="2001:db8::9") == 200
    assert call(server, "127.0.0.1", X_Request_Id="around", **forged) == 200
    assert call(server, "127.0.0.1", X_Request_Id="ssl", **contradicting) == 200
    assert call(server, "127.0.0.1", X_Request_Id="prefix", **{"Script_Name": "/healthz"}) == 200
    assert call(server, "127.0.0.2", X_Request_Id="huge", **huge) == 431
    log = server.stop()

    addresses = dict(re.findall(r"request_id=(\w+) address=(\S+) ", log))
    assert addresses == {
        "proxy": "198.51.100.1",
        "proxy6": "2001:db8::9",
        **dict.fromkeys(("around", "ssl", "prefix"), "::ffff:127.0.0.1"),
    }
