"""The caller's address and scheme, as the proxies of TRUSTED_PROXIES report them."""

import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

Address = IPv4Address | IPv6Address
# Some proxies add the port: `192.0.2.1:4711`, `[2001:db8::1]:4711`. A zone (`fe80::1%eth0`) could
# hold any text, so no such address is accepted.
FORWARDED = re.compile(r"([0-9.]+)(?::\d+)?|\[([0-9A-Fa-f:.]+)\](?::\d+)?|([0-9A-Fa-f:.]+)")


class TrustedProxies:
    """WSGI middleware that reads X-Forwarded-For and X-Forwarded-Proto from trusted proxies only.

    The headers of any other peer are ignored. Each proxy adds the address of its own peer at the
    end of X-Forwarded-For. So the caller is the last address there that is not a trusted proxy; the
    addresses before it may be forged. (werkzeug's ProxyFix instead trusts a fixed number of proxies
    from any peer, and accepts any text as an address.)
    """

    def __init__(self, wsgi_app: Callable[..., Any], networks: Iterable[Any]) -> None:
        self.wsgi_app, self.networks = wsgi_app, tuple(networks)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Set the caller's address and scheme, and call the application."""
        peer = read_address(environ.get("REMOTE_ADDR", ""))
        if peer and self.is_trusted(peer):
            caller, proxies = self.find_caller(peer, read_list(environ, "HTTP_X_FORWARDED_FOR"))
            environ["REMOTE_ADDR"] = str(caller)
            # A proxy either appends its scheme, or replaces what the one before it reported.
            schemes = read_list(environ, "HTTP_X_FORWARDED_PROTO")[-proxies:]
            if schemes and schemes[0].lower() in ("http", "https"):
                environ["wsgi.url_scheme"] = schemes[0].lower()
        return self.wsgi_app(environ, start_response)

    def find_caller(self, peer: Address, forwarded: list[str]) -> tuple[Address, int]:
        """Return the address of the caller, and how many trusted proxies the request passed."""
        caller, proxies = peer, 1
        for text in reversed(forwarded):
            address = read_address(text)
            if address is None:
                break
            caller = address
            if not self.is_trusted(address):
                break
            proxies += 1
        return caller, proxies

    def is_trusted(self, address: Address) -> bool:
        """Return whether an address is that of a trusted proxy."""
        return any(address in network for network in self.networks)


def read_list(environ: dict[str, Any], name: str) -> list[str]:
    """Return the items of a header that is a comma-separated list."""
    return [item.strip() for item in environ.get(name, "").split(",") if item.strip()]


def read_address(text: str) -> Address | None:
    """Read an IP address with or without a port; None if the text is anything else."""
    found = FORWARDED.fullmatch(text)
    try:
        address = ip_address(next(filter(None, found.groups()))) if found else None
    except ValueError:
        return None
    # A socket that takes both IPv4 and IPv6 shows an IPv4 peer as ::ffff:192.0.2.1.
    return getattr(address, "ipv4_mapped", None) or address
