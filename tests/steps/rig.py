"""The steps with all their real parts, between a HubSpot and a receiver on loopback."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography.fernet import Fernet
from sqlalchemy import Engine
from structlog.testing import LogCapture

from bridge.core.account_limits import AccountLimits
from bridge.core.circuit_breaker import CircuitBreaker
from bridge.core.delivery import Attempt, RetryPolicy
from bridge.core.quota import Rate
from bridge.core.watch import Watch
from bridge.db import breakers, watches
from bridge.db.accounts import Account, AccountChange, Accounts, Credentials
from bridge.db.claims import Claimant
from bridge.db.counters import Counters
from bridge.db.encryption import Cipher
from bridge.db.engine import open_engine
from bridge.http.transport import Transport
from bridge.hubspot.client import ANSWER_BYTES, HubSpot
from bridge.hubspot.oauth import OAuthTokens
from bridge.steps import changes, clients
from bridge.steps.deliver import Deliveries
from bridge.steps.operator_events import NO_OPERATOR, OperatorOutbox
from bridge.steps.poll import Polls
from bridge.steps.register import Registered, register
from bridge.worker.loop import Worker
from tests.hubspot_accounts import ListedTokens
from tests.makers import NOW, SteppedClock, a_registration
from tests.senders import LOOPBACK, a_sender
from tests.steps.peers import Peer, Reply, Request, Scripts, saying

LEASE_SECONDS = 60.0
POLICY = RetryPolicy(schedule_seconds=(5.0, 30.0), jitter_share=0.2)
PLENTY = Rate(requests=100_000, seconds=1, share=1)
COMPLETE = saying({"status": "COMPLETE", "result": {"id": "1"}})
PENDING = saying({"status": "PENDING"}, 202)
EXPIRED = saying({"category": "EXPIRED_AUTHENTICATION", "message": "This token expired."}, 401)
BURST = saying({"errorType": "RATE_LIMIT", "policyName": "TEN_SECONDLY_ROLLING"}, 429)


@dataclass(frozen=True, kw_only=True)
class Rig:
    """A bridge's parts, a HubSpot and a receiver, whose replies are in `tasks` and `hooks`."""

    engine: Engine
    cipher: Cipher
    clock: SteppedClock
    hubspot: Peer
    receiver: Peer
    tasks: Scripts
    hooks: Scripts
    secret: str
    logged: LogCapture
    closing: ExitStack
    counters: Counters = field(default_factory=Counters)

    def worker(
        self,
        *,
        concurrency: int = 8,
        name: str = "worker-1",
        rate: Rate = PLENTY,
        timeout_seconds: float = 10.0,
        token: str | None = "pat-test",
        oauth: OAuthTokens | None = None,
        allow: Any = LOOPBACK,
        ports: frozenset[int] = frozenset(),
        clock: Callable[[], datetime] | None = None,
        polls: type[Polls] = Polls,
        deliveries: type[Deliveries] = Deliveries,
        outbox: OperatorOutbox = NO_OPERATOR,
    ) -> Worker:
        """A worker of this bridge, with settings of its own."""
        claimant, now = Claimant(worker=name, lease_seconds=LEASE_SECONDS), clock or self.clock
        transport = Transport(timeout_seconds=timeout_seconds, body_limit=ANSWER_BYTES)
        callbacks = a_sender(timeout_seconds=timeout_seconds, allow=allow, ports=ports)
        self.closing.callback(transport.close)
        self.closing.callback(callbacks.close)
        return Worker(
            engine=self.engine,
            polls=polls(
                accounts=self.accounts(rate, token),
                hubspot=HubSpot(transport, oauth or ListedTokens()),
                claimant=claimant,
                clock=now,
                jitter=lambda: 0.0,
            ),
            deliveries=deliveries(
                callbacks=callbacks,
                cipher=self.cipher,
                policy=POLICY,
                claimant=claimant,
                clock=now,
                jitter=lambda: 0.0,
            ),
            worker_id=name,
            concurrency=concurrency,
            clock=now,
            counters=self.counters,
            outbox=outbox,
        )

    def accounts(self, rate: Rate = PLENTY, token: str | None = "pat-test") -> Accounts:
        credentials = Credentials(access_token=token)
        default = Account(
            name="default",
            credentials=credentials,
            base_url=self.hubspot.base_url,
            api_version="v3",
            rate=rate,
        )
        return Accounts(default, self.cipher)

    def add_account(self, name: str, credentials: Credentials | None = None) -> None:
        change = AccountChange(credentials=credentials or Credentials(access_token=f"pat-{name}"))
        with self.engine.begin() as connection:
            self.accounts().put(connection, name, change, self.clock())

    def other_client(self, name: str, *, readable: bool = True) -> str:
        """Add another client; unless it is readable, its secret is encrypted with a key that is gone."""
        cipher = self.cipher if readable else Cipher([Fernet.generate_key().decode()])
        clients.add(self.engine, cipher, name, admin=False, now=self.clock())
        return name

    def registered(
        self, task_id: str, *, clock: Callable[[], datetime] | None = None, **others: Any
    ) -> Watch:
        """Register a task, with the receiver as callback URL unless `callback_url` is given."""
        usual = {
            "callback_url": self.receiver.url(path=f"/{task_id}"),
            "metadata": f'{{"task": "{task_id}"}}',
            "timeout_seconds": 3_600.0,
        }
        wanted = a_registration(task_id, **usual | others)
        [result] = register(self.engine, [wanted], now=(clock or self.clock)())
        assert isinstance(result, Registered)
        return result.watch

    def ended(self, task_id: str = "T1", *, host: str = "app.example.com") -> Watch:
        """Register a task that is complete at its first poll, with the receiver under this host as callback URL."""
        self.tasks.set(task_id, COMPLETE)
        return self.registered(task_id, callback_url=self.receiver.url(host, f"/{task_id}"))

    def withdraws_before_answering(self, peer: Peer, watch: Watch) -> None:
        """Let `peer` answer as if the task were complete, after the watch was withdrawn."""

        def answer(_: Request) -> Reply:
            changes.withdraw(self.engine, watch.id, client=None, now=self.clock())
            return COMPLETE

        peer.answer = answer

    def now(self, watch: Watch) -> Watch:
        """Return the watch as it is now in the database."""
        with self.engine.begin() as connection:
            found = watches.get(connection, watch.id)
        assert found is not None
        return found

    def attempts(self, watch: Watch) -> list[Attempt]:
        with self.engine.begin() as connection:
            return watches.attempts_of(connection, watch.id)

    def account(self, name: str = "default") -> AccountLimits:
        with self.engine.begin() as connection:
            return breakers.all_account_limits(connection)[name]

    def host_breaker(self, host: str = "app.example.com") -> CircuitBreaker:
        with self.engine.begin() as connection:
            return breakers.read_hosts(connection, [host])[host]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines of one event."""
        return [dict(line) for line in self.logged.entries if line["event"] == name]


@contextmanager
def set_up(url: str, logged: LogCapture) -> Iterator[Rig]:
    """A bridge on this migrated database."""
    tasks, hooks = Scripts(PENDING), Scripts(Reply(status_code=200))
    hubspot = Peer(lambda request: tasks.next(request.path.split("/")[-2]))
    receiver = Peer(lambda request: hooks.next(request.path.removeprefix("/")))
    engine, cipher, clock = open_engine(url), Cipher([Fernet.generate_key().decode()]), SteppedClock()
    client = clients.add(engine, cipher, "cms", admin=False, now=NOW)
    assert isinstance(client, clients.NewClient)
    with ExitStack() as closing:
        closing.callback(engine.dispose)
        closing.enter_context(hubspot.listening())
        closing.enter_context(receiver.listening())
        yield Rig(
            engine=engine,
            cipher=cipher,
            clock=clock,
            hubspot=hubspot,
            receiver=receiver,
            tasks=tasks,
            hooks=hooks,
            secret=client.signing_secret,
            logged=logged,
            closing=closing,
        )


@contextmanager
def at_work(worker: Worker) -> Iterator[Worker]:
    """Run the worker in a thread of its own, as the scheduler does."""
    over = threading.Event()

    def drain_again_and_again() -> None:
        while not over.wait(0.05):
            worker.drain()

    thread = threading.Thread(target=drain_again_and_again)
    thread.start()
    try:
        yield worker
    finally:
        over.set()
        worker.wind_down(5)
        thread.join()
