"""The page of metrics, the definitions and what processes really show are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from idp_kernel.telemetry import metrics
from idp_kernel.telemetry.metrics import METRICS_OF, Metric, MetricKind
from idp_kernel.telemetry.metrics_reference import PORTS, metrics_page

DOCS = Path(__file__).parents[3] / "docs"
DEFINED = [each for each in vars(metrics).values() if isinstance(each, Metric)]


def test_the_page_is_what_the_definitions_say() -> None:
    assert (DOCS / "metrics.md").read_text() == metrics_page(), (
        "write it again: python -m idp_kernel.telemetry.metrics_reference > docs/metrics.md"
    )


def test_every_metric_has_a_process_that_shows_it() -> None:
    shown = {metric for of_process in METRICS_OF.values() for metric in of_process}
    assert set(DEFINED) == shown
    assert METRICS_OF.keys() == PORTS.keys()


def test_names_are_defined_once_and_say_their_unit() -> None:
    names = [metric.name for metric in DEFINED]
    assert len(names) == len(set(names))
    for metric in DEFINED:
        assert metric.name.endswith("_total") == (metric.kind is MetricKind.COUNTER)
        if metric.kind is MetricKind.HISTOGRAM:
            assert metric.name.endswith("_seconds")


@pytest.mark.parametrize("metric", DEFINED, ids=lambda metric: metric.name)
def test_no_label_is_an_id_or_a_path(metric: Metric) -> None:
    assert not {"id", "path", "url", "team", "application", "secret"} & set(metric.labels)
    assert not [label for label in metric.labels if label.endswith("_id")]
