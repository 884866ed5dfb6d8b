"""What a ledger says of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from bench.imports import load
from bench.imports.load import Import
from bench.imports.server import Ledger
from bench.report import percentile


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Detection: seconds from an import's end at HubSpot to the poll that saw it. Shares are of all requests, in %."""

    mean_seconds: float
    p95_seconds: float
    quiet_p95_seconds: float
    requests_per_task: float
    throttled: int
    throttled_share: float
    error_share: float
    lost: int
    cpu_milliseconds: float


def figures(imports: Sequence[Import], ledger: Ledger, *, until: float, cpu_seconds: float) -> Figures:
    """Sum a run up that was ended at `until`.

    Lost is whose receiver was never called. What nobody saw to end was waited for until the end of the run: leaving
    it out would make a tool better that loses what is hard.
    """
    delays = [ledger.seen_at.get(one.task, until) - one.ends_at for one in imports]
    quiet = [delay for one, delay in zip(imports, delays, strict=True) if one.account not in load.BUSY]
    requests = max(ledger.requests, 1)
    return Figures(
        mean_seconds=fmean(delays),
        p95_seconds=percentile(delays, 95),
        quiet_p95_seconds=percentile(quiet, 95),
        requests_per_task=ledger.requests / len(imports),
        throttled=ledger.throttled,
        throttled_share=ledger.throttled / requests * 100,
        error_share=ledger.errors / requests * 100,
        lost=sum(one.task not in ledger.called_back_at for one in imports),
        cpu_milliseconds=cpu_seconds / len(imports) * 1000,
    )
