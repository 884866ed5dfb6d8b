"""Distributed tracing (W3C Trace Context, level 1): continues a client's trace up to the callback.

Spans need the packages of requirements-otel.txt and an OTLP endpoint; without them, the `traceparent` is
passed on unchanged.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from bridge.core.http_results import HttpResponse, NoResponse, NoToken, NotSent

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
# Neither id may be all zeros, and `ff` is no valid version. Later versions may append fields.
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(-.*)?", re.ASCII
)
# A process has 25 s to stop, of which the worker may take 22: the last spans must be exported in the rest.
_EXPORT_SECONDS = "2"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def read_traceparent(header: str | None) -> str | None:
    """Return the header `traceparent` in the form of version 00; None when it is missing or not valid."""
    found = _TRACEPARENT.fullmatch(header or "")
    if not found or (found[1] == "00" and found[3]):
        return None
    return f"00-{found[2]}"


def configure() -> None:
    """Export spans as the standard variables OTEL_* say, if the packages are installed and an endpoint is set.

    To be called once in each process, after the fork.
    """
    if IS_INSTALLED and any(os.environ.get(name) for name in _ENDPOINTS):
        os.environ.setdefault("OTEL_EXPORTER_OTLP_TIMEOUT", _EXPORT_SECONDS)
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(provider)


@contextmanager
def span(name: str, traceparent: str | None, **attributes: str) -> Iterator[str | None]:
    """Run the body of a `with` in a span of the trace `traceparent`; yield the span's own `traceparent`.

    If `traceparent` is None, or spans are not configured, there is no span, and `traceparent` itself is yielded.
    """
    if traceparent is None or not IS_INSTALLED:
        yield traceparent
        return
    propagator, carrier = TraceContextTextMapPropagator(), {HEADER: traceparent}
    tracer = trace.get_tracer("bridge")
    with tracer.start_as_current_span(name, propagator.extract(carrier), attributes=attributes):
        propagator.inject(carrier)
        yield carrier[HEADER]


def record_answer(answer: HttpResponse | NoResponse | NoToken | NotSent) -> None:
    """Record `answer` in the current span; without a span, do nothing.

    The status code of an HttpResponse becomes an attribute of the span. Every answer but a 2xx marks the span as an
    error; without an HttpResponse, the description of the error is `answer.reason`.
    """
    if not IS_INSTALLED:
        return
    current = trace.get_current_span()
    if not isinstance(answer, HttpResponse):
        current.set_status(trace.StatusCode.ERROR, answer.reason)
        return
    current.set_attribute("http.response.status_code", answer.status_code)
    if not 200 <= answer.status_code < 300:
        current.set_status(trace.StatusCode.ERROR)
