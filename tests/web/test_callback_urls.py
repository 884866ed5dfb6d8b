"""Callback URLs: which are refused at registration, and which setting refuses them."""

from ipaddress import ip_network
from typing import Any

import pytest

from tests.senders import a_sender
from tests.web.api import URL, Caller, Serve, members, pointers, problem

BODY = {"task_id": "AAAAEZ6whGI", "callback_url": URL, "metadata": {"order": 17}}


@pytest.mark.parametrize(
    "url",
    [
        "ftp://app.example.com/",
        "https://",
        "https://user:password@app.example.com/",
        "https://app.example.com/#part",
        "https://app.example.com/\\",
        "https://app.example.com/a b",
        "https://app.example.com/\x00",
        "https://app.example.com/\ud800",
        "https://a.example:99999/",
        "https://[",
        "not a url",
        "",
        "https://a.example/" + "x" * 2048,
    ],
)
def test_a_callback_url_that_could_not_be_called_is_refused(refused: Caller, url: str) -> None:
    response = refused.post("/v1/watches", BODY | {"callback_url": url})
    assert pointers(response) == ["/callback_url"]


def test_the_rules_for_callback_urls_are_the_operators(serve_sqlite: Serve) -> None:
    strict = a_sender(https_only=True, ports=frozenset({443}))
    client = serve_sqlite(callbacks=strict).client()
    settings = {
        "http://app.example.com/": "BRIDGE_CALLBACK_HTTPS_ONLY",
        "https://app.example.com:8443/": "BRIDGE_CALLBACK_PORTS",
    }
    for url, setting in settings.items():
        [fault] = problem(client.post("/v1/watches", BODY | {"callback_url": url}), 422)["errors"]
        assert fault["pointer"] == "/callback_url"
        assert setting in fault["detail"]


NEVER_CALLED = [
    "https://127.0.0.1/hooks",
    "https://127.0.0.1./hooks",
    "https://127.1/hooks",
    "https://0x7f.1/hooks",
    "https://0177.0.0.1/hooks",
    "https://2130706433/hooks",
    "https://127.0.0.%31/hooks",
    "https://[::1]/hooks",
    "https://[::ffff:127.0.0.1]/hooks",
    "https://0/hooks",
    "https://10.0.0.1/hooks",
    "http://192.168.1.5/hooks",
    "https://169.254.169.254/latest/meta-data/",
    "https://localhost/hooks",
    "https://LOCALHOST.:8443/hooks",
    "https://app.localhost/hooks",
]


@pytest.fixture
def guarded(serve_sqlite: Serve) -> Caller:
    """A client of a bridge that may not call this machine, as they are in production."""
    return serve_sqlite(callbacks=a_sender(allow=())).client()


@pytest.mark.parametrize("url", NEVER_CALLED)
@pytest.mark.parametrize(
    ("path", "required"),
    [("/v1/watches", {"task_id": "A"}), ("/v1/imports", {"import": {}}), ("/v1/test-callback", {})],
)
def test_what_can_never_be_called_is_refused_at_once_with_the_setting(
    guarded: Caller, path: str, required: dict[str, Any], url: str
) -> None:
    [fault] = problem(guarded.post(path, required | {"callback_url": url}), 422)["errors"]
    assert fault["pointer"] == "/callback_url"
    assert fault["detail"].startswith("cannot be used: the address is not allowed: ")
    assert "BRIDGE_CALLBACK_ALLOW" in fault["detail"]


def test_what_can_never_be_called_is_refused_in_a_batch_too(guarded: Caller) -> None:
    items = [BODY | {"callback_url": url} for url in (*NEVER_CALLED, URL)]
    results = members(guarded.post("/v1/watches/batch", {"watches": items}))["results"]
    assert [result["status"] for result in results] == [422] * len(NEVER_CALLED) + [201]


@pytest.mark.parametrize("url", ["http://\uff11\uff12\uff17.0.0.1/", "http://\u2460\u2461\u2466.0.0.1/"])
def test_an_address_in_other_digits_is_no_host_at_all(guarded: Caller, url: str) -> None:
    assert pointers(guarded.post("/v1/watches", BODY | {"callback_url": url})) == ["/callback_url"]


@pytest.mark.parametrize("block", ["127.0.0.0/8", "::1/128"])
def test_localhost_may_be_registered_where_loopback_is_allowed(serve_sqlite: Serve, block: str) -> None:
    client = serve_sqlite(callbacks=a_sender(allow=[ip_network(block)])).client()
    client.register(callback_url="http://localhost:9000/hooks")


def test_through_a_proxy_addresses_and_localhost_are_judged_all_the_same(serve_sqlite: Serve) -> None:
    client = serve_sqlite(callbacks=a_sender(allow=(), proxy="http://127.0.0.1:3128")).client()
    for url in ("https://10.0.0.1/hooks", "https://localhost/hooks"):
        assert pointers(client.post("/v1/watches", BODY | {"callback_url": url})) == ["/callback_url"]
    client.register(callback_url="https://intranet/hooks")


def test_where_a_name_leads_is_judged_when_it_is_dialled(guarded: Caller) -> None:
    for name in ("intranet", "localhost.example", "127.0.0.1.nip.io"):
        guarded.register(callback_url=f"https://{name}/hooks")
