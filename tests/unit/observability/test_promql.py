"""No expression can name what is not shown: neither made here, nor found in one."""

from __future__ import annotations

import pytest

from idp_kernel.telemetry.metrics import HTTP_REQUESTS, WORKFLOW_RETRIES, WORKFLOW_RUN_DURATION
from observability.promql import (
    counted,
    matching,
    or_one_zero,
    or_zero,
    other_than,
    quantile,
    rate,
    series,
)
from tests.fixtures.promql import unknown_names


def test_a_selector_has_the_metrics_name_and_labels() -> None:
    assert series(WORKFLOW_RETRIES) == "workflow_retries_total"
    selector = series(HTTP_REQUESTS, status=matching("5.."), job=other_than("x"), route='a"b')
    assert selector == 'http_requests_total{status=~"5..", job!="x", route="a\\"b"}'
    of_buckets = series(WORKFLOW_RUN_DURATION, "bucket", le="60.0")
    assert of_buckets == 'workflow_run_duration_seconds_bucket{le="60.0"}'


def test_functions_go_around_it() -> None:
    assert rate("a", "5m", "x", "y") == "sum by (x, y) (rate(a[5m]))"
    assert or_zero("a", "b") == "(a or 0 * b)"
    assert or_one_zero("a", "b") == "(a or 0 * b unless on () a)"
    assert counted("a", "5m", "x") == (
        "sum by (x) (increase(a[5m]) and a offset 5m"
        " or max_over_time(a[5m]) and on (job, instance) up offset 5m or increase(a[5m]))"
    )
    assert quantile(0.95, WORKFLOW_RUN_DURATION, "1h", "workflow") == (
        "histogram_quantile(0.95, sum by (workflow, le)"
        " (rate(workflow_run_duration_seconds_bucket[1h])))"
    )


@pytest.mark.parametrize(
    ("part", "label"), [("", "team"), ("", "le"), ("bucket", "workflow"), ("count", "le")]
)
def test_what_a_metric_does_not_have_is_refused(part: str, label: str) -> None:
    metric = WORKFLOW_RUN_DURATION if part == "count" else WORKFLOW_RETRIES
    with pytest.raises(ValueError, match="has no"):
        series(metric, part, **{label: "x"})


def test_a_histogram_is_never_named_whole() -> None:
    with pytest.raises(ValueError, match="has no part"):
        series(WORKFLOW_RUN_DURATION)


@pytest.mark.parametrize(
    ("expression", "unknown"),
    [
        ('sum by (workflow) (rate(workflow_retries_total{workflow="a b(c)"}[5m])) > 2', []),
        ('up{job="x"} == 0 or idp_metrics_projection_up', []),
        ("workflow_retry_total", ["workflow_retry_total"]),
        ('workflow_retries_total{team="x"}', ["workflow_retries_total{team}"]),
        ("sum by (team) (workflow_retries_total)", ["by (team)"]),
        ("workflow_retries_total and on (job, team) up offset 5m", ["on (team)"]),
        ("workflow_run_duration_seconds", ["workflow_run_duration_seconds"]),
        ("workflow:failed_requests:increase7d", ["workflow:failed_requests:increase7d"]),
    ],
)
def test_what_nobody_shows_is_found(expression: str, unknown: list[str]) -> None:
    assert unknown_names(expression) == unknown
