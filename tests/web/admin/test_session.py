"""Signing in to the operators' page, staying signed in, and signing out."""

from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from bridge.db.encryption import Cipher
from bridge.steps import clients
from tests.web.admin.operator import Operator, an_operator, csrf_token
from tests.web.api import ADMIN_KEY, Api, Serve, serving

PAGES = [
    "",
    "/watches",
    "/accounts",
    "/clients",
    "/hosts",
    "/search?q=x",
    "/watches/wat_0123456789",
    "/nothing",
]


@pytest.mark.parametrize("path", PAGES)
def test_nobody_sees_a_page_without_signing_in_and_everybody_comes_back_to_it(
    sqlite_api: Api, path: str
) -> None:
    operator = Operator(sqlite_api)
    answer = operator.get(path)
    assert answer.status_code == 303
    there = answer.headers["Location"]
    assert there.startswith("/admin/sign-in?next=")
    answer = operator.submit(there.removeprefix("/admin"), {"key": ADMIN_KEY})
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/admin{path}")


@pytest.mark.parametrize(
    "there", ["https://evil.example/", "//evil.example/admin", "/v1/watches", "/administrator", "http://[/"]
)
def test_signing_in_leads_to_no_other_place(sqlite_api: Api, there: str) -> None:
    answer = Operator(sqlite_api).sign_in(query_string={"next": there})
    assert answer.headers["Location"] == "/admin"


def test_a_client_that_is_an_admin_may_sign_in(api: Api) -> None:
    operator = Operator(api)
    assert operator.sign_in(api.new_client("ops", admin=True).api_key).status_code == 303
    assert operator.get("/clients").status_code == 200


def test_a_clients_key_is_no_admins(sqlite_api: Api) -> None:
    operator = Operator(sqlite_api)
    answer = operator.sign_in(sqlite_api.new_client("cms").api_key)
    assert answer.status_code == 403
    assert "no admin" in answer.text
    assert operator.get().status_code == 303


def test_a_wrong_key_is_refused_and_not_shown(sqlite_api: Api) -> None:
    answer = Operator(sqlite_api).sign_in("hib_wrong")
    assert answer.status_code == 401
    assert "This API key is not valid." in answer.text
    assert "hib_wrong" not in answer.text


def test_the_cookie_is_kept_from_scripts_and_other_sites(sqlite_api: Api) -> None:
    cookie = Operator(sqlite_api).sign_in().headers["Set-Cookie"]
    for attribute in ("HttpOnly", "SameSite=Lax", "Path=/admin", "Expires="):
        assert attribute in cookie
    assert "Secure" not in cookie
    assert ADMIN_KEY not in cookie


@pytest.mark.parametrize(
    "options", [{"base_url": "https://bridge.example"}, {"headers": {"X-Forwarded-Proto": "https"}}]
)
def test_behind_https_the_cookie_is_secure(sqlite_api: Api, options: dict[str, object]) -> None:
    assert "Secure" in Operator(sqlite_api).get("/sign-in", **options).headers["Set-Cookie"]


def test_the_api_has_no_cookies(sqlite_api: Api) -> None:
    operator = an_operator(sqlite_api)
    answer = operator.browser.get("/v1/summary")
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers


def test_a_form_without_its_token_changes_nothing(sqlite_api: Api) -> None:
    operator = an_operator(sqlite_api)
    for token in ("", "forged"):
        answer = operator.submit("/clients", {"csrf_token": token, "name": "evil"})
        assert answer.status_code == 400
        assert "reload the page" in answer.text
    assert clients.get(sqlite_api.dependencies.engine, "evil") is None


def test_signing_out_ends_the_session(sqlite_api: Api) -> None:
    operator = an_operator(sqlite_api)
    assert operator.get().status_code == 200
    assert operator.submit("/sign-out").headers["Location"] == "/admin/sign-in"
    assert operator.get().status_code == 303


def test_of_several_tabs_that_ask_for_the_key_one_answer_is_enough(sqlite_api: Api) -> None:
    operator = Operator(sqlite_api)
    old = {"csrf_token": csrf_token(operator.get("/sign-in").text), "key": ADMIN_KEY}
    assert operator.sign_in().status_code == 303
    answer = operator.browser.post("/admin/sign-in?next=/admin/hosts", data=old)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/admin/hosts")
    operator.submit("/sign-out")
    assert operator.browser.post("/admin/sign-in?next=/admin/hosts", data=old).status_code == 400


@pytest.mark.parametrize("change", ["revoke", "rotate"])
def test_a_key_that_is_revoked_or_rotated_ends_its_sessions(api: Api, change: str) -> None:
    operator = Operator(api)
    operator.sign_in(api.new_client("ops", admin=True).api_key)
    assert operator.get().status_code == 200
    if change == "revoke":
        clients.revoke(api.dependencies.engine, "ops", now=api.clock())
    else:
        clients.rotate_key(api.dependencies.engine, "ops")
    assert operator.get().status_code == 303
    assert operator.submit("/clients", {"name": "evil"}).status_code == 303
    assert clients.get(api.dependencies.engine, "evil") is None


def test_a_session_that_has_ended_sends_a_page_that_refreshes_itself_to_the_form(sqlite_api: Api) -> None:
    here = {"HX-Request": "true", "HX-Current-URL": "http://localhost/admin/watches?state=delivered"}
    answer = Operator(sqlite_api).get("/watches?state=delivered", headers=here)
    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == "/admin/sign-in?next=/admin/watches?state%3Ddelivered"


def test_a_page_that_refreshes_itself_with_a_refused_key_leaves_the_cookie_of_another_window(
    sqlite_api: Api,
) -> None:
    operator = Operator(sqlite_api)
    operator.sign_in(sqlite_api.new_client("ops", admin=True).api_key)
    clients.rotate_key(sqlite_api.dependencies.engine, "ops")
    answer = operator.get("/watches", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers.getlist("Set-Cookie")) == (401, [])
    assert operator.get("/watches").headers.getlist("Set-Cookie")


def test_every_process_reads_the_session_and_an_older_secret_key_still_does(serve_sqlite: Serve) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    before, after, other = (serve_sqlite(cipher=Cipher(keys)) for keys in ([old], [new, old], [new]))
    operator = an_operator(before)
    cookie = operator.browser.get_cookie("bridge_admin", path="/admin")
    assert cookie
    for api, status in ((after, 200), (other, 303)):
        browser = Operator(api)
        browser.browser.set_cookie("bridge_admin", cookie.value, path="/admin")
        assert browser.get().status_code == status


@pytest.mark.parametrize("path", ["/sign-in", "", "/nothing"])
def test_every_page_has_a_strict_policy_and_is_not_kept(sqlite_api: Api, path: str) -> None:
    answer = an_operator(sqlite_api).get(path)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_a_page_that_is_none_is_told_to_people(sqlite_api: Api) -> None:
    answer = an_operator(sqlite_api).get("/watches/wat_0000000000")
    assert answer.status_code == 404
    assert answer.content_type.startswith("text/html")


def test_when_the_database_is_away_a_page_says_so(tmp_path: Path) -> None:
    with serving(f"sqlite:///{tmp_path / 'no-folder' / 'bridge.db'}") as api:
        answer = an_operator(api).get()
    assert answer.status_code == 503
    assert answer.content_type.startswith("text/html")
    assert "The database cannot be reached." in answer.text


def test_a_form_that_is_too_large_is_refused_on_a_page(sqlite_api: Api) -> None:
    answer = an_operator(sqlite_api).submit("/clients", {"name": "x" * (1024 * 1024 + 1)})
    assert answer.status_code == 413
    assert answer.content_type.startswith("text/html")


def test_a_slash_at_the_end_changes_nothing(sqlite_api: Api) -> None:
    operator = an_operator(sqlite_api)
    for path in ("/", "/watches/", "/accounts/"):
        assert operator.get(path).status_code == 200
