"""Sends requests to HubSpot's API, each with the access token of an account."""

from dataclasses import replace
from math import inf
from time import monotonic

from bridge import USER_AGENT
from bridge.core.http_results import HttpResponse, NoResponse, NoToken, NoTokenYet
from bridge.core.kinds import KINDS
from bridge.db.accounts import Account
from bridge.http.transport import Transport
from bridge.hubspot.oauth import OAuthTokens

ANSWER_BYTES = 1024 * 1024  # the most that is read of a response's body; a status takes a few kilobytes
START_PATH = "/files/{v}/files/import-from-url/async"
NO_CREDENTIALS = (
    "The account {!r} has no HubSpot credentials. Set HUBSPOT_ACCESS_TOKEN for the account `default`, "
    "or run `python -m bridge accounts set NAME`."
)
# The result when getting a token took so long that the request was not sent.
OUT_OF_TIME = NoTokenYet(reason="The account's token came too late.")
UNREADABLE = (
    "The credentials of the account {!r} are not encrypted with BRIDGE_SECRET_KEY. Add the key that they were "
    "stored with, or set the account again."
)


class HubSpot:
    """Sends requests to HubSpot. Thread-safe.

    A call takes at most `ask_seconds`, not counting waits for the database.
    """

    def __init__(self, transport: Transport, oauth: OAuthTokens, *, ask_seconds: float = inf) -> None:
        self._transport = transport
        self._oauth = oauth
        self._ask_seconds = ask_seconds

    def status(self, account: Account, kind: str, task_id: str) -> HttpResponse | NoResponse | NoToken:
        """Request a task's status; `kind` is a key of `KINDS`."""
        # `links.status` in HubSpot's responses is not followed: it names a host that refuses tokens.
        return self.request(account, "GET", KINDS[kind].path(account.api_version, task_id))

    def start_import(self, account: Account, document: str) -> HttpResponse | NoResponse | NoToken:
        """Request the import of a file from a URL; `document` is the request's body, as JSON text.

        The body's fields are those that HubSpot documents.
        """
        path = START_PATH.format(v=account.api_version)
        return self.request(account, "POST", path, document.encode())

    def request(
        self, account: Account, method: str, path: str, body: bytes | None = None
    ) -> HttpResponse | NoResponse | NoToken:
        """Send one request; after a 401 for an OAuth token, get a newer token and send the request again.

        Returns the 401 when the refused token is so new that a refresh would not help. Returns a NoToken when there is
        no usable token, or when no time is left to send a request with it.
        """
        ends_at = monotonic() + self._ask_seconds
        if account.credentials.scheme != "oauth":
            return self._send(account, static_token(account), method, path, body, ends_at=ends_at)
        token = self._oauth.current(account, within_seconds=self._ask_seconds)
        answer = self._send(account, token, method, path, body, ends_at=ends_at)
        if not isinstance(answer, HttpResponse) or answer.status_code != 401 or not isinstance(token, str):
            return answer
        another = self._oauth.current(account, refused=token, within_seconds=ends_at - monotonic())
        if another == token:
            return answer
        return replace(self._send(account, another, method, path, body, ends_at=ends_at), earlier_refusals=1)

    def _send(
        self,
        account: Account,
        token: str | NoToken,
        method: str,
        path: str,
        body: bytes | None,
        *,
        ends_at: float,
    ) -> HttpResponse | NoResponse | NoToken:
        if not isinstance(token, str):
            return token
        left_seconds = ends_at - monotonic()
        if left_seconds <= 0:
            return OUT_OF_TIME
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "User-Agent": USER_AGENT}
        if body is not None:
            headers["Content-Type"] = "application/json"
        return self._transport.send(
            method,
            account.url(path),
            headers,
            body,
            # A request that changes data at HubSpot must never be sent twice.
            repeatable=method == "GET",
            within_seconds=left_seconds,
        )


def static_token(account: Account) -> str | NoToken:
    """Return the access token of an account without OAuth, or a NoToken that says what to do."""
    if account.unreadable:
        return NoToken(reason=UNREADABLE.format(account.name))
    return account.credentials.access_token or NoToken(reason=NO_CREDENTIALS.format(account.name))
