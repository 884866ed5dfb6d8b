"""The imports of a run, from a seed. Needs the standard library alone."""

import json
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import log
from pathlib import Path

SEED = 20261128
ACCOUNTS = tuple(f"account-{number:02}" for number in range(20))
# They import many files at once, as a gallery or a nightly sync does; the others now and then one.
BUSY = ACCOUNTS[::5]
# Files a second, of a busy account on average, and of a quiet one.
BUSY_PER_SECOND, QUIET_PER_SECOND = 1.0, 0.1
MEDIAN_SECONDS, SIGMA, LONG_SHARE = 4.0, 1.2, 0.05
RECEIVERS = tuple(f"127.0.1.{number}" for number in range(1, 101))
# One receiver in fifty is bad, for the whole run.
FAILING, HANGING = RECEIVERS[49], RECEIVERS[99]


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """One import: the instants are seconds since 1970."""

    task: str
    account: str
    receiver: str
    begins_at: float
    ends_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """For how long imports begin, how long the long ones take (the longest of all too), and how many come at once."""

    seconds: float
    long_seconds: tuple[float, float]
    batch: int


FULL = Scale(seconds=120, long_seconds=(60, 120), batch=60)
SHORT = Scale(seconds=15, long_seconds=(8, 12), batch=10)


def imports(scale: Scale, began_at: float) -> list[Import]:
    """Return the imports that begin in the `scale.seconds` after `began_at`, in their order."""
    chance = random.Random(SEED)
    starts = [
        (start, account)
        for account in ACCOUNTS
        for start in (_batches(chance, scale) if account in BUSY else _one_by_one(chance, scale))
    ]
    return [
        Import(
            task=f"T-{number}",
            account=account,
            receiver=chance.choice(RECEIVERS),
            begins_at=began_at + start,
            ends_at=began_at + start + _duration(chance, scale),
        )
        for number, (start, account) in enumerate(sorted(starts))
    ]


def _batches(chance: random.Random, scale: Scale) -> Iterator[float]:
    period = scale.batch / BUSY_PER_SECOND
    start = chance.uniform(0, period)
    while start < scale.seconds:
        yield from [start] * scale.batch
        start += period


def _one_by_one(chance: random.Random, scale: Scale) -> Iterator[float]:
    start = chance.expovariate(QUIET_PER_SECOND)
    while start < scale.seconds:
        yield start
        start += chance.expovariate(QUIET_PER_SECOND)


def _duration(chance: random.Random, scale: Scale) -> float:
    if chance.random() < LONG_SHARE:
        return chance.uniform(*scale.long_seconds)
    return min(chance.lognormvariate(log(MEDIAN_SECONDS), SIGMA), scale.long_seconds[1])


def token(account: str) -> str:
    """Return what an account's requests are authorized by."""
    return f"pat-{account}"


def dump(planned: Sequence[Import]) -> str:
    """Return imports as JSON."""
    return json.dumps([asdict(one) for one in planned])


def parse(text: str | bytes) -> list[Import]:
    """Return the imports of `dump`."""
    return [Import(**one) for one in json.loads(text)]


def beginning(path: str) -> Iterator[Import]:
    """Yield the imports of a file, each when it begins."""
    for one in parse(Path(path).read_text()):
        time.sleep(max(one.begins_at - time.time(), 0))
        yield one
