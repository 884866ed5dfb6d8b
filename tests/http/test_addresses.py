"""Which addresses may be dialled, and which callback URLs may be registered."""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.http.addresses import (
    EMBEDDING,
    REFUSED,
    _problems_of_host,
    blocked_address_reason,
    blocked_host_reason,
    callback_host,
    callback_url_problem,
    literal_address,
)
from tests.senders import LOOPBACK

NOT_NAMED = "and BRIDGE_CALLBACK_ALLOW does not name it"


def problem(url: str, *, https_only: bool = False, ports: frozenset[int] = frozenset()) -> str | None:
    return callback_url_problem(url, https_only=https_only, ports=ports)


def why(address: str) -> str | None:
    return blocked_address_reason(address, allow=())


@pytest.mark.parametrize(("block", "reason"), REFUSED)
def test_each_row_refuses_with_its_reason(block: str, reason: str) -> None:
    network = ip_network(block)
    narrower = [
        (ip_network(other), other_reason)
        for other, other_reason in REFUSED
        if ip_network(other).version == network.version and ip_network(other).prefixlen > network.prefixlen
    ]
    for address in (network[0], network[network.num_addresses // 2], network[-1]):
        expected = next((other_reason for other, other_reason in narrower if address in other), reason)
        assert why(str(address)) == f"the address is not allowed: {expected}, {NOT_NAMED}"


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "93.184.216.34",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2001:200::1",
        "2606:4700:4700::1111",
        "2a00:1450:4001:81b::200e",
    ],
)
def test_a_public_address_may_be_dialled(address: str) -> None:
    assert why(address) is None


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("::ffff:127.0.0.1", "loopback (RFC 1122), inside IPv4-mapped (RFC 4291)"),
        ("::ffff:a9fe:a9fe", "a cloud's metadata service"),
        ("64:ff9b::10.0.0.1", "private (RFC 1918), inside NAT64 (RFC 6052)"),
        ("64:ff9b::7f00:1", "loopback (RFC 1122), inside NAT64 (RFC 6052)"),
        ("2002:7f00:1::", "loopback (RFC 1122), inside 6to4 (RFC 3056)"),
        ("2002:c0a8:101:1::1", "private (RFC 1918), inside 6to4 (RFC 3056)"),
    ],
)
def test_an_address_is_refused_for_the_ipv4_address_inside(address: str, reason: str) -> None:
    assert (why(address) or "").startswith(f"the address is not allowed: {reason}")


@pytest.mark.parametrize("address", ["::ffff:1.1.1.1", "64:ff9b::1.1.1.1", "2002:101:101::1"])
def test_an_address_that_leads_to_a_public_ipv4_address_may_be_dialled(address: str) -> None:
    assert why(address) is None


@pytest.mark.parametrize("address", ["::1.1.1.1", "::ffff:0:1.1.1.1", "64:ff9b:1::1.1.1.1", "2001::1"])
def test_other_embedding_forms_are_refused_whatever_is_inside(address: str) -> None:
    assert why(address) is not None


def test_a_zone_does_not_hide_an_address() -> None:
    assert why("fe80::1%eth0") == f"the address is not allowed: link-local (RFC 4291), {NOT_NAMED}"


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f000001", "1.2.3.4.5", "[::1]", "%eth0"])
def test_what_is_not_an_address_is_refused(text: str) -> None:
    assert why(text) == "the address is not allowed: it is not an IP address"


@given(st.ip_addresses(v=6))
def test_ipv6_outside_global_unicast_is_refused(address: IPv6Address) -> None:
    embedding = any(address in ip_network(block) for block, _, _ in EMBEDDING)
    if address not in ip_network("2000::/3") and not embedding:
        assert why(str(address)) is not None


@given(st.ip_addresses())
def test_what_python_knows_not_to_be_global_is_refused(address: IPv4Address | IPv6Address) -> None:
    embedding = any(address in ip_network(block) for block, _, _ in EMBEDDING)
    if not address.is_global and not embedding:
        assert why(str(address)) is not None


@given(st.ip_addresses(v=4))
def test_an_embedding_address_is_judged_like_the_one_inside(inside: IPv4Address) -> None:
    for block, shift, _ in EMBEDDING:
        outer = ip_address(int(ip_network(block)[0]) + (int(inside) << shift))
        assert (why(str(outer)) is None) == (why(str(inside)) is None)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_an_exempt_block_may_be_dialled(address: str) -> None:
    assert blocked_address_reason(address, allow=LOOPBACK) is None


@pytest.mark.parametrize("address", ["10.0.0.1", "::2", "::ffff:10.0.0.1", "169.254.169.254"])
def test_an_exemption_covers_its_block_alone(address: str) -> None:
    assert blocked_address_reason(address, allow=LOOPBACK) is not None


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example.com/hooks/hubspot",
        "http://app.example.com:8080/hooks?key=1&x=%20",
        "HTTPS://App.Example.Com./",
        "https://example.com:",
        "https://example.com?x=1",
        "https://exämple.com/ü",
        "https://xn--exmple-cua.com/",
        "https://my_host.example/",
        "https://intranet/",
        "https://1.1.1.1/",
        "https://[2606:4700:4700::1111]:8443/",
        "https://example.com/@user",
        "https://example.com/" + "a" * (2_048 - 20),
    ],
)
def test_a_good_callback_url_passes(url: str) -> None:
    assert problem(url) is None


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("https://example.com/" + "a" * (2_049 - 20), "the URL is longer than 2,048 characters"),
        ("https://example.com/ x", "the URL has white space or a control character in it"),
        (" https://example.com/", "the URL has white space or a control character in it"),
        ("https://exam\tple.com/", "the URL has white space or a control character in it"),
        ("https://example.com/\r\nX: y", "the URL has white space or a control character in it"),
        ("https://example.com/\0", "the URL has white space or a control character in it"),
        ("https://example.com/\x7f", "the URL has white space or a control character in it"),
        ("https://example.com/\u00a0", "the URL has white space or a control character in it"),
        ("https://example.com/\u202e", "the URL has white space or a control character in it"),
        ("https://example.com/\ud800", "the URL has white space or a control character in it"),
        ("http://127.0.0.1\\@example.com/", "the URL has a backslash in it"),
        ("https://example.com/#part", "the URL has a fragment"),
        ("https://example.com/#", "the URL has a fragment"),
        ("https://user:secret@example.com/", "the URL has a user name or password in it"),
        ("https://@example.com/", "the URL has a user name or password in it"),
        ("https://example.com@evil.example/", "the URL has a user name or password in it"),
        ("", "the URL must start with http:// or https://"),
        ("example.com/hook", "the URL must start with http:// or https://"),
        ("//example.com/hook", "the URL must start with http:// or https://"),
        ("ftp://example.com/", "the URL must start with http:// or https://"),
        ("javascript:alert(1)", "the URL must start with http:// or https://"),
        ("file:///etc/passwd", "the URL must start with http:// or https://"),
        ("https:///path", "the URL has no host"),
        ("https://:443/", "the URL has no host"),
        ("https:/example.com", "the URL has no host"),
        ("https://?x=1", "the URL has no host"),
        ("https://example.com:0/", "the port is not a number from 1 to 65535"),
        ("https://example.com:65536/", "the port is not a number from 1 to 65535"),
        ("https://example.com:-1/", "the port is not a number from 1 to 65535"),
        ("https://example.com:8x/", "the port is not a number from 1 to 65535"),
        ("https://[::1/", "the URL is not valid"),
        ("https://[example.com]/", "the URL is not valid"),
        ("https://ex\u2100mple.com/", "the URL is not valid"),
        ("https://a..b/", "the host name is not valid"),
        ("https://.example.com/", "the host name is not valid"),
        ("https://example.com../", "the host name is not valid"),
        ("https://./", "the host name is not valid"),
        ("https://" + "a" * 64 + ".example/", "the host name is not valid"),
        ("https://" + "a." * 127 + "example/", "the host name is not valid"),
        ("https://exa$mple.com/", "the host name is not valid"),
        ("https://exam%70le.com%00/", "the host name is not valid"),
        ("https://*.example.com/", "the host name is not valid"),
        ("https://\u200bexample.com/", "the URL has white space or a control character in it"),
        ("https://\u2603\ufe0f.example/", "the host name is not valid"),
        ("https://\uff11\uff12\uff17.0.0.1/", "the host name is not valid"),
        ("https://[fe80::1%25eth0]/", "the host name is not valid"),
        ("https://[v1.x]/", "the host name is not valid"),
    ],
)
def test_a_bad_callback_url_is_told_what_is_wrong(url: str, sentence: str) -> None:
    assert problem(url) == sentence


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.0.0.1.", "127.0.0.%31", "[::1]", "0"],
)
def test_an_address_for_a_host_is_known_in_any_spelling(host: str) -> None:
    assert (blocked_host_reason(f"https://{host}/", allow=()) or "").startswith(
        "the address is not allowed: "
    )
    assert blocked_host_reason(f"https://{host}/", allow=(*LOOPBACK, ip_network("0.0.0.0/8"))) is None


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "localhost.", "app.localhost", "a.b.LOCALHOST."])
def test_localhost_is_loopback_however_it_is_spelled(host: str) -> None:
    url = f"https://{host}:8443/"
    assert (
        blocked_host_reason(url, allow=()) == f"the address is not allowed: loopback (RFC 1122), {NOT_NAMED}"
    )
    assert blocked_host_reason(url, allow=[ip_network("10.0.0.0/8")]) is not None
    for loopback in LOOPBACK:
        assert blocked_host_reason(url, allow=[loopback]) is None


@pytest.mark.parametrize(
    "host", ["app.example", "localhost.example", "notlocalhost", "intranet", "1.2.3.4.5"]
)
def test_another_name_is_judged_only_when_it_is_dialled(host: str) -> None:
    assert blocked_host_reason(f"https://{host}/", allow=()) is None


def test_a_host_that_two_parsers_read_differently_is_refused() -> None:
    assert list(_problems_of_host("http://a.example/", "b.example")) == ["the URL can be read in two ways"]


def test_http_is_refused_where_only_https_may_be_used() -> None:
    assert problem("http://example.com/", https_only=True) == (
        "the URL must start with https://, because of BRIDGE_CALLBACK_HTTPS_ONLY"
    )
    assert problem("https://example.com/", https_only=True) is None


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("https://example.com/", None),
        ("https://example.com:8443/", None),
        ("http://example.com/", "the port 80 is not among BRIDGE_CALLBACK_PORTS"),
        ("https://example.com:22/", "the port 22 is not among BRIDGE_CALLBACK_PORTS"),
    ],
)
def test_only_the_ports_that_are_named_may_be_used(url: str, sentence: str | None) -> None:
    assert problem(url, ports=frozenset({443, 8443})) == sentence


@given(st.text())
def test_no_text_makes_the_check_fail(text: str) -> None:
    problem(text)
    problem(f"https://{text}")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://App.Example.COM:8443/x", "app.example.com"),
        ("https://app.example.com.", "app.example.com"),
        ("https://exämple.com/", "xn--exmple-cua.com"),
        ("https://[2606:4700::1111]:443/", "2606:4700::1111"),
        ("http://127.0.0.1:8000/", "127.0.0.1"),
    ],
)
def test_a_host_is_its_lower_case_name_without_the_port(url: str, host: str) -> None:
    assert callback_host(url) == host


def test_a_url_without_a_host_has_no_callback_host() -> None:
    with pytest.raises(ValueError, match="no host"):
        callback_host("https:///x")


def test_a_place_that_was_judged_once_says_nothing_of_another_path_or_rule() -> None:
    assert problem("https://a.example:8443/fine?x=1") is None
    assert problem("https://a.example:8443/not\\fine") == "the URL has a backslash in it"
    assert problem("https://a.example:8443?x#fragment") == "the URL has a fragment"
    assert problem("https://a.example:8443/fine?x=1", ports=frozenset({443})) is not None
    assert problem("http://a.example:8443/fine?x=1", https_only=True) is not None
    assert problem("http://a.example:8443/fine?x=1", https_only=False) is None


def test_a_system_that_cannot_tell_whether_a_host_is_an_address_is_an_error_and_not_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def out_of_memory(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_MEMORY, "out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", out_of_memory)
        with pytest.raises(socket.gaierror):
            literal_address("169.254.169.254")
    assert literal_address("169.254.169.254") == "169.254.169.254"
