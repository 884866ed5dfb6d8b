"""The sandbox as a WSGI application, and as a server in a thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import structlog
from flask import Flask, Response, request

from bridge.sandbox import api, control
from bridge.sandbox.options import SandboxOptions
from bridge.sandbox.replies import no_route
from bridge.sandbox.state import State
from bridge.sandbox.wire import MAX_BODY_BYTES, Server, to_response

HOST = "127.0.0.1"
# The description of the sandbox, which is also the help of `python -m bridge sandbox`.
GUIDE = Path(__file__).with_name("guide.txt").read_text(encoding="utf-8")
POLL_SECONDS = 0.02  # how often a server in a thread checks whether it must stop

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sandbox:
    """A running sandbox: its URL and its state. Code in the same process controls the sandbox by `state`."""

    url: str
    state: State


def create_app(options: SandboxOptions | None = None) -> Flask:
    """Return the simulated HubSpot as a WSGI application; its `State` is `app.extensions["sandbox"]`."""
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    state = app.extensions["sandbox"] = State(options or SandboxOptions())
    app.register_blueprint(api.blueprint(state))
    app.register_blueprint(control.blueprint(state))
    app.add_url_rule("/", "guide", lambda: Response(GUIDE, mimetype="text/plain"))

    def no_route_matched(_problem: Exception) -> Response:
        reply = no_route()
        if not request.path.startswith("/sandbox/"):
            state.count_unrouted(reply)
        return to_response(reply, state.stopping)

    app.register_error_handler(404, no_route_matched)
    app.register_error_handler(405, no_route_matched)
    return app


@contextmanager
def running(options: SandboxOptions | None = None, port: int = 0) -> Iterator[Sandbox]:
    """Serve a sandbox on loopback from a thread of this process; port 0 takes any free port."""
    app = create_app(options)
    state: State = app.extensions["sandbox"]
    server = Server(HOST, port, app)
    thread = Thread(target=server.serve_forever, args=(POLL_SECONDS,), name="sandbox", daemon=True)
    thread.start()
    try:
        yield Sandbox(url=f"http://{HOST}:{server.server_port}", state=state)
    finally:
        state.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()
        server.end_connections()
