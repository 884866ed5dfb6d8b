"""Decides which callback URLs may be registered, and which addresses callbacks may be sent to.

If a setting is the reason for a refusal, the refusal names the setting.
"""

import re
import socket
from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# Refused blocks and the reasons. The first block that contains an address decides, so narrow blocks come first.
# Sources: IANA's special-purpose address registries (RFC 6890) and the clouds' manuals.
REFUSED: tuple[tuple[str, str], ...] = (
    ("169.254.169.254/32", "a cloud's metadata service (AWS, Google, Azure, DigitalOcean, Oracle)"),
    ("169.254.170.2/32", "a cloud's metadata service (AWS containers)"),
    ("100.100.100.200/32", "a cloud's metadata service (Alibaba)"),
    ("168.63.129.16/32", "a cloud's metadata service (Azure)"),
    ("0.0.0.0/32", "unspecified (RFC 1122)"),
    ("0.0.0.0/8", "this network (RFC 791)"),
    ("10.0.0.0/8", "private (RFC 1918)"),
    ("100.64.0.0/10", "shared by a carrier's customers (RFC 6598)"),
    ("127.0.0.0/8", "loopback (RFC 1122)"),
    ("169.254.0.0/16", "link-local (RFC 3927)"),
    ("172.16.0.0/12", "private (RFC 1918)"),
    ("192.0.0.0/24", "reserved for protocols (RFC 6890)"),
    ("192.0.2.0/24", "for documentation (RFC 5737)"),
    ("192.88.99.0/24", "a 6to4 relay (RFC 7526)"),
    ("192.168.0.0/16", "private (RFC 1918)"),
    ("198.18.0.0/15", "for benchmarks (RFC 2544)"),
    ("198.51.100.0/24", "for documentation (RFC 5737)"),
    ("203.0.113.0/24", "for documentation (RFC 5737)"),
    ("224.0.0.0/4", "multicast (RFC 5771)"),
    ("255.255.255.255/32", "broadcast (RFC 919)"),
    ("240.0.0.0/4", "reserved (RFC 1112)"),
    ("::/128", "unspecified (RFC 4291)"),
    ("::1/128", "loopback (RFC 4291)"),
    ("::/96", "IPv4-compatible (RFC 4291)"),
    ("::ffff:0:0:0/96", "IPv4-translated (RFC 2765)"),
    ("64:ff9b:1::/48", "local NAT64 (RFC 8215)"),
    ("100::/64", "discarded (RFC 6666)"),
    ("100:0:0:1::/64", "a dummy prefix (RFC 9780)"),
    ("2001::/32", "Teredo (RFC 4380)"),
    ("2001:2::/48", "for benchmarks (RFC 5180)"),
    ("2001:10::/28", "ORCHID (RFC 4843)"),
    ("2001:20::/28", "ORCHID (RFC 7343)"),
    ("2001::/23", "reserved for protocols (RFC 2928)"),
    ("2001:db8::/32", "for documentation (RFC 3849)"),
    ("3ffe::/16", "a closed test network (RFC 3701)"),
    ("3fff::/20", "for documentation (RFC 9637)"),
    ("5f00::/16", "segment routing (RFC 9602)"),
    ("fd00:ec2::254/128", "a cloud's metadata service (AWS)"),
    ("fd20:ce::254/128", "a cloud's metadata service (Google)"),
    ("fc00::/7", "private (RFC 4193)"),
    ("fe80::/10", "link-local (RFC 4291)"),
    ("fec0::/10", "site-local (RFC 3879)"),
    ("ff00::/8", "multicast (RFC 4291)"),
)

# IPv6 blocks whose addresses contain an IPv4 address, and how many bits follow the IPv4 address. For such an address,
# REFUSED is applied to the IPv4 address: in a network with DNS64 every IPv4 receiver has one (RFC 6147).
EMBEDDING: tuple[tuple[str, int, str], ...] = (
    ("::ffff:0:0/96", 0, "IPv4-mapped (RFC 4291)"),
    ("64:ff9b::/96", 0, "NAT64 (RFC 6052)"),
    ("2002::/16", 80, "6to4 (RFC 3056)"),
)

_REFUSED = tuple((ip_network(block), why) for block, why in REFUSED)
_EMBEDDING = tuple((IPv6Network(block), shift, name) for block, shift, name in EMBEDDING)
_GLOBAL_UNICAST = IPv6Network("2000::/3")

LOOPBACK = ("127.0.0.1", "::1")
MAX_URL_CHARACTERS = 2_048
_DEFAULT_PORTS = {"http": 80, "https": 443}
# A host name in lower case, international labels encoded (RFC 1123 §2.1, but some names in use have underscores, too).
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_MAX_NAME_CHARACTERS = 253
_STRAY_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")
_ORIGIN = re.compile(r"[^/?]*(//[^/?]*)?")


def blocked_address_reason(address: str, *, allow: Sequence[Network]) -> str | None:
    """Return why a connection to `address` is refused; None when the connection is allowed.

    The reason does not repeat the address. `allow` holds blocks of addresses that are allowed although they would be
    refused otherwise.
    """
    try:
        why = _why_refused(ip_address(address), allow)
    except ValueError:
        return "the address is not allowed: it is not an IP address"
    return why and f"the address is not allowed: {why}, and BRIDGE_CALLBACK_ALLOW does not name it"


def _why_refused(address: Address, allow: Sequence[Network]) -> str | None:
    if any(address in network for network in allow):
        return None
    for network, shift, name in _EMBEDDING:
        if address in network:
            inside = IPv4Address(int(address) >> shift & 0xFFFF_FFFF)
            why = _why_refused(inside, allow)
            return why and f"{why}, inside {name}"
    for block, why in _REFUSED:
        if address in block:
            return why
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return "not global unicast (RFC 4291)"
    return None


def callback_url_problem(url: str, *, https_only: bool, ports: frozenset[int]) -> str | None:
    """Return why `url` cannot be a callback URL, in a sentence; None when `url` can be one.

    If `ports` is empty, any port is allowed. The host may be any IP address here: `blocked_host_reason` checks
    whether callbacks to such a host are allowed.
    """
    return next(_problems_of_text(url), None) or _problem_with_origin(_origin(url), https_only, ports)


def blocked_host_reason(url: str, *, allow: Sequence[Network]) -> str | None:
    """Return why the host of a valid URL is refused, as a sentence; None when the host is allowed.

    An IP address is checked by `blocked_address_reason`. `localhost` and names that end in `.localhost` stand for
    127.0.0.1 and ::1, and are refused when both addresses are refused. Every other name is allowed here: its
    addresses are not looked up. `allow` holds blocks of addresses that are allowed although they would be refused
    otherwise.
    """
    host = callback_host(url)
    if _is_localhost(host):
        refusals = [blocked_address_reason(address, allow=allow) for address in LOOPBACK]
        return refusals[0] if all(refusals) else None
    address = literal_address(host)
    return blocked_address_reason(address, allow=allow) if address else None


def callback_host(url: str) -> str:
    """Return the host of a callback URL: lower case, international labels encoded, no port, no final dot.

    Raises ValueError when no host is found in `url`.
    """
    return _host_of(_origin(url))


def server_of(url: str) -> str:
    """Return a valid callback URL's scheme, host and port as one text: `https://app.example.com:443`."""
    parts = urlsplit(url)
    host = callback_host(url)
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}:{parts.port or _DEFAULT_PORTS[parts.scheme]}"


def filter_host(text: str) -> str:
    """Return the host in `text`, without a port, written as `callback_host` writes hosts.

    `text` is the value of a filter for watches. Raises ValueError when `text` holds `/`, `?`, `#`, `@` or a
    backslash. If no host can be found in `text`, `text` is returned unchanged.
    """
    if set(text) & set("/?#@\\"):
        raise ValueError("must be a host alone")
    url = f"https://[{text}]" if text.count(":") > 1 and "[" not in text else f"https://{text}"
    try:
        return callback_host(url)
    except ValueError:
        return text


def without_stray_percent(url: str) -> str:
    """Return `url` with `%25` in place of each `%` that does not begin an escape."""
    # urllib3 would escape the valid escapes beside a stray `%` a second time.
    return _STRAY_PERCENT.sub("%25", url) if "%" in url else url


# Each task may have its own URL, but a client's callbacks have few origins, and a check costs 50 µs.
_cached = lru_cache(maxsize=1024)


@_cached
def literal_address(host: str) -> str | None:
    """Return the IP address that `host` spells out, in standard notation; None for any other host.

    The system decides what is an address: `127.1` and `0x7f.1` give `127.0.0.1`, and `0::1` gives `::1`.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror as error:
        if error.errno != socket.EAI_NONAME:  # for example, out of memory: it may be an address
            raise
        return None
    return str(found[0][4][0])


@_cached
def _host_of(origin: str) -> str:
    host = parse_url(origin).host
    if not host:
        raise ValueError("the URL has no host")
    return host.strip("[]").rstrip(".").lower()


def _origin(url: str) -> str:
    """Return the part of the URL before its path and query: only this part can contain the host (RFC 3986, 3.2)."""
    return _ORIGIN.match(url)[0]  # type: ignore[index]  # it matches any text


@_cached
def _problem_with_origin(
    origin: str,
    https_only: bool,  # noqa: FBT001 -- lru_cache is fastest with positional arguments
    ports: frozenset[int],
) -> str | None:
    return next(_problems_of_origin(origin, https_only=https_only, ports=ports), None)


def _problems_of_origin(origin: str, *, https_only: bool, ports: frozenset[int]) -> Iterator[str]:
    try:
        parts = urlsplit(origin)
    except ValueError:
        yield "the URL is not valid"
        return
    yield from _problems_of_parts(parts, https_only=https_only)
    yield from _problems_of_port(parts, ports)
    yield from _problems_of_host(origin, parts.hostname or "")


def _problems_of_text(url: str) -> Iterator[str]:
    if len(url) > MAX_URL_CHARACTERS:
        yield f"the URL is longer than {MAX_URL_CHARACTERS:,} characters"
    if " " in url or not url.isprintable():
        yield "the URL has white space or a control character in it"
    if "\\" in url:
        yield "the URL has a backslash in it"
    if "#" in url:
        yield "the URL has a fragment"


def _problems_of_parts(parts: SplitResult, *, https_only: bool) -> Iterator[str]:
    if parts.scheme not in _DEFAULT_PORTS:
        yield "the URL must start with http:// or https://"
    if https_only and parts.scheme != "https":
        yield "the URL must start with https://, because of BRIDGE_CALLBACK_HTTPS_ONLY"
    if "@" in parts.netloc:
        yield "the URL has a user name or password in it"
    if not parts.hostname:
        yield "the URL has no host"


def _problems_of_port(parts: SplitResult, ports: frozenset[int]) -> Iterator[str]:
    try:
        port = _DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
    except ValueError:
        port = 0
    if port == 0:
        yield "the port is not a number from 1 to 65535"
    if ports and port not in ports:
        yield f"the port {port} is not among BRIDGE_CALLBACK_PORTS"


def _problems_of_host(origin: str, hostname: str) -> Iterator[str]:
    """Yield the problems of a callback URL's host.

    `origin` is the URL without path and query; `hostname` is the host that `urlsplit` finds in `origin`. A different
    host found by urllib3 in `origin` is a problem, too.
    """
    try:
        host = (parse_url(origin).host or "").lower()
        same = parse_url(f"//[{hostname}]" if ":" in hostname else f"//{hostname}").host
    except LocationParseError:
        yield "the host name is not valid"
        return
    if host != same:
        yield "the URL can be read in two ways"
    if not (_is_name(host) or _is_ipv6(host)):
        yield "the host name is not valid"


def _is_name(host: str) -> bool:
    return _NAME.fullmatch(host) is not None and len(host.rstrip(".")) <= _MAX_NAME_CHARACTERS


def _is_ipv6(host: str) -> bool:
    try:
        IPv6Address(host[1:-1])
    except ValueError:
        return False
    return host.startswith("[") and "%" not in host


def _is_localhost(host: str) -> bool:
    """Return whether the host is `localhost` or ends in `.localhost`: always this machine (RFC 6761, 6.3)."""
    return host == "localhost" or host.endswith(".localhost")
