"""A bench for each forge, once for the directory: every thing on it is one test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.stack import private_directory
from tests.integration.execution_workers.behaviour.forges import (
    Bench,
    Thing,
    gitea_bench,
    github_bench,
    local_bench,
)
from tests.integration.execution_workers.driver import Forge


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every implementation of every port with every fault takes minutes."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.endurance)


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
