"""Compresses responses with gzip, for clients that accept it."""

import gzip

from flask import Response, request

SMALLEST_BYTES = 1024


def compress(response: Response) -> Response:
    """Compress the response if the client accepts gzip; return the response.

    A body under 1 KiB, a streamed body and a file are sent as they are.
    """
    is_text = not (response.is_streamed or response.direct_passthrough)
    if not is_text or (response.content_length or 0) < SMALLEST_BYTES:
        return response
    response.vary.add("Accept-Encoding")
    if request.accept_encodings["gzip"] and "Content-Encoding" not in response.headers:
        response.set_data(gzip.compress(response.get_data(), compresslevel=5, mtime=0))
        response.headers["Content-Encoding"] = "gzip"
    return response
