"""Clients on the page: added, rotated, revoked; keys and secrets are shown once."""

import re
from html import unescape

import pytest
from flask.sessions import SecureCookieSessionInterface

from bridge.steps import clients
from tests.web.admin.operator import Operator, an_operator, csrf_token
from tests.web.api import Api, Caller


def block(html: str, name: str) -> str:
    found = re.search(rf'<pre id="{name}"[^>]*><code>(.*?)</code></pre>', html)
    assert found, html
    return unescape(found[1])


def test_a_new_clients_key_works_and_is_shown_once(api: Api) -> None:
    operator = an_operator(api)
    answer = operator.submit("/clients", {"name": "cms"}, follow_redirects=True)
    key, secret = block(answer.text, "api-key"), block(answer.text, "signing-secret")
    assert Caller(app=api.app, key=key).get("/v1/me").json["admin"] is False  # type: ignore[index]
    again = operator.get("/clients").text
    assert "cms" in again
    assert key not in again
    assert secret not in again


def readable(api: Api, operator: Operator) -> str:
    """What whoever has the cookie can read in it."""
    cookie = operator.browser.get_cookie("bridge_admin", path="/admin")
    assert cookie
    serializer = SecureCookieSessionInterface().get_signing_serializer(api.app)
    assert serializer
    return str(serializer.loads(cookie.value))


@pytest.mark.parametrize("change", ["", "/cms/rotate-key", "/cms/rotate-secret"])
def test_a_page_with_a_secret_can_be_loaded_again_and_makes_no_other_one(
    sqlite_api: Api, change: str
) -> None:
    if change:
        sqlite_api.new_client("cms")
    operator = an_operator(sqlite_api)
    answer = operator.submit(f"/clients{change}", {"name": "cms"})
    assert (answer.status_code, answer.location) == (303, "/admin/clients/shown-once")
    in_cookie = readable(sqlite_api, operator)
    shown = operator.get("/clients/shown-once").text
    secret = re.search(r"(hib_|whsec_)[^<]{40,}", shown)
    assert secret
    assert secret[0] not in in_cookie
    again = operator.get("/clients/shown-once", follow_redirects=True).text
    assert "shown once" in again
    assert secret[0] not in again


def test_a_secret_does_not_wait_for_long_to_be_shown(sqlite_api: Api) -> None:
    operator = an_operator(sqlite_api)
    operator.submit("/clients", {"name": "cms"})
    sqlite_api.clock.passes(301)
    assert operator.get("/clients/shown-once").status_code == 303


def test_a_client_may_be_made_an_admin(sqlite_api: Api) -> None:
    an_operator(sqlite_api).submit("/clients", {"name": "ops", "admin": "on"})
    made = clients.get(sqlite_api.dependencies.engine, "ops")
    assert made
    assert made.admin


@pytest.mark.parametrize(("name", "status"), [("", 422), ("two words", 422), ("cms", 409), ("<b>", 422)])
def test_a_name_that_cannot_be_is_told_above_the_form(sqlite_api: Api, name: str, status: int) -> None:
    sqlite_api.new_client("cms")
    answer = an_operator(sqlite_api).submit("/clients", {"name": name})
    assert answer.status_code == status
    assert 'role="alert"' in answer.text


def test_a_rotated_key_stops_the_old_one(sqlite_api: Api) -> None:
    old = sqlite_api.client("cms")
    answer = an_operator(sqlite_api).submit("/clients/cms/rotate-key", follow_redirects=True)
    assert old.get("/v1/me").status_code == 401
    assert Caller(app=sqlite_api.app, key=block(answer.text, "api-key")).get("/v1/me").status_code == 200


def test_who_rotates_their_own_key_stays_signed_in_with_the_new_one(sqlite_api: Api) -> None:
    operator = Operator(sqlite_api)
    operator.sign_in(sqlite_api.new_client("ops", admin=True).api_key)
    another_tab = {"csrf_token": csrf_token(operator.get("/clients").text)}
    assert operator.submit("/clients/ops/rotate-key", follow_redirects=True).status_code == 200
    assert operator.get("/clients").status_code == 200
    assert operator.submit("/clients/ops/rotate-secret", another_tab).status_code == 303


def test_a_head_of_the_page_that_shows_a_key_leaves_it_for_the_person(sqlite_api: Api) -> None:
    operator = an_operator(sqlite_api)
    operator.submit("/clients", {"name": "new"})
    assert operator.browser.head("/admin/clients/shown-once").data == b""
    assert block(operator.get("/clients/shown-once").text, "api-key")


def test_a_secret_is_rotated_with_an_overlap(sqlite_api: Api) -> None:
    sqlite_api.new_client("cms")
    operator = an_operator(sqlite_api)
    answer = operator.submit("/clients/cms/rotate-secret", {"overlap": "7d"}, follow_redirects=True)
    secret = block(answer.text, "signing-secret")
    assert secret.startswith("whsec_")
    assert operator.submit("/clients/cms/rotate-secret", {"overlap": "soon"}).status_code == 422


def test_a_revoked_client_has_no_buttons_any_more(sqlite_api: Api) -> None:
    client = sqlite_api.client("cms")
    operator = an_operator(sqlite_api)
    answer = operator.submit("/clients/cms/revoke", follow_redirects=True)
    assert "cms is revoked" in answer.text
    assert "/clients/cms/rotate-key" not in answer.text
    assert client.get("/v1/me").status_code == 401


def test_the_key_of_the_environment_is_said_to_outlive_a_rotation_and_a_revocation(sqlite_api: Api) -> None:
    sqlite_api.new_client("admin", admin=True)
    html = an_operator(sqlite_api).get("/clients").text
    assert "and BRIDGE_ADMIN_KEY if it is set" in html
    assert html.count("BRIDGE_ADMIN_KEY, if it is set, stays valid until that setting is changed.") == 2


def test_nobody_revokes_their_own_key(sqlite_api: Api) -> None:
    operator = Operator(sqlite_api)
    operator.sign_in(sqlite_api.new_client("ops", admin=True).api_key)
    assert operator.submit("/clients/ops/revoke").status_code == 409


@pytest.mark.parametrize("change", ["rotate-key", "rotate-secret", "revoke"])
def test_a_client_that_is_none_is_told(sqlite_api: Api, change: str) -> None:
    answer = an_operator(sqlite_api).submit(f"/clients/nobody/{change}")
    assert answer.status_code == 404
    assert "no client nobody" in answer.text
