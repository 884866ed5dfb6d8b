"""Operator webhooks: which events are sent, when and how often, on real sockets."""

from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select
from standardwebhooks import Webhook

from bridge.core.account_limits import SUSPECTS, FinishedCall
from bridge.core.circuit_breaker import PermanentFailure
from bridge.core.http_results import NoToken
from bridge.core.instants import rfc3339
from bridge.core.watch import State
from bridge.db.operator_events import QUIET
from bridge.db.tables import watches
from bridge.http.transport import Transport
from bridge.hubspot.client import ANSWER_BYTES, HubSpot
from bridge.hubspot.oauth import STILL_REFRESHING
from bridge.steps import accounts, changes
from bridge.steps.account_feedback import record_calls
from bridge.steps.hubspot_calls import Granted, HubSpotCalls
from tests.hubspot_accounts import OAUTH, ListedTokens
from tests.makers import SECRET, an_answer
from tests.steps.operators import HOST, Operator, kept
from tests.steps.peers import Reply, Request, reply, saying
from tests.steps.rig import COMPLETE, LEASE_SECONDS, PENDING, PLENTY, Rig

QUIET_SECONDS = QUIET.total_seconds()
UNAUTHORIZED = saying({"status": "error", "category": "INVALID_AUTHENTICATION", "message": "No."}, 401)


def test_an_event_is_a_signed_standard_webhook(rig: Rig, operator: Operator) -> None:
    rig.hooks.set("T1", reply(410))
    rig.ended()
    rig.clock.passes(2)
    operator.worker().drain()
    rig.clock.passes(QUIET_SECONDS)
    [said] = operator.send_due()
    [request] = operator.peer.requests
    assert request.headers["webhook-id"].startswith("evt_")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("hubspot-import-bridge/")
    # The clock of these parts is not the real one, by which the library judges the timestamp.
    signed = Webhook(SECRET).sign(
        request.headers["webhook-id"],
        datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC),
        request.body.decode(),
    )
    assert request.headers["webhook-signature"] == signed
    assert said["type"] == "callback.given_up"
    assert said["data"] == {
        "subject": HOST,
        "reason": "The receiver answered 410.",
        "since": said["timestamp"],
        "count": 1,
    }


def test_a_callback_is_given_up_at_the_end_of_its_last_attempt_however_long_that_takes(
    rig: Rig, operator: Operator
) -> None:
    def hang(_: Request) -> Reply:
        rig.clock.passes(20)
        return reply(410)

    watch = rig.ended()
    rig.receiver.answer = hang
    rig.clock.passes(2)
    operator.worker().drain()
    assert operator.send_due() == [], "others may be given up in the same burst"
    rig.clock.passes(QUIET_SECONDS)
    [said] = operator.send_due()
    settled_at = rig.now(watch).settled_at
    assert settled_at
    assert said["timestamp"] == said["data"]["since"] == rfc3339(settled_at)


def clone(connection: Connection, copies: int) -> None:
    """Copy the only watch in the database, with its last callback due."""
    [row] = connection.execute(select(watches)).mappings().all()
    changes = {"state": "delivering", "outcome": "failed", "ended_at": row["created_at"], "tries": 2}
    rows = [
        dict(row) | changes | {"id": f"wat_{number:08}", "registration_key": None} for number in range(copies)
    ]
    connection.execute(insert(watches), rows)


def test_a_burst_of_1_000_callbacks_that_are_given_up_is_one_event_with_its_count(
    rig: Rig, operator: Operator
) -> None:
    rig.tasks.set("T1", PENDING)
    rig.registered("T1", callback_url=rig.receiver.url())
    with rig.engine.begin() as connection:
        clone(connection, 1_000)
    # Our own rules refuse the receiver's port: an attempt fails without a socket.
    worker = operator.worker(concurrency=64, ports=frozenset({9}))
    rig.clock.passes(2)
    worker.drain()
    assert operator.send_due_counts() == []
    rig.clock.passes(QUIET_SECONDS)
    [(type_, host, count)] = operator.send_due_counts()
    assert (type_, host, count) == ("callback.given_up", HOST, 1_000)


def test_a_paused_account_is_told_once_and_again_when_it_is_well(rig: Rig, operator: Operator) -> None:
    rig.tasks.set("T1", UNAUTHORIZED, UNAUTHORIZED, COMPLETE)
    rig.registered("T1")
    worker = operator.worker()
    for seconds in (2, 31, 61, 121):
        rig.clock.passes(seconds)
        worker.drain()
        operator.send_due()
    paused, resumed = operator.send_due()
    assert (paused["type"], paused["data"]["subject"]) == ("account.paused", "default")
    assert paused["data"]["reason"].startswith("HubSpot answered 401: No.")
    assert (resumed["type"], resumed["data"]["subject"]) == ("account.resumed", "default")


def test_a_suspected_account_is_told_once_however_its_tasks_are_named_in_the_refusals(
    rig: Rig, operator: Operator
) -> None:
    for name in ("one", "two", "three", "four", "five", "six", "seven"):
        refused = {
            "status": "error",
            "category": "OBJECT_NOT_FOUND",
            "message": f"Task {name} was not found.",
        }
        rig.tasks.set(name, saying(refused, 404))
        rig.registered(name)
    worker = operator.worker()
    for seconds in (2, 2, 31, 61, 121):
        rig.clock.passes(seconds)
        worker.drain()
    assert len(rig.hubspot.requests) > SUSPECTS + 2
    assert operator.send_due_counts() == [("account.paused", "default", 1)]
    rig.hubspot.answer = lambda _: UNAUTHORIZED
    rig.clock.passes(900)
    worker.drain()
    assert operator.send_due_counts() == [("account.paused", "default", 1)] * 2, "another trouble"


def test_while_another_refreshes_the_token_nothing_is_told_and_each_watch_waits_for_itself(
    rig: Rig, operator: Operator
) -> None:
    rig.add_account("oauth", OAUTH)
    watches = [rig.registered(f"T{number}", account="oauth") for number in range(3)]
    rig.clock.passes(2)
    operator.worker(oauth=ListedTokens(STILL_REFRESHING)).drain()
    assert kept(rig) == 0
    assert not rig.account("oauth").breaker.paused
    assert {rig.now(watch).last_error for watch in watches} == {STILL_REFRESHING.reason}
    for watch in watches:
        rig.tasks.set(watch.task_id, COMPLETE)
    rig.clock.passes(2)
    operator.worker(oauth=ListedTokens("new")).drain()
    assert {rig.now(watch).state for watch in watches} == {State.DELIVERED}


def test_a_trial_that_finds_the_token_being_refreshed_leaves_it_to_another(
    rig: Rig, operator: Operator
) -> None:
    rig.add_account("oauth", OAUTH)
    for number in range(2):
        rig.registered(f"T{number}", account="oauth")
    failed = NoToken(reason="The OAuth token could not be refreshed: timed out.", is_temporary=True)
    for seconds, token in ((2, failed), (6, STILL_REFRESHING), (2, "new")):
        rig.clock.passes(seconds)
        operator.worker(oauth=ListedTokens(token)).drain()
    assert operator.send_due_counts() == [("account.paused", "oauth", 1), ("account.resumed", "oauth", 1)]


def test_a_pause_that_a_single_call_brings_is_told_too(rig: Rig, operator: Operator) -> None:
    transport = Transport(timeout_seconds=1, body_limit=ANSWER_BYTES)
    rig.closing.callback(transport.close)
    calls = HubSpotCalls(
        engine=rig.engine,
        accounts=rig.accounts(),
        hubspot=HubSpot(transport, ListedTokens()),
        clock=rig.clock,
        lease_seconds=LEASE_SECONDS,
        outbox=operator.outbox,
        counters=rig.counters,
    )
    granted = calls.acquire("default")
    assert isinstance(granted, Granted)
    calls.record_call(
        granted.account, an_answer(401), PermanentFailure(reason="It is refused"), asked_at=rig.clock()
    )
    assert operator.send_due_counts() == [("account.paused", "default", 1)]


def test_the_pause_of_an_account_that_is_removed_is_over(rig: Rig, operator: Operator) -> None:
    for name in ("paused", "well"):
        rig.add_account(name)
    rig.tasks.set("T1", UNAUTHORIZED)
    watch = rig.registered("T1", account="paused")
    rig.clock.passes(2)
    operator.worker().drain()
    changes.withdraw(rig.engine, watch.id, client=None, now=rig.clock())
    for name in ("paused", "well"):
        removed = accounts.remove(rig.engine, rig.accounts(), name, outbox=operator.outbox, now=rig.clock())
        assert isinstance(removed, accounts.AccountStatus)
    assert operator.send_due_counts() == [("account.paused", "paused", 1), ("account.resumed", "paused", 1)]


def test_a_pause_that_begins_while_its_account_is_removed_is_over(rig: Rig, operator: Operator) -> None:
    rig.add_account("gone")
    failed = FinishedCall(
        answer=an_answer(401), signal=PermanentFailure(reason="No"), asked_at=rig.clock(), rate=PLENTY
    )
    with ThreadPoolExecutor(1) as pool:
        with rig.engine.begin() as connection:
            gone = rig.accounts().load(connection, ["gone"])["gone"]
            events = record_calls(connection, rig.accounts(), [(gone, failed)], rig.clock())
            removing = pool.submit(
                accounts.remove,
                rig.engine,
                rig.accounts(),
                "gone",
                outbox=operator.outbox,
                now=rig.clock(),
            )
            wait([removing], timeout=0.5)  # it ends here only if it does not wait for the pause
            operator.outbox.add(connection, events)
        assert isinstance(removing.result(60), accounts.AccountStatus)
    assert operator.send_due_counts() == [("account.paused", "gone", 1), ("account.resumed", "gone", 1)]


def test_a_paused_host_is_told_once_and_again_when_it_is_well(rig: Rig, operator: Operator) -> None:
    rig.receiver.answer = lambda _: reply(500)
    for number in range(6):
        rig.ended(f"T{number}")
    worker = operator.worker()
    for _ in range(3):
        rig.clock.passes(2)
        worker.drain()
    rig.receiver.answer = lambda _: Reply()
    for _ in range(3):
        rig.clock.passes(40)
        worker.drain()
    assert operator.send_due_counts() == [("host.paused", HOST, 1), ("host.resumed", HOST, 1)]


def test_without_an_operator_no_row_is_written(rig: Rig) -> None:
    rig.hooks.set("T1", reply(410))
    rig.ended()
    rig.clock.passes(2)
    rig.worker().drain()
    assert kept(rig) == 0
