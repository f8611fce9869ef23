"""PromQL made from the definitions of metrics: no expression names what no process shows."""

from __future__ import annotations

from dataclasses import dataclass

from idp_kernel.telemetry.metrics import Metric, MetricKind

OF_PROMETHEUS = ("job", "instance")
"""Labels that Prometheus adds to all it scrapes; a job is named as its process is."""
UP = Metric("up", MetricKind.GAUGE, (), "Prometheus' own: whether it could scrape the process.")
_OF_HISTOGRAMS: dict[str, tuple[str, ...]] = {"bucket": ("le",), "count": (), "sum": ()}


@dataclass(frozen=True)
class Matcher:
    """A condition on a label other than that it equals something."""

    operator: str
    value: str


def matching(pattern: str) -> Matcher:
    """The label's whole value is of this pattern."""
    return Matcher("=~", pattern)


def other_than(value: str) -> Matcher:
    """The label's value is any but this one."""
    return Matcher("!=", value)


def series(metric: Metric, part: str = "", **labels: str | Matcher) -> str:
    """A selector: the metric's series with these labels; `part` of a histogram, which has to be
    named. Raises `ValueError` for a label or part that the metric does not have.
    """
    parts = _OF_HISTOGRAMS if metric.kind is MetricKind.HISTOGRAM else {"": ()}
    if part not in parts:
        raise ValueError(f"{metric.name} is a {metric.kind}, which has no part {part!r}.")
    unknown = labels.keys() - {*metric.labels, *OF_PROMETHEUS, *parts[part]}
    if unknown:
        raise ValueError(f"{metric.name} has no label {', '.join(sorted(unknown))}.")
    name = f"{metric.name}_{part}" if part else metric.name
    conditions = ", ".join(_condition(label, value) for label, value in labels.items())
    return f"{name}{{{conditions}}}" if conditions else name


def _condition(label: str, value: str | Matcher) -> str:
    found = value if isinstance(value, Matcher) else Matcher("=", value)
    quoted = found.value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{label}{found.operator}"{quoted}"'


def rate(selector: str, window: str, *by: str) -> str:
    """How much a second, summed up by these labels."""
    return f"sum by ({', '.join(by)}) (rate({selector}[{window}]))"


def increase(selector: str, window: str, *by: str) -> str:
    """How much within the window, summed up by these labels."""
    return f"sum by ({', '.join(by)}) (increase({selector}[{window}]))"


def counted(selector: str, window: str, *by: str) -> str:
    """How much was counted within the window, summed up by these labels.

    `increase` takes what a series begins with for old, so it misses the first error of a kind. Here
    a series that was not there when the window began counts whole, if its process was scraped then.
    """
    within = f"[{window}]"
    known = f"increase({selector}{within}) and {selector} offset {window}"
    born = f"max_over_time({selector}{within}) and on (job, instance) {UP.name} offset {window}"
    return f"sum by ({', '.join(by)}) ({known} or {born} or increase({selector}{within}))"


def or_zero(expression: str, of: str) -> str:
    """The expression, and 0 for whatever `of` has and the expression lacks. Both are grouped by the
    same labels.
    """
    return f"({expression} or 0 * {of})"


def or_one_zero(expression: str, of: str) -> str:
    """The expression; where it has nothing at all, 0 with the labels of `of`."""
    return f"({expression} or 0 * {of} unless on () {expression})"


def quantile(share: float, histogram: Metric, window: str, *by: str, **labels: str) -> str:
    """The duration that this share of what was observed stayed below, by these labels."""
    buckets = rate(series(histogram, "bucket", **labels), window, *by, "le")
    return f"histogram_quantile({share:g}, {buckets})"
