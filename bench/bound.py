"""The bound: the same requests as a task takes, with no bridge around them.

`python -m bench.bound PORT TASKS` prints {"tasks_per_second", "cpu_seconds"}. A session per thread,
prepared requests, `HTTPAdapter.send`: the cheapest way that `requests` has.
"""

import argparse
import json
import threading
import time
from collections.abc import Iterator

from requests import PreparedRequest, Request, Session
from requests.adapters import HTTPAdapter

from bench.loopback import HOSTS, RECEIVERS

THREADS = 8
TIMEOUT_SECONDS = 10
# As long as the bridge's own headers and body.
AUTHORIZATION = {"Authorization": "Bearer pat-na1-00000000-0000-0000-0000-000000000000"}
SIGNATURE = {
    "Content-Type": "application/json",
    "webhook-id": "wat_0123456789abcdefghijklmnop",
    "webhook-timestamp": "1790000000",
    "webhook-signature": "v1,MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
}
BODY = b'{"filler": "%s"}' % (b"x" * 700)


class Bound:
    """Threads that take tasks one by one."""

    def __init__(self, port: int, tasks: int) -> None:
        self._port = port
        self._numbers: Iterator[int] = iter(range(tasks))
        self._lock = threading.Lock()

    def run(self) -> None:
        """Make both requests of each task; returns when all are made."""
        threads = [threading.Thread(target=self._work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self) -> None:
        with Session() as session:
            session.trust_env = False
            adapter = HTTPAdapter()
            session.mount("http://", adapter)
            while (number := self._next()) is not None:
                for request in (self._poll(number), self._callback(number)):
                    adapter.send(request, timeout=TIMEOUT_SECONDS).raise_for_status()

    def _next(self) -> int | None:
        with self._lock:
            return next(self._numbers, None)

    def _poll(self, number: int) -> PreparedRequest:
        path = f"/files/v3/files/import-from-url/async/tasks/T{number}/status"
        return Request("GET", f"http://{HOSTS[0]}:{self._port}{path}", headers=AUTHORIZATION).prepare()

    def _callback(self, number: int) -> PreparedRequest:
        url = f"http://{RECEIVERS[number % len(RECEIVERS)]}:{self._port}/T{number}"
        return Request("POST", url, headers=SIGNATURE, data=BODY).prepare()


def main() -> None:
    """Run the number of tasks that was asked for, and tell how fast that was."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("tasks", type=int)
    arguments = parser.parse_args()
    bound = Bound(arguments.port, arguments.tasks)
    began_at, cpu = time.monotonic(), time.process_time()
    bound.run()
    rate = arguments.tasks / (time.monotonic() - began_at)
    print(json.dumps({"tasks_per_second": rate, "cpu_seconds": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
