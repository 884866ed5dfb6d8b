"""Builds the parts of a process from its settings, and connects them."""

import os
import random
import socket
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from secrets import token_hex

from pydantic import SecretStr
from sqlalchemy import Engine, make_url

from bridge.core.delivery import RetryPolicy
from bridge.core.quota import Rate
from bridge.db import encryption, key_file
from bridge.db.accounts import DEFAULT, Account, Accounts, Credentials
from bridge.db.claims import Claimant
from bridge.db.counters import Counters
from bridge.db.encryption import Cipher
from bridge.db.engine import is_missing, open_engine, reading
from bridge.http.callbacks import CallbackSender
from bridge.http.transport import Transport
from bridge.hubspot.client import ANSWER_BYTES, HubSpot
from bridge.hubspot.oauth import OAuthTokens
from bridge.open_files import IDLE_CONNECTIONS
from bridge.settings import Settings
from bridge.stderr import STDERR
from bridge.steps.deliver import Deliveries
from bridge.steps.hubspot_calls import HubSpotCalls
from bridge.steps.operator_events import OperatorOutbox, OperatorWebhooks
from bridge.steps.poll import Polls
from bridge.web.auth import Authenticator
from bridge.web.dependencies import Dependencies
from bridge.web.registrar import Registrar
from bridge.worker.loop import Worker
from bridge.worker.scheduler import CounterFlusher, Scheduler

# Seconds that a busy machine may need to start a request and to save its result.
MARGIN_SECONDS = 5.0
# A thread keeps idle connections to at most this many hosts of receivers.
MOST_HOSTS = 10

# How long a client may wait for a call to HubSpot, whatever HUBSPOT_TIMEOUT is; Heroku's router waits 30 s.
HUBSPOT_CALL_SECONDS = 20.0


def now() -> datetime:
    """Return the current instant in UTC; the parts get this function as their clock."""
    return datetime.now(UTC)


def jitter() -> float:
    """Return a random number from -1 to 1, to vary waits."""
    return random.uniform(-1, 1)  # noqa: S311 -- no secret: it spreads load


class Bridge:
    """All parts of one process, each built when it is first used.

    With `makes_files` false, no file is created: a missing SQLite database raises NoDatabase when it is used, and a
    missing key file raises NoKeyFile.
    """

    def __init__(self, settings: Settings, *, makes_files: bool = True) -> None:
        self._settings = settings
        self._makes_files = makes_files

    @cached_property
    def engine(self) -> Engine:
        """Opens connections to the database."""
        return open_engine(self._settings.database_url.get_secret_value(), makes_files=self._makes_files)

    @cached_property
    def cipher(self) -> Cipher:
        """Encrypts and decrypts the stored secrets.

        Without BRIDGE_SECRET_KEY, the key is read from the key file. A missing key file is made first, with a new key
        in it, if `makes_files` is true and no key has been used with the database yet. Raises NoKeyFile if the key
        file cannot be made, or if no key can be read from it.
        """
        keys = [key.get_secret_value() for key in self._settings.secret_keys]
        return Cipher(keys or [self._key_of_file()])

    def _key_of_file(self) -> str:
        database = Path(make_url(self._settings.database_url.get_secret_value()).database or "bridge.db")
        path = database.with_name(f"{database.name}.key")
        if self._makes_files and is_missing(path) and (is_missing(database) or not self._is_used()):
            key_file.make(path)
        return key_file.read(path)

    def _is_used(self) -> bool:
        with reading(self.engine) as connection:
            used = encryption.is_used(connection)
        self.engine.dispose()  # with `--preload` gunicorn forks later, and its workers must not inherit a connection
        return used

    @cached_property
    def accounts(self) -> Accounts:
        """The stored HubSpot accounts, and `default`, which is from the environment unless it is stored."""
        return Accounts(_environment_account(self._settings), self.cipher)

    @cached_property
    def callbacks(self) -> CallbackSender:
        """Sends callbacks to the receivers, and events to the operator."""
        settings = self._settings
        return CallbackSender(
            timeout_seconds=settings.callback_timeout_seconds,
            allow=settings.callback_allow,
            ports=settings.callback_ports,
            https_only=settings.callback_https_only,
            proxy=_reveal(settings.callback_proxy),
            hosts_per_thread=max(1, min(MOST_HOSTS, IDLE_CONNECTIONS // settings.concurrency)),
        )

    @cached_property
    def hubspot(self) -> HubSpot:
        """Sends the worker's polls to HubSpot."""
        return HubSpot(self._transport, self._oauth, ask_seconds=self._poll_seconds)

    @property
    def _poll_seconds(self) -> float:
        # With OAuth a poll may take up to four time-outs, but it must end before its lease does.
        settings = self._settings
        return max(settings.hubspot_timeout_seconds, settings.lease_seconds - MARGIN_SECONDS)

    @cached_property
    def _transport(self) -> Transport:
        return Transport(
            timeout_seconds=self._settings.hubspot_timeout_seconds,
            body_limit=ANSWER_BYTES,
            proxy=_reveal(self._settings.hubspot_proxy),
        )

    @cached_property
    def _oauth(self) -> OAuthTokens:
        # A refresh must leave a call time for its requests, and a request that is refused, time for a refresh.
        call_seconds = min(self._poll_seconds, HUBSPOT_CALL_SECONDS)
        refresh_seconds = min(self._settings.hubspot_timeout_seconds, call_seconds / 2)
        return OAuthTokens(
            engine=self.engine,
            cipher=self.cipher,
            transport=self._transport,
            clock=now,
            refresh_seconds=refresh_seconds,
            lease_seconds=refresh_seconds + MARGIN_SECONDS,
        )

    @cached_property
    def hubspot_calls(self) -> HubSpotCalls:
        """What is needed to start imports and to check accounts within the accounts' quotas."""
        return HubSpotCalls(
            engine=self.engine,
            accounts=self.accounts,
            hubspot=HubSpot(self._transport, self._oauth, ask_seconds=HUBSPOT_CALL_SECONDS),
            clock=now,
            lease_seconds=self._settings.lease_seconds,
            counters=self.counters,
            outbox=self.outbox,
        )

    @cached_property
    def outbox(self) -> OperatorOutbox:
        """Saves events for the operator if BRIDGE_OPERATOR_URL is set; otherwise it saves nothing."""
        return OperatorOutbox(is_enabled=self._settings.operator_url is not None)

    @cached_property
    def _retry_policy(self) -> RetryPolicy:
        settings = self._settings
        return RetryPolicy(
            schedule_seconds=settings.retry_schedule_seconds, jitter_share=settings.retry_jitter_share
        )

    @cached_property
    def _operator(self) -> OperatorWebhooks | None:
        url, secret = _reveal(self._settings.operator_url), _reveal(self._settings.operator_secret)
        if not url or not secret:
            return None
        return OperatorWebhooks(
            engine=self.engine,
            callbacks=self.callbacks,
            url=url,
            secret=secret,
            policy=self._retry_policy,
            lease_seconds=self._settings.lease_seconds,
            clock=now,
            jitter=jitter,
        )

    @cached_property
    def counters(self) -> Counters:
        """Counts this process's work for the metrics, in memory; `counter_flusher` saves the counts."""
        return Counters()

    @cached_property
    def counter_flusher(self) -> CounterFlusher:
        """Saves the counts of `counters` in the database every second."""
        return CounterFlusher(
            counters=self.counters, engine=self.engine, now=now, take_dropped_lines=STDERR.take_dropped
        )

    @cached_property
    def scheduler(self) -> Scheduler:
        """Runs this process's worker."""
        settings = self._settings
        # Unique among all processes that ever shared this database.
        worker_id = f"{socket.gethostname()[:32]}-{os.getpid()}-{token_hex(4)}"
        claimant = Claimant(worker=worker_id, lease_seconds=settings.lease_seconds)
        polls = Polls(
            accounts=self.accounts, hubspot=self.hubspot, claimant=claimant, clock=now, jitter=jitter
        )
        deliveries = Deliveries(
            callbacks=self.callbacks,
            cipher=self.cipher,
            policy=self._retry_policy,
            claimant=claimant,
            clock=now,
            jitter=jitter,
        )
        worker = Worker(
            engine=self.engine,
            polls=polls,
            deliveries=deliveries,
            worker_id=worker_id,
            concurrency=settings.concurrency,
            clock=now,
            counters=self.counters,
            outbox=self.outbox,
        )
        return Scheduler(
            worker=worker,
            engine=self.engine,
            now=now,
            retention_days=settings.retention_days,
            has_credentials=self.accounts.environment.has_credentials,
            counters=self.counters,
            operator=self._operator,
        )

    @cached_property
    def web_dependencies(self) -> Dependencies:
        """The dependencies from which app.py makes the web application.

        This module does not make the application itself, because it would have to import Flask.
        """
        settings = self._settings
        return Dependencies(
            engine=self.engine,
            cipher=self.cipher,
            accounts=self.accounts,
            callbacks=self.callbacks,
            hubspot_calls=self.hubspot_calls,
            counters=self.counters,
            outbox=self.outbox,
            authenticator=Authenticator(self.engine, _reveal(settings.admin_key)),
            registrar=Registrar(self.engine, settings.open_watch_limit, now, self.counters),
            clock=now,
            watch_timeout_seconds=settings.watch_timeout_seconds,
            public_url=settings.public_url,
        )

    def start_worker(self) -> None:
        """Start the thread that saves counters for the metrics, and the embedded worker if the settings ask for it."""
        self.counter_flusher.start()
        if self._settings.embedded_worker:
            self.scheduler.start()

    def wind_down_worker(self) -> None:
        """Let the embedded worker, if there is one, claim no more watches; its requests in flight go on."""
        if self._settings.embedded_worker:
            self.scheduler.wind_down()

    def stop_worker(self) -> None:
        """Stop the embedded worker, if there is one; then save the counts that are still in memory.

        Waits until the worker's requests in flight have ended. The wait ends at the latest 22 s after the first call
        of `wind_down_worker` or `stop_worker`.
        """
        if self._settings.embedded_worker:
            self.scheduler.stop()
        self.counter_flusher.stop()


def _environment_account(settings: Settings) -> Account:
    requests, seconds = settings.hubspot_rate_limit
    return Account(
        name=DEFAULT,
        credentials=Credentials(
            access_token=_reveal(settings.hubspot_access_token),
            client_id=_reveal(settings.hubspot_client_id),
            client_secret=_reveal(settings.hubspot_client_secret),
            refresh_token=_reveal(settings.hubspot_refresh_token),
        ),
        base_url=settings.hubspot_base_url,
        api_version=settings.hubspot_api_version,
        rate=Rate(requests=requests, seconds=seconds, share=settings.hubspot_rate_share),
    )


def _reveal(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
