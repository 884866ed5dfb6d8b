"""A whole bridge and the simulated HubSpot on one clock, which passes only when a test says so."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine
from structlog.testing import LogCapture

from bridge import sandbox
from bridge.core.delivery import RetryPolicy
from bridge.core.quota import Rate
from bridge.db import breakers, heartbeats, watch_counts
from bridge.db.accounts import Accounts, Credentials
from bridge.db.claims import Claimant
from bridge.db.counters import Counters
from bridge.db.engine import open_engine, reading
from bridge.hubspot.client import HubSpot
from bridge.sandbox import Sandbox, SandboxOptions
from bridge.steps.deliver import Deliveries
from bridge.steps.poll import Polls
from bridge.worker.loop import Worker
from tests.hubspot_accounts import STATIC, a_cipher, a_transport, an_account, new_oauth_tokens
from tests.makers import SteppedClock
from tests.senders import a_sender
from tests.steps.peers import Peer, Reply
from tests.web.api import Caller, members, serving

WORKER = "worker-1"
LEASE_SECONDS = 60.0
PLENTY = Rate(requests=100_000, seconds=10.0, share=1.0)
# HubSpot's own limits, out of the way.
UNLIMITED = {"burst_requests": 1_000_000, "daily_requests": 1_000_000_000}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A worker and an API over one database, HubSpot, and a receiver of callbacks."""

    clock: SteppedClock
    engine: Engine
    hubspot: Sandbox
    receiver: Peer
    worker: Worker
    admin: Caller
    counters: Counters
    logged: LogCapture

    def register(self, task_id: str, *, path: str | None = None, **others: Any) -> dict[str, Any]:
        """Register a task over REST; its callback goes to a path of its own."""
        return self.admin.register(task_id, callback_url=self.callback_url(path or task_id), **others)

    def callback_url(self, path: str) -> str:
        return self.receiver.url(path=f"/{path}")

    def passes(self, seconds: float, *, steps: int = 1) -> None:
        """Let time pass, and the worker do in each step what is due by then."""
        for _ in range(steps):
            self.clock.passes(seconds / steps)
            with self.engine.begin() as connection:
                heartbeats.record(connection, WORKER, self.clock())
            self.worker.drain()

    def flush(self) -> None:
        """Save what was counted, and count the watches, as processes do again and again."""
        self.counters.flush(self.engine, self.clock())
        watch_counts.recount(self.engine, self.clock())

    def watch(self, watch_id: str) -> dict[str, Any]:
        return members(self.admin.get(f"/v1/watches/{watch_id}"))

    def events(self) -> list[dict[str, Any]]:
        """What the receiver was told."""
        return [request.json for request in self.receiver.requests]

    def account(self, name: str = "default") -> dict[str, Any]:
        """What the list says of an account."""
        every: list[dict[str, Any]] = members(self.admin.get("/v1/accounts"))["accounts"]
        return next(account for account in every if account["name"] == name)

    def pause_of(self, name: str = "default") -> float:
        """How long an account waits from now on; 0 when it does not."""
        with reading(self.engine) as connection:
            held = breakers.read_account_limits(connection, [name])
        until = held[name].breaker.paused_until if name in held else None
        return max((until - self.clock()) / timedelta(seconds=1), 0) if until else 0

    def asked(self, account: str) -> int:
        """How often HubSpot was asked with a token of this account of its own."""
        return int(self.hubspot.state.ledger()["accounts"].get(account, {}).get("requests", 0))

    def lines(self, event: str) -> list[Mapping[str, Any]]:
        """The log lines of one event."""
        return [line for line in self.logged.entries if line["event"] == event]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How the account `default` is, and where; without `base_url` it is at the simulated HubSpot."""

    credentials: Credentials = STATIC
    api_version: str = "v3"
    rate: Rate = PLENTY
    base_url: str | None = None
    timeout_seconds: float = 10
    open_watch_limit: int = 100_000


@contextmanager
def staged(url: str, logged: LogCapture, setting: Setting | None = None, **options: Any) -> Iterator[Stage]:
    """A stage on this migrated database; `options` are the sandbox's."""
    clock, setting = SteppedClock(), setting or Setting()
    given = UNLIMITED | {"clock": lambda: clock().timestamp()} | options
    with ExitStack() as closing:
        hubspot = closing.enter_context(sandbox.running(SandboxOptions(**given)))
        receiver = closing.enter_context(Peer(lambda _: Reply()).listening())
        engine = open_engine(url)
        closing.callback(engine.dispose)
        default = an_account(
            setting.base_url or hubspot.url,
            setting.credentials,
            api_version=setting.api_version,
            rate=setting.rate,
        )
        shared: dict[str, Any] = {
            "engine": engine,
            "accounts": Accounts(default, a_cipher()),
            "hubspot": _asking(closing, engine, clock, setting.timeout_seconds),
            "clock": clock,
            "counters": Counters(),
        }
        limit = setting.open_watch_limit
        api = serving(url, cipher=a_cipher(), open_watch_limit=limit, **shared)
        yield Stage(
            clock=clock,
            engine=engine,
            hubspot=hubspot,
            receiver=receiver,
            worker=_worker(closing, **shared),
            admin=closing.enter_context(api).admin,
            counters=shared["counters"],
            logged=logged,
        )


def _asking(closing: ExitStack, engine: Engine, clock: SteppedClock, timeout_seconds: float) -> HubSpot:
    transport = a_transport(timeout_seconds)
    closing.callback(transport.close)
    return HubSpot(transport, new_oauth_tokens(engine, clock, transport, timeout_seconds))


def _worker(
    closing: ExitStack,
    *,
    engine: Engine,
    accounts: Accounts,
    hubspot: HubSpot,
    clock: SteppedClock,
    counters: Counters,
) -> Worker:
    callbacks = a_sender()
    closing.callback(callbacks.close)
    claimant = Claimant(worker=WORKER, lease_seconds=LEASE_SECONDS)
    common: dict[str, Any] = {"claimant": claimant, "clock": clock, "jitter": lambda: 0.0}
    policy = RetryPolicy(schedule_seconds=(5.0,), jitter_share=0.0)
    return Worker(
        engine=engine,
        polls=Polls(accounts=accounts, hubspot=hubspot, **common),
        deliveries=Deliveries(callbacks=callbacks, cipher=a_cipher(), policy=policy, **common),
        worker_id=WORKER,
        concurrency=8,
        clock=clock,
        counters=counters,
    )
