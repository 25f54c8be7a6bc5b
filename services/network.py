"""Which addresses a webhook may reach, so that it cannot be used against the local network.

The sender resolves a host once, checks every address, and connects to exactly what was checked.
"""

import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any
from urllib.parse import quote, urlsplit

Address = IPv4Address | IPv6Address
Networks = Iterable[Any]  # of ipaddress.ip_network

SETTING = "WEBHOOK_ALLOW_NETWORKS"
PORTS = {"http": 80, "https": 443}
FIRST_FREE_PORT = 1024
HOST = re.compile(r"[a-z0-9_.-]{1,254}|\[[0-9a-f:.]+\]")
# The characters of a path and a query that stay as they are, besides letters and digits.
URL_SIGNS = "%/:=&?~+!$,;'@()*[]-._"


def _networks(*texts: str) -> tuple[Any, ...]:
    return tuple(map(ip_network, texts))


# Refused even if the setting lists them: link-local addresses and the metadata services of clouds.
NEVER = _networks("169.254.0.0/16", "fe80::/10", "fd00:ec2::254", "168.63.129.16")
# IANA's special-purpose registries, without what they call globally reachable, and multicast.
# https://www.iana.org/assignments/iana-ipv4-special-registry
# https://www.iana.org/assignments/iana-ipv6-special-registry
# Python's own `is_global` differs between its versions.
SPECIAL = _networks(
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "2001::/23",
    "2001:db8::/32",
    "3fff::/20",
)
REACHABLE = _networks(
    "192.0.0.9",
    "192.0.0.10",
    "2001:1::1",
    "2001:1::2",
    "2001:1::3",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:20::/28",
    "2001:30::/28",
)
GLOBAL_UNICAST = ip_network("2000::/3")  # IANA has assigned no other global unicast addresses
NAT64, LOCAL_NAT64 = ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48")
ISATAP = (0x00005EFE, 0x02005EFE)  # the middle of an address whose last 32 bits are IPv4


class AddressRefused(Exception):
    """A URL that a webhook may not reach; the message names the rule and the setting."""


@dataclass(frozen=True)
class Target:
    """Where a URL leads: the parts for HTTP, and the addresses that were checked."""

    scheme: str
    host: str  # for the certificate, in lower case, without brackets and a dot at the end
    port: int
    path: str  # with the query
    addresses: tuple[str, ...] = ()

    @property
    def host_header(self) -> str:
        """The host as the header `Host` has it, with a port that is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def parse(url: str) -> Target:
    """Parse a URL; raises AddressRefused for one that no webhook may have."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise AddressRefused("The URL has no valid host and port.") from None
    if parts.scheme not in PORTS:
        raise AddressRefused("The URL must begin with https://.")
    if "@" in parts.netloc or "\\" in url:
        raise AddressRefused("The URL must not contain a user name or a backslash.")
    host = parts.netloc.lower().removesuffix(f":{port}").removesuffix(":")
    if not HOST.fullmatch(host):
        raise AddressRefused("The URL's host must be a name in ASCII or an address.")
    port = PORTS[parts.scheme] if port is None else port
    if port < FIRST_FREE_PORT and port not in PORTS.values():
        raise AddressRefused(f"Port {port} is refused: use 80, 443 or one from 1024 up.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    name = host.strip("[]").removesuffix(".")
    return Target(parts.scheme, name, port, quote(path, safe=URL_SIGNS))


def check(url: str, allowed: Networks) -> Target:
    """Resolve the host of a URL and check every address; raises AddressRefused.

    `http` is for networks that the setting allows: elsewhere, others on the way could read the
    delivery.
    """
    target = parse(url)
    addresses = resolve(target.host, target.port)
    for address in addresses:
        if fault := refusal(address, allowed):
            named = "" if address == target.host else f"{target.host} is {address}. "
            raise AddressRefused(named + fault)
    if target.scheme == "http" and not all(is_allowed(address, allowed) for address in addresses):
        raise AddressRefused(
            f"The URL must begin with https://; http is only for networks that {SETTING} lists."
        )
    return Target(target.scheme, target.host, target.port, target.path, addresses)


def resolve(host: str, port: int) -> tuple[str, ...]:
    """Return the addresses of a host, in the order in which to try them; raises AddressRefused.

    The system also reads decimal, octal and shortened IPv4 addresses, and gives them as usual.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise AddressRefused(f"The host {host} does not resolve to an address.") from None
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def refusal(address: str, allowed: Networks) -> str | None:
    """Return why an address is refused, naming the rule and the setting; None if it is not."""
    candidates = [*_with_embedded(address)]
    for candidate in candidates:
        if _is_in(candidate, NEVER):
            return (
                f"{candidate} is a link-local or cloud metadata address, which is always refused,"
                f" even if {SETTING} lists it."
            )
    if is_allowed(address, allowed):
        return None
    for candidate in candidates:
        if not _is_public(candidate):
            return f"{candidate} is {_kind(candidate)} address, and {SETTING} does not list it."
    return None


def is_allowed(address: str, allowed: Networks) -> bool:
    """Return whether the setting lists an address, or the IPv4 address within it."""
    return any(_is_in(candidate, allowed) for candidate in _with_embedded(address))


def _with_embedded(address: str) -> Iterator[Address]:
    """Yield an address and the IPv4 addresses within it, by which a packet may be routed.

    A mapped address, or one of the well-known NAT64 prefix, is nothing but its IPv4 address.
    """
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address):
        yield ip
        return
    bits = int(ip)
    last = IPv4Address(bits & 0xFFFFFFFF)
    if ip.ipv4_mapped or ip in NAT64:
        yield last
        return
    yield ip
    if ip.sixtofour:
        yield ip.sixtofour
    if ip in LOCAL_NAT64:  # RFC 6052, section 2.2: of 48 bits, or of 96 within those
        yield IPv4Address((bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF)
        yield last
    if bits >> 32 & 0xFFFFFFFF in ISATAP:
        yield last


def _is_in(ip: Address, networks: Networks) -> bool:
    return any(ip in network for network in networks)


def _is_public(ip: Address) -> bool:
    if _is_in(ip, REACHABLE):
        return True
    return not _is_in(ip, SPECIAL) and (ip.version == 4 or ip in GLOBAL_UNICAST)


def _kind(ip: Address) -> str:
    kinds = {"a loopback": ip.is_loopback, "a multicast": ip.is_multicast}
    kinds["a private"] = ip.is_private and not ip.is_reserved and not ip.is_unspecified
    return next((kind for kind, applies in kinds.items() if applies), "a reserved")
