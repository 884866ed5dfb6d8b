"""The decisions of the bridge: pure functions and frozen dataclasses; no clock, no randomness, no I/O."""
