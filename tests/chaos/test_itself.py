"""With a guard of the platform taken away the harness says what is wrong; with all of them there it
finds nothing in the very same trouble.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from idp_kernel.failpoints import Guard
from tests.chaos.__main__ import new_harness, run_cells
from tests.chaos.cells import cells
from tests.chaos.faults import overtaken_call, somebody_elses_commit
from tests.chaos.results import Finding, Kind, Results
from tests.chaos.rounds import Harness
from tests.chaos.show import Show
from tests.e2e.conftest import PORT_OFFSET
from tests.e2e.platform import Platform, running_platform

pytestmark = [pytest.mark.e2e, pytest.mark.nightly, pytest.mark.timeout(900)]

OFFSET = PORT_OFFSET + 800
"""Of a platform of its own: with its guards down others would fail on it."""
STUCK_AFTER_SECONDS = 60.0
"""Without its reconciler nothing of a lost run moves; with it all is over in half that time."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running_platform(tmp_path_factory.mktemp("guards"), OFFSET) as running:
        yield running


@pytest.fixture
def harness(platform: Platform) -> Iterator[Harness]:
    """A new one each time; what its test takes away is there again behind it."""
    found = new_harness(platform, Results(), Show(), seed=1)
    found.stuck_after_seconds = STUCK_AFTER_SECONDS
    yield found
    platform.disarm()


def take_away(harness: Harness, guard: Guard) -> None:
    (harness.platform.failpoints / f"{guard}.off").touch()


def kinds(findings: list[Finding]) -> set[Kind]:
    return {each.kind for each in findings}


@pytest.mark.parametrize("without", [False, True])
def test_without_the_ledgers_lookup_an_effect_is_had_twice(
    harness: Harness, *, without: bool
) -> None:
    if without:
        take_away(harness, Guard.LEDGER_LOOKUP)
    somebody_elses_commit(harness)
    assert (Kind.DUPLICATED in kinds(harness.results.findings)) is without
    assert harness.results.is_good is not without


@pytest.mark.parametrize("without", [False, True])
def test_without_the_fence_an_effect_comes_late(harness: Harness, *, without: bool) -> None:
    if without:
        take_away(harness, Guard.FENCE)
    overtaken_call(harness)
    expected = {Kind.DUPLICATED} if without else set()
    assert kinds(harness.results.findings) == expected


@pytest.mark.parametrize("without", [False, True])
def test_without_the_reconciler_a_request_is_stuck(harness: Harness, *, without: bool) -> None:
    if without:
        take_away(harness, Guard.RECONCILER)
    run_cells(harness, cells("*Provisioning/provision_secrets/workflow-engine.*before_call/worker"))
    assert harness.results.cells == 1
    assert (Kind.STUCK in kinds(harness.results.findings)) is without
    assert harness.results.is_good is not without


def test_results_are_written_of_what_was_found(harness: Harness, tmp_path: Path) -> None:
    take_away(harness, Guard.LEDGER_LOOKUP)
    somebody_elses_commit(harness)
    harness.results.write(tmp_path / "results.json")
    assert '"duplicated": 1' in (tmp_path / "results.json").read_text()
