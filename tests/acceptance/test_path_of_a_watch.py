"""The path of a watch in ARCHITECTURE.md names the functions in the order in which they are called."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any

from structlog.testing import LogCapture

from bridge.db.housekeeping import prune
from bridge.sandbox import Kind
from tests.acceptance.stage import staged
from tests.docs.markdown import functions, page, section


@contextmanager
def recorded() -> Iterator[list[tuple[str, str]]]:
    """Yield a list to which each call's function and file are added, of this thread and of those that start."""
    calls = []

    def record(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            calls.append((frame.f_code.co_name, frame.f_code.co_filename))

    threading.setprofile(record)
    sys.setprofile(record)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def test_the_path_of_a_watch_names_functions_in_the_order_of_their_calls(
    sqlite_url: str, logged: LogCapture
) -> None:
    path = section(page("ARCHITECTURE.md"), "The path of one watch")
    named = [(function, str(file)) for function, file in functions(path)]
    assert len(named) > 20
    with recorded() as calls, staged(sqlite_url, logged) as stage:
        [task_id] = stage.hubspot.state.add_tasks(Kind.FILE_IMPORT)
        stage.register(task_id)
        stage.passes(60)
        assert [event["type"] for event in stage.events()] == ["import.completed"]
        with stage.engine.begin() as connection:
            prune(connection, stage.clock(), retention=timedelta(0), limit=1)
    rest = iter(calls)
    assert [each for each in named if each not in rest] == []
