"""The sender of callbacks: no spelling of a URL leads to a refused address, or to another than was checked."""

import socket
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.core.http_results import HttpResponse, NoResponse, NotSent
from bridge.http.addresses import blocked_address_reason, callback_host
from bridge.http.callbacks import BODY_LIMIT
from bridge.http.transport import Transport
from tests.http.receiver import OK, Receiver, answering
from tests.http.sending import BODY, is_refused, post, sender
from tests.senders import LOOPBACK

#: The system takes each of these for this machine itself.
SPELLINGS = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.0.0.01",
    "127.00.00.001",
    "127.0x0.0.1",
    "127.0.0.0x1",
    "0177.0.0.1",
    "0177.0x0.1",
    "0177.1",
    "017700000001",
    "0x7f.1",
    "0x7F.0.0.1",
    "0x7f.0x0.0x0.0x1",
    "0x7f000001",
    "0X7F000001",
    "2130706433",
    "%31%32%37.0.0.1",
    "127.0.0.%31",
    "127%2e0%2E0.1",
    "127.0.0.2",
    "127.127.127.127",
    "127.255.255.254",
    "0.0.0.0",
    "0",
    "00",
    "0x0",
    "0.0",
    "localhost",
    "LocalHost",
    "[::ffff:127.0.0.1]",
    "[::FFFF:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[0000:0000:0000:0000:0000:ffff:7f00:0001]",
    "[::ffff:0.0.0.0]",
]
SPELLINGS_IPV6 = ["[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::0.0.0.1]", "[::]", "[0::0]"]


@pytest.fixture
def receiver_ipv6() -> Iterator[Receiver]:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with Receiver(answering(OK), host="::1") as receiver:
        yield receiver


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_of_this_machine_is_dialled(receiver: Receiver, spelling: str) -> None:
    assert is_refused(post(sender(), receiver.url(spelling)))
    assert is_refused_by_the_guard(receiver.url(spelling))
    assert receiver.connections == 0


@pytest.mark.parametrize("spelling", SPELLINGS_IPV6)
def test_no_ipv6_spelling_of_this_machine_is_dialled(receiver_ipv6: Receiver, spelling: str) -> None:
    assert is_refused(post(sender(), receiver_ipv6.url(spelling)))
    assert is_refused_by_the_guard(receiver_ipv6.url(spelling))
    assert receiver_ipv6.connections == 0


def is_refused_by_the_guard(url: str) -> bool:
    """Return whether the guard alone, without the sender's check of URLs, refuses the address."""
    guarded = Transport(
        timeout_seconds=3,
        body_limit=BODY_LIMIT,
        guard=lambda address: blocked_address_reason(address, allow=()),
    )
    answer = guarded.send("POST", url, {}, BODY)
    guarded.close()
    return isinstance(answer, NoResponse) and answer.blocked


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_without_the_guard_each_spelling_would_have_arrived(receiver: Receiver, spelling: str) -> None:
    open_to_all = Transport(timeout_seconds=3, body_limit=BODY_LIMIT)
    open_to_all.send("POST", receiver.url(spelling), {}, BODY)
    open_to_all.close()
    # Other addresses of 127.0.0.0/8 reach this machine, but not a listener on 127.0.0.1.
    elsewhere = spelling in {"127.0.0.2", "127.127.127.127", "127.255.255.254"}
    assert len(receiver.requests) == (not elsewhere)


@pytest.mark.parametrize("spelling", SPELLINGS_IPV6)
def test_without_the_guard_each_ipv6_spelling_would_have_arrived(
    receiver_ipv6: Receiver, spelling: str
) -> None:
    open_to_all = Transport(timeout_seconds=3, body_limit=BODY_LIMIT)
    assert isinstance(open_to_all.send("POST", receiver_ipv6.url(spelling), {}, BODY), HttpResponse)
    open_to_all.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://\uff11\uff12\uff17.0.0.1:{port}/",
        "http://127\u30020\u30020\u30021:{port}/",
        "http://\u2460\u2461\u2466.0.0.1:{port}/",
        "http://localhos\u1d57:{port}/",
        "http://127.0.0.1:{port}\\@example.com/",
        "http://example.com@127.0.0.1:{port}/",
        "http://user:password@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}#@example.com/",
        "http://127.0.0.1\t:{port}/",
        "http:\\\\127.0.0.1:{port}/",
        "http:127.0.0.1:{port}/",
        "http:///127.0.0.1:{port}/",
        "http://[::ffff:127.0.0.1%25lo]:{port}/",
        "http://[::1]@127.0.0.1:{port}/",
        "http://127.0.0.1%00.example.com:{port}/",
        "http://127.0.0.1%2f.example.com:{port}/",
        "//127.0.0.1:{port}/",
        "127.0.0.1:{port}",
    ],
)
def test_a_url_that_could_be_read_in_two_ways_is_not_sent_to(receiver: Receiver, url: str) -> None:
    assert isinstance(post(sender(), url.format(port=receiver.port)), NotSent)
    assert receiver.connections == 0


# Parsers

NAMES = ["app.example", "EVIL.example", "a", "xn--exmple-cua", "\u00e4", "\u1e9e", "\u0130", "_", "-"]
PIECES = [
    *NAMES,
    *["127.0.0.1", "0x7f.1", "1", "[::1]", "[", "]", ".", "\uff0e", "\u3002", "\u2100", "\u200b"],
    *["%31", "%2e", "%2f", "%40", "%23", "%00", "%", "user", "&", "=", ";", "*"],
    *["@", "\\", "/", "?", "#", ":", ":80", "\t", "\n", " ", "\0"],
]
AUTHORITIES = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=6).map("".join),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(".".join),
    st.text(max_size=12),
)
PATHS = st.sampled_from(
    ["", "/", "/x", "?", "?x=@evil.example", "/@evil.example", "//evil.example/", "/%2f?/"]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["http://", "HTTP://", "http:", "http:/\\"]), AUTHORITIES, PATHS)
def test_the_host_that_was_judged_is_the_host_that_is_dialled_and_named(
    receiver: Receiver, scheme: str, authority: str, path: str
) -> None:
    looked_up: list[str] = []

    def lookup(host: str) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"]

    url = f"{scheme}{authority}:{receiver.port}{path}"
    before = len(receiver.requests)
    answer = post(sender(allow=LOOPBACK, ports=frozenset({receiver.port}), lookup=lookup), url)
    if not isinstance(answer, HttpResponse):
        assert len(receiver.requests) == before
        return
    host = callback_host(url)
    assert [name.rstrip(".") for name in looked_up] in ([host], [])
    assert looked_up or blocked_address_reason(socket.inet_ntoa(socket.inet_aton(host)), allow=()) is not None
    assert f"\r\nHost: {host}:{receiver.port}\r\n".encode() in receiver.requests[-1]


# Paths and queries


def target_of(receiver: Receiver) -> str:
    """Return the target in the last request's first line."""
    return receiver.requests[-1].split(b" ", 2)[1].decode()


@pytest.mark.parametrize(
    ("registered", "arrives"),
    [
        ("/?q=a+b;c=%2F&d=%zz", "/?q=a+b;c=%2F&d=%25zz"),
        ("/%2F/%", "/%2F/%25"),
        ("/%2F/%2", "/%2F/%252"),
        ("/%%41", "/%25%41"),
        ("/100%?of=100%25", "/100%25?of=100%25"),
        ("/%7Euser/%C3%A9", "/%7Euser/%C3%A9"),
        ("/\u00e9?%25=%25", "/%C3%A9?%25=%25"),
    ],
)
def test_an_escape_arrives_as_it_is_and_a_stray_percent_sign_is_escaped(
    receiver: Receiver, registered: str, arrives: str
) -> None:
    assert isinstance(post(sender(allow=LOOPBACK), receiver.url(path=registered)), HttpResponse)
    assert target_of(receiver) == arrives


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(["%", "%2f", "%C3", "%zz", "a", "?x", "/", "\u00e9", "+", "&", "="])).map(
        "".join
    )
)
def test_a_receiver_that_decodes_once_gets_what_was_registered(receiver: Receiver, path: str) -> None:
    assert isinstance(post(sender(allow=LOOPBACK), receiver.url(path=f"/{path}")), HttpResponse)
    assert unquote_to_bytes(target_of(receiver)) == unquote_to_bytes(f"/{path}")
