"""Security headers: by default, they stop browsers from caching, framing, sniffing or running a response."""

from collections.abc import Mapping

from flask import Response

# Pages set a policy of their own, and cacheable responses their own Cache-Control.
HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def add_security_headers(response: Response) -> Response:
    """Add the security headers that the response does not have yet; return the response."""
    # The responses of `serving` have all of them: looking for each again would take a tenth of a request's time.
    if "X-Content-Type-Options" not in response.headers:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
    return response
