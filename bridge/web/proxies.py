"""Finds the client's address when requests come through Heroku's router or a proxy on this machine."""

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def trust_reverse_proxy(app: Flask, *, behind_router: bool) -> None:
    """Take the client's address from X-Forwarded-For, if Heroku's router or a local proxy sent the request.

    `behind_router` says that every request comes through Heroku's router.
    """
    direct = app.wsgi_app
    forwarded = ProxyFix(direct, x_for=1, x_proto=0)

    def serve(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        # Any other sender could forge the header. Over a Unix socket, the address is empty or `localhost`.
        peer = environ.get("REMOTE_ADDR", "")
        is_known = behind_router or peer in ("", "localhost") or _is_loopback(peer)
        return (forwarded if is_known else direct)(environ, start_response)

    app.wsgi_app = serve  # type: ignore[method-assign] # Flask's own way to add a middleware


def _is_loopback(address: str) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    # A socket for both IPv4 and IPv6 reports IPv4 peers as ::ffff:a.b.c.d, for which `is_loopback` is false before
    # Python 3.13.
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (mapped or parsed).is_loopback
