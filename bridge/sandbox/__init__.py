"""A simulated HubSpot, for the demo, for development, and for the tests of integrators.

`python -m bridge sandbox` serves it, and `GUIDE` describes it; in tests::

    with sandbox.running(SandboxOptions(pending_seconds=0)) as hubspot:
        requests.post(f"{hubspot.url}/files/v3/files/import-from-url/async", ...)
        hubspot.state.ledger()
"""

from bridge.sandbox.faults import Target
from bridge.sandbox.options import PendingBody, SandboxOptions
from bridge.sandbox.replies import Reply, SendMode
from bridge.sandbox.server import GUIDE, Sandbox, create_app, running
from bridge.sandbox.state import State
from bridge.sandbox.tasks import Kind, Outcome

__all__ = [
    "GUIDE",
    "Kind",
    "Outcome",
    "PendingBody",
    "Reply",
    "Sandbox",
    "SandboxOptions",
    "SendMode",
    "State",
    "Target",
    "create_app",
    "running",
]
