"""The session of the admin pages: a signed cookie that holds the admin's API key, encrypted.

Each request authenticates with that key, so a session ends when its key is rotated or revoked. It also ends
LIFETIME after the cookie was last set, which happens at sign-in and when a page changes the session.
"""

import json
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from flask import Flask, Request, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface

from bridge.core.instants import read_rfc3339, rfc3339
from bridge.db.encryption import Cipher, WrongSecretKey
from bridge.web.auth import Caller
from bridge.web.dependencies import Dependencies
from bridge.web.problems import Problem

PATH = "/admin"
LIFETIME = timedelta(hours=12)

_KEY = "key"
_SHOWN_ONCE = "shown_once"
# How long a new key or secret waits to be shown: longer than a redirect takes.
SHOWN_WITHIN = timedelta(minutes=5)
_SIGNED_OUT = Problem(status=401, detail="Nobody is signed in.")
NO_ADMIN = Problem(
    status=403, detail="This key is valid, but it is no admin's: only an admin's key opens this page."
)


class _Sessions(SecureCookieSessionInterface):
    """Flask's signed cookie, for the admin pages only: requests to the API do not open a session."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        is_page = request.path == PATH or request.path.startswith(f"{PATH}/")
        return super().open_session(app, request) if is_page else None

    def get_cookie_secure(self, app: Flask) -> bool:
        # A client that forges this header only makes its own cookie stricter.
        return request.is_secure or request.headers.get("X-Forwarded-Proto", "").lower() == "https"


def add_sessions(app: Flask, cipher: Cipher) -> None:
    """Add sessions signed with keys derived from the cipher's keys, so that every process accepts them."""
    newest, *older = cipher.signing_keys("admin session")
    app.session_interface = _Sessions()
    app.config |= {
        "SECRET_KEY": newest,
        "SECRET_KEY_FALLBACKS": older,
        "SESSION_COOKIE_NAME": "bridge_admin",
        "SESSION_COOKIE_PATH": PATH,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_SAMESITE": "Lax",
        "PERMANENT_SESSION_LIFETIME": LIFETIME,
        "SESSION_REFRESH_EACH_REQUEST": False,  # or a page that refreshes itself would keep the admin signed in for ever
    }


def begin(dependencies: Dependencies, api_key: str) -> None:
    """Start a new session with an admin's key."""
    session.clear()
    session.permanent = True
    replace_key(dependencies, api_key)


def replace_key(dependencies: Dependencies, api_key: str) -> None:
    """Continue the session with the admin's new key; the forms of pages that are open already stay valid."""
    session[_KEY] = dependencies.cipher.encrypt(api_key)


def end() -> None:
    """End the session, which signs the admin out."""
    session.clear()


def caller(dependencies: Dependencies, now: datetime) -> Caller | Problem:
    """Return the signed-in admin; a Problem when nobody is signed in or the session's key is refused.

    A refused key also ends the session, except in a request by htmx.
    """
    sealed = session.get(_KEY)
    if sealed is None:
        return _SIGNED_OUT
    try:
        known = authenticate_admin(dependencies, dependencies.cipher.decrypt(sealed), now)
    except WrongSecretKey:
        known = _SIGNED_OUT
    # A page that reloads itself may do so with the cookie from before the key was rotated in another window. To end
    # the session would delete the new cookie, and with it the new key before it is shown.
    if isinstance(known, Problem) and "HX-Request" not in request.headers:
        session.clear()
    return known


def authenticate_admin(dependencies: Dependencies, api_key: str, now: datetime) -> Caller | Problem:
    """Return the admin with this API key; a Problem when the key is wrong or is no admin's."""
    known = dependencies.authenticator.caller(f"Bearer {api_key}", now)
    if isinstance(known, Caller) and not known.admin:
        return NO_ADMIN
    return known


def keep_to_show(dependencies: Dependencies, text: str, now: datetime) -> None:
    """Encrypt a text that holds a new key or secret, and put it into the session for `take_to_show`."""
    kept = json.dumps({"until": rfc3339(now + SHOWN_WITHIN), "text": text})
    session[_SHOWN_ONCE] = dependencies.cipher.encrypt(kept)


def take_to_show(dependencies: Dependencies, now: datetime) -> str | None:
    """Return the text that `keep_to_show` kept, and forget the text.

    None when no text was kept, when the text is older than SHOWN_WITHIN, or when the cipher cannot decrypt it.
    """
    sealed = session.pop(_SHOWN_ONCE, None)
    try:
        kept = json.loads(dependencies.cipher.decrypt(sealed)) if sealed else None
    except WrongSecretKey:
        return None
    return str(kept["text"]) if kept and now <= read_rfc3339(kept["until"]) else None


def safe_path(url: str) -> str:
    """Return where to go after sign-in: the path and query of `url` if the path is in /admin, else /admin."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return PATH
    inside = parts.path == PATH or parts.path.startswith(f"{PATH}/")
    return f"{parts.path}?{parts.query}".rstrip("?") if inside else PATH
