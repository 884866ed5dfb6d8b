"""HubSpot's API: one question about one task, asked in the account's name."""

from typing import Protocol

from bridge import __version__
from bridge.core.answers import Answer, NoAnswer, NoToken
from bridge.core.kinds import KINDS
from bridge.edges.accounts import Account
from bridge.edges.transport import Transport

ANSWER_BYTES = 1024 * 1024  # a status is a few kilobytes; more is not one
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

    def request(
        self, account: Account, method: str, path: str, body: bytes | None = None
    ) -> Answer | NoAnswer | NoToken:
        """Send one request; a 401 is worth one more, if there is a newer token."""
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
        return self._transport.send(method, account.base_url + path, headers, body)


class StaticTokens:
    """The tokens of accounts that have one given to them."""

    def current(self, account: Account) -> str | NoToken | NoAnswer:
        """Return the account's token, or say how to give it one."""
        return account.credentials.access_token or NoToken(reason=NO_CREDENTIALS.format(account.name))

    def after_refusal(self, account: Account, token: str) -> str | NoToken | NoAnswer:
        """Return the same token: there is no other."""
        return token
