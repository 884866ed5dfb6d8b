"""The access tokens of OAuth accounts: when to refresh them, and what the token server's answers mean."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeGuard

from bridge.core.classification import parse_json
from bridge.core.http_results import HttpResponse, NoResponse, NoToken
from bridge.core.parsing import HEADER_SAFE

# A token is due for a refresh AHEAD_SECONDS before it expires, or AHEAD_SHARE of its life before if that is longer. But
# no token is due in the first half of its life.
AHEAD_SECONDS = 60.0
AHEAD_SHARE = 0.1

# The life of HubSpot's tokens, for answers without `expires_in` (RFC 6749, 5.1 does not require it).
LIFE_SECONDS = 1800.0
LONGEST_LIFE_SECONDS = 86_400.0

_CODE = re.compile(r"[A-Za-z_]{1,64}")

_BAD_CLIENT = "HubSpot does not know the app: set the client id and the client secret of the account's app"
_CHECK_ACCOUNT = (
    "check the app's client id and client secret, or install the app again, and set the new refresh token"
)
# What the operator must do, by the error code of HubSpot or of RFC 6749, 5.2.
_REMEDIES = {
    "BAD_REFRESH_TOKEN": "HubSpot takes the refresh token no more: install the app again, and set the new one",
    "invalid_grant": "HubSpot takes the refresh token no more: install the app again, and set the new one",
    "BAD_CLIENT_ID": _BAD_CLIENT,
    "BAD_CLIENT_SECRET": _BAD_CLIENT,
    "invalid_client": _BAD_CLIENT,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenPair:
    """An access token, and the refresh token with which the next access token is requested."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    issued_at: datetime
    expires_at: datetime

    def is_usable(self, refused: str | None, now: datetime) -> bool:
        """Return whether the access token has not expired, and is another token than `refused`.

        `refused` is the access token that HubSpot has just refused; None if HubSpot has refused none.
        """
        return now < self.expires_at and self.access_token != refused

    def needs_refresh(self, now: datetime) -> bool:
        """Return whether it is time to refresh the access token: it will expire soon, or has expired."""
        life = self.expires_at - self.issued_at
        ahead = min(max(timedelta(seconds=AHEAD_SECONDS), life * AHEAD_SHARE), life / 2)
        return now >= self.expires_at - ahead


def read(answer: HttpResponse | NoResponse, *, refresh_token: str, asked_at: datetime) -> TokenPair | NoToken:
    """Return the tokens in the token server's answer to a refresh, or a NoToken with the reason.

    `refresh_token` is the one used for the refresh; the result holds it when the answer has no new one. `asked_at` is
    just before the refresh was sent; the life of the new access token is counted from then. The NoToken's reason
    leaves out HubSpot's message, which might repeat a token.
    """
    if isinstance(answer, NoResponse):
        return _trouble(answer.reason)
    said = parse_json(answer)
    if not isinstance(said, Mapping):
        return _trouble(f"the token server answered {answer.status_code}, without a JSON object")
    match answer.status_code:
        case 200 | 201:
            return _issued(said, refresh_token, asked_at)
        case 400 | 401 | 403:
            return NoToken(reason=_remedy(answer.status_code, said))
        case status_code:
            return _trouble(f"the token server answered {status_code}")


def _trouble(what: str) -> NoToken:
    return NoToken(reason=f"The OAuth token could not be refreshed: {what}.", is_temporary=True)


def _issued(said: Mapping[str, Any], refresh_token: str, asked_at: datetime) -> TokenPair | NoToken:
    access_token, rotated = said.get("access_token"), said.get("refresh_token")
    if not _is_token(access_token):
        return _trouble("the token server's answer holds no access token")
    return TokenPair(
        access_token=access_token,
        refresh_token=rotated if _is_token(rotated) else refresh_token,
        issued_at=asked_at,
        expires_at=asked_at + timedelta(seconds=_life_seconds(said.get("expires_in"))),
    )


def _is_token(said: object) -> TypeGuard[str]:
    return isinstance(said, str) and bool(HEADER_SAFE.fullmatch(said))


def _life_seconds(expires_in: object) -> float:
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float):
        return LIFE_SECONDS
    return min(max(expires_in, 1.0), LONGEST_LIFE_SECONDS)


def _remedy(status_code: int, said: Mapping[str, Any]) -> str:
    # HubSpot's message is left out: it could repeat what was sent.
    words = (said.get(name) for name in ("status", "error", "category"))
    # HubSpot's general form of an error has the status `error`.
    codes = [word for word in words if isinstance(word, str) and _CODE.fullmatch(word) and word != "error"]
    named = f" ({codes[0]})" if codes else ""
    remedy = next((_REMEDIES[code] for code in codes if code in _REMEDIES), None)
    if remedy:
        return f"{remedy}{named}."
    return f"HubSpot answered {status_code} to the refresh of the OAuth token{named}: {_CHECK_ACCOUNT}."
