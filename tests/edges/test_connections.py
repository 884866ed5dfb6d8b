"""Connections: which are kept, what a stale one is worth, whom they trust, and a proxy between."""

import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from bridge.core.answers import Answer, NoAnswer
from bridge.edges.connections import STALE_WITHIN_SECONDS, certifi_trust
from bridge.edges.transport import Transport
from tests.edges.receiver import OK, Authority, Receiver, Visit, answering, answering_once, dripping

GENEROUS_SECONDS = 5
LIMIT = 65_536
HEADERS = {"User-Agent": "test"}


@pytest.fixture
def transport() -> Iterator[Transport]:
    """For peers that answer: the deadline only keeps a broken test from hanging."""
    transport = Transport(timeout_seconds=GENEROUS_SECONDS, body_limit=LIMIT)
    yield transport
    transport.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


# Kept connections


def test_a_connection_is_kept_for_the_next_request(transport: Transport) -> None:
    with Receiver(answering(OK)) as receiver:
        for _ in range(5):
            assert isinstance(transport.send("POST", receiver.url(), HEADERS, b"{}"), Answer)
    assert (receiver.connections, len(receiver.requests)) == (1, 5)


def test_a_tls_connection_is_kept_for_the_next_request(authority: Authority) -> None:
    transport = Transport(timeout_seconds=GENEROUS_SECONDS, body_limit=LIMIT, tls=authority.trust())
    with Receiver(answering(OK), tls=authority.server("127.0.0.1")) as receiver:
        for _ in range(5):
            assert isinstance(transport.send("POST", receiver.url(), HEADERS, b"{}"), Answer)
        transport.close()
    assert (receiver.connections, len(receiver.requests)) == (1, 5)


def test_a_connection_whose_answer_was_not_read_whole_is_not_kept(transport: Transport) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    with Receiver(answering(head + b"x" * 100_000)) as receiver:
        for _ in range(2):
            transport.send("GET", receiver.url(), HEADERS)
    assert receiver.connections == 2


def test_each_thread_has_its_own_connection(transport: Transport) -> None:
    barrier = threading.Barrier(4)

    def send(url: str) -> Answer | NoAnswer:
        barrier.wait()
        return transport.send("GET", url, HEADERS)

    with Receiver(answering(OK)) as receiver, ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(send, [receiver.url()] * 40))
        assert all(isinstance(answer, Answer) for answer in answers)
        assert receiver.connections == 4
        transport.close()


def test_closing_lets_every_idle_connection_go(transport: Transport) -> None:
    before = open_descriptors()
    with Receiver(answering(OK)) as receiver:
        transport.send("GET", receiver.url(), HEADERS)
        transport.close()
        assert isinstance(transport.send("GET", receiver.url(), HEADERS), Answer)
        transport.close()
    assert receiver.connections == 2
    assert open_descriptors() <= before


def test_what_follows_an_answer_is_not_taken_for_the_next(transport: Transport) -> None:
    more = b"HTTP/1.1 500 Later\r\nContent-Length: 0\r\n\r\n"

    def script(receiver: Receiver, visit: Visit) -> None:
        while receiver.read(visit):
            visit.send(OK, more)
            time.sleep(0.05)
            visit.send(more)

    with Receiver(script) as receiver:
        for _ in range(4):
            answer = transport.send("GET", receiver.url(), HEADERS)
            assert isinstance(answer, Answer)
            assert answer.status_code == 200
            time.sleep(0.1)


def stale(
    second: bytes = b"", *, after_seconds: float = 0, then: bytes = OK
) -> Callable[[Receiver, Visit], None]:
    """A peer that answers once, takes the second request, and closes after `second`; later visits get `then`."""

    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        if visit.number > 1:
            visit.send(then)
            return
        visit.send(OK)
        receiver.read(visit)
        time.sleep(after_seconds)
        visit.send(second)

    return script


def test_a_stale_connection_is_worth_one_more_try(transport: Transport) -> None:
    with Receiver(stale()) as receiver:
        answers = [transport.send("POST", receiver.url(), HEADERS, b"{}") for _ in range(2)]
    assert all(isinstance(answer, Answer) for answer in answers)
    assert (receiver.connections, len(receiver.requests)) == (2, 3)
    assert receiver.requests[1] == receiver.requests[2]


def test_a_stale_connection_is_worth_no_third_try(transport: Transport) -> None:
    with Receiver(stale(then=b"")) as receiver:
        answers = [transport.send("POST", receiver.url(), HEADERS, b"{}") for _ in range(2)]
    assert answers[1] == NoAnswer(reason="the server closed the connection without an answer")
    assert len(receiver.requests) == 3


@pytest.mark.parametrize("second", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: y\r\n"])
def test_there_is_no_second_try_once_an_answer_began(transport: Transport, second: bytes) -> None:
    with Receiver(stale(second)) as receiver:
        for _ in range(2):
            transport.send("POST", receiver.url(), HEADERS, b"{}")
    assert len(receiver.requests) == 2


def test_there_is_no_second_try_when_the_failure_took_its_time(transport: Transport) -> None:
    with Receiver(stale(after_seconds=STALE_WITHIN_SECONDS + 0.2)) as receiver:
        answers = [transport.send("POST", receiver.url(), HEADERS, b"{}") for _ in range(2)]
    assert isinstance(answers[1], NoAnswer)
    assert len(receiver.requests) == 2


def test_there_is_no_second_try_on_a_new_connection(transport: Transport) -> None:
    with Receiver(answering_once(b"")) as receiver:
        assert isinstance(transport.send("POST", receiver.url(), HEADERS, b"{}"), NoAnswer)
    assert len(receiver.requests) == 1


def test_a_connection_that_the_peer_closed_while_idle_is_replaced(transport: Transport) -> None:
    with Receiver(answering_once(OK)) as receiver:
        for _ in range(3):
            assert isinstance(transport.send("POST", receiver.url(), HEADERS, b"{}"), Answer)
            time.sleep(0.05)
    assert len(receiver.requests) == 3


def test_a_forked_child_opens_its_own_connection() -> None:
    script = """
import os, sys
from bridge.core.answers import Answer
from bridge.edges.transport import Transport
transport = Transport(timeout_seconds=5, body_limit=100)
assert isinstance(transport.send("GET", sys.argv[1], {}), Answer)
child = os.fork()
if child == 0:
    os._exit(0 if isinstance(transport.send("GET", sys.argv[1], {}), Answer) else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert isinstance(transport.send("GET", sys.argv[1], {}), Answer)
sys.exit(status)
"""
    with Receiver(answering(OK)) as receiver:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script, receiver.url()], timeout=30, check=False
        )
    assert done.returncode == 0
    assert (receiver.connections, len(receiver.requests)) == (2, 3)


# Trust


def refused(authority: Authority, host: str, *, days: int = 1, tls: ssl.SSLContext | None = None) -> str:
    transport = Transport(timeout_seconds=GENEROUS_SECONDS, body_limit=LIMIT, tls=tls)
    with Receiver(answering(OK), tls=authority.server(host, days=days)) as receiver:
        answer = transport.send("POST", receiver.url("localhost"), HEADERS, b"{}")
    transport.close()
    assert receiver.requests == []
    return answer.reason if isinstance(answer, NoAnswer) else ""


def test_an_unknown_authority_is_refused(authority: Authority) -> None:
    assert refused(authority, "localhost") == "TLS: unable to get local issuer certificate"


def test_an_expired_certificate_is_refused(authority: Authority) -> None:
    assert refused(authority, "localhost", days=-1, tls=authority.trust()) == "TLS: certificate has expired"


def test_a_certificate_for_another_host_is_refused(authority: Authority) -> None:
    reason = refused(authority, "other.example", tls=authority.trust())
    assert reason.startswith("TLS: Hostname mismatch")


def test_a_peer_that_does_not_speak_tls_is_refused(transport: Transport) -> None:
    with Receiver(lambda _, visit: visit.send(b"HTTP/1.1 400 Bad\r\n\r\n")) as receiver:
        answer = transport.send("GET", f"https://127.0.0.1:{receiver.port}/", HEADERS)
    assert answer == NoAnswer(reason="TLS: wrong version number")


def test_the_name_is_asked_for_and_verified_though_an_address_is_dialled(authority: Authority) -> None:
    transport = Transport(
        timeout_seconds=GENEROUS_SECONDS,
        body_limit=LIMIT,
        tls=authority.trust(),
        lookup=lambda _: ["127.0.0.1"],
    )
    asked: list[str | None] = []
    server = authority.server("app.example")
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    with Receiver(answering(OK), tls=server) as receiver:
        assert isinstance(transport.send("GET", receiver.url("app.example"), HEADERS), Answer)
        transport.close()
    assert asked == ["app.example"]
    assert f"Host: app.example:{receiver.port}".encode() in receiver.requests[0]


def test_certifis_roots_are_trusted() -> None:
    assert len(certifi_trust().get_ca_certs()) > 50


def test_nothing_of_the_environment_is_used(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        proxy = stack.enter_context(Receiver(answering(OK)))
        receiver = stack.enter_context(Receiver(answering(OK)))
        secure = stack.enter_context(Receiver(answering(OK), tls=authority.server("127.0.0.1")))
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password hush\n")
        (tmp_path / ".netrc").chmod(0o600)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{proxy.port}")
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, str(authority.path))
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        certifi_trust.cache_clear()
        transport = Transport(timeout_seconds=GENEROUS_SECONDS, body_limit=LIMIT)
        assert isinstance(transport.send("GET", receiver.url(), HEADERS), Answer)
        assert isinstance(transport.send("GET", secure.url(), HEADERS), NoAnswer)
        transport.close()
    assert proxy.connections == 0
    assert b"authorization" not in receiver.requests[0].lower()
    assert secure.requests == []


def test_no_proxy_of_the_environment_does_not_go_around_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    with Receiver(answering(OK)) as proxy:
        transport = Transport(
            timeout_seconds=GENEROUS_SECONDS, body_limit=LIMIT, proxy=f"http://127.0.0.1:{proxy.port}"
        )
        assert isinstance(transport.send("GET", "http://app.example/", HEADERS), Answer)
        transport.close()
    assert len(proxy.requests) == 1


# A proxy of our own


def test_a_proxy_is_given_the_whole_url_and_the_name_is_not_looked_up() -> None:
    with Receiver(answering(OK)) as proxy:
        transport = Transport(
            timeout_seconds=GENEROUS_SECONDS,
            body_limit=LIMIT,
            proxy=f"http://user:hush@127.0.0.1:{proxy.port}",
            guard=lambda address: f"{address} is refused",
            lookup=lambda host: pytest.fail(f"{host} was looked up"),
        )
        assert isinstance(transport.send("POST", "http://app.example:81/x?y", HEADERS, b"{}"), Answer)
        transport.close()
    assert proxy.requests[0].startswith(b"POST http://app.example:81/x?y HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjpodXNo" in proxy.requests[0]


def tunnel(answer: bytes, authority: Authority) -> Callable[[Receiver, Visit], None]:
    """A proxy that answers CONNECT, then is the server itself."""

    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        visit.send(answer)
        with authority.server("app.example").wrap_socket(visit.connection, server_side=True) as inside:
            answering(OK)(receiver, Visit(inside, visit.number, visit.over))

    return script


def test_https_goes_through_a_tunnel_and_the_server_is_verified(authority: Authority) -> None:
    with Receiver(tunnel(b"HTTP/1.1 200 OK\r\n\r\n", authority)) as proxy:
        transport = Transport(
            timeout_seconds=GENEROUS_SECONDS,
            body_limit=LIMIT,
            proxy=f"http://127.0.0.1:{proxy.port}",
            tls=authority.trust(),
        )
        assert isinstance(transport.send("GET", "https://app.example/x", HEADERS), Answer)
        assert transport.send("GET", "https://other.example/x", HEADERS) != Answer(status_code=200)
        transport.close()
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
        (dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), "through the proxy: timed out after 0.4 s"),
    ],
    ids=["refusal", "silence", "half an answer", "drip"],
)
def test_a_proxy_that_fails_is_named(script: Callable[[Receiver, Visit], None], reason: str) -> None:
    with Receiver(script) as proxy:
        hasty = Transport(
            timeout_seconds=0.4, body_limit=LIMIT, proxy=f"http://user:hush@127.0.0.1:{proxy.port}"
        )
        assert hasty.send("GET", "https://app.example/x", HEADERS) == NoAnswer(reason=reason)
        hasty.close()


def test_a_proxy_that_is_away_is_named() -> None:
    with Receiver(answering(OK)) as gone:
        proxy = f"http://127.0.0.1:{gone.port}"
    transport = Transport(timeout_seconds=GENEROUS_SECONDS, body_limit=LIMIT, proxy=proxy)
    for url in ("http://app.example/", "https://app.example/"):
        assert transport.send("GET", url, HEADERS) == NoAnswer(reason="the proxy: connection refused")
