"""Planted secrets: a real process works with them, and afterwards none is found where none may be."""

import subprocess
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import quote

import pytest
import requests
from sqlalchemy import make_url, text

from bridge import sandbox
from bridge.core.signing import make_secret
from bridge.sandbox import Sandbox, SandboxOptions
from tests import postgres
from tests.ports import free_port
from tests.reliability.database import KEY, Installation, an_installation
from tests.reliability.processes import Running, children, processes
from tests.reliability.receiver import Receiver
from tests.reliability.waiting import until

OPEN_PATHS = ("/readyz", "/healthz", "/openapi.json", "/docs")
ADMIN_PATHS = ("/metrics", "/v1/accounts", "/v1/clients", "/v1/summary", "/v1/watches")

Texts = dict[str, bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """A bridge at work, and the secrets that were planted in it, by name."""

    installation: Installation
    hubspot: Sandbox
    receiver: Receiver
    url: str
    web: Running
    worker: Running
    secrets: Mapping[str, str]

    def send(self, method: str, path: str, key: str = "admin key", **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.secrets[key]}", "Content-Type": "application/json"}
        return requests.request(method, self.url + path, headers=headers, timeout=30, **options)

    def register(self, behaviour: str = "ok", account: str = "default") -> str:
        """Register a new task as the client; returns its id."""
        [task_id] = self.hubspot.state.add_tasks(tasks=1)
        url = self.receiver.url(self.installation, behaviour)
        body = {"task_id": task_id, "callback_url": url, "account": account}
        answer = self.send("POST", "/v1/watches", "API key", json=body)
        assert answer.status_code == 201, answer.text
        return task_id

    def watches(self) -> dict[str, dict[str, Any]]:
        """Return all watches by their task's id."""
        found = self.send("GET", "/v1/watches").json()["watches"]
        return {watch["task_id"]: watch for watch in found}


def planted(name: str) -> str:
    return f"planted-{name}-{token_hex(16)}"


def new_secrets(installation: Installation) -> dict[str, str]:
    names = (
        "admin key",
        "token",
        "wrong token",
        "client secret",
        "refresh token",
        "bad refresh token",
        "operator path",
        "typo",
    )
    made = {name: planted(name.replace(" ", "-")) for name in names}
    made["operator secret"] = make_secret(planted("operator-secret").encode())
    return made | {"API key": installation.api_key, "signing secret": installation.secret, "secret key": KEY}


def forms(secret: str) -> set[bytes]:
    """How a secret may be written: as it is, in a URL, in hexadecimal, in base64 at any place of a text."""
    raw = secret.encode()
    shifted = [(b"\0" * shift + raw, cut) for shift, cut in ((0, 0), (1, 2), (2, 3))]
    # What stands before and after it changes the first and the last characters.
    based = {encode(text)[cut:-4] for text, cut in shifted for encode in (b64encode, urlsafe_b64encode)}
    return {raw, raw.hex().encode(), quote(secret).encode(), quote(secret, safe="").encode(), *based}


def found(secrets: Mapping[str, str], texts: Texts) -> list[tuple[str, str]]:
    """Return which secret is in which place."""
    wanted = [(name, form) for name, secret in secrets.items() for form in forms(secret)]
    return sorted({(name, place) for place, held in texts.items() for name, form in wanted if form in held})


def hubspot_options(secrets: Mapping[str, str]) -> SandboxOptions:
    return SandboxOptions(
        tokens=(secrets["token"],),
        client_secret=secrets["client secret"],
        refresh_tokens=(secrets["refresh token"],),
        pending_seconds=0,
        processing_seconds=0,
    )


def set_accounts(world: World) -> None:
    """One whose OAuth works, one whose refresh token is bad, one whose token HubSpot refuses."""
    secrets = world.secrets
    oauth = {"client_id": "sandbox-client", "client_secret": secrets["client secret"]}
    for name, credentials in {
        "oauth": oauth | {"refresh_token": secrets["refresh token"]},
        "broken": oauth | {"refresh_token": secrets["bad refresh token"]},
        "refused": {"access_token": secrets["wrong token"]},
    }.items():
        assert world.send("PUT", f"/v1/accounts/{name}", json=credentials).status_code == 201


def work(world: World) -> str:
    """Let callbacks fail and succeed, and accounts too; returns a task's id."""
    ended = {world.register(behaviour) for behaviour in ("ok", "flaky", "gone")}
    ended.add(world.register(account="oauth"))
    stuck = {world.register(account=account) for account in ("broken", "refused")}

    def done() -> bool:
        watches = world.watches()
        return all(watches[task_id]["settled_at"] for task_id in ended) and all(
            watches[task_id]["last_error"] for task_id in stuck
        )

    until(done)
    return min(ended)


def _set_metadata(world: World, watch_id: str, metadata: str) -> None:
    with world.installation.engine.begin() as connection:
        connection.execute(
            text("UPDATE watches SET metadata = :new WHERE id = :id"), {"new": metadata, "id": watch_id}
        )


def crash(world: World, task_id: str) -> None:
    """Let a request and a step fail as nobody expected: somebody else has written to the database."""
    odd = world.watches()[task_id]
    _set_metadata(world, odd["id"], "no JSON")
    again = {"task_id": task_id, "callback_url": odd["callback_url"], "account": odd["account"]}
    failed = world.send("POST", "/v1/watches", "API key", json=again)
    _set_metadata(world, odd["id"], "{}")
    assert failed.status_code == 500
    tasks = world.hubspot.state.add_tasks(tasks=1)
    world.installation.register(tasks, world.receiver.url(world.installation, "ok"), kind="unheard-of")
    until(world.worker.has_logged("step_crashed"))


def wrong_answers(world: World) -> Texts:
    """Send secrets to where they do not belong; what is answered."""
    secret, token = world.secrets["client secret"], world.secrets["token"]
    answers = {
        "unknown field": world.send("POST", "/v1/watches", json={"task_id": "a", "access_token": token}),
        "half an account": world.send("PUT", "/v1/accounts/half", json={"client_secret": secret}),
        "wrong type": world.send("PUT", "/v1/accounts/half", json={"access_token": [token]}),
        "no object": world.send("PUT", "/v1/accounts/half", json=secret),
        "no JSON": world.send("PUT", "/v1/accounts/half", data=f'{{"{secret}'),
        "query": world.send("GET", "/v1/watches", params={"api_key": world.secrets["API key"]}),
        "unknown key": world.send("GET", "/v1/watches", "typo"),
        "not for clients": world.send("GET", "/v1/accounts", "API key"),
    }
    assert {answer.status_code for answer in answers.values()} == {400, 401, 403, 422}
    return {name: written(answer) for name, answer in answers.items()}


def written(answer: requests.Response) -> bytes:
    return f"{answer.status_code} {answer.headers}\n".encode() + answer.content


def answers_and_titles(world: World) -> Texts:
    """What the bridge and the system tell to whoever asks."""
    opened = {path: written(requests.get(world.url + path, timeout=30)) for path in OPEN_PATHS}
    asked = {path: written(world.send("GET", path)) for path in ADMIN_PATHS}
    started = children(world.web.pid)
    pids = (world.web.pid, *started, world.worker.pid)
    titles = {f"title {pid}": Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids}
    assert started
    assert b"worker" in titles[f"title {world.worker.pid}"]
    return opened | asked | titles


def stored(url: str) -> Texts:
    """The whole database, as its files or as its dump."""
    if url.startswith("sqlite"):
        path = Path(make_url(url).database or "")
        return {file.name: file.read_bytes() for file in path.parent.glob(f"{path.name}*")}
    program = postgres._programs() / "pg_dump"
    return {"dump": subprocess.run([program, f"--dbname={url}"], capture_output=True, check=True).stdout}


def test_no_planted_secret_is_found_where_none_may_be(database_url: str, tmp_path: Path) -> None:
    with an_installation(database_url) as installation, Receiver() as receiver:
        secrets, port = new_secrets(installation), free_port()
        with sandbox.running(hubspot_options(secrets)) as hubspot:
            changes = {"BRIDGE_ADMIN_KEY": secrets["admin key"], "HUBSPOT_ACCESS_TOKEN": secrets["token"]}
            changes |= {"BRIDGE_EMBEDDED_WORKER": "false"}
            # Nobody listens there: the worker logs that nothing could be sent.
            operator_url = f"http://127.0.0.1:{free_port()}/{secrets['operator path']}"
            changes |= {
                "BRIDGE_OPERATOR_URL": operator_url,
                "BRIDGE_OPERATOR_SECRET": secrets["operator secret"],
            }
            with processes(installation.env(hubspot.url, **changes), tmp_path, interpreter=True) as started:
                world = World(
                    installation=installation,
                    hubspot=hubspot,
                    receiver=receiver,
                    url=f"http://127.0.0.1:{port}",
                    web=started.web(port),
                    worker=started.worker(),
                    secrets=secrets,
                )
                set_accounts(world)
                task_id = work(world)
                crash(world, task_id)
                until(world.worker.has_logged("operator_webhook_failed"))
                texts = wrong_answers(world) | answers_and_titles(world)
                texts |= {f"{name} at work": text for name, text in stored(database_url).items()}
                assert (world.web.stop(), world.worker.stop()) == (0, 0)
            issued = {f"issued {n}": token for n, token in enumerate(hubspot.state._oauth._grants)}
        logs = {"web log": world.web.log.read_bytes(), "worker log": world.worker.log.read_bytes()}
        texts |= stored(database_url) | logs
    assert issued
    assert found({**secrets, **issued}, texts) == []
    # What is known to be there is found in the same way.
    in_texts = {place for _, place in found({"task": task_id}, texts)}
    assert {"/v1/watches", *(p for p in texts if p in {"bridge.db", "dump"})} <= in_texts
    shown_in = {place for _, place in found({"account": "refused"}, texts)}
    assert shown_in >= {"worker log", "/v1/accounts", "/readyz"}
    # Both wrote down how they failed, and that was searched too.
    for log, event in (("web log", "request_failed"), ("worker log", "step_crashed")):
        [line, *_] = [line for line in logs[log].splitlines() if b'"%s"' % event.encode() in line]
        assert b"Traceback" in line


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_the_search_finds_a_secret_in_whatever_form_it_is_written(before: str) -> None:
    secret = planted("here/+ \u00e9")
    text = f"{before}{secret}:after".encode()
    for place in (text, text.hex().encode(), b64encode(text), urlsafe_b64encode(text), quote(text).encode()):
        assert found({"secret": secret, "other": planted("there")}, {"place": place}) == [("secret", "place")]
