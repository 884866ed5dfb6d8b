"""What a user of the bridge writes: `python -m bench.imports.bridge_app FILE` registers each import when it begins."""

import os
import sys

import requests

from bench.imports import load
from bench.peers import job


def main() -> None:
    """Register over REST, as one who has just started an import at HubSpot."""
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {os.environ['BENCH_KEY']}"
    for one in load.beginning(sys.argv[1]):
        url = f"http://{one.receiver}:{job.PORT}/{one.task}"
        watch = {"task_id": one.task, "account": one.account, "callback_url": url}
        session.post(os.environ["BENCH_WATCHES"], json=watch, timeout=job.TIMEOUT_SECONDS).raise_for_status()


if __name__ == "__main__":
    main()
