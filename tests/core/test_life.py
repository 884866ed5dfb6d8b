"""A watch keeps its promises under any sequence of answers, changes by its client, and clock steps."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bridge.core.circuit_breaker import ACCOUNT_POLICY, PermanentFailure
from bridge.core.delivery import RetryPolicy, after_attempt, payload
from bridge.core.http_results import HttpResponse, NoResponse, NoToken
from bridge.core.kinds import KINDS
from bridge.core.polling import after_answer, gap, time_out
from bridge.core.watch import (
    OPEN,
    REDELIVERABLE,
    IllegalTransition,
    State,
    Watch,
    recheck,
    redeliver,
    withdraw,
)
from tests.makers import NOW, a_watch, an_answer

POLICY = RetryPolicy(schedule_seconds=(5, 30, 300), jitter_share=0.2)
LONGEST_BACKOFF_SECONDS = 60 * 1.2

headers = st.dictionaries(
    st.sampled_from(["retry-after", "x-hubspot-ratelimit-interval-milliseconds"]),
    st.sampled_from(["0", "7", "100000", "Sat, 21 Nov 2026 12:01:30 GMT", "soon", ""]),
)
statuses = st.sampled_from(["PENDING", "PROCESSING", "STARTED", "COMPLETE", "DONE", "CANCELED", "ODD"])
running = st.sampled_from(["PENDING", "PROCESSING"]).map(lambda word: an_answer(202, {"status": word}))
bodies = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "status": statuses,
            "state": statuses,
            "result": st.sampled_from([None, {}, {"id": "1"}, "https://x"]),
            "errors": st.sampled_from([None, [], [{"message": "No."}], "odd"]),
            "numErrors": st.integers(0, 2),
            "category": st.sampled_from(["MISSING_SCOPES", "BANNED", "OTHER"]),
            "policyName": st.sampled_from(["DAILY", "SECONDLY"]),
        },
    ),
    st.none(),
    st.lists(st.integers(), max_size=2),
)
codes = st.sampled_from(
    [200, 202, 204, 301, 302, 400, 401, 403, 404, 408, 410, 423, 429, 477, 500, 502, 503, 504]
)
ended = st.sampled_from(
    [{"status": "COMPLETE", "result": {"id": "1"}}, {"status": "CANCELED"}, {"state": "DONE"}]
).map(lambda said: an_answer(200, said))
answers = st.one_of(
    running,
    ended,  # more often than chance would have it, or few watches got far
    st.builds(lambda code, said, told: an_answer(code, said, **told), codes, bodies, headers),
    st.builds(
        HttpResponse, status_code=codes, headers=headers, body=st.binary(max_size=20), complete=st.booleans()
    ),
    st.builds(NoResponse, reason=st.sampled_from(["timed out", "refused"])),
)
jitters = st.floats(-1, 1)


class Life(RuleBasedStateMachine):
    """One watch, its clock, and the promises that hold whatever happens."""

    watch: Watch

    @initialize(
        kind=st.sampled_from(sorted(KINDS)),
        timeout_seconds=st.sampled_from([10, 60, 86_400]) | st.integers(10, 30 * 86_400),
    )
    def register(self, kind: str, timeout_seconds: int) -> None:
        self.now = NOW
        self.watch = a_watch(kind=kind, timeout_seconds=timeout_seconds)

    @rule(hours=st.sampled_from([-1.0, 1.0]) | st.floats(-1, 1))
    def the_clock_steps(self, hours: float) -> None:
        self.now += timedelta(hours=hours)

    def time_passes_until_the_next_step(self) -> None:
        assert self.watch.due_at is not None
        self.now = max(self.now, self.watch.due_at)

    @precondition(lambda self: self.watch.state is State.WATCHING)
    @rule(answer=running, jitter=jitters)
    def the_task_goes_on(self, answer: HttpResponse, jitter: float) -> None:
        self.hubspot_answers(answer, jitter)

    @precondition(lambda self: self.watch.state is State.WATCHING)
    @rule(answer=answers | st.just(NoToken(reason="No token.")), jitter=jitters)
    def hubspot_answers(self, answer: HttpResponse | NoResponse | NoToken, jitter: float) -> None:
        self.time_passes_until_the_next_step()
        before = self.watch
        polled = after_answer(KINDS[before.kind], before, answer, now=self.now, jitter=jitter)
        self.becomes(polled.watch)
        assert polled.watch.polls == before.polls + 1
        if polled.watch.state is State.WATCHING:
            assert polled.watch.due_at is not None
            age_seconds = max((self.now - polled.watch.age_zero_at).total_seconds(), 0)
            at_fault = isinstance(polled.signal, PermanentFailure)
            longest = ACCOUNT_POLICY.most_seconds if at_fault else LONGEST_BACKOFF_SECONDS
            longest = max(gap(age_seconds) * 1.1, longest) + 0.001
            assert 0 <= (polled.watch.due_at - self.now).total_seconds() <= longest
            assert polled.watch.due_at <= polled.watch.deadline_at
            assert self.now < polled.watch.deadline_at

    @precondition(lambda self: self.watch.state is State.WATCHING and self.now >= self.watch.deadline_at)
    @rule()
    def the_deadline_passes(self) -> None:
        self.becomes(time_out(self.watch, now=self.now))

    @precondition(lambda self: self.watch.state is State.DELIVERING)
    @rule(answer=answers, jitter=jitters)
    def the_receiver_answers(self, answer: HttpResponse | NoResponse, jitter: float) -> None:
        self.time_passes_until_the_next_step()
        before = self.watch
        attempted = after_attempt(
            before, answer, started_at=self.now, now=self.now, policy=POLICY, jitter=jitter
        )
        self.becomes(attempted.watch)
        assert attempted.attempt.number == attempted.watch.attempts == before.attempts + 1
        assert attempted.watch.tries <= len(POLICY.schedule_seconds) + 1
        assert payload(before, "{}") == payload(attempted.watch, "{}")

    @rule(now_and_then=st.sampled_from([False, False, False, True]))
    def the_client_withdraws(self, *, now_and_then: bool) -> None:
        if now_and_then or self.watch.state not in OPEN:
            self.by_hand(withdraw, allowed=self.watch.state in OPEN)

    @rule()
    def somebody_redelivers(self) -> None:
        self.by_hand(redeliver, allowed=self.watch.state in REDELIVERABLE)

    @rule()
    def somebody_rechecks(self) -> None:
        self.by_hand(recheck, allowed=self.watch.state is State.WATCHING)

    def by_hand(self, act: Callable[..., Watch], *, allowed: bool) -> None:
        if not allowed:
            with pytest.raises(IllegalTransition):
                act(self.watch, now=self.now)
            return
        before, self.watch = self.watch, act(self.watch, now=self.now)
        self.keeps_what_was(before, self.watch)

    def becomes(self, after: Watch) -> None:
        """A step of the bridge's own: it never leaves a final state."""
        assert self.watch.state in OPEN
        self.keeps_what_was(self.watch, after)
        self.watch = after

    def keeps_what_was(self, before: Watch, after: Watch) -> None:
        told: dict[str, Any] = {"outcome": before.outcome, "ended_at": before.ended_at, "error": before.error}
        assert before.ended_at is None or told == {name: getattr(after, name) for name in told}
        assert after.attempts >= before.attempts
        assert after.polls >= before.polls

    @invariant()
    def something_is_due_exactly_while_something_is_left_to_do(self) -> None:
        assert (self.watch.due_at is not None) == (self.watch.state in OPEN)
        assert (self.watch.settled_at is None) == (self.watch.state in OPEN)

    @invariant()
    def what_has_ended_can_be_told(self) -> None:
        ended = self.watch.ended_at is not None
        assert ended == (self.watch.outcome is not None)
        assert ended or self.watch.state in {State.WATCHING, State.WITHDRAWN}
        assert not ended or self.watch.state is not State.WATCHING


Life.TestCase.settings = settings(max_examples=250, stateful_step_count=40, deadline=None)
TestLife = Life.TestCase
