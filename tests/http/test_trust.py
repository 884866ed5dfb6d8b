"""Connections: which certificates they trust, whatever the environment names."""

import ssl
from contextlib import ExitStack
from pathlib import Path

import pytest

from bridge.core.http_results import HttpResponse, NoResponse
from bridge.http.connections import certifi_trust
from bridge.http.transport import Transport
from tests.http.receiver import OK, Authority, Receiver, answering
from tests.http.transports import HEADERS, a_transport


def refused(authority: Authority, host: str, *, days: int = 1, tls: ssl.SSLContext | None = None) -> str:
    transport = a_transport(tls=tls)
    with Receiver(answering(OK), tls=authority.server(host, days=days)) as receiver:
        answer = transport.send("POST", receiver.url("localhost"), HEADERS, b"{}")
    transport.close()
    assert receiver.requests == []
    return answer.reason if isinstance(answer, NoResponse) else ""


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
    assert answer == NoResponse(reason="TLS: wrong version number")


def test_the_name_is_asked_for_and_verified_though_an_address_is_dialled(authority: Authority) -> None:
    transport = a_transport(
        tls=authority.trust(),
        lookup=lambda _: ["127.0.0.1"],
    )
    asked: list[str | None] = []
    server = authority.server("app.example")
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    with Receiver(answering(OK), tls=server) as receiver:
        assert isinstance(transport.send("GET", receiver.url("app.example"), HEADERS), HttpResponse)
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
        transport = a_transport()
        assert isinstance(transport.send("GET", receiver.url(), HEADERS), HttpResponse)
        assert isinstance(transport.send("GET", secure.url(), HEADERS), NoResponse)
        transport.close()
    assert proxy.connections == 0
    assert b"authorization" not in receiver.requests[0].lower()
    assert secure.requests == []
