"""Long operations leave threads of the real web process to all other requests."""

import json
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import requests

from bridge.web.thread_limits import CHECKS, EXPORTS, IMPORTS, TEST_CALLBACKS, THREADS
from tests.reliability.waiting import until
from tests.steps.peers import Peer, Reply, Request, saying
from tests.web.wire import ADMIN_KEY, all_of, connected, served, statuses

CALLBACK = "/callback"
HANG_SECONDS = 40


def posting(path: str, body: object) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bridge\r\nAuthorization: Bearer {ADMIN_KEY}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def test_however_many_requests_wait_for_hubspot_and_receivers_others_are_answered(tmp_path: Path) -> None:
    let_go = threading.Event()

    def hang(_: Request) -> Reply:
        assert let_go.wait(2 * HANG_SECONDS)
        # No import has an id of a task: it is answered 502.
        return saying({})

    with Peer(hang).listening() as peer, ExitStack() as open_clients:
        callback_url = f"{peer.base_url}{CALLBACK}"
        settings = {
            "HUBSPOT_BASE_URL": peer.base_url,
            "HUBSPOT_ACCESS_TOKEN": "pat-test",
            "HUBSPOT_TIMEOUT": f"{HANG_SECONDS}",
            "BRIDGE_CALLBACK_HTTPS_ONLY": "false",
            "BRIDGE_CALLBACK_ALLOW": "127.0.0.0/8",
        }
        long = {
            "import": posting("/v1/imports", {"import": {"url": "https://x"}, "callback_url": callback_url}),
            "check": posting("/v1/accounts/default/check", {}),
            "test callback": posting("/v1/test-callback", {"callback_url": callback_url}),
        }
        with served(tmp_path, **settings) as web:
            clients = {
                name: [open_clients.enter_context(connected(web.port, sent)) for _ in range(THREADS)]
                for name, sent in long.items()
            }
            until(lambda: len(peer.requests) == IMPORTS.most + CHECKS.most + TEST_CALLBACKS.most)
            for _ in range(3):
                ready = requests.get(f"http://127.0.0.1:{web.port}/readyz", timeout=HANG_SECONDS / 2)
                assert ready.status_code == 503  # no worker runs
            let_go.set()
            answered = {name: Counter(statuses(all_of(each))[-1] for each in clients[name]) for name in long}
    refused = {name: count[b"503" if name == "import" else b"429"] for name, count in answered.items()}
    assert refused["check"] == THREADS - CHECKS.most
    assert refused["test callback"] == THREADS - TEST_CALLBACKS.most
    assert refused["import"] == THREADS - IMPORTS.most


def test_all_long_operations_together_leave_threads_free() -> None:
    assert sum(limit.most for limit in (IMPORTS, CHECKS, TEST_CALLBACKS, EXPORTS)) <= THREADS - 2
