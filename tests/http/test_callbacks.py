"""The sender of callbacks: what the receiver gets, and that no refused address is dialled."""

from contextlib import ExitStack
from ipaddress import ip_network

import pytest

from bridge.core.http_results import HttpResponse, NoResponse, NotSent
from bridge.http.callbacks import BODY_LIMIT
from tests.http.receiver import OK, Receiver, answering
from tests.http.sending import BODY, NOT_SENT, is_refused, post, sender
from tests.senders import LOOPBACK

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


def test_a_callback_is_posted_with_the_bytes_that_were_signed(receiver: Receiver) -> None:
    answer = post(sender(allow=LOOPBACK), receiver.url())
    assert answer == HttpResponse(status_code=200, headers={"content-length": "2"}, body=b"ok")
    head, _, body = receiver.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hook HTTP/1.1\r\n")
    assert b"webhook-id: wat_00000001" in head
    assert body == BODY


def test_an_answer_is_read_up_to_64_kib() -> None:
    with Receiver(
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000)
    ) as receiver:
        answer = post(sender(allow=LOOPBACK), receiver.url())
    assert isinstance(answer, HttpResponse)
    assert (answer.status_code, len(answer.body), answer.complete) == (200, BODY_LIMIT, False)


# The guard


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_name_that_leads_to_a_refused_address_is_not_dialled(receiver: Receiver, address: str) -> None:
    answer = post(sender(names={"app.example": [address]}), receiver.url("app.example"))
    assert is_refused(answer)
    assert isinstance(answer, NotSent)
    assert address not in answer.reason.rstrip(".").split()
    assert receiver.connections == 0


def test_an_exempt_address_is_dialled(receiver: Receiver) -> None:
    assert isinstance(post(sender(allow=LOOPBACK), receiver.url("localhost")), HttpResponse)


def test_a_name_is_judged_again_for_every_connection() -> None:
    names = {"app.example": ["127.0.0.2"]}
    with ExitStack() as stack:
        public = stack.enter_context(Receiver(answering(OK), host="127.0.0.2"))
        private = stack.enter_context(Receiver(answering(OK), port=public.port))
        callbacks = sender(allow=[ip_network("127.0.0.2/32")], names=names)
        assert isinstance(post(callbacks, public.url("app.example")), HttpResponse)
        names["app.example"] = ["127.0.0.1"]
        assert is_refused(post(callbacks, public.url("app.example")))
    assert (public.connections, private.connections) == (1, 0)


@pytest.mark.parametrize("order", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"]])
def test_of_mixed_addresses_only_the_allowed_one_is_dialled(order: list[str]) -> None:
    with ExitStack() as stack:
        public = stack.enter_context(Receiver(answering(OK), host="127.0.0.2"))
        private = stack.enter_context(Receiver(answering(OK), port=public.port))
        callbacks = sender(allow=[ip_network("127.0.0.2/32")], names={"app.example": order})
        assert isinstance(post(callbacks, public.url("app.example")), HttpResponse)
    assert (public.connections, private.connections) == (1, 0)


def test_when_the_allowed_address_refuses_no_other_is_dialled(receiver: Receiver) -> None:
    names = {"app.example": ["127.0.0.2", "127.0.0.1"]}
    answer = post(sender(allow=[ip_network("127.0.0.2/32")], names=names), receiver.url("app.example"))
    assert answer == NoResponse(reason="connection refused")
    assert receiver.connections == 0


# The rules of URLs, which may have changed since registration


def test_http_is_not_sent_where_only_https_may_be_used(receiver: Receiver) -> None:
    answer = post(sender(allow=LOOPBACK, https_only=True), receiver.url())
    assert answer == NotSent(
        reason=f"{NOT_SENT} the URL must start with https://, because of BRIDGE_CALLBACK_HTTPS_ONLY."
    )
    assert receiver.connections == 0


def test_a_port_that_may_not_be_used_is_not_dialled(receiver: Receiver) -> None:
    answer = post(sender(allow=LOOPBACK, ports=frozenset({443})), receiver.url())
    port = receiver.port
    assert answer == NotSent(reason=f"{NOT_SENT} the port {port} is not among BRIDGE_CALLBACK_PORTS.")
    assert receiver.connections == 0


def test_a_proxy_is_asked_for_names_but_not_for_refused_addresses() -> None:
    with Receiver(answering(OK)) as proxy:
        callbacks = sender(proxy=f"http://127.0.0.1:{proxy.port}", names={})
        assert isinstance(post(callbacks, "http://app.example/hook"), HttpResponse)
        assert is_refused(post(callbacks, "http://0x7f.1/hook"))
    assert len(proxy.requests) == 1
    assert proxy.requests[0].startswith(b"POST http://app.example/hook HTTP/1.1\r\n")
