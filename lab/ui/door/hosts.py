"""Under which names the app answers, and which origins are its own. Pure functions on the text of headers.

A page of another site can make a browser send requests here, and a name of another site can be made to lead here (DNS rebinding). Both
show in headers that pages cannot forge: Host, Origin, Referer, Sec-Fetch-Site.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?)*", re.I)
PORTS = {"http": "80", "https": "443"}
FOREIGN = ("cross-site", "same-site")  # same-site: another port of this machine, or a neighbouring name
UNASKED = ("basic", "digest", "negotiate", "ntlm")  # what a browser adds by itself to a request that a page of another site made


def split(host: str) -> tuple[str, str]:
    """(name, port) of a Host header, small letters, without brackets and a last dot; ("", "") for what is none."""
    name, port = host.strip().lower(), ""
    if name.startswith("["):
        name, bracket, port = name[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return "", ""
        port = port[1:]
    elif name.count(":") == 1:
        name, _, port = name.partition(":")
    if port and not (port.isascii() and port.isdecimal()) or any(letter.isspace() or letter in "/@\\?#," for letter in name):
        return "", ""
    return name.removesuffix("."), port


def is_name(host: str) -> bool:
    """Whether it is a host name or an address, perhaps with a port."""
    name, _ = split(host)
    return bool(NAME.fullmatch(name)) or address_of(name) is not None


def address_of(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host name is, None for a name."""
    try:
        found = ipaddress.ip_address(name)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


class Hosts:
    """The names of one app: this machine's own, `host` that it listens on, and `allowed` (name or name:port).

    Where it listens on every address (0.0.0.0, ::), any address will do: only names can be led elsewhere, addresses cannot.
    """

    def __init__(self, host: str, allowed: Iterable[str] = ()):
        self.host = host.lower()
        bound = address_of(self.host)
        self.everywhere = bound is not None and bound.is_unspecified
        self.names = {self.host, "localhost"}
        if bound is None or not bound.is_loopback:
            self.names |= {socket.gethostname().lower(), socket.getfqdn().lower()} if self.everywhere else set()
        self.allowed = {split(name) for name in allowed}

    def allow(self, name: str) -> None:
        """Add a name that became known later (a shared address)."""
        self.allowed.add(split(name))

    def knows(self, host: str) -> bool:
        """Whether the app answers to this Host header."""
        name, port = split(host)
        address = address_of(name)
        if address is not None and (address.is_loopback or self.everywhere):
            return True
        return bool(name) and (name in self.names or name.endswith(".localhost") or self._allows(name, port))

    def _allows(self, name: str, port: str) -> bool:
        return (name, port) in self.allowed or (name, "") in self.allowed

    def is_own(self, origin: str, host: str) -> bool:
        """Whether an origin (or the address of a page) is the app's own: the very name and port of the request, or an allowed name."""
        try:
            parts = urlsplit(origin.strip())
        except ValueError:
            return False
        if parts.scheme not in PORTS or "@" in parts.netloc:
            return False
        usual = PORTS[parts.scheme]
        name, port = split(parts.netloc)
        here, own = split(host)
        if not name:
            return False
        port = port or usual
        return (name == here and port == (own or usual)) or (name, port) in self.allowed or (port == usual and (name, "") in self.allowed)


def is_of(address: str, networks: Iterable[str]) -> bool:
    """Whether an address is in one of the networks."""
    found = address_of(address.partition("%")[0])
    return found is not None and any(found in ipaddress.ip_network(network) for network in networks)


def foreign(headers: Mapping[str, str], host: str, hosts: Hosts) -> bool:
    """Whether a browser says that a page of another site, or of another port of this machine, made the request."""
    if headers.get("sec-fetch-site", "") in FOREIGN:
        return True
    origin = headers.get("origin")
    return origin is not None and not hosts.is_own(origin, host)


def may_change(headers: Mapping[str, str], host: str, hosts: Hosts) -> bool:
    """Whether a request may change something: it comes from a page of ours, or from a program, which no page of another site can be.

    Every browser sends Origin, Referer or Sec-Fetch-Site with what a page posts; a program sends none of them, and does not call itself
    Mozilla. Authorization is proof too where a browser would not add it unasked: pages of other sites cannot set it without our leave.
    """
    scheme = headers.get("authorization", "").partition(" ")[0].lower()
    if scheme and scheme not in UNASKED:
        return True
    if foreign(headers, host, hosts):
        return False
    if "origin" in headers:
        return True
    referer = headers.get("referer")
    if referer is not None:
        return hosts.is_own(referer, host)
    return bool(scheme) or "sec-fetch-site" in headers or not headers.get("user-agent", "").lower().startswith("mozilla/")
