"""Tracing: one trace from a registration through its polls to its callback, and no spans without one."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import StatusCode

from bridge import sandbox
from bridge.core.http_results import HttpResponse, NoResponse, NoToken, NotSent
from bridge.sandbox import SandboxOptions
from bridge.tracing import read_traceparent, record_answer
from tests.docs.markdown import ROOT
from tests.ports import free_port
from tests.reliability.database import Installation, an_installation
from tests.reliability.processes import errors, processes
from tests.reliability.waiting import until
from tests.steps.peers import Peer, Reply, Request

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


@pytest.mark.parametrize(
    ("header", "read"),
    [
        (SAMPLED, SAMPLED),
        (UNSAMPLED, UNSAMPLED),
        (f"cc-{TRACE}-{PARENT}-01-what-comes-later", SAMPLED),
        (f"cc-{TRACE}-{PARENT}-01", SAMPLED),
        (None, None),
        ("", None),
        (f"00-{TRACE}-{PARENT}-01-more", None),
        (f"ff-{TRACE}-{PARENT}-01", None),
        (f"00-{'0' * 32}-{PARENT}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (SAMPLED.upper(), None),
        (f"{SAMPLED}\n", None),
        (f"{SAMPLED}, {SAMPLED}", None),
        (f"00-{TRACE[1:]}-{PARENT}-01", None),
    ],
)
def test_a_traceparent_is_taken_when_it_is_valid(header: str | None, read: str | None) -> None:
    assert read_traceparent(header) == read


WITHOUT_PACKAGES = f"""
import sys
sys.modules["opentelemetry"] = None  # as if it were not installed
from bridge import tracing
from bridge.core.http_results import HttpResponse
tracing.configure()
with tracing.span("poll", "{SAMPLED}") as passed_on:
    assert passed_on == "{SAMPLED}"
with tracing.span("poll", None) as passed_on:
    assert passed_on is None
    tracing.record_answer(HttpResponse(status_code=503))
"""


def test_without_the_packages_a_trace_is_passed_on_as_it_is() -> None:
    subprocess.run([sys.executable, "-c", WITHOUT_PACKAGES], cwd=ROOT, check=True)


def span_after(answer: HttpResponse | NoResponse | NoToken | NotSent) -> ReadableSpan:
    """A span within which a request had this answer."""
    with TracerProvider().get_tracer("tests").start_as_current_span("poll") as span:
        record_answer(answer)
    assert isinstance(span, ReadableSpan)
    return span


@pytest.mark.parametrize(
    ("status_code", "status"), [(200, StatusCode.UNSET), (302, StatusCode.ERROR), (503, StatusCode.ERROR)]
)
def test_a_span_has_the_answer_s_status_code_and_is_an_error_unless_that_is_a_2xx(
    status_code: int, status: StatusCode
) -> None:
    span = span_after(HttpResponse(status_code=status_code))
    assert span.attributes == {"http.response.status_code": status_code}
    assert (span.status.status_code, span.status.description) == (status, None)


@pytest.mark.parametrize(
    "answer", [NoResponse(reason="timed out"), NotSent(reason="No."), NoToken(reason="No.")]
)
def test_a_span_without_an_answer_is_an_error_and_says_why(answer: NoResponse | NotSent | NoToken) -> None:
    span = span_after(answer)
    assert span.attributes == {}
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, answer.reason)


class Collector:
    """An OpenTelemetry collector that keeps the spans that it gets."""

    def __init__(self) -> None:
        self.peer = Peer(self._take)
        self.spans: list[Span] = []

    def _take(self, request: Request) -> Reply:
        sent = ExportTraceServiceRequest.FromString(request.body)
        self.spans += [span for r in sent.resource_spans for s in r.scope_spans for span in s.spans]
        return Reply()

    @property
    def env(self) -> dict[str, str]:
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.peer.base_url, "OTEL_BSP_SCHEDULE_DELAY": "100"}


def called_back(
    installation: Installation, folder: Path, traceparents: Sequence[str | None], **env: str
) -> list[Request]:
    """Let real processes register watches, one with each of the headers, and return their callbacks, in order."""
    options = SandboxOptions(pending_seconds=0, processing_seconds=0)
    receiver, port = Peer(lambda _: Reply()), free_port()
    with sandbox.running(options) as hubspot, receiver.listening():
        settings = installation.env(hubspot.url, **{"BRIDGE_EMBEDDED_WORKER": "false", **env})
        with processes(settings, folder) as started:
            running = [started.web(port), started.worker()]
            for number, traceparent in enumerate(traceparents):
                [task_id] = hubspot.state.add_tasks(tasks=1)
                url = f"{receiver.base_url}/{number}"
                register(installation, port, {"task_id": task_id, "callback_url": url}, traceparent)
            until(lambda: len(receiver.requests) == len(traceparents))
            assert [process.stop() for process in running] == [0, 0]
    return sorted(receiver.requests, key=lambda request: request.path)


def register(installation: Installation, port: int, body: dict[str, Any], traceparent: str | None) -> None:
    headers = {"Authorization": f"Bearer {installation.api_key}"} | (
        {"traceparent": traceparent} if traceparent else {}
    )
    url = f"http://127.0.0.1:{port}/v1/watches"
    answer = requests.post(url, json=body, headers=headers, timeout=30)
    assert answer.status_code == 201, answer.text


def test_a_callback_carries_the_trace_of_its_registration_alone(database_url: str, tmp_path: Path) -> None:
    with an_installation(database_url) as installation:
        callbacks = called_back(installation, tmp_path, [SAMPLED, None, "no-trace", UNSAMPLED])
    assert [callback.headers.get("traceparent") for callback in callbacks] == [
        SAMPLED,
        None,
        None,
        UNSAMPLED,
    ]


def test_one_trace_leads_from_the_registration_over_the_polls_to_the_callback(
    sqlite_url: str, tmp_path: Path
) -> None:
    collector = Collector()
    with collector.peer.listening(), an_installation(sqlite_url) as installation:
        traced, untraced, unsampled = called_back(
            installation, tmp_path, [SAMPLED, None, UNSAMPLED], **collector.env
        )
        until(lambda: {span.name for span in collector.spans} >= {"POST /v1/watches", "poll", "deliver"})
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    [registered] = [span for span in collector.spans if span.name == "POST /v1/watches"]
    assert registered.parent_span_id.hex() == PARENT
    steps = [span for span in collector.spans if span is not registered]
    assert {span.parent_span_id for span in steps} == {registered.span_id}
    attributes = [{attribute.key for attribute in span.attributes} for span in steps]
    assert all(names == {"watch", "http.response.status_code"} for names in attributes)
    [delivered] = [span for span in steps if span.name == "deliver"]
    assert traced.headers["traceparent"] == f"00-{TRACE}-{delivered.span_id.hex()}-01"
    assert "traceparent" not in untraced.headers
    assert unsampled.headers["traceparent"].endswith("-00")


def test_a_collector_that_is_away_holds_up_nothing(sqlite_url: str, tmp_path: Path) -> None:
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    with an_installation(sqlite_url) as installation:
        [callback] = called_back(installation, tmp_path, [SAMPLED], **endpoint)
    assert callback.headers["traceparent"].startswith(f"00-{TRACE}-")
    told = [line for log in tmp_path.glob("*.log") for line in errors(log)]
    assert not [line for line in told if not line["logger"].startswith("opentelemetry")]
