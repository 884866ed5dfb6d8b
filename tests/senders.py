"""A sender of callbacks for tests: whatever a host is called, it reaches this machine."""

from ipaddress import ip_network
from typing import Any

from bridge.http.callbacks import CallbackSender

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def a_sender(**others: Any) -> CallbackSender:
    """A sender with these settings, but for `others`."""
    settings: dict[str, Any] = {
        "timeout_seconds": 10.0,
        "allow": LOOPBACK,
        "ports": frozenset(),
        "https_only": False,
        "proxy": None,
        "lookup": lambda _: ["127.0.0.1"],
    }
    return CallbackSender(**settings | others)
