"""A process whose threads want a token all at once: `python -m tests.hubspot.token_process`.

Its first line of input says how; at the second it begins. It prints the tokens, or why there are none.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

from bridge import logs
from bridge.core.http_results import NoToken
from bridge.db.encryption import Cipher
from bridge.db.engine import open_engine
from bridge.hubspot.oauth import OAuthTokens
from tests.hubspot_accounts import OAUTH, a_transport, an_account


def main() -> None:
    logs.configure()
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    ahead = timedelta(seconds=order["clock_ahead_seconds"])
    tokens = OAuthTokens(
        engine=open_engine(order["database_url"]),
        cipher=Cipher([order["key"]]),
        transport=a_transport(),
        clock=lambda: datetime.now(UTC) + ahead,
        refresh_seconds=10,
        lease_seconds=order["lease_seconds"],
    )
    account = an_account(order["hubspot_url"], OAUTH)
    barrier = Barrier(order["threads"])

    def want(_: int) -> str:
        barrier.wait()
        token = tokens.current(account)
        return token.reason if isinstance(token, NoToken) else token

    print("ready", flush=True)  # noqa: T201 -- it speaks to the test that started it
    sys.stdin.readline()
    with ThreadPoolExecutor(order["threads"]) as pool:
        print(json.dumps(list(pool.map(want, range(order["threads"])))))  # noqa: T201 -- as above


if __name__ == "__main__":
    main()
