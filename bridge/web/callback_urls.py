"""Judges callback URLs when they come in; the address is judged again where it is dialled."""

from bridge.edges import addresses
from bridge.web.parts import Parts
from bridge.web.problems import Fault


def host_of(url: str, parts: Parts) -> str | Fault:
    """Return the host of a callback URL that may be registered, or what is wrong with it."""
    problem = addresses.problem_with(url, https_only=parts.https_only, ports=parts.callback_ports)
    if problem:
        return Fault(pointer="/callback_url", detail=f"cannot be used: {problem}")
    return addresses.callback_host(url)
