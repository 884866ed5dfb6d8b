"""Accounts that an operator sets or removes while requests for them are under way."""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event, update

from bridge.db import breakers, oauth_tokens
from bridge.db.accounts import AccountChange, Credentials
from bridge.db.tables import oauth_tokens as table
from bridge.steps import accounts, changes
from bridge.steps.operator_events import NO_OPERATOR
from tests.hubspot_accounts import a_cipher
from tests.steps.peers import Reply, reply, saying
from tests.steps.rig import BURST, EXPIRED, Rig
from tests.threads import at_once

UNKNOWN = saying({"status": "error", "category": "OBJECT_NOT_FOUND", "message": "No such task."}, 404)
NOTHING_LEFT = {"X-HubSpot-RateLimit-Daily": "1000", "X-HubSpot-RateLimit-Daily-Remaining": "0"}


@pytest.mark.parametrize("reply", [EXPIRED, BURST, UNKNOWN, reply(502)])
def test_what_the_old_token_still_gets_does_not_pause_an_account_that_has_a_new_one(
    rig: Rig, reply: Reply
) -> None:
    rig.add_account("shop")
    watches, worker = [rig.registered(f"T{n}", account="shop") for n in range(12)], rig.worker(concurrency=64)
    for watch in watches:
        rig.tasks.set(watch.task_id, replace(reply, headers={**reply.headers, **NOTHING_LEFT}))
    rig.clock.passes(2)
    late = [done for job in worker._claim() if (done := worker._work(job))]
    change = AccountChange(credentials=Credentials(access_token="pat-new"))
    accounts.put(rig.engine, rig.accounts(), "shop", change, now=rig.clock())
    worker._save(late)
    assert [rig.now(watch).polls for watch in watches] == [1] * 12
    after = rig.account("shop")
    assert not after.breaker.failures
    assert not after.breaker.paused
    assert not after.refused_watches
    assert after.usage.daily_remaining is None


def test_what_a_removed_account_still_gets_leaves_no_pause_behind(rig: Rig) -> None:
    rig.add_account("gone")
    rig.tasks.set("T1", EXPIRED)
    watch, worker = rig.registered("T1", account="gone"), rig.worker()
    rig.clock.passes(2)
    [job] = worker._claim()
    changes.withdraw(rig.engine, watch.id, client=None, now=rig.clock())
    accounts.remove(rig.engine, rig.accounts(), "gone", outbox=NO_OPERATOR, now=rig.clock())
    late = worker._work(job)
    assert late is not None
    worker._save([late])
    assert not rig.account("gone").breaker.paused


def test_an_account_that_is_set_while_it_is_removed_is_there_afterwards(rig: Rig) -> None:
    rig.add_account("shop")
    with rig.engine.begin() as connection:
        oauth_tokens.add(connection, a_cipher(), "shop", "origin")
        connection.execute(update(table).values(failure="No"))
        breakers.lock_account_limits(connection, ["shop"])
    change = AccountChange(credentials=Credentials(access_token="pat-new"))
    setting: list[Future[Any]] = []
    with ThreadPoolExecutor(1) as pool:

        @event.listens_for(rig.engine, "after_cursor_execute")
        def set_meanwhile(_: Any, __: Any, statement: str, *___: Any) -> None:
            if "account_gates" in statement and not setting:
                setting.append(Future())
                setting[0] = pool.submit(
                    accounts.put, rig.engine, rig.accounts(), "shop", change, now=rig.clock()
                )
                wait(setting, timeout=0.5)  # it ends here only if the removal holds no lock

        removed = accounts.remove(rig.engine, rig.accounts(), "shop", outbox=NO_OPERATOR, now=rig.clock())
        _, new = setting[0].result(60)
    assert isinstance(removed, accounts.AccountStatus)
    assert new
    with rig.engine.connect() as connection:
        assert "shop" in rig.accounts().stored(connection)


def test_of_several_removals_at_once_one_removes_and_the_others_find_none(rig: Rig) -> None:
    def remove(_: int) -> bool:
        removed = accounts.remove(rig.engine, rig.accounts(), "shop", outbox=NO_OPERATOR, now=rig.clock())
        return isinstance(removed, accounts.AccountStatus)

    for _ in range(5):
        rig.add_account("shop")
        assert sorted(at_once(4, remove)) == [False, False, False, True]
