"""Each counter of the workflows against the rows it counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from idp_kernel.services import DEFAULT_PORTS
from tests.chaos.results import Finding, Kind
from tests.e2e.logins import as_superuser
from tests.e2e.platform import Platform, eventually
from tests.fixtures.counted_rows import DOWNSTREAM_ERRORS, ENDS, EVENTS, LEASE_LOSSES, RETRIES
from tests.fixtures.openmetrics import ACCEPT, families_of

Counts = Mapping[tuple[str, ...], float]
QUERIES = {
    "workflow_retries_total": (RETRIES, ("workflow",)),
    "workflow_run_duration_seconds_count": (ENDS, ("workflow", "result")),
    "workflow_lease_losses_total": (LEASE_LOSSES, ("workflow",)),
    "domain_events_total": (EVENTS, ("event",)),
    "downstream_errors_total": (DOWNSTREAM_ERRORS, ("target", "code", "status")),
}
"""By the name of the sample: what counts the rows, and the labels in its order."""


def wrong_counts(name: str, shown: Counts, rows: Counts) -> Iterator[Finding]:
    """Where the two differ; what is zero may be left out."""
    for labels in sorted({*shown, *rows}):
        told, counted = shown.get(labels, 0), rows.get(labels, 0)
        if told != counted:
            where = ", ".join(labels)
            yield Finding(
                Kind.WRONG_METRICS, f"{name}{{{where}}} is {told:g}, and the rows count {counted:g}"
            )


def wrong_metrics(platform: Platform) -> list[Finding]:
    """What is wrong on a platform where nothing happens any more; one look may come too early."""
    found: list[Finding] = []

    def look() -> bool:
        nonlocal found
        shown = _shown(platform)
        found = [
            each
            for name, (query, labels) in QUERIES.items()
            for each in wrong_counts(name, _of(shown, name, labels), _rows(platform, query))
        ]
        return not found

    try:
        eventually(look, within_seconds=15, what="every counter is what the rows say")
    except AssertionError:
        return found
    return []


def _shown(platform: Platform) -> list[Any]:
    url = platform.url(DEFAULT_PORTS.metrics_exporter, "/metrics")
    answer = platform.client.get(url, headers={"Accept": ACCEPT})
    assert answer.status_code == 200, answer.text
    return [sample for family in families_of(answer.text) for sample in family.samples]


def _of(samples: list[Any], name: str, labels: tuple[str, ...]) -> Counts:
    return {
        tuple(each.labels[label] for label in labels): each.value
        for each in samples
        if each.name == name
    }


def _rows(platform: Platform, query: str) -> Counts:
    with as_superuser(platform, "idp") as connection:
        connection.execute("SET search_path TO control_plane")
        rows = connection.execute(query.encode()).fetchall()
    return {tuple(str(each) for each in labels): float(value) for *labels, value in rows}
