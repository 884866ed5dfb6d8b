"""`GET /metrics`, for Prometheus. For admins only."""

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import ConfigDict, RootModel

from bridge.web.metrics import BridgeCollector
from bridge.web.operations import Access, ApiCall, Reply, Resource, ResponseSpec

resource = Resource("Operation")


class MetricsTextSchema(RootModel[str]):
    """Metrics in Prometheus's text format, version 0.0.4."""

    model_config = ConfigDict(
        title="MetricsText",
        json_schema_extra={"examples": ['bridge_account_paused{account="default"} 0.0\n']},
    )


@resource.operation(
    "GET /metrics",
    access=Access.ADMIN,
    responses={
        200: ResponseSpec(
            description="The figures.", model=MetricsTextSchema, media_type=CONTENT_TYPE_PLAIN_0_0_4
        ),
    },
)
def show_metrics(call: ApiCall) -> Reply:
    """Show the metrics for Prometheus.

    The metrics are those of all processes together, whichever process answers. Only the version, the dropped
    log lines, and the metrics whose names begin with `process_` or `python_`, are those of the process that answers.
    """
    # A new registry, because the library's default one is shared by the whole process.
    registry = CollectorRegistry()
    registry.register(BridgeCollector(call.dependencies, call.now))
    for of_process in (ProcessCollector, PlatformCollector, GCCollector):
        of_process(registry=registry)
    return Reply(text=generate_latest(registry).decode(), media_type=CONTENT_TYPE_PLAIN_0_0_4)
