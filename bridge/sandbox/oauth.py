"""Authentication: static tokens, and the OAuth server, which issues access tokens."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from bridge.sandbox.options import SandboxOptions
from bridge.sandbox.replies import (
    Reply,
    expired_authentication,
    instant,
    invalid_authentication,
    json_reply,
    unknown_authentication,
)

SCOPES = ["oauth", "files", "files.ui_hidden.read", "crm.import", "crm.export", "content"]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Grant:
    account: str
    expires_at: float


class OAuthServer:
    """The simulated OAuth server: issues access tokens, and checks the tokens of API requests.

    The sandbox names an account by its credential: its static token, or `oauth:` followed by one of
    `SandboxOptions.refresh_tokens`.
    """

    def __init__(self) -> None:
        self._grants: dict[str, _Grant] = {}
        self._rotated: dict[str, str] = {}
        self._spent: set[str] = set()

    def authenticate(self, options: SandboxOptions, token: str | None, now: float) -> str | Reply:
        """Return the name of the token's account, or a 401 for a missing, unknown or expired token."""
        if token in options.tokens:
            return token
        if not token:
            return invalid_authentication()
        grant = self._grants.get(token)
        if grant is None:
            return unknown_authentication(now)
        if now >= grant.expires_at:
            return expired_authentication(int(now - grant.expires_at), instant(grant.expires_at))
        return grant.account

    def account(self, options: SandboxOptions, token: str) -> str:
        """Return the name of the account that `token` belongs to; `token` may also be that name itself.

        Raises ValueError if no account has this token or name.
        """
        if token in options.tokens or token in {_account_name(each) for each in options.refresh_tokens}:
            return token
        if token in self._grants:
            return self._grants[token].account
        raise ValueError("no account has this token")

    def refresh(self, options: SandboxOptions, form: Mapping[str, str], now: float) -> Reply:
        """Answer `POST /oauth/2026-03/token` (RFC 6749, section 6): issue an access token, or return a 400."""
        if form.get("grant_type") != "refresh_token":
            return _refused("unsupported_grant_type", "BAD_GRANT_TYPE", "missing or unknown grant type")
        if form.get("client_id") != options.client_id:
            return _refused("invalid_client", "BAD_CLIENT_ID", "missing or invalid client id")
        if form.get("client_secret") != options.client_secret:
            return _refused("invalid_client", "BAD_CLIENT_SECRET", "missing or invalid client secret")
        refresh_token = form.get("refresh_token", "")
        account = self._granted(options, refresh_token)
        if account is None:
            return _refused("invalid_grant", "BAD_REFRESH_TOKEN", "missing or invalid refresh token")
        return self._issue(options, refresh_token, account, now)

    def _granted(self, options: SandboxOptions, refresh_token: str) -> str | None:
        if refresh_token in self._spent:
            return None
        if refresh_token in options.refresh_tokens:
            return _account_name(refresh_token)
        return self._rotated.get(refresh_token)

    def _issue(self, options: SandboxOptions, refresh_token: str, account: str, now: float) -> Reply:
        access_token = f"sandbox-{secrets.token_urlsafe(24)}"
        self._grants[access_token] = _Grant(account=account, expires_at=now + options.access_token_seconds)
        if options.rotate_refresh_token:
            self._spent.add(refresh_token)
            refresh_token = f"sandbox-{secrets.token_urlsafe(24)}"
            self._rotated[refresh_token] = account
        document = {
            "token_type": "bearer",
            "access_token": access_token,
            "refresh_token": refresh_token,
            "expires_in": options.access_token_seconds,
            "hub_id": 1234567,
            "scopes": SCOPES,
        }
        return json_reply(200, document, {"Cache-Control": "no-store"})


def _account_name(refresh_token: str) -> str:
    return f"oauth:{refresh_token}"


def _refused(error: str, status: str, message: str) -> Reply:
    document = {"error": error, "error_description": message, "status": status, "message": message}
    return json_reply(400, document)
