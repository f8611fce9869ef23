"""A short part of `make chaos`, on the platform that other tests share."""

from __future__ import annotations

import pytest

from tests.chaos.__main__ import finish, new_harness, run_cells
from tests.chaos.cells import cells
from tests.chaos.results import Results
from tests.chaos.show import Show
from tests.e2e.platform import Platform

pytestmark = pytest.mark.e2e

PLACES = (
    "ApplicationOnboarding/seed_repositories/execution-workers.*after_provider",
    "ApplicationEnvironmentProvisioning/*/workflow-engine.create_secret_bindings.after_call",
)


def test_requests_at_several_boundaries_outlive_the_workers(platform: Platform) -> None:
    harness = new_harness(platform, Results(), Show(), seed=1)
    planned = [cell for place in PLACES for cell in cells(f"{place}/execution-workers")]
    assert len(planned) == len(PLACES)
    run_cells(harness, planned)
    finish(harness)
    assert harness.results.findings == []
    assert harness.results.missed == {}
    assert harness.results.cells == len(planned)
