"""What has come of one HTTP/1.1 request, and whether that is all of it.

This only looks for the end. What a request means, and whether it is well-formed, gunicorn's parser decides.
"""

import re

from bridge.web.bodies import READ_BYTES

# More than gunicorn takes of a head, by the limits in gunicorn.conf.py.
HEAD_BYTES = 320 * 1024
# Chunks of one byte have five more around it: whoever sends so may send less.
BODY_BYTES = 2 * READ_BYTES
# More than gunicorn takes of the line before a chunk.
LINE_BYTES = 4096

_HEAD_END = b"\r\n\r\n"
_FRAMING = re.compile(rb"\n(content-length|transfer-encoding|expect)[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE)
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}(?=[;\s])")


class TooMuch(Exception):
    """A client sends on and on, and never ends a request."""


class Gathering:
    """The bytes of one request, as they come, and perhaps the first ones of the next."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_whole = False
        # Whether the client waits for a "100 Continue" before it sends the body.
        self.awaits_leave = False
        self._body_at = 0
        self._length: int | None = None
        self._chunk_at = 0
        self._chunks_bytes = 0

    def add(self, piece: bytes) -> None:
        """Take what has just come. Raises TooMuch."""
        looked = max(len(self.data) - len(_HEAD_END) + 1, 0)
        self.data += piece
        if not self._body_at:
            self._look_for_body(looked)
        if self._body_at:
            self.is_whole = self._has_chunks(looked) if self._length is None else self._has(self._length)
        if not self.is_whole and len(self.data) > (BODY_BYTES if self._body_at else 0) + HEAD_BYTES:
            raise TooMuch

    def _look_for_body(self, start: int) -> None:
        end = self.data.find(_HEAD_END, start)
        if end < 0:
            return
        self._body_at = self._chunk_at = end + len(_HEAD_END)
        head = bytes(self.data[:end])
        framing = {name.lower(): value.strip(b" \t").lower() for name, value in _FRAMING.findall(head)}
        length = framing.get(b"content-length", b"0")
        # What is no number is refused without a look at the body.
        self._length = int(length) if re.fullmatch(rb"\d{1,18}", length) else 0
        if b"chunked" in framing.get(b"transfer-encoding", b""):
            self._length = None
        # An older client would take the leave for the answer (RFC 9110, 10.1.1).
        is_old = head.lstrip(b"\r\n").partition(b"\r\n")[0].endswith(b"HTTP/1.0")
        self.awaits_leave = framing.get(b"expect") == b"100-continue" and not is_old

    def _has(self, length: int) -> bool:
        # What is too large is refused by its length alone.
        return length > READ_BYTES or len(self.data) >= self._body_at + length

    def _has_chunks(self, looked: int) -> bool:
        """Go through the chunks (RFC 9112, 7.1) that have come since the last look."""
        while (line_end := self.data.find(b"\r\n", self._chunk_at, self._chunk_at + LINE_BYTES)) >= 0:
            size = _SIZE.match(self.data, self._chunk_at)
            if size is None:
                return True
            if not (length := int(size[0], 16)):
                # The last chunk's line ends, and then the trailers, if any, with an empty line.
                return self.data.find(_HEAD_END, max(line_end, looked)) >= 0
            here = min(len(self.data) - line_end - 2, length)
            if self._chunks_bytes + here >= READ_BYTES:
                return True
            next_at = line_end + 2 + length + 2
            if next_at > len(self.data):
                return False
            self._chunk_at = next_at
            self._chunks_bytes += length
        return len(self.data) >= self._chunk_at + LINE_BYTES
