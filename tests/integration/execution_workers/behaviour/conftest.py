"""A bench for each forge, once for the directory: every thing on it is one test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.stack import private_directory
from tests.fixtures.vendors import RECORD_VARIABLE, SUITES_VARIABLE
from tests.integration.execution_workers.behaviour.forges import (
    Bench,
    Thing,
    gitea_bench,
    github_bench,
    local_bench,
)
from tests.integration.execution_workers.driver import Forge

EACH_OF_FAULTS = 6
"""So many faults at operations there are for each that `make test-system` tries."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every implementation of every port takes minutes, every fault at every operation more."""
    faults = 0
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        item.add_marker(pytest.mark.endurance)
        if isinstance(item, pytest.Function) and "fault" in item.fixturenames:
            faults += 1
            if faults % EACH_OF_FAULTS:
                item.add_marker(pytest.mark.nightly)


@pytest.fixture(scope="package", autouse=True)
def _kept_calls() -> Iterator[None]:
    """Has the calls of this folder's tests kept where that is wanted."""
    with pytest.MonkeyPatch.context() as environment:
        if kept := os.environ.get(SUITES_VARIABLE):
            environment.setenv(RECORD_VARIABLE, kept)
        yield


@pytest.fixture(scope="package")
def folder() -> Iterator[Path]:
    with private_directory("idp-forges-") as folder:
        yield folder


@pytest.fixture(scope="package")
def local(home: Path, forge: Forge, folder: Path) -> Iterator[Bench]:
    (folder / "local").mkdir()
    with local_bench(forge, home / "forge-bot.token", folder / "local") as bench:
        yield bench


@pytest.fixture(scope="package")
def gitea(folder: Path) -> Iterator[Bench]:
    with gitea_bench(folder / "gitea") as bench:
        yield bench


@pytest.fixture(scope="package")
def github(folder: Path) -> Iterator[Bench]:
    with github_bench(folder / "github") as bench:
        yield bench


STAND_INS = ("gitea", "github")
"""The forges of vendors."""


@pytest.fixture(params=("local", *STAND_INS))
def bench(request: pytest.FixtureRequest) -> Bench:
    found: Bench = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=STAND_INS)
def vendor(request: pytest.FixtureRequest) -> Bench:
    found: Bench = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def thing() -> Thing:
    return Thing()
