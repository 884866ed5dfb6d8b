"""A receiver of callbacks, as in an application: it verifies signatures with the official library."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError


class Receiver:
    """Listens on a free loopback port; calls `on_callback` with each event, or with None if its signature is wrong.

    The first attempt at a path that ends in `/flaky` gets a 503.
    """

    def __init__(self, secret: str, on_callback: Callable[[dict[str, Any] | None], None]) -> None:
        self._webhook = Webhook(secret)
        self._on_callback = on_callback
        self._refused: set[str] = set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(receiver.receive(self.path, body, dict(self.headers.items())))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Stay silent: the demo prints."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def receive(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """Return the status to answer with."""
        if path.endswith("/flaky") and path not in self._refused:
            self._refused.add(path)
            return 503
        try:
            event = self._webhook.verify(body, headers)
        except WebhookVerificationError:
            self._on_callback(None)
            return 400
        self._on_callback(event)
        return 204
