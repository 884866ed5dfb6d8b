"""Judges callback URLs when they come in; the address is judged again where it is dialled."""

from functools import lru_cache

from bridge.edges import addresses
from bridge.web.parts import Parts
from bridge.web.problems import Fault


def host_of(url: str, parts: Parts) -> str | Fault:
    """Return the host of a callback URL that may be registered, or what is wrong with it."""
    return _host_of(url, parts.https_only, parts.callback_ports)


# A client's watches share a few URLs, and to judge one costs as much as all else about a registration.
@lru_cache(maxsize=1024)
def _host_of(
    url: str,
    https_only: bool,  # noqa: FBT001 -- lru_cache takes what it compares by position
    ports: frozenset[int],
) -> str | Fault:
    problem = addresses.problem_with(url, https_only=https_only, ports=ports)
    if problem:
        return Fault(pointer="/callback_url", detail=f"cannot be used: {problem}")
    return addresses.callback_host(url)
