"""Callbacks for the tests of the worker: watches whose tasks are complete, and a receiver that keeps them waiting."""

import threading

from bridge.core.watch import Watch
from tests.steps.peers import Reply, Request
from tests.steps.rig import COMPLETE, Rig


class HoldingReceiver:
    """A receiver that keeps every callback waiting until `open` is set."""

    def __init__(self, rig: Rig) -> None:
        self.open = threading.Event()
        rig.receiver.answer = self._answer
        rig.closing.callback(self.open.set)

    def _answer(self, _: Request) -> Reply:
        self.open.wait(30)
        return Reply()


def completed(rig: Rig, *task_ids: str) -> list[Watch]:
    """Register watches, due now, of tasks that are complete."""
    watches = []
    for task_id in task_ids:
        rig.tasks.set(task_id, COMPLETE)
        watches.append(rig.registered(task_id))
    rig.clock.passes(2)
    return watches
