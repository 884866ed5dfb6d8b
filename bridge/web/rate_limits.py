"""The `RateLimit-Policy` and `RateLimit` headers (draft-ietf-httpapi-ratelimit-headers)."""

from typing import Any

OPEN_WATCHES = "open-watches"
WRONG_KEYS = "wrong-keys"

# The two headers as the OpenAPI document describes them.
HEADERS: dict[str, dict[str, Any]] = {
    "RateLimit-Policy": {
        "description": f"The limit's name and size, `q`, and in how many seconds it holds, `w`. `{OPEN_WATCHES}` is how "
        f"many watches a client may have open at a time; `{WRONG_KEYS}` is how many wrong API keys an address may send.",
        "schema": {"type": "string"},
        "example": f'"{OPEN_WATCHES}";q=100000',
    },
    "RateLimit": {
        "description": "What is left of it, `r`, and where that is known in how many seconds there is more, `t`. Open "
        "watches are counted once a minute, so those that were settled since may be missing.",
        "schema": {"type": "string"},
        "example": f'"{OPEN_WATCHES}";r=99983',
    },
}


def rate_limit_headers(
    policy: str,
    *,
    quota: int,
    left: int,
    window_seconds: int | None = None,
    reset_seconds: int | None = None,
) -> dict[str, str]:
    """Return both headers for the limit named `policy`: it allows `quota`, of which `left` are not used yet.

    If `window_seconds` is None, `quota` is the most at any one time. `reset_seconds` is the time until `left`
    increases, None when not known.
    """
    window = "" if window_seconds is None else f";w={window_seconds}"
    reset = "" if reset_seconds is None else f";t={reset_seconds}"
    return {"RateLimit-Policy": f'"{policy}";q={quota}{window}', "RateLimit": f'"{policy}";r={left}{reset}'}
