"""Asking HubSpot: what arrives there, byte by byte, and what is never done with its answers."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import unquote

import pytest

from bridge import sandbox
from bridge.core.answers import Answer, NoAnswer, NoToken
from bridge.core.kinds import KINDS
from bridge.edges.accounts import Account, Credentials
from bridge.edges.hubspot import OUT_OF_TIME, USER_AGENT, AccountTokens, HubSpot, StaticTokens
from bridge.edges.transport import Transport
from bridge.sandbox import Kind, Sandbox
from tests.edges.receiver import OK, Receiver, Visit, answering
from tests.hubspot_accounts import NONE, OAUTH, STATIC, a_transport, an_account

VERSIONS = ("v3", "2026-03", "2026-09")
DOCUMENT = {
    "access": "PRIVATE",
    "url": "https://files.example.com/r\u00e9sum\u00e9.csv?signature=1%2F2",
    "folderPath": "/imports",
    "unheardOf": {"by": ["the", "bridge", None, 1.5]},
}


@pytest.fixture
def running() -> Iterator[Sandbox]:
    with sandbox.running() as running:
        yield running


@pytest.fixture
def hubspot() -> HubSpot:
    return HubSpot(a_transport(), StaticTokens())


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A peer whose requests can be read as they came."""
    with Receiver(answering(OK)) as receiver:
        yield receiver


@pytest.fixture
def account(receiver: Receiver) -> Account:
    return an_account(receiver.url(path=""))


def head(request: bytes) -> tuple[str, dict[str, str]]:
    """The request's line and headers."""
    line, *headers = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return line, dict(header.split(": ", 1) for header in headers)


def path_of(receiver: Receiver) -> str:
    [request] = receiver.requests
    method, path, _ = head(request)[0].split(" ")
    assert method == "GET"
    return path


# What is asked


def test_the_token_is_in_the_header_and_nowhere_else(
    hubspot: HubSpot, receiver: Receiver, account: Account
) -> None:
    hubspot.status(account, "file-import", "AAAAEZ6whGI")
    line, headers = head(receiver.requests[0])
    assert headers["Authorization"] == "Bearer sandbox-token"
    assert (headers["Accept"], headers["User-Agent"]) == ("application/json", USER_AGENT)
    assert "sandbox-token" not in line
    assert receiver.requests[0].endswith(b"\r\n\r\n")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_asked_where_it_is_in_every_version(
    hubspot: HubSpot, running: Sandbox, kind: Kind, version: str
) -> None:
    [task_id] = running.state.add_tasks(kind)
    answer = hubspot.status(an_account(running.url, api_version=version), kind, task_id)
    assert isinstance(answer, Answer)
    assert answer.status_code in (200, 202)
    assert running.state.ledger()["endpoints"] == {kind: 1}


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
    hubspot: HubSpot, receiver: Receiver, account: Account, kind: str, task_id: str
) -> None:
    hubspot.status(account, kind, task_id)
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
    hubspot: HubSpot, running: Sandbox, task_id: str
) -> None:
    hubspot.status(an_account(running.url), "file-import", task_id)
    assert list(running.state.ledger()["tasks"]) == [task_id]


@pytest.mark.parametrize(
    ("end", "prefix"), [("", ""), ("/", ""), ("//", ""), ("/hs", "/hs"), ("/hs/", "/hs")]
)
def test_the_base_url_may_end_as_it_likes(
    hubspot: HubSpot, receiver: Receiver, end: str, prefix: str
) -> None:
    hubspot.status(an_account(receiver.url(path=end)), "crm-import", "17")
    assert path_of(receiver) == f"{prefix}/crm/v3/imports/17"


# What is not done with the answer


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
def test_a_redirect_is_never_followed(hubspot: HubSpot, running: Sandbox, status: str) -> None:
    running.state.set_fault(status)
    answer = hubspot.status(an_account(running.url), "file-import", "AAAAEZ6whGI")
    assert isinstance(answer, Answer)
    assert answer.status_code == int(status)
    assert running.state.ledger()["endpoints"] == {"file-import": 1}


def test_a_link_in_the_answer_is_never_followed(hubspot: HubSpot) -> None:
    with Receiver(link_to_itself) as receiver:
        account = an_account(receiver.url(path=""))
        hubspot.start_import(account, DOCUMENT)
        for _ in range(2):
            hubspot.status(account, "file-import", "AAAAEZ6whGI")
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


# Tokens


def test_a_static_token_that_is_refused_is_not_sent_again(hubspot: HubSpot, running: Sandbox) -> None:
    answer = hubspot.status(an_account(running.url, Credentials(access_token="wrong")), "file-import", "x")
    assert isinstance(answer, Answer)
    assert answer.status_code == 401
    assert running.state.ledger()["endpoints"] == {"file-import": 1}


def test_without_credentials_nothing_is_sent(hubspot: HubSpot, running: Sandbox) -> None:
    answer = hubspot.status(an_account(running.url, NONE, name="shop"), "file-import", "AAAAEZ6whGI")
    assert isinstance(answer, NoToken)
    assert "'shop' has no HubSpot credentials" in answer.reason
    assert running.state.ledger()["endpoints"] == {}


class ListedTokens:
    """Gives the tokens of a list; after a refusal the next. `takes_seconds` to give one."""

    def __init__(self, *tokens: str | NoToken, takes_seconds: float = 0) -> None:
        self._tokens = list(tokens)
        self._takes_seconds = takes_seconds
        self.left_seconds: list[float] = []

    def current(self, _account: Account, within_seconds: float) -> str | NoToken:
        self.left_seconds.append(within_seconds)
        time.sleep(self._takes_seconds)
        return self._tokens[0]

    def after_refusal(self, account: Account, token: str, within_seconds: float) -> str | NoToken:
        assert self._tokens.pop(0) == token
        return self.current(account, within_seconds)


def test_an_account_whose_credentials_cannot_be_read_asks_nothing_and_says_why(
    hubspot: HubSpot, running: Sandbox
) -> None:
    account = an_account(running.url, NONE, name="shop", unreadable=True)
    answer = hubspot.status(account, "file-import", "AAAAEZ6whGI")
    assert isinstance(answer, NoToken)
    assert "'shop' are not encrypted with BRIDGE_SECRET_KEY" in answer.reason
    assert running.state.ledger()["endpoints"] == {}


def test_after_a_401_a_newer_token_is_tried_once(running: Sandbox) -> None:
    hubspot = HubSpot(a_transport(), ListedTokens("old", "new", "sandbox-token"))
    answer = hubspot.status(an_account(running.url), "file-import", "AAAAEZ6whGI")
    assert isinstance(answer, Answer)
    assert (answer.status_code, answer.refused) == (401, 1)
    assert running.state.ledger()["endpoints"] == {"file-import": 2}


@pytest.mark.parametrize("passing", [True, False])
def test_where_there_is_no_token_its_reason_is_the_answer(running: Sandbox, *, passing: bool) -> None:
    account, failure = an_account(running.url), NoToken(reason="set it", passing=passing)
    first = HubSpot(a_transport(), ListedTokens(failure)).status(account, "file-import", "x")
    second = HubSpot(a_transport(), ListedTokens("old", failure)).status(account, "file-import", "x")
    assert first == second == failure
    assert (first.refused, second.refused) == (0, 1)
    assert running.state.ledger()["endpoints"] == {"file-import": 1}


def test_a_question_with_its_tokens_and_both_requests_takes_no_longer_than_it_may(running: Sandbox) -> None:
    tokens = ListedTokens("old", "sandbox-token", takes_seconds=0.2)
    asking = HubSpot(a_transport(), tokens, ask_seconds=0.3)
    assert asking.status(an_account(running.url), "file-import", "AAAAEZ6whGI") == OUT_OF_TIME
    first, second = tokens.left_seconds
    assert first == 0.3
    assert second <= 0.1
    assert running.state.ledger()["endpoints"] == {"file-import": 1}


def test_a_request_gets_only_the_time_that_its_token_has_left(running: Sandbox) -> None:
    running.state.set_fault("hang")
    asking = HubSpot(a_transport(60), ListedTokens("sandbox-token", takes_seconds=0.1), ask_seconds=0.5)
    answer = asking.status(an_account(running.url), "file-import", "AAAAEZ6whGI")
    assert isinstance(answer, NoAnswer)
    assert answer.reason.startswith("timed out after 0.")


@pytest.mark.parametrize(
    ("credentials", "token"),
    [
        (STATIC, "sandbox-token"),
        (OAUTH, "from oauth"),
        (NONE, None),
        (Credentials(client_id="i", client_secret="s"), None),
    ],
)
def test_each_account_has_the_tokens_of_its_credentials(credentials: Credentials, token: str | None) -> None:
    tokens = AccountTokens(static=StaticTokens(), oauth=ListedTokens("from oauth", "newer"))
    account = an_account("http://unused", credentials)
    found = tokens.current(account, 10)
    assert found == token or (token is None and isinstance(found, NoToken))


@pytest.mark.parametrize(("credentials", "token"), [(STATIC, "sandbox-token"), (OAUTH, "newer")])
def test_each_account_has_the_refusals_of_its_credentials(credentials: Credentials, token: str) -> None:
    tokens = AccountTokens(static=StaticTokens(), oauth=ListedTokens("from oauth", "newer"))
    account = an_account("http://unused", credentials)
    current = tokens.current(account, 10)
    assert isinstance(current, str)
    assert tokens.after_refusal(account, current, 10) == token


# Starting an import


@pytest.mark.parametrize("version", VERSIONS)
def test_an_import_is_started_where_it_is_in_every_version(
    hubspot: HubSpot, running: Sandbox, version: str
) -> None:
    answer = hubspot.start_import(an_account(running.url, api_version=version), DOCUMENT)
    assert isinstance(answer, Answer)
    assert answer.status_code == 202
    assert running.state.ledger()["endpoints"] == {"start-import": 1}


def test_hubspot_s_body_arrives_as_it_was_given(
    hubspot: HubSpot, receiver: Receiver, account: Account
) -> None:
    hubspot.start_import(account, DOCUMENT)
    _, headers = head(receiver.requests[0])
    body = receiver.requests[0].partition(b"\r\n\r\n")[2]
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == DOCUMENT
    assert list(json.loads(body)) == list(DOCUMENT)


def closing(visits_kept: int) -> Callable[[Receiver, Visit], None]:
    """A peer that answers the first request of a connection, reads the second, and closes."""

    def script(receiver: Receiver, visit: Visit) -> None:
        receiver.read(visit)
        if visit.number <= visits_kept:
            visit.send(OK)
            receiver.read(visit)

    return script


def test_a_start_is_never_sent_twice_nor_over_a_connection_that_may_be_stale(hubspot: HubSpot) -> None:
    with Receiver(closing(1)) as receiver:
        account = an_account(receiver.url(path=""))
        hubspot.status(account, "file-import", "AAAAEZ6whGI")
        answer = hubspot.start_import(account, DOCUMENT)
    assert isinstance(answer, NoAnswer)
    assert answer.sent
    assert [request[:4] for request in receiver.requests] == [b"GET ", b"POST"]
    assert receiver.connections == 2


def test_a_question_on_a_stale_connection_is_asked_again(hubspot: HubSpot) -> None:
    with Receiver(closing(2)) as receiver:
        account = an_account(receiver.url(path=""))
        answers = [hubspot.status(account, "file-import", "AAAAEZ6whGI") for _ in range(2)]
    assert all(isinstance(answer, Answer) for answer in answers)
    assert len(receiver.requests) == 3


def test_a_start_that_never_left_says_so(hubspot: HubSpot, account: Account) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    answer = hubspot.start_import(replace(account, base_url=f"http://127.0.0.1:{port}"), DOCUMENT)
    assert answer == NoAnswer(reason="connection refused")
    assert isinstance(answer, NoAnswer)
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
        answer = HubSpot(transport, StaticTokens()).start_import(account, DOCUMENT)
    assert isinstance(answer, NoAnswer)
    assert not answer.sent
