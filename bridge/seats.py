"""Seats: the threads that talk to HubSpot and to receivers, one request each."""

import math
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

import structlog

from bridge import deliver, poll
from bridge.core.watch import State

log = structlog.get_logger()

Job = poll.Job | deliver.Job
Done = poll.Done | deliver.Done
Lane = tuple[State, str]

# As many jobs may wait for a seat as seats were freed in this time: about how long each will wait.
AHEAD_SECONDS = 0.25
# Results that come close together share a transaction: a hundred cost about what one costs.
GATHER_SECONDS = 0.005
GATHER_LOOKS = 3


@dataclass(slots=True)
class _Queue:
    """A lane's jobs that wait for others of their lane, and how many have been called to the seats."""

    waiting: deque[tuple[float, Job]] = field(default_factory=deque)
    called: int = 0
    halted: bool = False


class Seats:
    """A fixed number of threads, started when they are first needed, and the jobs that wait for one.

    Only one thread may seat jobs and collect what is done.
    """

    def __init__(self, count: int, work: Callable[[Job], Done | None], at_once: Mapping[State, int]) -> None:
        """`work` returns None when there is nothing to save; `at_once` seats work for one lane at a time."""
        self.count = count
        self.held: Counter[Lane] = Counter()
        self._work = work
        self._at_once = at_once
        self._seated: dict[int, Job] = {}
        self._freed: deque[tuple[float, Lane]] = deque()
        self._freed_of: Counter[Lane] = Counter()
        self._threads: list[threading.Thread] = []
        # The lock is for what follows; the queues have their own.
        self._lock = threading.Lock()
        self._lanes: defaultdict[Lane, _Queue] = defaultdict(_Queue)
        self._called: deque[tuple[float, Job]] = deque()
        self._calls: SimpleQueue[bool] = SimpleQueue()
        self._finished: SimpleQueue[tuple[Job, Done | None]] = SimpleQueue()

    @property
    def seated(self) -> Sequence[Job]:
        """The jobs that are here, at work or waiting."""
        return list(self._seated.values())

    @property
    def room(self) -> int:
        """How many more jobs would be at work within AHEAD_SECONDS."""
        return self.count + len(self._freed) - len(self._seated)

    def most(self, lane: Lane) -> int:
        """Return how many jobs of one lane may be here."""
        return self._at_once[lane[0]] + self._freed_of[lane]

    def seat(self, job: Job) -> None:
        """Start a job as soon as a seat is free and its lane has not too many at work."""
        self._seated[id(job)] = job
        lane = lane_of(job)
        self.held[lane] += 1
        if len(self._threads) < min(self.count, len(self._seated)):
            # Daemons: a look-up that hangs must not keep a stopped process alive.
            thread = threading.Thread(target=self._sit, name=f"seat-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        with self._lock:
            self._lanes[lane].waiting.append((time.monotonic(), job))
            self._call_next(lane)

    def _call_next(self, lane: Lane) -> None:
        queue = self._lanes[lane]
        if queue.waiting and not queue.halted and queue.called < self._at_once[lane[0]]:
            queue.called += 1
            self._called.append(queue.waiting.popleft())
            self._calls.put(True)

    def _follow(self, lane: Lane) -> None:
        """One of the lane has left its place: call the next one."""
        queue = self._lanes[lane]
        queue.called -= 1
        self._call_next(lane)
        if not queue.called and not queue.waiting:
            del self._lanes[lane]

    def collect(self, timeout_seconds: float) -> list[Done]:
        """Wait for something to be done, gather what comes with it, and free those seats."""
        finished = self._gathered(timeout_seconds) if self._seated else []
        now = time.monotonic()
        for job, done in finished:
            lane = self._leave(job)
            if done and done.went_well:
                self._freed.append((now, lane))
                self._freed_of[lane] += 1
        while self._freed and self._freed[0][0] <= now - AHEAD_SECONDS:
            _, lane = self._freed.popleft()
            _lower(self._freed_of, lane)
        return [done for _, done in finished if done is not None]

    def _gathered(self, timeout_seconds: float) -> list[tuple[Job, Done | None]]:
        try:
            finished = [self._finished.get(timeout=timeout_seconds)]
        except Empty:
            return []
        self._gather(len(self._seated) // 2)
        while not self._finished.empty():
            finished.append(self._finished.get())
        return finished

    def _gather(self, enough: int) -> None:
        """Wait a moment for half of the jobs: the fuller a batch, the less each result costs."""
        for _ in range(GATHER_LOOKS):
            if self._finished.qsize() >= enough - 1:
                return
            time.sleep(GATHER_SECONDS)

    def take_back(self, older_seconds: float) -> list[Job]:
        """Return the jobs that have waited for longer than that, or whose lane has failed meanwhile.

        They will not be started.
        """
        since = time.monotonic() - older_seconds
        with self._lock:
            called = _taken(self._called, since)
            taken = list(called)
            for queue in self._lanes.values():
                taken += _taken(queue.waiting, math.inf if queue.halted else since)
                queue.halted = False
            for job in called:
                self._follow(lane_of(job))
            for lane in [lane for lane, queue in self._lanes.items() if not queue.called]:
                del self._lanes[lane]
        for job in taken:
            self._leave(job)
        return taken

    def _leave(self, job: Job) -> Lane:
        del self._seated[id(job)]
        lane = lane_of(job)
        _lower(self.held, lane)
        return lane

    def close(self) -> None:
        """Let the threads end once they have nothing to do."""
        for _ in self._threads:
            self._calls.put(False)

    def _sit(self) -> None:
        while self._calls.get():
            if job := self._next():
                done = self._try(job)
                with self._lock:
                    # What waits must not follow into a trouble: whether it may is decided anew.
                    self._lanes[lane_of(job)].halted |= not (done and done.went_well)
                    self._follow(lane_of(job))
                self._finished.put((job, done))

    def _next(self) -> Job | None:
        with self._lock:
            # It may have been taken back meanwhile.
            return self._called.popleft()[1] if self._called else None

    def _try(self, job: Job) -> Done | None:
        try:
            return self._work(job)
        except Exception:
            # A bug must cost one step, not a seat: the watch comes back when its lease runs out.
            log.exception("step_crashed", watch=job.watch.id)
            return None


def _taken(waiting: deque[tuple[float, Job]], since: float) -> list[Job]:
    """Take those that came before `since` from where they wait."""
    taken = [job for came_at, job in waiting if came_at < since]
    if taken:
        left = [entry for entry in waiting if entry[0] >= since]
        waiting.clear()
        waiting.extend(left)
    return taken


def _lower(counter: Counter[Lane], lane: Lane) -> None:
    counter[lane] -= 1
    if not counter[lane]:
        del counter[lane]


def lane_of(job: Job) -> Lane:
    """Return what a job is counted by: its account, or its callback's host."""
    watch = job.watch
    return watch.state, watch.account if watch.state is State.WATCHING else watch.callback_host
