"""A simulated HubSpot that holds a request back until the test lets it answer."""

import json
import threading
from typing import Self

from tests.http.receiver import Receiver, Visit
from tests.reliability.waiting import until


def response(status_line: str, said: dict[str, object]) -> bytes:
    body = json.dumps(said).encode()
    return f"HTTP/1.1 {status_line}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class HeldServer:
    """Answers each request with the next of `answers`; request number `held` waits for `let_go`."""

    def __init__(self, *answers: bytes, held: int = 1) -> None:
        self._answers = answers
        self._held = held
        self._let_go = threading.Event()
        self._receiver = Receiver(self._serve)
        self.url = self._receiver.url(path="")

    def __enter__(self) -> Self:
        self._receiver.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()
        self._receiver.__exit__()

    @property
    def requests(self) -> int:
        return len(self._receiver.requests)

    def await_requests(self, number: int) -> None:
        until(lambda: self.requests >= number)

    def let_go(self) -> None:
        self._let_go.set()

    def _serve(self, receiver: Receiver, visit: Visit) -> None:
        while receiver.read(visit):
            number = self.requests
            if number == self._held:
                self._let_go.wait()
            visit.send(self._answers[number - 1])
