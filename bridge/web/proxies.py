"""Where a request comes from, where a router or a proxy stands in front."""

from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def trust_front(app: Flask, *, behind_router: bool) -> None:
    """Take the last address of X-Forwarded-For for the client's, where the one who wrote it is known.

    Heroku's router, which nobody can go around, writes it, and so does a proxy on this machine. Anybody
    else could write what they like. Who comes by a Unix socket has no address, or `localhost`, and is on this
    machine.
    """
    direct = app.wsgi_app
    forwarded = ProxyFix(direct, x_for=1, x_proto=0)

    def serve(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        peer = environ.get("REMOTE_ADDR", "")
        is_known = behind_router or peer in ("", "localhost") or _is_loopback(peer)
        return (forwarded if is_known else direct)(environ, start_response)

    app.wsgi_app = serve  # type: ignore[method-assign] # Flask's own way to add a middleware


def _is_loopback(address: str) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    # A socket that listens for IPv6 too names IPv4's addresses so; Python sees through it from 3.13 on.
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (mapped or parsed).is_loopback
