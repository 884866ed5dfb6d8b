"""The headers that keep a browser from making anything of an answer that it should not."""

from collections.abc import Mapping

from flask import Response

# A page sets its own policy, and what may be cached says so.
HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def guarded(response: Response) -> Response:
    """Add those of the headers that a response has not."""
    # What `serving` writes has them all: to look for each again would cost a tenth of a request.
    if "X-Content-Type-Options" not in response.headers:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
    return response
