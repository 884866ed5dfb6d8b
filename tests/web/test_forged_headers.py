"""Headers that proxies interpret, and unusual paths: neither changes the route or the response."""

import pytest

from tests.web.wire import ADMIN_KEY, Web, all_of, connected, statuses

HEADERS = {
    "Script-Name": "/public",
    "Path-Info": "/metrics",
    "Query-String": "limit=x",
    "Request-Method": "DELETE",
    "Request-Uri": "/metrics",
    "Remote-Addr": "127.0.0.1",
    "Remote-User": "admin",
    "Server-Name": "evil.example",
    "Server-Port": "none",
    "Content-Length": "",
    "Content-Type": "text/html",
    "Wsgi.url-scheme": "ftp",
    "Forwarded": 'for="_x;proto=;host=evil.example',
    "X-Forwarded-For": "999.999.999.999, ,[",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "none",
    "X-Forwarded-Prefix": "/public",
    "X-Forwarded-Path": "/metrics",
    "X-Forwarded-Uri": "/metrics",
    "X-Forwarded-Server": "evil.example",
    "X-Forwarded-Scheme": "ftp",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Protocol": "http",
    "X-Forwarded-Ssl": "off",
    "X-Script-Name": "/public",
    "X-Scheme": "ftp",
    "X-Original-Url": "/metrics",
    "X-Rewrite-Url": "/metrics",
    "X-Accel-Redirect": "/metrics",
    "X-Http-Method-Override": "DELETE",
    "Front-End-Https": "on",
    "Proxy": "http://evil.example",
    "Upgrade": "websocket",
    "Http2-Settings": "x",
}
# With dashes, and with the underscores that most servers make of them.
LINES = {
    f"{spelled}: {value}".encode("latin-1")
    for name, value in HEADERS.items()
    for spelled in (name, name.replace("-", "_"))
    if spelled != "Content-Length"
} | {b"Upgrade: websocket\r\nConnection: Upgrade"}


def answered(web: Web, path: bytes, *lines: bytes) -> bytes:
    # After an answer to HTTP/1.0 the connection is closed, whatever `Connection` asks for.
    head = [b"GET " + path + b" HTTP/1.0", b"Host: bridge", *lines]
    with connected(web.port, b"\r\n".join(head) + b"\r\n\r\n") as client:
        return all_of(client)


@pytest.mark.parametrize("line", sorted(LINES))
def test_no_header_changes_what_is_answered(web: Web, line: bytes) -> None:
    plain, forged = (answered(web, b"/healthz", *lines) for lines in ((), (line,)))
    assert statuses(forged) == [b"200"]
    assert forged.partition(b"\r\n\r\n")[2] == plain.partition(b"\r\n\r\n")[2]
    assert b"evil" not in forged


def test_what_a_client_calls_its_host_and_scheme_changes_nothing(web: Web) -> None:
    plain, forged = (answered(web, b"/openapi.json", *lines) for lines in ((), LINES))
    assert statuses(forged) == [b"200"]
    assert forged.partition(b"\r\n\r\n")[2] == plain.partition(b"\r\n\r\n")[2]
    assert b"evil" not in forged


@pytest.mark.parametrize("line", sorted(LINES))
def test_no_header_leads_past_a_rule_for_a_path(web: Web, line: bytes) -> None:
    key = b"Authorization: Bearer " + ADMIN_KEY.encode()
    assert statuses(answered(web, b"/metrics", key)) == [b"200"]
    assert statuses(answered(web, b"/public/metrics", key, line)) == [b"404"]


@pytest.mark.parametrize(
    "path",
    [
        b"/.//metrics",
        b"/public/../metrics",
        b"/%2Fmetrics",
        b"/%2fmetrics",
        b"%2F/metrics",
        b"//metrics",
        b"///metrics",
        b"http://bridge//metrics",
        b"HTTP://bridge/%2Fmetrics",
        b"ftp://bridge//metrics",
        b"http:%2F%2Fmetrics",
        b"/\t/x/metrics",
        b"metrics",
        b"x:/metrics",
        b"http:metrics",
        b"/metrics/",
    ],
)
def test_a_path_is_taken_as_it_was_sent(web: Web, path: bytes) -> None:
    assert statuses(answered(web, path, b"Authorization: Bearer " + ADMIN_KEY.encode())) == [b"404"]


def test_an_address_may_have_a_scheme_and_a_host(web: Web) -> None:
    assert statuses(answered(web, b"http://bridge/healthz")) == [b"200"]
