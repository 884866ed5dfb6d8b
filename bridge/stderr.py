"""Standard error whose writes neither fail nor block for long, so that logging cannot disturb the work."""

import io
import os
import select
import stat
import sys
import threading
import time
from typing import Any

# How long a line waits for a slow reader. After one such wait, later lines are dropped at once until there is room.
WAIT_SECONDS = 0.1
# The room that there is at least when poll(2) reports some: a page of a pipe (pipe(7)), far more of a socket.
PIPE_BYTES = 4_096
OTHER_BYTES = 65_536


class StandardError(io.RawIOBase):
    """Writes to a file descriptor; what cannot be written is dropped, and counted in `dropped`.

    That happens when the reader of a pipe has gone or does not read, a disk is full, a terminal has hung up, or
    there is no standard error. Nothing is kept for later: when writing works again, new lines are written.
    Thread-safe, and safe in a signal handler.
    """

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._own: int | None = None
        self._piece_bytes = OTHER_BYTES
        self._stuck = False
        self._torn = False
        self._renew()
        os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        """Start anew in a forked child, with its own count and a lock that no thread of the parent holds."""
        self._lock = threading.RLock()
        self.dropped = 0

    def open(self, descriptor: int | None) -> None:
        """Write to this descriptor from now on; None when the process was started without standard error."""
        with self._lock:
            if self._own is not None:
                os.close(self._own)
            self._descriptor, self._own, self._piece_bytes = descriptor, None, OTHER_BYTES
            if descriptor is not None and _may_block(descriptor):
                # O_NONBLOCK applies to every process that shares the open file, the shell too: open it anew.
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
                try:
                    self._own = os.open(f"/proc/self/fd/{descriptor}", flags)
                except OSError:  # not on Linux, or another user's terminal
                    self._piece_bytes = PIPE_BYTES

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self._descriptor is None:
            raise io.UnsupportedOperation("there is no standard error")
        return self._descriptor

    def isatty(self) -> bool:
        return self._descriptor is not None and os.isatty(self._descriptor)

    def close(self) -> None:
        """Do nothing: the TextIOWrapper that is replaced as `sys.stderr` closes its stream."""

    def drop(self) -> None:
        """Count a line that could not be formatted."""
        with self._lock:
            self.dropped += 1

    def write(self, data: Any, /) -> int:
        """Write all of `data`, or drop and count it; return its length in either case."""
        given = bytes(data)
        with self._lock:
            # Only a part of the last line may have been written: this one begins on a new line.
            if not self._write_all(b"\n" + given if self._torn else given):
                self.dropped += 1
        return len(given)

    def _write_all(self, data: bytes) -> bool:
        target = self._descriptor if self._own is None else self._own
        if target is None:
            return False
        rest, give_up_at = memoryview(data), time.monotonic() + (0 if self._stuck else WAIT_SECONDS)
        try:
            while rest:
                self._stuck = not _has_room(target, give_up_at)
                if self._stuck:
                    break
                rest = rest[os.write(target, rest[: self._piece_bytes]) :]
        except OSError:
            pass
        if len(rest) < len(data):
            self._torn = bool(rest)
        return not rest


def _may_block(descriptor: int) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(descriptor).st_mode) or os.isatty(descriptor)
    except OSError:
        return False


def _has_room(descriptor: int, give_up_at: float) -> bool:
    """Wait for room, and return whether there is some; also true when the reader has gone, as the write then fails."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(max(0.0, give_up_at - time.monotonic()) * 1000))


STDERR = StandardError()


def protect() -> None:
    """Send everything that our code and every library write to `sys.stderr` through `STDERR`."""
    try:
        descriptor = sys.stderr.fileno() if sys.stderr else None
    except (OSError, ValueError):
        return  # closed, or an object of its own as some tests put there
    STDERR.open(descriptor)
    if getattr(sys.stderr, "buffer", None) is not STDERR:
        sys.stderr = io.TextIOWrapper(
            STDERR, encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
