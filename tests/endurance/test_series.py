"""Requests over HTTP leave no trace of their own in `/metrics`, however many of them."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from idp_kernel.ids import new_id
from tests.integration.control_plane.conftest import Platform

pytestmark = [pytest.mark.endurance, pytest.mark.timeout(900)]

ASKED_OVER_HTTP = 10_000


def test_ten_thousand_requests_over_http_add_no_series(lone_platform: Platform) -> None:
    asked = ("/v1/workflow-requests/{id}", "/v1/teams/team-{id}", "/v1/nowhere/{id}")

    def ask() -> None:
        for path in asked:
            assert lone_platform.admin.get(path.format(id=new_id())).status_code == 404

    ask()
    before = _process_series(lone_platform)
    assert len(before) > 10
    for _ in range(ASKED_OVER_HTTP // len(asked)):
        ask()
    assert _process_series(lone_platform) == before


def _process_series(platform: Platform) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """All that the process shows at `/metrics`, by name and labels."""
    shown = text_string_to_metric_families(platform.client.get("/metrics").text)
    return {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in shown
        for sample in family.samples
    }
