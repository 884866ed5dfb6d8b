"""Replaces `sys.stderr`, so that writes to it neither fail nor block for long: logging cannot disturb the work."""

import io
import os
import select
import stat
import sys
import threading
import time
from typing import Any

# How long a write waits for a slow reader. After a wait in vain, later lines are dropped at once until there is room.
WAIT_SECONDS = 0.1
# How many bytes can be written without blocking when poll(2) reports room: a page for a pipe (pipe(7)).
PIPE_BYTES = 4_096
OTHER_BYTES = 65_536


class StandardError(io.RawIOBase):
    """Writes to a file descriptor without errors: what cannot be written is dropped.

    `dropped` is how many writes have lost data since `take_dropped` was last called. Lines that the log handler could
    not format also count: the handler calls `drop` for each. Thread-safe, and safe in a signal handler.
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
        # Called in each forked child, too: a thread of the parent may have held the old lock at the fork.
        self._lock = threading.RLock()
        self.dropped = 0

    def open(self, descriptor: int | None) -> None:
        """Write to `descriptor` from now on; if it is None, drop all writes.

        It is None when the process was started without standard error.
        """
        with self._lock:
            if self._own is not None:
                os.close(self._own)
            self._descriptor, self._own, self._piece_bytes = descriptor, None, OTHER_BYTES
            if descriptor is not None and _may_block(descriptor):
                # Opened anew, because O_NONBLOCK applies to all processes that share an open file, such as the shell.
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
        """Do nothing: the descriptor stays open.

        Python calls this when it deletes a text stream that wraps this object, as when `sys.stderr` is replaced.
        """

    def drop(self) -> None:
        """Add 1 to `dropped`, for a line that the log handler could not format."""
        with self._lock:
            self.dropped += 1

    def take_dropped(self) -> int:
        """Return the number of dropped lines since the last call, and count from 0 again."""
        with self._lock:
            taken, self.dropped = self.dropped, 0
        return taken

    def write(self, data: Any, /) -> int:
        """Write `data`; return its whole length even if a part of it had to be dropped."""
        given = bytes(data)
        with self._lock:
            # If only a part of the last data was written, begin a new line.
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
    """Wait for room to write; return False when there is none by `give_up_at` (monotonic seconds)."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(max(0.0, give_up_at - time.monotonic()) * 1000))


STDERR = StandardError()


def protect() -> None:
    """Replace `sys.stderr` by a stream whose writes never fail.

    In a process that was started without standard error, `sys.stderr` is None, and the new stream drops all writes. A
    stream that is closed, or has no file descriptor, is not replaced.
    """
    try:
        descriptor = sys.stderr.fileno() if sys.stderr else None
    except (OSError, ValueError):
        return  # `sys.stderr` is closed, or has no descriptor, as in some tests
    STDERR.open(descriptor)
    if getattr(sys.stderr, "buffer", None) is not STDERR:
        sys.stderr = io.TextIOWrapper(
            STDERR, encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
