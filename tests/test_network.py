"""Which addresses webhooks may reach: every refused range, every way to write one, no rebinding."""

import socket
from ipaddress import ip_network

import pytest

from services import network
from services.network import AddressRefused

LOCAL = (ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.fixture
def resolves_to(monkeypatch):
    """`resolves_to("1.2.3.4", …)` gives every host these addresses."""

    def give(*addresses):
        entries = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 443)) for a in addresses]
        monkeypatch.setattr(network.socket, "getaddrinfo", lambda *args, **kwargs: entries)

    return give


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.254", "127.0.0.1"),
        *("127.255.255.254", "169.254.1.1", "172.16.0.1", "172.31.255.254", "192.0.0.1"),
        *("192.0.0.8", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.1"),
        *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1"),
        *("255.255.255.255", "168.63.129.16", "169.254.169.254"),
        *("::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.1.2.3", "64:ff9b:1::1"),
        *("64:ff9b:1:808:8:800::", "100::1", "100:0:0:1::1", "2001::1", "2001:2::1", "2001:10::1"),
        *("2001:db8::1", "2002:7f00:1::1", "2002:a00:1::", "2002:a9fe:a9fe::1", "3fff::1"),
        *("5f00::1", "fc00::1", "fd00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1"),
        *("ff02::1", "ff0e::1", "4000::1", "2600::5efe:127.0.0.1", "2600::200:5efe:10.0.0.1"),
    ],
)
def test_addresses_that_are_not_public_are_refused(address):
    assert "WEBHOOK_ALLOW_NETWORKS" in network.refusal(address, ())


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1"),
        *("192.0.0.9", "192.0.0.10", "192.31.196.1", "192.167.255.255", "198.17.255.255"),
        *("2606:4700::1111", "2001:4860:4860::8888", "2001:20::1", "2002:808:808::1"),
        *("64:ff9b::8.8.8.8", "::ffff:8.8.8.8", "2600::5efe:8.8.8.8"),
    ],
)
def test_public_addresses_are_accepted(address):
    assert network.refusal(address, ()) is None


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd12::1"]
)
def test_the_setting_allows_networks(address):
    assert network.refusal(address, LOCAL) is None
    assert network.is_allowed(address, LOCAL)


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "169.254.0.1", "168.63.129.16", "fe80::1", "fd00:ec2::254"),
        *("::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"),
        *("64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1::a9fe:a9fe"),
    ],
)
def test_metadata_and_link_local_addresses_are_refused_even_if_they_are_allowed(address):
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))

    assert "always refused" in network.refusal(address, everything)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0x7f.0.0.1"),
        *("127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "[::1]", "[::ffff:127.0.0.1]"),
        *("[::ffff:7f00:1]", "0", "0.0.0.0"),
    ],
)
def test_no_way_to_write_a_local_address_gets_past_the_check(host):
    with pytest.raises(AddressRefused, match="WEBHOOK_ALLOW_NETWORKS"):
        network.check(f"https://{host}:8443/", ())


def test_every_address_of_a_host_must_be_allowed(resolves_to):
    resolves_to("8.8.8.8", "10.0.0.1")

    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1 is a private address"):
        network.check("https://example.com/", ())


def test_a_target_holds_the_addresses_that_were_checked_and_the_name_for_the_certificate(
    resolves_to,
):
    resolves_to("8.8.8.8", "2606:4700::1111", "8.8.8.8")

    target = network.check("https://Hooks.Example.COM.:8443/a b?c=d é#fragment", ())

    assert target.addresses == ("8.8.8.8", "2606:4700::1111")
    assert (target.host, target.port) == ("hooks.example.com", 8443)
    assert target.host_header == "hooks.example.com:8443"
    assert target.path == "/a%20b?c=d%20%C3%A9"


def test_the_host_header_leaves_out_the_usual_port(resolves_to):
    resolves_to("8.8.8.8")

    assert network.check("https://example.com:443", ()).host_header == "example.com"
    assert network.check("https://example.com:80", ()).host_header == "example.com:80"
    assert network.parse("https://[2606:4700::1111]:8443/").host_header == "[2606:4700::1111]:8443"


def test_a_host_that_does_not_resolve_is_refused():
    with pytest.raises(AddressRefused, match=r"nowhere\.invalid does not resolve"):
        network.check("https://nowhere.invalid/", ())
    with pytest.raises(AddressRefused, match="does not resolve"):
        network.check(f"https://{'a' * 64}.example/", ())


def test_http_is_only_for_networks_that_the_setting_lists(resolves_to):
    assert network.check("http://127.0.0.1:8000/hook", LOCAL).addresses == ("127.0.0.1",)
    resolves_to("8.8.8.8")
    with pytest.raises(AddressRefused, match="https"):
        network.check("http://example.com/", LOCAL)
    resolves_to("8.8.8.8", "10.0.0.1")
    with pytest.raises(AddressRefused, match="https"):
        network.check("http://example.com/", LOCAL)


@pytest.mark.parametrize("port", [0, 1, 22, 25, 79, 81, 442, 444, 1023])
def test_low_ports_are_refused(port):
    with pytest.raises(AddressRefused, match=f"Port {port} is refused"):
        network.check(f"https://127.0.0.1:{port}/", LOCAL)


@pytest.mark.parametrize("port", [80, 443, 1024, 8443, 65535])
def test_web_ports_and_high_ports_are_accepted(port):
    assert network.check(f"https://127.0.0.1:{port}/", LOCAL).port == port


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.com/", "file:///etc/passwd", "gopher://example.com", "example.com", ""),
        *("https://", "https://:443/", "https:///path", "https://example.com:99999/"),
        *("https://example.com:x/", "https://user@example.com/", "https://a:b@example.com/"),
        *("https://8.8.8.8\\@127.0.0.1/", "https://exa mple.com/", "https://exämple.com/"),
        *("https://[::1", "https://[v1.x]/", "https://[fe80::1%25eth0]/", "https://a%2eb/"),
    ],
)
def test_urls_that_no_webhook_may_have_are_refused(url):
    with pytest.raises(AddressRefused):
        network.parse(url)
