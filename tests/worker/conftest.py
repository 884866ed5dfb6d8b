"""Fixtures for the tests of the worker: those of the steps, which it drives."""

from tests.steps.conftest import account, rig

__all__ = ["account", "rig"]
