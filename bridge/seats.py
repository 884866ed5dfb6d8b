"""Seats: the threads that talk to HubSpot and to receivers, one request each."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

import structlog

from bridge import deliver, poll
from bridge.core.watch import State

log = structlog.get_logger()

Job = poll.Job | deliver.Job
Done = poll.Done | deliver.Done
Lane = tuple[State, str]

# Results that come close together share a transaction: thirty cost about what one costs.
GATHER_SECONDS = 0.003
GATHER_LOOKS = 5


class Seats:
    """A fixed number of threads, started when they are first needed.

    Only one thread may seat jobs and collect what is done.
    """

    def __init__(self, count: int, work: Callable[[Job], Done | None]) -> None:
        """`work` returns None when there is nothing to save."""
        self.count = count
        self.held: Counter[Lane] = Counter()
        self._work = work
        self._seated: dict[int, Job] = {}
        self._threads: list[threading.Thread] = []
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._finished: SimpleQueue[tuple[Job, Done | None]] = SimpleQueue()

    @property
    def seated(self) -> Sequence[Job]:
        """The jobs that are being worked on."""
        return list(self._seated.values())

    @property
    def free(self) -> int:
        """How many more jobs would start at once."""
        return self.count - len(self._seated)

    def seat(self, job: Job) -> None:
        """Start a job; there must be a free seat."""
        self._seated[id(job)] = job
        self.held[lane_of(job)] += 1
        if len(self._seated) > len(self._threads):
            # Daemons: a look-up that hangs must not keep a stopped process alive.
            thread = threading.Thread(target=self._sit, name=f"seat-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._jobs.put(job)

    def collect(self, timeout_seconds: float) -> list[Done]:
        """Wait for something to be done, gather what comes with it, and free those seats."""
        if not self._seated:
            return []
        try:
            finished = [self._finished.get(timeout=timeout_seconds)]
        except Empty:
            return []
        self._gather(len(self._seated) // 2)
        while not self._finished.empty():
            finished.append(self._finished.get())
        for job, _ in finished:
            self._leave(job)
        return [done for _, done in finished if done is not None]

    def _gather(self, enough: int) -> None:
        """Wait a moment for half of the seats: the fuller a batch, the less each result costs."""
        for _ in range(GATHER_LOOKS):
            if self._finished.qsize() >= enough - 1:
                return
            time.sleep(GATHER_SECONDS)

    def _leave(self, job: Job) -> None:
        del self._seated[id(job)]
        lane = lane_of(job)
        self.held[lane] -= 1
        if not self.held[lane]:
            del self.held[lane]

    def close(self) -> None:
        """Let the threads end once they have nothing to do."""
        for _ in self._threads:
            self._jobs.put(None)

    def _sit(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._finished.put((job, self._try(job)))

    def _try(self, job: Job) -> Done | None:
        try:
            return self._work(job)
        except Exception:
            # A bug must cost one step, not a seat: the watch comes back when its lease runs out.
            log.exception("step_crashed", watch=job.watch.id)
            return None


def lane_of(job: Job) -> Lane:
    """Return what a job is counted by: its account, or its callback's host."""
    watch = job.watch
    return watch.state, watch.account if watch.state is State.WATCHING else watch.callback_host
