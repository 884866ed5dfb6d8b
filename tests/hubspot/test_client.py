"""Requests to HubSpot: their bytes, and what the client never does with the responses."""

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import unquote

import pytest

from bridge import USER_AGENT
from bridge.core.http_results import HttpResponse, NoResponse
from bridge.core.kinds import KINDS
from bridge.db.accounts import Account
from bridge.http.transport import Transport
from bridge.hubspot.client import HubSpot
from bridge.sandbox import Kind, Sandbox
from tests.http.receiver import OK, Receiver, Visit
from tests.hubspot_accounts import ListedTokens, an_account

VERSIONS = ("v3", "2026-03", "2026-09")
DOCUMENT = """{
    "access": "PRIVATE",
    "url": "https://files.example.com/r\u00e9sum\u00e9.csv?signature=1%2F2",
    "folderPath": "/imports",
    "unheardOf": {"by": ["the", "bridge", null, 1.50]}
}"""

IMPORT = '{"access": "PRIVATE", "url": "https://files.example.com/a.csv", "folderPath": "/imports"}'


@pytest.fixture
def account(receiver: Receiver) -> Account:
    return an_account(receiver.url(path=""))


def head(request: bytes) -> tuple[str, dict[str, str]]:
    """Return the request's line and headers."""
    line, *headers = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return line, dict(header.split(": ", 1) for header in headers)


def path_of(receiver: Receiver) -> str:
    [request] = receiver.requests
    method, path, _ = head(request)[0].split(" ")
    assert method == "GET"
    return path


# What is asked


def test_the_token_is_in_the_header_and_nowhere_else(
    asking: HubSpot, receiver: Receiver, account: Account
) -> None:
    asking.status(account, "file-import", "AAAAEZ6whGI")
    line, headers = head(receiver.requests[0])
    assert headers["Authorization"] == "Bearer sandbox-token"
    assert (headers["Accept"], headers["User-Agent"]) == ("application/json", USER_AGENT)
    assert "sandbox-token" not in line
    assert receiver.requests[0].endswith(b"\r\n\r\n")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_asked_where_it_is_in_every_version(
    asking: HubSpot, hubspot: Sandbox, kind: Kind, version: str
) -> None:
    [task_id] = hubspot.state.add_tasks(kind)
    answer = asking.status(an_account(hubspot.url, api_version=version), kind, task_id)
    assert isinstance(answer, HttpResponse)
    assert answer.status_code in (200, 202)
    assert hubspot.state.ledger()["endpoints"] == {kind: 1}


HOSTILE_IDS = (
    "a/b",
    "../../../account-info/v3/details",
    ".",
    "..",
    "...",
    "%2e",
    "%2e%2e",
    "%2F",
    "%",
    "%zz",
    "?x=1",
    "#x",
    ";x",
    "a\\b",
    "//example.com",
    "@example.com",
    "x&y=z+%20",
    "\u00e9\u2603\U0001f600",
    "\u202e\uff0e\uff0e\uff0f",
    "{v}{task_id}",
    "x" * 255,
)


@pytest.mark.parametrize("kind", ["file-import", "crm-import"])
@pytest.mark.parametrize("task_id", HOSTILE_IDS)
def test_whatever_the_id_the_server_receives_that_id_at_that_place(
    asking: HubSpot, receiver: Receiver, account: Account, kind: str, task_id: str
) -> None:
    asking.status(account, kind, task_id)
    before, after = KINDS[kind].path("v3", "ID").split("ID")
    path = path_of(receiver)
    assert path.startswith(before)
    assert path.endswith(after)
    segment = path[len(before) : len(path) - len(after)]
    assert not set(segment) & set("/?#;\\")
    assert segment.strip(".")
    assert unquote(segment, errors="strict") == task_id


@pytest.mark.parametrize("task_id", ["..", "%2e", "\u2603", "?x", "#", "A" * 200])
def test_hubspot_finds_an_odd_id_odd_and_the_route_right(
    asking: HubSpot, hubspot: Sandbox, task_id: str
) -> None:
    asking.status(an_account(hubspot.url), "file-import", task_id)
    assert list(hubspot.state.ledger()["tasks"]) == [task_id]


@pytest.mark.parametrize(
    ("end", "prefix"), [("", ""), ("/", ""), ("//", ""), ("/hs", "/hs"), ("/hs/", "/hs")]
)
def test_the_base_url_may_end_as_it_likes(asking: HubSpot, receiver: Receiver, end: str, prefix: str) -> None:
    asking.status(an_account(receiver.url(path=end)), "crm-import", "17")
    assert path_of(receiver) == f"{prefix}/crm/v3/imports/17"


# What is not done with the answer


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
def test_a_redirect_is_never_followed(asking: HubSpot, hubspot: Sandbox, status: str) -> None:
    hubspot.state.set_fault(status)
    answer = asking.status(an_account(hubspot.url), "file-import", "AAAAEZ6whGI")
    assert isinstance(answer, HttpResponse)
    assert answer.status_code == int(status)
    assert hubspot.state.ledger()["endpoints"] == {"file-import": 1}


def test_a_link_in_the_answer_is_never_followed(asking: HubSpot) -> None:
    with Receiver(link_to_itself) as receiver:
        account = an_account(receiver.url(path=""))
        asking.start_import(account, DOCUMENT)
        for _ in range(2):
            asking.status(account, "file-import", "AAAAEZ6whGI")
    paths = [head(request)[0].split(" ")[1] for request in receiver.requests]
    assert paths == [
        "/files/v3/files/import-from-url/async",
        *["/files/v3/files/import-from-url/async/tasks/AAAAEZ6whGI/status"] * 2,
    ]


def link_to_itself(receiver: Receiver, visit: Visit) -> None:
    link = receiver.url(path="/followed")
    body = json.dumps({"id": "AAAAEZ6whGI", "status": "PENDING", "links": {"status": link}}).encode()
    while receiver.read(visit):
        visit.send(
            f"HTTP/1.1 202 Accepted\r\nLink: <{link}>\r\nContent-Length: {len(body)}\r\n\r\n".encode(), body
        )


# Starting an import


@pytest.mark.parametrize("version", VERSIONS)
def test_an_import_is_started_where_it_is_in_every_version(
    asking: HubSpot, hubspot: Sandbox, version: str
) -> None:
    answer = asking.start_import(an_account(hubspot.url, api_version=version), IMPORT)
    assert isinstance(answer, HttpResponse)
    assert answer.status_code == 202
    assert hubspot.state.ledger()["endpoints"] == {"start-import": 1}


def test_hubspot_s_body_arrives_as_it_was_given(
    asking: HubSpot, receiver: Receiver, account: Account
) -> None:
    asking.start_import(account, DOCUMENT)
    _, headers = head(receiver.requests[0])
    body = receiver.requests[0].partition(b"\r\n\r\n")[2]
    assert headers["Content-Type"] == "application/json"
    assert body == DOCUMENT.encode()


def closing(visits_kept: int) -> Callable[[Receiver, Visit], None]:
    """A peer that answers the first request of a connection, reads the second, and closes."""

    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        if visit.number <= visits_kept:
            visit.send(OK)
            receiver.read(visit)

    return script


def test_a_start_is_never_sent_twice_nor_over_a_connection_that_may_be_stale(asking: HubSpot) -> None:
    with Receiver(closing(1)) as receiver:
        account = an_account(receiver.url(path=""))
        asking.status(account, "file-import", "AAAAEZ6whGI")
        answer = asking.start_import(account, DOCUMENT)
    assert isinstance(answer, NoResponse)
    assert answer.sent
    assert [request[:4] for request in receiver.requests] == [b"GET ", b"POST"]
    assert receiver.connections == 2


def test_a_question_on_a_stale_connection_is_asked_again(asking: HubSpot) -> None:
    with Receiver(closing(2)) as receiver:
        account = an_account(receiver.url(path=""))
        answers = [asking.status(account, "file-import", "AAAAEZ6whGI") for _ in range(2)]
    assert all(isinstance(answer, HttpResponse) for answer in answers)
    assert len(receiver.requests) == 3


def test_a_start_that_never_left_says_so(asking: HubSpot, account: Account) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    answer = asking.start_import(replace(account, base_url=f"http://127.0.0.1:{port}"), DOCUMENT)
    assert answer == NoResponse(reason="connection refused")
    assert isinstance(answer, NoResponse)
    assert not answer.sent


def refusing(_receiver: Receiver, visit: Visit) -> None:
    visit.connection.recv(65_536)
    visit.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("through_proxy", [False, True])
def test_a_start_that_got_no_further_than_the_handshake_never_left(*, through_proxy: bool) -> None:
    """The peer speaks no TLS; as a proxy, it opens no tunnel."""
    with Receiver(refusing) as receiver:
        proxy = receiver.url(path="") if through_proxy else None
        transport = Transport(timeout_seconds=10, body_limit=1024, proxy=proxy)
        account = an_account(f"https://127.0.0.1:{receiver.port}")
        answer = HubSpot(transport, ListedTokens()).start_import(account, DOCUMENT)
    assert isinstance(answer, NoResponse)
    assert not answer.sent
