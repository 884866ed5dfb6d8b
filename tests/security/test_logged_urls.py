"""What a receiver answers does not bring its URL or its cookies into the log of a real process."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from bridge import sandbox
from bridge.sandbox import SandboxOptions
from tests.http.receiver import Receiver, answering_once
from tests.ports import free_port
from tests.reliability.database import an_installation
from tests.reliability.processes import WEB, WORKER, lines, processes
from tests.reliability.waiting import until

MALFORMED = (b"X-FRAME-OPTIONS : DENY", b"no colon", "X-Größe: 1".encode(), b"X-Zero: a\0b", b" folded")


@pytest.mark.parametrize("command", [WEB, WORKER], ids=["web", "worker"])
def test_malformed_headers_bring_no_url_and_no_cookie_into_the_log(
    command: tuple[str, ...], sqlite_url: str, tmp_path: Path
) -> None:
    answers = [
        b"HTTP/1.1 200 OK\r\n%b\r\nSet-Cookie: session=hush\r\nContent-Length: 0\r\n\r\n" % line
        for line in MALFORMED
    ]
    options = SandboxOptions(pending_seconds=0, processing_seconds=0)
    with (
        an_installation(sqlite_url) as installation,
        sandbox.running(options) as hubspot,
        ExitStack() as stack,
    ):
        for answer in answers:
            receiver = stack.enter_context(Receiver(answering_once(answer)))
            [task_id] = hubspot.state.add_tasks(tasks=1)
            installation.register([task_id], receiver.url(path="/hook?token=hush"))
        started = stack.enter_context(
            processes(installation.env(hubspot.url, PORT=str(free_port())), tmp_path)
        )
        running = started.start(*command)
        until(lambda: len(lines(running.log, "callback_attempted")) >= len(answers))
        assert running.stop() == 0
    assert "hush" not in running.log.read_text()
