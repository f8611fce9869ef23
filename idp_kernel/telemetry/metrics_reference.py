"""`docs/metrics.md`, made from the definitions: `python -m idp_kernel.telemetry.metrics_reference`
prints it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from idp_kernel.downstream import CircuitState, Refusal
from idp_kernel.services import DEFAULT_PORTS, ServiceName
from idp_kernel.settings_reference import GENERATED_NOTE
from idp_kernel.telemetry.metrics import METRICS_OF, OWN_DATABASE, Metric
from idp_kernel.wire.worker import SecretSensitivity
from idp_kernel.workflows import (
    WORKFLOW_SECONDS_BUCKETS,
    RequestState,
    WaitingReason,
    WorkflowName,
    WorkflowResult,
)

PORTS: dict[ServiceName, int] = {
    ServiceName.CONTROL_PLANE_API: DEFAULT_PORTS.control_plane_api,
    ServiceName.EXECUTION_WORKERS: DEFAULT_PORTS.execution_workers,
    ServiceName.METRICS_EXPORTER: DEFAULT_PORTS.metrics_exporter,
    ServiceName.LOCAL_FORGE: DEFAULT_PORTS.local_forge,
    ServiceName.LOCAL_GITOPS_AGENT: DEFAULT_PORTS.local_gitops_agent,
    ServiceName.LOCAL_CONSUMER: DEFAULT_PORTS.local_consumer,
}

_INTRODUCTION = f"""{GENERATED_NOTE}

# Metrics

Each process shows its metrics at `/metrics`, without authentication, in the format that who asks
prefers: the text format of Prometheus, or OpenMetrics, where the durations of HTTP requests come
with an example's `trace_id` ([tracing](tracing.md)). `--port-offset` moves every port.

Labels have values from closed sets: no id, no path with an id. So no series comes with traffic.
"""

_EXACT = f"""## Counts that no restart resets

The control plane updates the counts of workflows in the transaction that writes the rows they
count. A killed process loses none, and none is counted twice. The exporter asks for them at each
scrape; run it once. While the control plane does not answer, `idp_metrics_projection_up` is 0 and
the series are left out: a gap, never a zero. The same holds for Dagster's storage and
`dagster_instance_up`.

`downstream_errors_total` of the exporter counts the errors that steps met and told with their
outcomes. That of another process counts what this process met since its start, the same errors
among them, so never add the two up: `{{job="metrics-exporter"}}` for what became of requests, the
others for what a provider does just now.

`workflow_run_duration_seconds` has buckets up to {WORKFLOW_SECONDS_BUCKETS[-1] / 3600:g} hours.
"""

_DURATIONS = ", ".join(f"`{each}`" for each in WorkflowResult)
_SETS: dict[str, Iterable[str] | str] = {
    "workflow": WorkflowName,
    "result": f"of durations {_DURATIONS}; of events `success`, or `error` for `…_failed`",
    "state": (RequestState.PENDING, RequestState.RUNNING, RequestState.WAITING),
    "reason": WaitingReason,
    "sensitivity": SecretSensitivity,
    "circuit": CircuitState,
    "refusal": Refusal,
    "event": "`event_names()` of [the workflows](../idp_kernel/workflows.py)",
    "route": "templates such as `/v1/applications/{application_id}`; `unmatched` for any other",
    "method": "HTTP's own; `OTHER` for any other",
    "status": "of HTTP requests the code; of downstream errors the party's, or its SQLSTATE,"
    " `other`, or `none` without an answer; of runs Dagster's",
    "target": "the party that was called, such as `openbao` or `execution-workers`;"
    f" `{OWN_DATABASE}` for the database in which the process keeps its own state; `other` for any"
    " other that a run reports",
    "code": "the codes of the error tables, as in problems of the API; `other` for any other that a"
    " run reports",
    "table": "the table of the process that shows it",
    "env": "the setting `…_ENV` of the process",
}
"""What each label may be; those that are not here say it by their name."""


def metrics_page() -> str:
    """All of the page."""
    return f"{_INTRODUCTION}\n{_processes()}\n{_metrics()}\n{_EXACT}\n{_label_values()}"


def _processes() -> str:
    rows = [(f"`{name}`", str(port), _names(METRICS_OF[name])) for name, port in PORTS.items()]
    return f"## Who shows what\n\n{_table(('Process', 'Port', 'Metrics'), rows)}"


def _metrics() -> str:
    defined = dict.fromkeys(metric for shown in METRICS_OF.values() for metric in shown)
    rows = [
        (
            f"`{metric.name}`",
            metric.kind,
            ", ".join(f"`{label}`" for label in metric.labels) or "none",
            metric.meaning,
        )
        for metric in defined
    ]
    return f"## What each says\n\n{_table(('Metric', 'Type', 'Labels', 'Meaning'), rows)}"


def _label_values() -> str:
    rows = [
        (f"`{label}`", values if isinstance(values, str) else _listed(values))
        for label, values in _SETS.items()
    ]
    return f"## Values of labels\n\n{_table(('Label', 'Values'), rows)}"


def _names(metrics: Iterable[Metric]) -> str:
    return _listed(metric.name for metric in metrics)


def _listed(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    sys.stdout.write(metrics_page())
