"""What failed polls lead to: the party at fault, the time of the next poll, and the end at the deadline."""

import pytest

from bridge.core.circuit_breaker import Failure, PermanentFailure, RetryAfter
from bridge.core.http_results import HttpResponse, NoResponse, NoToken, NoTokenYet
from bridge.core.kinds import KINDS
from bridge.core.polling import after_answer, time_out
from bridge.core.watch import Outcome, State, Watch
from tests.core.test_refusals import UNKNOWN_TASK
from tests.makers import NOW, a_watch, an_answer, asked, later

RATE_LIMIT = {"status": "error", "errorType": "RATE_LIMIT", "message": "You have reached your limit."}
HTML = b"<html><body>Not found</body></html>"
INCONCLUSIVE = "HubSpot's 200 answer is not a JSON object; still watching"
INTERVAL = "x_hubspot_ratelimit_interval_milliseconds"

ACCOUNT_AT_FAULT = [
    pytest.param(an_answer(401, {"category": "INVALID_AUTHENTICATION"}), id="401"),
    pytest.param(an_answer(401, {"category": "EXPIRED_AUTHENTICATION"}), id="401 expired"),
    pytest.param(HttpResponse(status_code=401, body=HTML), id="401 HTML"),
    pytest.param(an_answer(403, {"category": "MISSING_SCOPES"}), id="403 scopes"),
    pytest.param(an_answer(403, {"category": "BANNED"}), id="403 ban"),
    pytest.param(an_answer(403, {"errorType": "BANNED"}), id="403 ban, in the other envelope"),
    pytest.param(NoToken(reason="No token: set one."), id="no token"),
    pytest.param(
        NoToken(reason="The token server is away.", is_temporary=True, earlier_refusals=1),
        id="401, and no newer token",
    ),
]


@pytest.mark.parametrize("answer", ACCOUNT_AT_FAULT)
def test_a_fault_of_the_account_is_not_the_task_s(answer: HttpResponse | NoToken) -> None:
    polled = asked(answer, refusals=2, failures=1)
    watch = polled.watch
    assert isinstance(polled.signal, PermanentFailure)
    assert (watch.state, watch.outcome) == (State.WATCHING, None)
    assert (watch.refusals, watch.failures, watch.account_errors) == (0, 0, 1)
    assert watch.last_error == polled.signal.reason


@pytest.mark.parametrize(
    ("errors", "seconds"), [(0, 30), (1, 60), (2, 120), (4, 480), (5, 900), (6, 900), (10_000, 900)]
)
def test_whoever_found_the_account_at_fault_stands_back_so_that_the_trial_polls_another(
    errors: int, seconds: float
) -> None:
    watch = asked(an_answer(401), account_errors=errors, jitter=1.0).watch
    assert (watch.due_at, watch.account_errors) == (later(seconds), errors + 1)


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        pytest.param(
            an_answer(401, {"message": "This token expired 20543 day(s) ago."}),
            "HubSpot answered 401: This token expired 20543 day(s) ago. Give the account a valid token.",
            id="401",
        ),
        pytest.param(
            an_answer(403, {"category": "MISSING_SCOPES"}),
            "HubSpot answered 403. Give the token the missing scopes.",
            id="scopes that HubSpot does not name",
        ),
        pytest.param(
            an_answer(
                403,
                {
                    "category": "MISSING_SCOPES",
                    "errors": [{"context": {"requiredGranularScopes": ["files", 7, "files.read"]}}],
                },
            ),
            "HubSpot answered 403. Give the token one of the scopes files, files.read.",
            id="scopes that HubSpot names",
        ),
        pytest.param(
            an_answer(
                403, {"category": "MISSING_SCOPES", "errors": [{"context": {"requiredGranularScopes": "x"}}]}
            ),
            "HubSpot answered 403. Give the token the missing scopes.",
            id="scopes in a new form",
        ),
        pytest.param(
            an_answer(403, {"category": "BANNED", "message": "No"}),
            "HubSpot answered 403: No. HubSpot has banned the account's app.",
            id="ban",
        ),
    ],
)
def test_a_fault_says_what_to_do(answer: HttpResponse, advice: str) -> None:
    assert asked(answer).signal == PermanentFailure(reason=advice)


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        pytest.param(an_answer(429, RATE_LIMIT), 10, id="429"),
        pytest.param(HttpResponse(status_code=429, body=HTML), 10, id="429 HTML"),
        pytest.param(an_answer(429, RATE_LIMIT, retry_after="7"), 7, id="429 Retry-After"),
        pytest.param(
            an_answer(429, RATE_LIMIT, retry_after="7", **{INTERVAL: "20000"}),
            7,
            id="429 Retry-After before the interval",
        ),
        pytest.param(an_answer(429, RATE_LIMIT, **{INTERVAL: "20000"}), 20, id="429 interval"),
        pytest.param(an_answer(429, RATE_LIMIT, **{INTERVAL: "soon"}), 10, id="429 interval of no number"),
        pytest.param(an_answer(429, RATE_LIMIT, **{INTERVAL: ""}), 10, id="429 interval empty"),
        pytest.param(
            an_answer(429, RATE_LIMIT, retry_after="soon", **{INTERVAL: "20000"}),
            20,
            id="429 Retry-After that cannot be read",
        ),
        pytest.param(an_answer(429, {"policyName": "TEN_SECONDLY_ROLLING"}), 10, id="429 ten-secondly"),
        pytest.param(an_answer(429, {"policyName": "DAILY"}), 900, id="429 daily"),
        pytest.param(
            an_answer(429, {"policyName": "DAILY"}, retry_after="7", **{INTERVAL: "10000"}),
            900,
            id="429 daily, whatever the headers say",
        ),
        pytest.param(an_answer(429, RATE_LIMIT, retry_after="0"), 1, id="429 never at once"),
        pytest.param(an_answer(429, RATE_LIMIT, retry_after="9" * 400), 86_400, id="429 never for ever"),
        pytest.param(an_answer(477, {}, retry_after="14400"), 14_400, id="477 hours"),
        pytest.param(an_answer(477, {}), 60, id="477 without a time"),
        pytest.param(
            an_answer(477, {}, retry_after="Sat, 21 Nov 2026 12:01:30 GMT"), 90, id="477 until a date"
        ),
    ],
)
def test_hubspot_may_ask_the_whole_account_to_wait(answer: HttpResponse, seconds: float) -> None:
    polled = asked(answer, refusals=2, failures=1)
    assert isinstance(polled.signal, RetryAfter)
    assert polled.signal.seconds == seconds
    assert (polled.watch.state, polled.watch.due_at) == (State.WATCHING, NOW)
    assert polled.watch.last_error == polled.signal.reason
    assert (polled.watch.refusals, polled.watch.failures) == (0, 1)


TROUBLE = [
    *(pytest.param(HttpResponse(status_code=code, body=HTML), id=f"{code} HTML") for code in (400, 403, 404)),
    *(pytest.param(HttpResponse(status_code=code), id=f"{code} empty") for code in (400, 403, 404)),
    *(pytest.param(an_answer(code, {"message": "No"}), id=f"{code} JSON") for code in (400, 403, 404)),
    pytest.param(an_answer(404, ["not an object"]), id="404 with a JSON list"),
    pytest.param(
        HttpResponse(status_code=404, body=b'{"status": "error"}', complete=False), id="404 cut short"
    ),
    *(pytest.param(an_answer(code, {}), id=str(code)) for code in (301, 302, 304, 307, 308)),
    *(pytest.param(an_answer(code, {}), id=str(code)) for code in (423, 500, 502, 503, 504, 522, 599)),
    *(pytest.param(an_answer(code, {}), id=str(code)) for code in (402, 405, 408, 410, 414, 418)),
    pytest.param(NoResponse(reason="timed out after 10 s"), id="time-out"),
    pytest.param(NoResponse(reason="the connection was refused"), id="no connection"),
]


@pytest.mark.parametrize("answer", TROUBLE)
def test_trouble_makes_one_watch_back_off_and_is_noted_against_the_account(
    answer: HttpResponse | NoResponse,
) -> None:
    polled = asked(answer, refusals=2)
    watch = polled.watch
    assert isinstance(polled.signal, Failure)
    assert (watch.state, watch.failures, watch.refusals) == (State.WATCHING, 1, 0)
    assert watch.due_at == later(2)
    assert watch.last_error == polled.signal.reason
    assert polled.hubspot_body is None


@pytest.mark.parametrize("code", [400, 403, 404])
def test_a_proxy_s_error_is_told_from_hubspot_s(code: int) -> None:
    from_proxy = asked(HttpResponse(status_code=code, body=HTML)).watch.last_error
    from_hubspot = asked(an_answer(code, {"status": "error"})).watch.last_error
    assert from_hubspot == f"HubSpot answered {code}"
    assert from_proxy is not None
    assert from_proxy.startswith(f"{from_hubspot}, but not in HubSpot's error format")


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(0, 2), (1, 4), (2, 8), (3, 16), (4, 32), (5, 60), (6, 60), (100_000, 60)],
    ids=str,
)
@pytest.mark.parametrize(("jitter", "share"), [(-1, 0.8), (0, 1), (1, 1.2)], ids=["early", "even", "late"])
def test_the_back_off_doubles_from_two_seconds_to_sixty(
    failures: int, seconds: float, jitter: float, share: float
) -> None:
    watch = asked(an_answer(503), jitter=jitter, failures=failures).watch
    assert watch.due_at == later(seconds * share)
    assert watch.failures == failures + 1


@pytest.mark.parametrize(
    ("status_codes", "seconds", "in_a_row"),
    [
        pytest.param([503] * 5 + [401], 30, 1, id="the first 401 after 503s"),
        pytest.param([503] * 5 + [401] * 2, 60, 2, id="the second"),
        pytest.param([401] * 5 + [503], 2, 1, id="the first 503 after 401s"),
        pytest.param([401] * 5 + [503] * 2, 4, 2, id="the next 503"),
        pytest.param([401] * 2 + [429] * 2 + [403], 120, 3, id="account errors with a 429 between"),
        pytest.param([401] * 5 + [429, 503], 2, 1, id="a 503 after a 401 and a 429"),
        pytest.param([503] * 2 + [429, 503], 8, 3, id="503s with a 429 between"),
        pytest.param([404] * 2 + [429, 401], 30, 1, id="a 401 after refusals of the task"),
        pytest.param([404] * 2 + [429, 503, 503], 4, 2, id="503s after refusals of the task"),
        pytest.param([401] * 5 + [404, 401], 30, 1, id="a refusal of the task between"),
    ],
)
def test_account_errors_and_other_failures_back_off_each_by_their_own_streak(
    status_codes: list[int], seconds: float, in_a_row: int
) -> None:
    watch, now = a_watch(), NOW
    for status_code in status_codes:
        now = later(10, now)
        answer = an_answer(status_code, {"status": "error", "category": "MISSING_SCOPES"})
        watch = after_answer(KINDS[watch.kind], watch, answer, now=now, jitter=0).watch
    assert (watch.due_at, watch.failures + watch.account_errors) == (later(seconds, now), in_a_row)


@pytest.mark.parametrize("answer", [*TROUBLE, *ACCOUNT_AT_FAULT, *UNKNOWN_TASK])
def test_every_poll_is_counted_whatever_came_of_it(answer: HttpResponse | NoResponse | NoToken) -> None:
    watch = asked(answer, polls=3).watch
    assert (watch.polls, watch.last_polled_at) == (4, NOW)


def at_its_deadline(answer: HttpResponse | NoResponse | NoToken) -> Watch:
    return asked(answer, timeout_seconds=60, status="PENDING").watch


@pytest.mark.parametrize("answer", [*TROUBLE, *ACCOUNT_AT_FAULT, *UNKNOWN_TASK])
def test_what_ends_not_by_its_deadline_has_timed_out(answer: HttpResponse | NoResponse | NoToken) -> None:
    watch = at_its_deadline(answer)
    assert (watch.state, watch.outcome) == (State.DELIVERING, Outcome.TIMED_OUT)
    assert watch.ended_at == watch.due_at == NOW
    assert watch.error is not None
    assert watch.error.startswith(
        "The task was not seen to end within 60 s; its last status was PENDING. The last answer: "
    )


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (
            an_answer(200, {"status": "PROCESSING"}),
            "The task was not seen to end within 60 s; its last status was PROCESSING.",
        ),
        (
            an_answer(200),
            "The task was not seen to end within 60 s; its last status was PENDING. The last answer: "
            + INCONCLUSIVE,
        ),
    ],
    ids=["goes on", "inconclusive"],
)
def test_the_last_poll_is_the_one_at_the_deadline(answer: HttpResponse, error: str) -> None:
    watch = at_its_deadline(answer)
    assert (watch.outcome, watch.error) == (Outcome.TIMED_OUT, error)


def test_what_ends_in_its_last_poll_has_ended_well() -> None:
    answer = an_answer(200, {"status": "COMPLETE", "result": {"id": "1"}})
    assert at_its_deadline(answer).outcome is Outcome.COMPLETED


def test_a_watch_that_saw_no_status_says_so_when_its_time_is_over() -> None:
    timed_out = time_out(a_watch(timeout_seconds=10), now=later(10))
    assert timed_out.error == "The task was not seen to end within 10 s; no status was seen."


def test_a_token_that_may_come_soon_lets_the_account_wait_a_moment() -> None:
    polled = asked(NoToken(reason="The token server answered 503.", is_temporary=True), failures=1)
    assert polled.signal == RetryAfter(seconds=5, reason="The token server answered 503.")
    assert (polled.watch.due_at, polled.watch.failures) == (NOW, 1)


def test_a_token_that_is_still_being_refreshed_puts_off_this_watch_alone() -> None:
    polled = asked(NoTokenYet(reason="The token is still being refreshed."), failures=1, account_errors=2)
    watch = polled.watch
    assert polled.signal is None
    assert (watch.due_at, watch.failures, watch.account_errors) == (later(2), 1, 2)
    assert watch.last_error == "The token is still being refreshed."


@pytest.mark.parametrize(("left", "due_in"), [(1, 1), (0, 2), (-30, 2)])
def test_a_last_poll_without_a_token_is_made_up_for_after_the_deadline(left: float, due_in: float) -> None:
    watch = asked(NoTokenYet(reason="Still being refreshed."), timeout_seconds=60 + left).watch
    assert (watch.state, watch.due_at) == (State.WATCHING, later(due_in))
