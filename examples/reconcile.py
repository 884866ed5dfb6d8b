"""Lists the ended tasks, and redelivers every callback that is missing in the inbox.

pip install requests
BRIDGE=https://bridge.example.com API_KEY=hib_… python reconcile.py [DAYS]

Run it where a receiver keeps its inbox.db (all but Go's and Node's), after an outage of yours or once a day. It looks
at tasks that ended in the last DAYS (default: 7). If you have several receivers, set CALLBACK_URL to this one's: only
its callbacks are compared then. Callbacks that the bridge is still trying to deliver, which it does
for 3 days, are left alone. It may be run any number of times.
"""

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import requests

BRIDGE = os.environ["BRIDGE"]
CALLBACK_URL = os.environ.get("CALLBACK_URL")
session = requests.Session()
session.headers["Authorization"] = f"Bearer {os.environ['API_KEY']}"


def called_back_since(instant: datetime) -> Iterator[dict]:
    """Yield every settled watch whose task has ended since then."""
    query = {
        "ended_after": instant.isoformat(),
        "order": "ended_at",
        "state": "delivered,undelivered",
        "limit": "250",
    }
    while query.get("cursor", "first"):
        page = session.get(f"{BRIDGE}/v1/watches", params=query, timeout=30)
        page.raise_for_status()
        yield from page.json()["watches"]
        query["cursor"] = page.json()["next_cursor"]


def main(days: float) -> None:
    """Redeliver each callback that is missing in the inbox."""
    since = datetime.now(UTC) - timedelta(days=days)
    # Listed before the inbox is read: what arrives between the two is not missing.
    sent = [watch for watch in called_back_since(since) if CALLBACK_URL in (None, watch["callback_url"])]
    with closing(sqlite3.connect("inbox.db")) as inbox:
        known = {webhook_id for (webhook_id,) in inbox.execute("SELECT webhook_id FROM events")}
    # The id of a watch is the webhook-id of its callback.
    missing = [watch for watch in sent if watch["id"] not in known]
    for watch in missing:
        again = session.post(f"{BRIDGE}/v1/watches/{watch['id']}/redeliver", timeout=30)
        if again.status_code != 409:  # 409: it was redelivered meanwhile
            again.raise_for_status()
        print(f"asked for {watch['id']}: task {watch['task_id']}, {watch['outcome']}")
    print(f"{len(missing)} {'callback was' if len(missing) == 1 else 'callbacks were'} missing")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 7)
