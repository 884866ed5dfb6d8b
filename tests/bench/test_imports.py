"""That the comparison with other tools cannot lie: what its ledger counts, and what its figures leave out."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.imports import load
from bench.imports.figures import figures
from bench.imports.load import Import
from bench.imports.server import LIMIT, WINDOW_SECONDS, Ledger, SimulatedHubSpot
from bench.imports.supervised import supervised

BEGAN_AT = 1_000.0
SIGNED = b"POST / HTTP/1.1\r\nwebhook-signature: v1,abc"


def an_import(task: str, *, ends_at: float = BEGAN_AT + 5, account: str = load.ACCOUNTS[1]) -> Import:
    return Import(task=task, account=account, receiver=load.RECEIVERS[0], begins_at=BEGAN_AT, ends_at=ends_at)


def a_hubspot(*imports: Import) -> SimulatedHubSpot:
    hubspot = SimulatedHubSpot()
    hubspot.load(load.dump(imports).encode())
    return hubspot


def test_a_task_that_was_never_called_back_is_lost_though_its_end_was_seen() -> None:
    imports = [an_import("called back"), an_import("seen alone")]
    ledger = Ledger(
        requests=2,
        seen_at={"called back": BEGAN_AT + 6, "seen alone": BEGAN_AT + 6},
        called_back_at={"called back": BEGAN_AT + 7},
    )
    assert figures(imports, ledger, until=BEGAN_AT + 60, cpu_seconds=0).lost == 1


def test_an_end_that_nobody_saw_counts_as_waited_for_until_the_end_of_the_run() -> None:
    imports = [an_import("seen"), an_import("never seen")]
    ledger = Ledger(requests=2, seen_at={"seen": BEGAN_AT + 6}, called_back_at={"seen": BEGAN_AT + 7})
    found = figures(imports, ledger, until=BEGAN_AT + 60, cpu_seconds=0)
    assert (found.mean_seconds, found.p95_seconds) == (28.0, 55.0)


def test_the_quiet_accounts_have_a_figure_of_their_own() -> None:
    imports = [an_import("quiet"), an_import("busy", account=load.BUSY[0])]
    ledger = Ledger(requests=2, seen_at={"quiet": BEGAN_AT + 6, "busy": BEGAN_AT + 25})
    found = figures(imports, ledger, until=BEGAN_AT + 60, cpu_seconds=0)
    assert (found.p95_seconds, found.quiet_p95_seconds) == (20.0, 1.0)


def test_a_callback_of_no_signature_and_one_of_another_run_s_task_leave_the_task_lost() -> None:
    one = an_import("T-1")
    hubspot = a_hubspot(one)
    hubspot.called_back("T-1", b"POST / HTTP/1.1", BEGAN_AT + 6)
    hubspot.called_back("T-2", SIGNED, BEGAN_AT + 6)
    assert figures([one], hubspot.ledger, until=BEGAN_AT + 60, cpu_seconds=0).lost == 1
    hubspot.called_back("T-1", SIGNED, BEGAN_AT + 7)
    assert figures([one], hubspot.ledger, until=BEGAN_AT + 60, cpu_seconds=0).lost == 0


def test_an_end_is_seen_by_a_poll_after_it_and_by_the_first_one() -> None:
    hubspot = a_hubspot(an_import("T-1", ends_at=BEGAN_AT + 5))
    token = load.token(load.ACCOUNTS[1])
    instants = (BEGAN_AT + 0.5, BEGAN_AT + 4.9, BEGAN_AT + 5.5, BEGAN_AT + 9)
    replies = [hubspot.status("T-1", token, now) for now in instants]
    assert [reply.status for reply in replies] == [202, 202, 200, 200]
    assert b"PENDING" in replies[0].body
    assert b"PROCESSING" in replies[1].body
    assert hubspot.ledger == Ledger(requests=4, seen_at={"T-1": BEGAN_AT + 5.5})


def test_an_account_s_limit_counts_the_last_ten_seconds_and_no_other_account() -> None:
    other = an_import("T-2", account=load.ACCOUNTS[2])
    hubspot = a_hubspot(an_import("T-1"), other)
    token = load.token(load.ACCOUNTS[1])
    answered = [hubspot.status("T-1", token, BEGAN_AT).status for _ in range(LIMIT + 1)]
    assert answered == [202] * LIMIT + [429]
    assert hubspot.status("T-2", load.token(other.account), BEGAN_AT).status == 202
    assert hubspot.status("T-1", token, BEGAN_AT + WINDOW_SECONDS - 0.1).status == 429
    assert hubspot.status("T-1", token, BEGAN_AT + WINDOW_SECONDS).status == 200
    assert (hubspot.ledger.requests, hubspot.ledger.throttled, hubspot.ledger.errors) == (LIMIT + 4, 2, 2)


def test_a_poll_with_another_account_s_token_is_an_error_and_sees_nothing() -> None:
    hubspot = a_hubspot(an_import("T-1"))
    reply = hubspot.status("T-1", load.token(load.ACCOUNTS[2]), BEGAN_AT + 60)
    assert reply.status == 404
    assert hubspot.ledger == Ledger(requests=1, errors=1)


def test_all_tools_get_the_same_imports_whenever_they_begin() -> None:
    first, second = (load.imports(load.FULL, began_at) for began_at in (0, BEGAN_AT))
    assert [after(one, BEGAN_AT) for one in first] == [after(one, 0) for one in second]
    assert {one.account for one in first} == set(load.ACCOUNTS)
    assert {load.HANGING, load.FAILING} <= {one.receiver for one in first}


def test_a_killed_worker_takes_its_children_along_and_is_started_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = (
        "import subprocess, time; child = subprocess.Popen(['sleep', '600']); "
        "sum(range(3_000_000)); print(child.pid, flush=True); time.sleep(600)"
    )
    with supervised([[sys.executable, "-c", program]], log, {}) as [worker]:
        [first] = children(log, 1)
        spent = worker.cpu_seconds
        worker.kill()
        until(lambda: has_ended(first))
        _, second = children(log, 2)
        assert not has_ended(second)
        assert worker.cpu_seconds > spent
    until(lambda: has_ended(second))


def after(one: Import, seconds: float) -> Import:
    """The same import so many seconds later, to the microsecond."""
    begins_at, ends_at = (round(instant + seconds, 6) for instant in (one.begins_at, one.ends_at))
    return replace(one, begins_at=begins_at, ends_at=ends_at)


def children(log: Path, count: int) -> list[int]:
    until(lambda: log.exists() and log.read_text().count("\n") == count)
    return [int(line) for line in log.read_text().split()]


def has_ended(pid: int) -> bool:
    """Tell whether a process is gone, or a zombie that nobody has asked for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until(done: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 60
    while not done():
        assert time.monotonic() < give_up_at, "it took too long"
        time.sleep(0.02)


def test_a_worker_that_ended_by_itself_does_not_keep_the_others_from_being_ended(tmp_path: Path) -> None:
    ends, stays = [sys.executable, "-c", ""], [sys.executable, "-c", "import time; time.sleep(60)"]
    with supervised([ends, stays], tmp_path / "log", {}) as [ended, other]:
        until(ended.has_ended)
        assert not other.has_ended()
    assert other.has_ended()
