"""The decisions of the bridge: pure functions and frozen values; no clock, no randomness, no I/O."""
