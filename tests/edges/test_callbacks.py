"""The sender of callbacks: no spelling, name or answer of a name server leads to a refused address."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.answers import Answer, NoAnswer
from bridge.edges.addresses import Network, callback_host, refusal
from bridge.edges.callbacks import BODY_LIMIT, CallbackSender
from bridge.edges.deadline import system_lookup
from bridge.edges.transport import Transport
from tests.edges.receiver import OK, Receiver, answering

LOOPBACK: Sequence[Network] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
HEADERS = {"Content-Type": "application/json", "webhook-id": "wat_00000001"}
BODY = b'{"type":"import.completed"}'

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

#: What a name server may answer, of every kind that is refused.
ADDRESSES = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200", "100.127.255.255",
    "127.0.0.1", "127.8.8.8", "168.63.129.16", "169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1",
    "172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.1", "192.168.255.255",
    "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1",
    "255.255.255.254", "255.255.255.255",
    "::", "::1", "::2", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8", "1::1", "64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254",
    "64:ff9b::192.168.0.1", "64:ff9b:1::1", "64:ff9b:1::8.8.8.8", "100::1", "100:0:0:1::1", "2001::1", "2001:0:7f00:1::",
    "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::1", "2002:a00:1::1", "2002:a9fe:a9fe::1",
    "2002:c0a8:1::1", "3ffe::1", "3fff::1", "4000::1", "5f00::1", "8000::1", "c000::1", "e000::1", "fc00::1",
    "fd00:ec2::254", "fd20:ce::254", "fdff::1", "fe80::1", "fe80::1%lo", "febf::1", "fec0::1", "feff::1", "ff02::1",
    "ff0e::1",
]  # fmt: skip


def sender(
    *,
    allow: Sequence[Network] = (),
    ports: frozenset[int] = frozenset(),
    https_only: bool = False,
    proxy: str | None = None,
    names: Mapping[str, Sequence[str]] | None = None,
) -> CallbackSender:
    """A sender; `names` is all that its name server knows, the system's is asked when there is none."""
    return CallbackSender(
        timeout_seconds=3,
        allow=allow,
        ports=ports,
        https_only=https_only,
        proxy=proxy,
        lookup=system_lookup if names is None else names.__getitem__,
    )


def post(callbacks: CallbackSender, url: str) -> Answer | NoAnswer:
    answer = callbacks.post(url, HEADERS, BODY)
    callbacks.close()
    return answer


def is_refused(answer: Answer | NoAnswer) -> bool:
    return isinstance(answer, NoAnswer) and answer.reason.startswith("the address is not allowed: ")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver(answering(OK)) as receiver:
        yield receiver


@pytest.fixture(scope="module")
def receiver_ipv6() -> Iterator[Receiver]:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with Receiver(answering(OK), host="::1") as receiver:
        yield receiver


def test_a_callback_is_posted_with_the_bytes_that_were_signed() -> None:
    with Receiver(answering(OK)) as receiver:
        answer = post(sender(allow=LOOPBACK), receiver.url())
    assert answer == Answer(status_code=200, headers={"content-length": "2"}, body=b"ok")
    head, _, body = receiver.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hook HTTP/1.1\r\n")
    assert b"webhook-id: wat_00000001" in head
    assert body == BODY


def test_an_answer_is_read_up_to_64_kib() -> None:
    with Receiver(
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)
    ) as receiver:
        answer = post(sender(allow=LOOPBACK), receiver.url())
    assert isinstance(answer, Answer)
    assert (answer.status_code, len(answer.body), answer.complete) == (200, BODY_LIMIT, False)


# The guard


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_of_this_machine_is_dialled(receiver: Receiver, spelling: str) -> None:
    before = receiver.connections
    assert is_refused(post(sender(), receiver.url(spelling)))
    assert is_refused(guarded().send("POST", receiver.url(spelling), HEADERS, BODY))
    assert receiver.connections == before


@pytest.mark.parametrize("spelling", SPELLINGS_IPV6)
def test_no_ipv6_spelling_of_this_machine_is_dialled(receiver_ipv6: Receiver, spelling: str) -> None:
    before = receiver_ipv6.connections
    assert is_refused(post(sender(), receiver_ipv6.url(spelling)))
    assert is_refused(guarded().send("POST", receiver_ipv6.url(spelling), HEADERS, BODY))
    assert receiver_ipv6.connections == before


def guarded() -> Transport:
    """What is below the sender's check of URLs: the guard alone."""
    return Transport(
        timeout_seconds=3, body_limit=BODY_LIMIT, guard=lambda address: refusal(address, allow=())
    )


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_without_the_guard_each_spelling_would_have_arrived(receiver: Receiver, spelling: str) -> None:
    open_to_all = Transport(timeout_seconds=3, body_limit=BODY_LIMIT)
    before = len(receiver.requests)
    open_to_all.send("POST", receiver.url(spelling), HEADERS, BODY)
    open_to_all.close()
    # Other addresses of 127.0.0.0/8 reach this machine, but not a listener on 127.0.0.1.
    elsewhere = spelling in {"127.0.0.2", "127.127.127.127", "127.255.255.254"}
    assert len(receiver.requests) == before + (not elsewhere)


@pytest.mark.parametrize("spelling", SPELLINGS_IPV6)
def test_without_the_guard_each_ipv6_spelling_would_have_arrived(
    receiver_ipv6: Receiver, spelling: str
) -> None:
    open_to_all = Transport(timeout_seconds=3, body_limit=BODY_LIMIT)
    assert isinstance(open_to_all.send("POST", receiver_ipv6.url(spelling), HEADERS, BODY), Answer)
    open_to_all.close()


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_name_that_leads_to_a_refused_address_is_not_dialled(receiver: Receiver, address: str) -> None:
    before = receiver.connections
    answer = post(sender(names={"app.example": [address]}), receiver.url("app.example"))
    assert is_refused(answer)
    assert isinstance(answer, NoAnswer)
    assert address not in answer.reason.split()
    assert receiver.connections == before


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
    before = receiver.connections
    assert isinstance(post(sender(), url.format(port=receiver.port)), NoAnswer)
    assert receiver.connections == before


def test_an_exempt_address_is_dialled(receiver: Receiver) -> None:
    assert isinstance(post(sender(allow=LOOPBACK), receiver.url("localhost")), Answer)


def test_a_name_is_judged_again_for_every_connection() -> None:
    names = {"app.example": ["127.0.0.2"]}
    with ExitStack() as stack:
        public = stack.enter_context(Receiver(answering(OK), host="127.0.0.2"))
        private = stack.enter_context(Receiver(answering(OK), port=public.port))
        callbacks = sender(allow=[ip_network("127.0.0.2/32")], names=names)
        assert isinstance(post(callbacks, public.url("app.example")), Answer)
        names["app.example"] = ["127.0.0.1"]
        assert is_refused(post(callbacks, public.url("app.example")))
    assert (public.connections, private.connections) == (1, 0)


@pytest.mark.parametrize("order", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]])
def test_of_mixed_addresses_only_the_allowed_one_is_dialled(order: list[str]) -> None:
    with ExitStack() as stack:
        public = stack.enter_context(Receiver(answering(OK), host="127.0.0.2"))
        private = stack.enter_context(Receiver(answering(OK), port=public.port))
        callbacks = sender(allow=[ip_network("127.0.0.2/32")], names={"app.example": order})
        assert isinstance(post(callbacks, public.url("app.example")), Answer)
    assert (public.connections, private.connections) == (1, 0)


def test_when_the_allowed_address_refuses_no_other_is_dialled(receiver: Receiver) -> None:
    names = {"app.example": ["127.0.0.2", "127.0.0.1"]}
    before = receiver.connections
    answer = post(sender(allow=[ip_network("127.0.0.2/32")], names=names), receiver.url("app.example"))
    assert answer == NoAnswer(reason="connection refused")
    assert receiver.connections == before


# The rules of URLs, which may have changed since registration


def test_http_is_not_sent_where_only_https_may_be_used(receiver: Receiver) -> None:
    before = receiver.connections
    answer = post(sender(allow=LOOPBACK, https_only=True), receiver.url())
    assert answer == NoAnswer(reason="the URL must start with https://")
    assert receiver.connections == before


def test_a_port_that_may_not_be_used_is_not_dialled(receiver: Receiver) -> None:
    before = receiver.connections
    answer = post(sender(allow=LOOPBACK, ports=frozenset({443})), receiver.url())
    assert answer == NoAnswer(reason=f"the port {receiver.port} is not one that callbacks may use")
    assert receiver.connections == before


def test_a_proxy_is_asked_for_names_but_not_for_refused_addresses() -> None:
    with Receiver(answering(OK)) as proxy:
        callbacks = sender(proxy=f"http://127.0.0.1:{proxy.port}", names={})
        assert isinstance(post(callbacks, "http://app.example/hook"), Answer)
        assert is_refused(post(callbacks, "http://0x7f.1/hook"))
    assert len(proxy.requests) == 1
    assert proxy.requests[0].startswith(b"POST http://app.example/hook HTTP/1.1\r\n")


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


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["http://", "HTTP://", "http:", "http:/\\"]), AUTHORITIES, PATHS)
def test_the_host_that_was_judged_is_the_host_that_is_dialled_and_named(
    receiver: Receiver, scheme: str, authority: str, path: str
) -> None:
    looked_up: list[str] = []

    def lookup(host: str) -> list[str]:
        looked_up.append(host)
        return ["127.0.0.1"]

    url = f"{scheme}{authority}:{receiver.port}{path}"
    callbacks = CallbackSender(
        timeout_seconds=3,
        allow=LOOPBACK,
        ports=frozenset({receiver.port}),
        https_only=False,
        proxy=None,
        lookup=lookup,
    )
    before = len(receiver.requests)
    answer = post(callbacks, url)
    if isinstance(answer, NoAnswer):
        assert len(receiver.requests) == before
        return
    host = callback_host(url)
    assert [name.rstrip(".") for name in looked_up] in ([host], [])
    assert looked_up or refusal(socket.inet_ntoa(socket.inet_aton(host)), allow=()) is not None
    assert f"\r\nHost: {host}:{receiver.port}\r\n".encode() in receiver.requests[-1]
