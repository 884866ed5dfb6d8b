"""The `RateLimit-Policy` and `RateLimit` headers (draft-ietf-httpapi-ratelimit-headers)."""

from typing import Any

# The two headers as the OpenAPI document describes them.
HEADERS: dict[str, dict[str, Any]] = {
    "RateLimit-Policy": {
        "description": "The limit's name and size, `q`: `open-watches` is how many watches a client may have open at a "
        "time. Only answers to what opens watches have it, and only where there is a recent count.",
        "schema": {"type": "string"},
        "example": '"open-watches";q=100000',
    },
    "RateLimit": {
        "description": "What is left of it, `r`. Open watches are counted at least once a minute, and more often near "
        "the limit; those that were settled since may be missing.",
        "schema": {"type": "string"},
        "example": '"open-watches";r=99983',
    },
}


def rate_limit_headers(*, quota: int, left: int) -> dict[str, str]:
    """Return `RateLimit` and `RateLimit-Policy` for a client that may have `quota` watches open, and may open `left` more."""
    return {"RateLimit-Policy": f'"open-watches";q={quota}', "RateLimit": f'"open-watches";r={left}'}
