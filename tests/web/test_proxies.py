"""The address that wrong keys are counted for: X-Forwarded-For counts from trusted proxies only."""

from collections.abc import Iterable

import pytest

from bridge.settings import Settings
from bridge.web.app import create_app
from bridge.wiring import Bridge
from tests.web.api import Caller, Serve, problem

MAX_FAILURES = 30
PUBLIC, ROUTER, LOOPBACK = "203.0.113.7", "10.1.2.3", "127.0.0.1"


def refusals(caller: Caller, peer: str, forwarded: Iterable[str]) -> list[int]:
    """Return the statuses of requests with wrong keys from a peer, each with another X-Forwarded-For."""
    return [
        caller.send(
            "GET",
            "/v1/watches",
            headers={"X-Forwarded-For": header},
            environ_base={"REMOTE_ADDR": peer},
        ).status_code
        for header in forwarded
    ]


def test_who_comes_directly_gains_nothing_by_naming_other_addresses(serve_sqlite: Serve) -> None:
    wrong = Caller(app=serve_sqlite().app, key="hib_wrong")
    forged = [f"198.51.100.{number}" for number in range(MAX_FAILURES + 1)]
    assert refusals(wrong, PUBLIC, forged) == [401] * MAX_FAILURES + [429]


def test_behind_herokus_router_each_client_is_counted_by_the_address_that_the_router_saw(
    serve_sqlite: Serve,
) -> None:
    wrong = Caller(app=serve_sqlite(behind_router=True).app, key="hib_wrong")
    # The client wrote the first; the router adds the last.
    forged = [f"198.51.100.{number}, {PUBLIC}" for number in range(MAX_FAILURES + 1)]
    assert refusals(wrong, ROUTER, forged) == [401] * MAX_FAILURES + [429]
    assert refusals(wrong, "10.1.2.4", [f"{PUBLIC}"]) == [429]
    assert refusals(wrong, ROUTER, ["198.51.100.1"]) == [401]


# By IPv4, by IPv6, by IPv4 to a socket that listens for both, and by a Unix socket as waitress and others tell it.
@pytest.mark.parametrize("proxy", [LOOPBACK, "::1", f"::ffff:{LOOPBACK}", "localhost", ""])
def test_a_proxy_on_the_same_machine_is_believed_and_another_is_not(serve_sqlite: Serve, proxy: str) -> None:
    wrong = Caller(app=serve_sqlite().app, key="hib_wrong")
    others = [f"198.51.100.{number}" for number in range(MAX_FAILURES + 1)]
    assert refusals(wrong, proxy, others) == [401] * (MAX_FAILURES + 1)
    assert refusals(wrong, ROUTER, others) == [401] * MAX_FAILURES + [429]


def test_what_a_client_calls_its_host_and_scheme_changes_nothing(serve_sqlite: Serve) -> None:
    forged = {"X-Forwarded-Proto": "ftp", "X-Forwarded-Host": "evil.example", "X-Forwarded-Prefix": "/evil"}
    nobody = serve_sqlite().nobody
    problem(nobody.send("GET", "/v1/watches", headers=forged), 401)
    assert b"evil" not in nobody.send("GET", "/openapi.json", headers=forged).data


@pytest.mark.parametrize(("dyno", "last"), [("web.1", 401), ("", 429)])
def test_a_dyno_knows_that_it_is_behind_the_router(sqlite_url: str, dyno: str, last: int) -> None:
    environ = {"DATABASE_URL": sqlite_url, "DYNO": dyno, "BRIDGE_ALLOW_SQLITE_ON_DYNO": "true"}
    bridge = Bridge(Settings.load(environ))
    wrong = Caller(app=create_app(bridge.web_dependencies), key="hib_wrong")
    others = [f"198.51.100.{number}" for number in range(MAX_FAILURES + 1)]
    assert refusals(wrong, ROUTER, others) == [401] * MAX_FAILURES + [last]
    bridge.engine.dispose()
