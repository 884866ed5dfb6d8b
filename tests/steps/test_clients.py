"""Changes of clients that happen at the same moment."""

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from sqlalchemy import Engine, event

from bridge.db.clients import by_keys
from bridge.steps import clients
from tests.hubspot_accounts import a_cipher
from tests.makers import NOW


def test_a_key_that_is_made_while_its_client_is_revoked_is_not_accepted(engine: Engine) -> None:
    clients.add(engine, a_cipher(), "cms", admin=False, now=NOW)
    revoking: list[Future[Any]] = []
    with ThreadPoolExecutor(1) as pool:

        @event.listens_for(engine, "after_cursor_execute")
        def revoke_meanwhile(_: Any, __: Any, statement: str, *___: Any) -> None:
            if statement.startswith("SELECT clients.") and not revoking:
                revoking.append(Future())
                revoking[0] = pool.submit(clients.revoke, engine, "cms", now=NOW)
                wait(revoking, timeout=0.5)  # it ends here only if the rotation holds no lock

        made = clients.rotate_key(engine, "cms")
        assert not isinstance(revoking[0].result(60), clients.ClientUnchanged)
    assert isinstance(made, str)
    with engine.connect() as connection:
        assert by_keys(connection, [made]) == {}
