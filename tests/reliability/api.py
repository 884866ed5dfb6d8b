"""The REST API as a client uses it that does not give up: what got no answer is sent again."""

import requests

from tests.reliability.database import Installation
from tests.reliability.waiting import until


class Api:
    """Calls a web process of an installation."""

    def __init__(self, installation: Installation, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._headers = {"Authorization": f"Bearer {installation.api_key}"}

    def call(self, method: str, path: str, body: object = None) -> requests.Response | None:
        """Return the answer; None when none came, because the process is away or has died over it."""
        url = f"{self._url}{path}"
        try:
            return requests.request(method, url, json=body, headers=self._headers, timeout=30)
        except (requests.ConnectionError, requests.Timeout):
            return None

    def register(self, task_id: str, callback_url: str, **others: object) -> requests.Response:
        """Register a watch, again and again until it is answered; return that answer."""
        body = {"task_id": task_id, "callback_url": callback_url, **others}

        def answered() -> list[requests.Response]:
            answer = self.call("POST", "/v1/watches", body)
            return [answer] if answer is not None and answer.status_code != 503 else []

        [answer] = until(answered)
        return answer
