"""Tracing: continues a client's trace through the polls of its watch to its callback (W3C Trace Context, level 1).

A watch keeps the `traceparent` of its registration, and its callback carries it. With the packages of
requirements-otel.txt, and an OTEL_EXPORTER_OTLP_ENDPOINT, each poll and each attempt of such a watch is a span; without
them, and for all other watches, there are no spans.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

try:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:
    IS_INSTALLED = False
else:
    IS_INSTALLED = True

HEADER = "traceparent"
# Neither id may be zero, and `ff` is no version. A later version may append fields.
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(-.*)?", re.ASCII
)
# A stop may take 25 s, of which the worker has 22: the export of the last spans must fit in the rest.
_EXPORT_SECONDS = "2"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def read_traceparent(header: str | None) -> str | None:
    """Return the header as version 00; None when there is none, or it is not valid."""
    found = _TRACEPARENT.fullmatch(header or "")
    if not found or (found[1] == "00" and found[3]):
        return None
    return f"00-{found[2]}"


def configure() -> None:
    """Export spans as the standard variables OTEL_* say, if the packages are installed and an endpoint is set.

    To be called once in each worker and each web process, after it was forked.
    """
    if IS_INSTALLED and any(os.environ.get(name) for name in _ENDPOINTS):
        os.environ.setdefault("OTEL_EXPORTER_OTLP_TIMEOUT", _EXPORT_SECONDS)
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)


@contextmanager
def span(name: str, traceparent: str | None, **attributes: str) -> Iterator[str | None]:
    """Run the body of a `with` statement in a span of the trace; give the span's own `traceparent`, to pass on.

    Without a `traceparent` there is no span, and it gives None. Where spans are not configured, it gives the
    `traceparent` as it is.
    """
    if traceparent is None or not IS_INSTALLED:
        yield traceparent
        return
    propagator, carrier = TraceContextTextMapPropagator(), {HEADER: traceparent}
    tracer = trace.get_tracer("bridge")
    with tracer.start_as_current_span(name, propagator.extract(carrier), attributes=attributes):
        propagator.inject(carrier)
        yield carrier[HEADER]
