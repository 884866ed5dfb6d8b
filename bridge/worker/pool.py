"""The worker's pool of threads: each sends one request at a time, to HubSpot or to a receiver."""

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, SimpleQueue

import structlog

from bridge.core.fairness import Lane, ceiling, is_callbacks, lane_of, max_callbacks
from bridge.core.watch import State
from bridge.steps import deliver, poll

log = structlog.get_logger()

Job = poll.PollJob | deliver.DeliveryJob
Finished = poll.FinishedPoll | deliver.FinishedAttempt

# As many jobs may wait as threads became free in the last QUEUE_SECONDS, so that each job waits for about that time.
QUEUE_SECONDS = 0.25
# `collect` waits for more results, to save them together: to save a hundred costs little more than to save one.
GATHER_SECONDS = 0.005
GATHER_LOOKS = 3


@dataclass(slots=True)
class _Queue:
    """The jobs of one lane: those `waiting`, with the time each was submitted, and how many are `at_work`."""

    waiting: deque[tuple[float, Job]] = field(default_factory=deque)
    at_work: int = 0
    # True after a job has ended without a result, or with a result whose `may_follow` is false. Then the waiting jobs do
    # not start, and `take_back` returns them.
    halted: bool = False


class WorkerPool:
    """A limited number of threads, each started when it is first needed, and the jobs that wait for them.

    A lane is one account's polls, or one host's callbacks. `jobs_per_lane` counts each lane's jobs in the pool.
    `recently_freed` counts each lane's jobs that ended in the last QUEUE_SECONDS and so freed a thread. A failed job
    does not count, because it halts its lane (see `submit`).

    `submit`, `collect` and `take_back` must not be called by two threads at the same time.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[Job], Finished | None],
        *,
        max_per_lane: Mapping[State, int],
        start_within_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`work` does a job, in one of up to `count` threads; it returns None when there is nothing to save.

        `max_per_lane` limits how many jobs of the same lane may be at work at once: WATCHING holds the limit for an
        account's polls, DELIVERING that for a host's callbacks. A job that has waited for `start_within_seconds` is
        not started.
        """
        self._count = count
        self._start_within_seconds = start_within_seconds
        self._clock = clock
        self._work = work
        self._max_per_lane = max_per_lane
        self._jobs: dict[int, Job] = {}
        self.jobs_per_lane: Counter[Lane] = Counter()
        # The slots that were freed in the last QUEUE_SECONDS.
        self._freed: deque[tuple[float, Lane]] = deque()
        self.recently_freed: Counter[Lane] = Counter()
        self._threads: list[threading.Thread] = []
        # `_lock` protects `_free`, `_free_for_callbacks` and `_lanes`; a SimpleQueue is thread-safe by itself.
        self._lock = threading.Lock()
        self._free = count
        self._free_for_callbacks = max_callbacks(count)
        self._lanes: dict[Lane, _Queue] = {}
        self._ready: SimpleQueue[Job | None] = SimpleQueue()
        self._finished: SimpleQueue[tuple[float, Job, Finished | None]] = SimpleQueue()

    @property
    def jobs(self) -> Sequence[Job]:
        """All jobs of the pool: those at work, those that wait, and those done but not collected."""
        return list(self._jobs.values())

    @property
    def room(self) -> int:
        """An estimate of how many more jobs would start within QUEUE_SECONDS; negative when too many wait."""
        return self._count + len(self._freed) - len(self._jobs)

    def room_of(self, lane: Lane) -> int:
        """Return an estimate of how many more jobs of this lane would start within QUEUE_SECONDS."""
        with self._lock:
            at_work = self._lanes.get(lane, _Queue()).at_work
            may_work = max(at_work, self._ceiling(lane))
        # A finished job still counts here until it is collected, because its result is not known before.
        return max(0, may_work + self.recently_freed[lane] - self.jobs_per_lane[lane])

    def submit(self, job: Job) -> None:
        """Queue a job; the job starts when a thread is free and the job's lane may have one more job at work.

        A job does not start if it has waited for more than `start_within_seconds`, or while its lane is halted;
        `take_back` returns such jobs. A lane is halted when one of its jobs ends without a result, or with a result
        whose `may_follow` is false. The lane stays halted until the next `take_back`.
        """
        self._jobs[id(job)] = job
        lane = lane_of(job.watch)
        self.jobs_per_lane[lane] += 1
        with self._lock:
            self._lanes.setdefault(lane, _Queue()).waiting.append((self._clock(), job))
            self._start_jobs()
        if len(self._threads) < min(self._count, len(self._jobs)):
            self._start_thread()

    def _start_thread(self) -> None:
        # A daemon thread, so that a DNS lookup that hangs does not keep a stopped process alive.
        thread = threading.Thread(target=self._run, name=f"worker-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The system allows no more threads; those that exist do the work.
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _start_jobs(self) -> None:
        """Start waiting jobs in the free slots; the caller holds the lock.

        A call starts at most one job of each lane, even if the lane's limit permits more.
        """
        # At most `_count` lanes hold slots and can be at their limit, so a look at twice as many finds others.
        lanes = (lane for lane in self._lanes if self._free_for_callbacks or not is_callbacks(lane))
        for lane in list(islice(lanes, 2 * self._count)) if self._free else ():
            queue = self._lanes[lane]
            if self._may_start(lane, queue):
                queue.at_work += 1
                self._free -= 1
                self._free_for_callbacks -= is_callbacks(lane)
                self._ready.put(queue.waiting.popleft()[1])
                # The lane moves to the end, so that the others come first next time.
                self._lanes[lane] = self._lanes.pop(lane)
            if not self._free:
                return

    def _may_start(self, lane: Lane, queue: _Queue) -> bool:
        if not queue.waiting or queue.halted:
            return False
        in_time = queue.waiting[0][0] >= self._clock() - self._start_within_seconds
        return in_time and queue.at_work < self._ceiling(lane)

    def _ceiling(self, lane: Lane) -> int:
        return ceiling(lane, self._max_per_lane[lane[0]], self._free, self._free_for_callbacks)

    def collect(self, timeout_seconds: float) -> list[Finished]:
        """Wait up to `timeout_seconds` until a job is done, then up to 15 ms for more; return the results.

        Returns at once when there are no jobs.
        """
        finished = self._collect_finished(timeout_seconds) if self._jobs else []
        for done_at, job, done in finished:
            lane = self._remove(job)
            if done and done.may_follow:
                self._freed.append((done_at, lane))
                self.recently_freed[lane] += 1
        since = self._clock() - QUEUE_SECONDS
        while self._freed and self._freed[0][0] <= since:
            _, lane = self._freed.popleft()
            _decrement(self.recently_freed, lane)
        return [done for _, _, done in finished if done is not None]

    def _collect_finished(self, timeout_seconds: float) -> list[tuple[float, Job, Finished | None]]:
        try:
            finished = [self._finished.get(timeout=timeout_seconds)]
        except Empty:
            return []
        self._wait_for_finished(len(self._jobs) // 2 - 1)
        while not self._finished.empty():
            finished.append(self._finished.get())
        return finished

    def _wait_for_finished(self, enough: int) -> None:
        """Wait until `_finished` holds the results of `enough` jobs, but at most 15 ms."""
        for _ in range(GATHER_LOOKS):
            if self._finished.qsize() >= enough:
                return
            time.sleep(GATHER_SECONDS)

    def take_back(self, *, everything: bool = False) -> list[Job]:
        """Remove and return the jobs that have waited too long, and those that wait in halted lanes.

        A failed job halts its lane (see `submit`); after this call no lane is halted. With `everything`, removes and
        returns all waiting jobs.
        """
        since = math.inf if everything else self._clock() - self._start_within_seconds
        taken: list[Job] = []
        with self._lock:
            for lane, queue in list(self._lanes.items()):
                # The jobs that have waited longest come first.
                while queue.waiting and (queue.halted or queue.waiting[0][0] < since):
                    taken.append(queue.waiting.popleft()[1])
                queue.halted = False
                self._forget_empty(lane)
            self._start_jobs()
        for job in taken:
            self._remove(job)
        return taken

    def _forget_empty(self, lane: Lane) -> None:
        queue = self._lanes[lane]
        if not queue.at_work and not queue.waiting:
            del self._lanes[lane]

    def _remove(self, job: Job) -> Lane:
        del self._jobs[id(job)]
        lane = lane_of(job.watch)
        _decrement(self.jobs_per_lane, lane)
        return lane

    def close(self) -> None:
        """Let each thread end when its current job has ended; the jobs that wait in the pool are not started.

        Returns at once: the threads may still be running.
        """
        for _ in self._threads:
            self._ready.put(None)

    def _run(self) -> None:
        while (job := self._ready.get()) is not None:
            done = None
            try:
                done = self._try(job)
            finally:
                self._finish(job, done)

    def _finish(self, job: Job, done: Finished | None) -> None:
        lane, done_at = lane_of(job.watch), self._clock()
        with self._lock:
            queue = self._lanes[lane]
            queue.at_work -= 1
            self._free += 1
            self._free_for_callbacks += is_callbacks(lane)
            # Waiting jobs would repeat the failure: they are given back, and the next claim decides about them.
            queue.halted |= not (done and done.may_follow)
            self._forget_empty(lane)
            self._start_jobs()
        self._finished.put((done_at, job, done))

    def _try(self, job: Job) -> Finished | None:
        try:
            return self._work(job)
        except Exception:
            # A bug ends the job, not the thread; the watch is claimed again when its lease is over.
            log.exception("step_crashed", watch=job.watch.id)
            return None


def _decrement(counter: Counter[Lane], lane: Lane) -> None:
    counter[lane] -= 1
    if not counter[lane]:
        del counter[lane]
