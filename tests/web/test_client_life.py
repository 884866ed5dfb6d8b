"""`bridge.steps.clients`, which the API and the command line share."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select

from bridge.core.signing import make_secret
from bridge.db import clients as store
from bridge.db.tables import signing_secrets
from bridge.steps import clients
from tests.makers import NOW
from tests.threads import at_once
from tests.web.api import Api, Caller


def rotate(
    api: Api, name: str = "cms", *, seconds: float = 0, overlap: float = 60, secret: str | None = None
) -> str:
    new = clients.rotate_secret(
        api.dependencies.engine,
        api.dependencies.cipher,
        name,
        overlap_seconds=overlap,
        now=NOW + timedelta(seconds=seconds),
        secret=secret,
    )
    assert isinstance(new, str)
    return new


def valid_secrets(api: Api, name: str = "cms", *, seconds: float = 0) -> list[str]:
    with api.dependencies.engine.begin() as connection:
        tokens = store.secrets_of(connection, [name], NOW + timedelta(seconds=seconds)).get(name, [])
    return [api.dependencies.cipher.decrypt(token) for token in tokens]


def test_keys_are_kept_as_hashes_and_secrets_encrypted(api: Api) -> None:
    made = api.new_client()
    with api.dependencies.engine.begin() as connection:
        tokens = connection.scalars(select(signing_secrets.c.secret)).all()
        found = store.by_keys(connection, [made.api_key, "hib_unknown"])
    assert made.signing_secret not in tokens
    assert {key: client.name for key, client in found.items()} == {made.api_key: "cms"}
    assert made.api_key not in repr(made)
    assert made.signing_secret not in repr(made)


@pytest.mark.parametrize("name", [".eu", "...", "a.", "x" * 64])
def test_a_name_with_dots_is_called_by_its_path(sqlite_api: Api, name: str) -> None:
    sqlite_api.new_client(name)
    assert sqlite_api.admin.delete(f"/v1/clients/{name}").status_code == 200


def test_of_many_who_want_one_name_at_once_one_gets_it(api: Api) -> None:
    dependencies = api.dependencies
    made = at_once(
        8, lambda _: clients.add(dependencies.engine, dependencies.cipher, "cms", admin=False, now=NOW)
    )
    assert [type(result) for result in made].count(clients.NewClient) == 1
    assert len(valid_secrets(api)) == 1


def test_an_old_secret_signs_until_its_overlap_is_over(api: Api) -> None:
    first = api.new_client().signing_secret
    second = rotate(api, seconds=0, overlap=60)
    third = rotate(api, seconds=10, overlap=60)
    assert valid_secrets(api, seconds=59) == [third, second, first]
    assert valid_secrets(api, seconds=61) == [third, second]
    assert valid_secrets(api, seconds=71) == [third]


def test_without_an_overlap_the_old_secret_stops_at_once(api: Api) -> None:
    api.new_client()
    new = rotate(api, overlap=0)
    assert valid_secrets(api) == [new]


def test_secrets_that_are_over_are_forgotten(api: Api) -> None:
    api.new_client()
    for seconds in range(0, 500, 100):
        rotate(api, seconds=seconds, overlap=60)
    with api.dependencies.engine.begin() as connection:
        assert len(connection.scalars(select(signing_secrets.c.id)).all()) == 2


def test_rotations_at_once_leave_one_standing_secret(api: Api) -> None:
    api.new_client()
    at_once(6, lambda _: rotate(api))
    assert len(valid_secrets(api, seconds=61)) == 1


def test_a_secret_may_be_the_operators_own(api: Api) -> None:
    api.new_client()
    mine = make_secret(b"x" * 24)
    assert rotate(api, secret=mine) == mine
    assert valid_secrets(api)[0] == mine


@pytest.mark.parametrize("secret", ["whsec_short", "whsec_!!!", "ü", "whsec_" + "A" * 400])
def test_a_secret_that_could_not_sign_is_refused(sqlite_api: Api, secret: str) -> None:
    made, dependencies = sqlite_api.new_client(), sqlite_api.dependencies
    refused = clients.rotate_secret(
        dependencies.engine, dependencies.cipher, "cms", overlap_seconds=60, now=NOW, secret=secret
    )
    assert isinstance(refused, clients.ClientUnchanged)
    assert valid_secrets(sqlite_api) == [made.signing_secret]


def test_a_new_key_replaces_the_old_one_at_once(api: Api) -> None:
    old = api.new_client().api_key
    new = clients.rotate_key(api.dependencies.engine, "cms")
    assert isinstance(new, str)
    with api.dependencies.engine.begin() as connection:
        assert list(store.by_keys(connection, [old, new])) == [new]
    [client] = clients.list_all(api.dependencies.engine)
    assert client.key_prefix == new[:10]


@pytest.mark.parametrize("path", ["/v1/me", "/v1/clients/cms"])
@pytest.mark.parametrize("change", ["rotate-key", "rotate-secret"])
def test_a_key_that_is_replaced_while_its_own_request_is_served_changes_nothing(
    api: Api, path: str, change: str
) -> None:
    client, engine, replaced = api.client(admin=True), api.dependencies.engine, list[str]()

    @event.listens_for(engine, "after_cursor_execute")
    def replace_meanwhile(_: Any, __: Any, statement: str, *___: Any) -> None:
        if "clients.key_hash" in statement and not replaced:
            replaced.append("")
            [replaced[0]] = at_once(1, lambda _: str(clients.rotate_key(engine, "cms")))

    secrets = valid_secrets(api)
    assert client.post(f"{path}/{change}").status_code == 401
    assert valid_secrets(api) == secrets
    assert Caller(app=api.app, key=replaced[0]).get("/v1/me").status_code == 200


def test_nothing_can_be_done_to_a_client_that_is_revoked_or_unknown(api: Api) -> None:
    engine, cipher = api.dependencies.engine, api.dependencies.cipher
    api.new_client("gone")
    revoked = clients.revoke(engine, "gone", now=NOW)
    assert isinstance(revoked, store.Client)
    assert clients.list_all(engine) == [revoked]
    for name, word in (("gone", "revoked"), ("nobody", "no client nobody")):
        for refused in (
            clients.rotate_secret(engine, cipher, name, overlap_seconds=60, now=NOW),
            clients.rotate_key(engine, name),
            clients.revoke(engine, name, now=NOW),
        ):
            assert isinstance(refused, clients.ClientUnchanged)
            assert word in refused.reason


def test_the_admin_of_the_environment_is_made_once_and_may_get_a_key_of_its_own(api: Api) -> None:
    engine, cipher = api.dependencies.engine, api.dependencies.cipher
    at_once(4, lambda _: clients.ensure_admin(engine, cipher, now=NOW))
    assert len(valid_secrets(api, "admin")) == 1
    key = clients.rotate_key(engine, "admin")
    assert isinstance(key, str)
    with engine.begin() as connection:
        assert store.by_keys(connection, [key])[key].admin
