"""Settings of Hypothesis for the tests of the core."""

from hypothesis import settings

# How long one example takes says how loaded the machine is, and nothing about the code.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
