"""Starts imports with every outcome at a simulated HubSpot, and prints what happens until their callbacks."""

import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from demo import services
from demo.printer import Printer
from demo.receiver import Receiver

TIMEOUT_SECONDS = 60
POLL_INTERVAL_SECONDS = 0.2
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
HUBSPOT = {"Authorization": "Bearer sandbox-token"}

# The files, whose names choose the outcome in the sandbox, and the outcome that the callback must have.
IMPORTS = {
    "report.csv": "completed",
    "errors.csv": "completed_with_errors",
    "fail.csv": "failed",
    "cancel.csv": "canceled",
    "stuck.csv": "timed_out",
    "reject.csv": "rejected",
    "flaky-receiver.csv": "completed",
}


class Demo:
    """The demo's application: starts imports, registers watches, and receives the callbacks."""

    def __init__(self, bridge_url: str, hubspot_url: str, client: dict[str, str], printer: Printer) -> None:
        self._bridge_url = bridge_url
        self._hubspot_url = hubspot_url
        self._printer = printer
        self._session = services.loopback_session()
        self._session.headers["Authorization"] = f"Bearer {client['api_key']}"
        self._receiver = Receiver(client["signing_secret"], self._called_back)
        self._names: dict[str, str] = {}
        self._seen: dict[str, dict[str, Any]] = {}
        self._ended: set[str] = set()
        self.callbacks: dict[str, str] = {}
        self.forged = 0

    def start(self, file_name: str) -> None:
        """Start the import of a file at HubSpot, and register a watch for it at the bridge."""
        task_id = self._import(file_name)
        path = "/flaky" if file_name.startswith("flaky") else ""
        watch = {
            "task_id": task_id,
            "callback_url": f"{self._receiver.url}/hooks/{file_name}{path}",
            "metadata": {"file": file_name},
            # The minimum, for the import that never ends; a day for the others.
            "timeout_seconds": 10 if file_name == "stuck.csv" else 86_400,
        }
        response = self._session.post(f"{self._bridge_url}/v1/watches", json=watch, timeout=10)
        response.raise_for_status()
        self._names[response.json()["id"]] = file_name
        self._printer.event("registered", file_name, f"task {task_id}, {response.json()['id']}")

    def _import(self, file_name: str) -> str:
        body = {
            "url": f"https://files.example.com/{file_name}",
            "access": "PRIVATE",
            "folderPath": "/imports",
        }
        url = f"{self._hubspot_url}/files/v3/files/import-from-url/async"
        response = self._session.post(url, json=body, headers=HUBSPOT, timeout=10)
        response.raise_for_status()
        task_id: str = response.json()["id"]
        return task_id

    def print_changes(self) -> None:
        """Print what has changed since the last call."""
        response = self._session.get(f"{self._bridge_url}/v1/watches", timeout=10)
        for watch in response.json()["watches"]:
            before = self._seen.get(watch["id"], {"polls": 0, "attempts": 0})
            self._seen[watch["id"]] = watch
            self._print_changes(self._names[watch["id"]], before, watch)

    def _print_changes(self, name: str, before: dict[str, Any], watch: dict[str, Any]) -> None:
        if watch["polls"] > before["polls"]:
            self._printer.event("polled", name, watch["status"] or watch["last_error"])
        if watch["outcome"]:
            self._print_end(name, watch["outcome"])
        if watch["attempts"] > before["attempts"] and watch["state"] == "delivering":
            self._printer.event("retrying", name, watch["last_error"])

    def _print_end(self, name: str, outcome: str) -> None:
        """Print the end of a task once: its callback may arrive before the next poll of the API."""
        if name not in self._ended:
            self._ended.add(name)
            self._printer.event("ended", name, outcome)

    def _called_back(self, event: dict[str, Any] | None) -> None:
        if event is None:
            self.forged += 1
            self._printer.event("problem", "?", "a signature does not verify")
            return
        name = event["data"]["metadata"]["file"]
        self._print_end(name, event["data"]["outcome"])
        self.callbacks[name] = event["data"]["outcome"]
        self._printer.event("called back", name, f"{event['type']}, signature verified")

    @property
    def settled(self) -> bool:
        """Whether all callbacks are delivered."""
        return len(self._seen) == len(IMPORTS) and all(w["state"] == "delivered" for w in self._seen.values())

    def rows(self) -> list[list[str]]:
        """Return the summary, with a row for each import."""
        return [
            [
                self._names[watch["id"]],
                IMPORTS[self._names[watch["id"]]],
                self.callbacks.get(self._names[watch["id"]], "nothing"),
                watch["state"],
                str(watch["polls"]),
                str(watch["attempts"]),
            ]
            for watch in sorted(self._seen.values(), key=lambda watch: watch["created_at"])
        ]


def main() -> int:
    """Run the demo; return 0 when every callback arrived with the expected outcome."""
    for number in STOP_SIGNALS:
        # What is ignored stays ignored, as nohup wants it.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    printer = Printer()
    with tempfile.TemporaryDirectory(prefix="bridge-demo-") as temporary, ExitStack() as stack:
        folder = Path(temporary)
        hubspot_url, port = f"http://127.0.0.1:{services.free_port()}", services.free_port()
        env = services.environment(folder, hubspot_url, port)
        printer.say(f"HubSpot (simulated) on {hubspot_url}, the bridge on http://127.0.0.1:{port}\n")
        simulated = ["sandbox", "--port", hubspot_url.rpartition(":")[2]]
        ledger = f"{hubspot_url}/sandbox/ledger"
        stack.enter_context(services.running(simulated, ledger, env, folder / "sandbox.log"))
        client = services.add_client(env, "demo")
        bridge_url = f"http://127.0.0.1:{port}"
        serve = ["serve", "--host", "127.0.0.1"]
        stack.enter_context(services.running(serve, f"{bridge_url}/readyz", env, folder / "bridge.log"))
        demo = Demo(bridge_url, hubspot_url, client, printer)
        return _follow(demo, printer)


def _stop(number: int, _frame: object) -> None:
    """Leave `main`, which ends what it has started. Another signal, which may come right behind, changes nothing."""
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def _follow(demo: Demo, printer: Printer) -> int:
    for file_name in IMPORTS:
        demo.start(file_name)
    give_up_at = time.monotonic() + TIMEOUT_SECONDS
    while not demo.settled and time.monotonic() < give_up_at:
        time.sleep(POLL_INTERVAL_SECONDS)
        demo.print_changes()
    printer.say("")
    printer.table(["import", "expected", "called back", "state", "polls", "attempts"], demo.rows())
    good = demo.callbacks == IMPORTS and demo.settled and not demo.forged
    printer.say(
        "\nEvery import was called back, and every signature verified." if good else "\nNot all arrived."
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
