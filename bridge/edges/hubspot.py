"""HubSpot's API: imports started and tasks asked about, in the account's name."""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from bridge import __version__
from bridge.core.answers import Answer, NoAnswer, NoToken
from bridge.core.kinds import KINDS
from bridge.edges.accounts import Account
from bridge.edges.transport import Transport

ANSWER_BYTES = 1024 * 1024  # a status is a few kilobytes; more is not one
START_PATH = "/files/{v}/files/import-from-url/async"
USER_AGENT = f"hubspot-import-bridge/{__version__}"
NO_CREDENTIALS = (
    "The account {!r} has no HubSpot credentials. Set HUBSPOT_ACCESS_TOKEN for the account `default`, "
    "or run `python -m bridge accounts set NAME`."
)


class Tokens(Protocol):
    """Where an account's access token comes from."""

    def current(self, account: Account) -> str | NoToken | NoAnswer:
        """Return a token that should work now."""

    def after_refusal(self, account: Account, token: str) -> str | NoToken | NoAnswer:
        """Return a newer token than the one that HubSpot refused, the same if there is none."""


class HubSpot:
    """Asks HubSpot. Thread-safe."""

    def __init__(self, transport: Transport, tokens: Tokens) -> None:
        self._transport = transport
        self._tokens = tokens

    def status(self, account: Account, kind: str, task_id: str) -> Answer | NoAnswer | NoToken:
        """Ask how a task is. The URL is built here: HubSpot's own links point where tokens fail."""
        return self.request(account, "GET", KINDS[kind].path(account.api_version, task_id))

    def start_import(self, account: Account, document: Mapping[str, Any]) -> Answer | NoAnswer | NoToken:
        """Start the import of a file that HubSpot is to fetch; `document` is HubSpot's own body."""
        path = START_PATH.format(v=account.api_version)
        return self.request(account, "POST", path, json.dumps(document).encode())

    def request(
        self, account: Account, method: str, path: str, body: bytes | None = None
    ) -> Answer | NoAnswer | NoToken:
        """Send one request; a 401, which did nothing, is worth one more, if there is a newer token."""
        token = self._tokens.current(account)
        answer = self._send(account, token, method, path, body)
        if not isinstance(answer, Answer) or answer.status_code != 401 or not isinstance(token, str):
            return answer
        another = self._tokens.after_refusal(account, token)
        return answer if another == token else self._send(account, another, method, path, body)

    def _send(
        self, account: Account, token: str | NoToken | NoAnswer, method: str, path: str, body: bytes | None
    ) -> Answer | NoAnswer | NoToken:
        if not isinstance(token, str):
            return token
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "User-Agent": USER_AGENT}
        if body is not None:
            headers["Content-Type"] = "application/json"
        # What changes something at HubSpot must never happen twice.
        return self._transport.send(method, account.url(path), headers, body, repeatable=method == "GET")


class StaticTokens:
    """The tokens of accounts that have one given to them."""

    def current(self, account: Account) -> str | NoToken | NoAnswer:
        """Return the account's token, or say how to give it one."""
        return account.credentials.access_token or NoToken(reason=NO_CREDENTIALS.format(account.name))

    def after_refusal(self, account: Account, token: str) -> str | NoToken | NoAnswer:
        """Return the same token: there is no other."""
        return token


class AccountTokens:
    """The tokens of all accounts, whatever their credentials are."""

    def __init__(self, *, static: Tokens, oauth: Tokens) -> None:
        """`static` also answers for accounts that have no credentials."""
        self._static = static
        self._oauth = oauth

    def current(self, account: Account) -> str | NoToken | NoAnswer:
        """Return the account's token, or say why there is none."""
        return self._of(account).current(account)

    def after_refusal(self, account: Account, token: str) -> str | NoToken | NoAnswer:
        """Return what there is instead of a token that HubSpot refused."""
        return self._of(account).after_refusal(account, token)

    def _of(self, account: Account) -> Tokens:
        return self._oauth if account.credentials.scheme == "oauth" else self._static
