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
# They import file after file, as a nightly sync does; the others now and then one.
BUSY = ACCOUNTS[::10]
# Files a second, on average. At four requests a file, a busy account would need 1.6 times HubSpot's limit.
BUSY_PER_SECOND, QUIET_PER_SECOND = 4.0, 0.1
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
    """For how long imports begin, and how long the long ones take (the longest of all too)."""

    seconds: float
    long_seconds: tuple[float, float]


FULL = Scale(seconds=120, long_seconds=(60, 120))
SHORT = Scale(seconds=15, long_seconds=(8, 12))


def imports(scale: Scale, began_at: float) -> list[Import]:
    """Return the imports that begin in the `scale.seconds` after `began_at`, in their order."""
    chance = random.Random(SEED)
    starts = [(start, account) for account in ACCOUNTS for start in _starts(chance, scale, account)]
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


def _starts(chance: random.Random, scale: Scale, account: str) -> Iterator[float]:
    per_second = BUSY_PER_SECOND if account in BUSY else QUIET_PER_SECOND
    start = chance.expovariate(per_second)
    while start < scale.seconds:
        yield start
        start += chance.expovariate(per_second)


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
