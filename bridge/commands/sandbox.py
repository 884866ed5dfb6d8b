"""The command `sandbox`. In a module of its own, because the sandbox loads Flask, and no worker needs that."""

import argparse

import structlog

from bridge import logs, sandbox
from bridge.commands.processes import block_stop_signals, ensure_port_is_free, wait_for_stop_signal

log = structlog.get_logger()


def serve(arguments: argparse.Namespace) -> None:
    """Serve the simulated HubSpot until SIGTERM or SIGINT."""
    ensure_port_is_free("127.0.0.1", arguments.port, "--port")
    logs.configure()
    block_stop_signals()
    with sandbox.running(port=arguments.port) as hubspot:
        log.info("sandbox_started", url=hubspot.url)
        wait_for_stop_signal()
    log.info("sandbox_stopped")
