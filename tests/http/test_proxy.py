"""Connections through a proxy: what it gets, what it cannot read, and how its failures are reported."""

import contextlib
import socket
import threading
from collections.abc import Callable

import pytest

from bridge.core.http_results import HttpResponse, NoResponse
from tests.http.receiver import OK, Authority, Receiver, Visit, answering, answering_once
from tests.http.transports import HEADERS, a_transport


def test_a_proxy_is_given_the_whole_url_and_the_name_is_not_looked_up() -> None:
    with Receiver(answering(OK)) as proxy:
        transport = a_transport(
            proxy=f"http://user:hush@127.0.0.1:{proxy.port}",
            guard=lambda address: f"{address} is refused",
            lookup=lambda host: pytest.fail(f"{host} was looked up"),
        )
        assert isinstance(transport.send("POST", "http://app.example:81/x?y", HEADERS, b"{}"), HttpResponse)
        transport.close()
    assert proxy.requests[0].startswith(b"POST http://app.example:81/x?y HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjpodXNo" in proxy.requests[0]


def tunnel(answer: bytes, authority: Authority) -> Callable[[Receiver, Visit], None]:
    """A proxy that answers CONNECT and then plays the server."""

    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        visit.send(answer)
        with authority.server("app.example").wrap_socket(visit.connection, server_side=True) as inside:
            answering(OK)(receiver, Visit(inside, visit.number, visit.over))

    return script


def test_https_goes_through_a_tunnel_and_the_server_is_verified(authority: Authority) -> None:
    with Receiver(tunnel(b"HTTP/1.1 200 OK\r\n\r\n", authority)) as proxy:
        transport = a_transport(
            proxy=f"http://127.0.0.1:{proxy.port}",
            tls=authority.trust(),
        )
        assert isinstance(transport.send("GET", "https://app.example/x", HEADERS), HttpResponse)
        refused = transport.send("GET", "https://other.example/x", HEADERS)
        transport.close()
    assert isinstance(refused, NoResponse)
    assert refused.reason.startswith("through the proxy: TLS: ")
    assert proxy.requests[0].startswith(b"CONNECT app.example:443 HTTP/1.")
    assert proxy.requests[1].startswith(b"GET /x HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            answering_once(b"HTTP/1.1 407 Who are you\r\n\r\n"),
            "through the proxy: CONNECT was answered with 407",
        ),
        (answering_once(b""), "through the proxy: the server closed the connection without an answer"),
        (
            answering_once(b"HTTP/1.1 200 OK\r\nX: y\r\n"),
            "through the proxy: the server closed the connection without an answer",
        ),
    ],
    ids=["refusal", "silence", "half an answer"],
)
def test_a_proxy_that_fails_is_named(script: Callable[[Receiver, Visit], None], reason: str) -> None:
    with Receiver(script) as proxy:
        transport = a_transport(proxy=f"http://user:hush@127.0.0.1:{proxy.port}")
        assert transport.send("GET", "https://app.example/x", HEADERS) == NoResponse(reason=reason)
        transport.close()


def relay(target: socket.socket, source: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)


def tunnel_to(server: Receiver) -> Callable[[Receiver, Visit], None]:
    """A proxy that answers CONNECT and passes bytes on, from and to `server`."""

    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        visit.send(b"HTTP/1.1 200 OK\r\n\r\n")
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            back = threading.Thread(target=relay, args=(visit.connection, connection))
            back.start()
            relay(connection, visit.connection)
            back.join()

    return script


@pytest.mark.parametrize("secure", [False, True], ids=["http proxy", "https proxy"])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nok",
    ],
    ids=["interim answer", "malformed line"],
)
def test_answers_are_read_in_the_same_way_through_a_tunnel(
    authority: Authority, answer: bytes, *, secure: bool
) -> None:
    tls = authority.server("127.0.0.1") if secure else None
    with (
        Receiver(answering(answer), tls=authority.server("app.example")) as server,
        Receiver(tunnel_to(server), tls=tls) as proxy,
    ):
        transport = a_transport(proxy=proxy.url(path=""), tls=authority.trust())
        got = [transport.send("GET", "https://app.example/x", HEADERS) for _ in range(2)]
        transport.close()
    assert got == [HttpResponse(status_code=200, headers={"content-length": "2"}, body=b"ok")] * 2
    assert server.connections == 1


@pytest.mark.parametrize("piece", [b"X: y\r\n", b"x"], ids=["headers", "one header"])
def test_a_proxy_that_drips_is_named_and_left_in_time(piece: bytes) -> None:
    sent_all: list[Visit] = []

    def drip(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        visit.send(b"HTTP/1.1 200 OK\r\n")
        visit.drip([piece] * 90, every_seconds=0.1)
        sent_all.append(visit)

    with Receiver(drip) as proxy:
        transport = a_transport(timeout_seconds=0.4, proxy=f"http://127.0.0.1:{proxy.port}")
        assert transport.send("GET", "https://app.example/x", HEADERS) == NoResponse(
            reason="through the proxy: timed out after 0.4 s"
        )
        assert not sent_all
        transport.close()


def test_https_goes_through_a_proxy_whose_address_is_of_ipv6() -> None:
    with Receiver(answering(b"HTTP/1.1 403 Forbidden\r\n\r\n"), host="::1") as proxy:
        transport = a_transport(proxy=f"http://[::1]:{proxy.port}")
        answer = transport.send("GET", "https://app.example/x", HEADERS)
        transport.close()
    assert proxy.requests[0].startswith(b"CONNECT app.example:443 ")
    assert isinstance(answer, NoResponse)
    assert "403" in answer.reason


def test_a_proxy_that_is_away_is_named() -> None:
    with Receiver(answering(OK)) as gone:
        proxy = f"http://127.0.0.1:{gone.port}"
    transport = a_transport(proxy=proxy)
    for url in ("http://app.example/", "https://app.example/"):
        assert transport.send("GET", url, HEADERS) == NoResponse(reason="the proxy: connection refused")


def test_no_proxy_of_the_environment_does_not_go_around_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    with Receiver(answering(OK)) as proxy:
        transport = a_transport(proxy=f"http://127.0.0.1:{proxy.port}")
        assert isinstance(transport.send("GET", "http://app.example/", HEADERS), HttpResponse)
        transport.close()
    assert len(proxy.requests) == 1
