"""`python -m bridge clients …`."""

import json
from base64 import b64encode
from collections.abc import Callable

import pytest
from standardwebhooks import Webhook

from bridge.core.signing import make_secret
from bridge.db.clients import secrets_of
from bridge.settings import Settings
from bridge.steps import clients
from bridge.wiring import Bridge, now
from tests.commands.conftest import Commands


def test_a_new_client_gets_a_key_and_a_secret_that_are_shown_once(commands: Commands) -> None:
    made = commands.json("clients", "add", "cms")
    assert set(made) == {"name", "api_key", "signing_secret"}
    assert made["name"] == "cms"
    Webhook(made["signing_secret"])
    listed = commands.said("clients", "list")
    assert made["api_key"] not in listed
    assert made["signing_secret"] not in listed
    [client] = commands.json("clients", "list")
    assert client["name"] == "cms"
    assert made["api_key"].startswith(client["key_prefix"])
    assert not client["admin"]


def test_a_name_can_be_used_once_even_after_its_client_was_revoked(commands: Commands) -> None:
    commands.said("clients", "add", "cms")
    commands.said("clients", "revoke", "cms")
    refused = commands.run("clients", "add", "cms")
    assert refused.returncode == 1
    assert "Choose another name" in refused.stderr
    [client] = commands.json("clients", "list")
    assert client["revoked_at"]


@pytest.mark.parametrize("verb", ["rotate-key", "rotate-secret", "revoke"])
def test_what_is_done_to_nobody_is_refused_in_words(on_sqlite: Callable[..., Commands], verb: str) -> None:
    refused = on_sqlite().run("clients", verb, "nobody")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "There is no client nobody." in refused.stderr


def test_a_client_whose_name_is_no_longer_allowed_can_be_revoked(on_sqlite: Callable[..., Commands]) -> None:
    commands = on_sqlite()
    bridge = Bridge(Settings.load(commands.env))
    clients.add(bridge.engine, bridge.cipher, "..", admin=False, now=now())
    bridge.engine.dispose()
    commands.said("clients", "revoke", "..")
    [client] = commands.json("clients", "list")
    assert client["revoked_at"]


def test_rotated_keys_and_secrets_are_new(on_sqlite: Callable[..., Commands]) -> None:
    commands = on_sqlite()
    made = commands.json("clients", "add", "cms")
    key = commands.json("clients", "rotate-key", "cms")
    secret = commands.json("clients", "rotate-secret", "cms", "--overlap", "15m")
    assert set(key) == {"name", "api_key"}
    assert set(secret) == {"name", "signing_secret"}
    assert key["api_key"] != made["api_key"]
    assert secret["signing_secret"] != made["signing_secret"]


@pytest.mark.parametrize("size", [24, 64])
def test_a_secret_may_come_from_standard_input_and_is_not_repeated(commands: Commands, size: int) -> None:
    commands.said("clients", "add", "cms")
    secret = make_secret(b"s" * size)
    done = commands.run("clients", "rotate-secret", "cms", "--from-stdin", "--json", given=f"{secret}\n")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"name": "cms"})
    assert secret not in done.stdout + done.stderr
    bridge = Bridge(Settings.load(commands.env))
    with bridge.engine.begin() as connection:
        kept = secrets_of(connection, ["cms"], now())["cms"]
    bridge.engine.dispose()
    assert bridge.cipher.decrypt(kept[0]) == secret
    assert len(kept) == 2


@pytest.mark.parametrize(
    "secret",
    [make_secret(b"s" * 23), make_secret(b"s" * 65), b64encode(b"s" * 32).decode(), "whsec_no base64", ""],
    ids=["23 bytes", "65 bytes", "no prefix", "no base64", "nothing"],
)
def test_a_secret_that_cannot_be_used_is_refused_and_not_repeated(
    on_sqlite: Callable[..., Commands], secret: str
) -> None:
    commands = on_sqlite()
    commands.said("clients", "add", "cms")
    refused = commands.run("clients", "rotate-secret", "cms", "--from-stdin", given=secret)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "The secret cannot be used: " in refused.stderr
    assert not secret or secret not in refused.stderr


@pytest.mark.parametrize("overlap", ["", "1", "h", "1.5h", "-1h", "1w"])
def test_an_overlap_that_is_no_span_is_a_usage_error(
    on_sqlite: Callable[..., Commands], overlap: str
) -> None:
    wrong = on_sqlite().run("clients", "rotate-secret", "cms", f"--overlap={overlap}")
    assert wrong.returncode == 2
    assert "90s, 15m, 24h, 7d" in wrong.stderr


@pytest.mark.parametrize("name", ["", "a b", "ü", "x" * 65, "a/b", "a\n", ".", ".."])
def test_a_name_that_cannot_stand_in_a_url_is_refused(on_sqlite: Callable[..., Commands], name: str) -> None:
    refused = on_sqlite().run("clients", "add", name)
    assert refused.returncode == 2
    assert "argument NAME: must be a name of 1 to 64 " in refused.stderr


def test_people_are_told_to_keep_the_secrets(on_sqlite: Callable[..., Commands]) -> None:
    made = on_sqlite().run("clients", "add", "ops", "--admin")
    assert "it is not shown again" in made.stderr
    assert "api_key" in made.stdout
