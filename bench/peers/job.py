"""What the rivals in Python share: the two requests of a task. Needs the standard library alone."""

import json
import os
import time
from collections.abc import Sequence

from bench.loopback import RECEIVERS
from bridge.core.signing import make_secret, sign

PORT = os.environ.get("BENCH_PORT", "0")
HEADERS = {"Authorization": "Bearer pat-na1-00000000-0000-0000-0000-000000000000"}
SECRET = make_secret(b"s" * 32)
TIMEOUT_SECONDS = 10


def tasks(stem: str, count: int) -> Sequence[str]:
    """Return the tasks' names."""
    return [f"{stem}-{number}" for number in range(count)]


def status_url(task: str) -> str:
    """Return where a task's status is asked for."""
    return f"http://127.0.0.1:{PORT}/files/v3/files/import-from-url/async/tasks/{task}/status"


def callback(task: str, status: dict[str, object]) -> tuple[str, dict[str, str], bytes]:
    """Return a callback's URL, its signed headers and its body."""
    number = int(task.rpartition("-")[2])
    return f"http://{RECEIVERS[number % len(RECEIVERS)]}:{PORT}/{task}", *signed(task, status)


def signed(task: str, status: dict[str, object]) -> tuple[dict[str, str], bytes]:
    """Return a callback's signed headers and its body."""
    body = json.dumps({"type": "import.completed", "data": {"task_id": task, "hubspot": status}}).encode()
    headers = {"Content-Type": "application/json", **sign(f"wat_{task}", int(time.time()), body, [SECRET])}
    return headers, body
