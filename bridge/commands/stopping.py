"""How a process waits until it is told to stop.

The signals are blocked and waited for. A handler could not do it: it may come while its own thread holds the lock
that it wants, and where another thread gets the signal, one that waits for a lock does not wake up.
"""

import signal

SIGNALS = {signal.SIGTERM, signal.SIGINT}


def hold_back() -> None:
    """Keep the signals until `wait` is called; for the main thread, before it starts others."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def wait() -> None:
    """Return when the first of the signals has come, even if that was before the call."""
    signal.sigwait(SIGNALS)
