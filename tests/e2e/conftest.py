"""One running platform for all end-to-end tests; each works in an environment of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.platform import Platform, Subject, running_platform

PORT_OFFSET = int(os.environ.get("IDP_TEST_PORT_OFFSET", "10000"))


STARTS_AND_RUNS_WITHIN_SECONDS = 600
"""The first test of the directory starts the platform; one with a limit of its own keeps it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("e2e") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(STARTS_AND_RUNS_WITHIN_SECONDS))


@pytest.fixture(scope="package")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder: Path = tmp_path_factory.mktemp("e2e")
    with running_platform(folder, PORT_OFFSET) as running:
        yield running


@pytest.fixture(scope="package")
def onboarded(platform: Platform) -> Subject:
    """An application that many tests share; each works in an environment of its own."""
    return platform.new_subject()


@pytest.fixture
def subject(platform: Platform, onboarded: Subject) -> Subject:
    return platform.with_new_environment(onboarded)


@pytest.fixture(autouse=True)
def disarmed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing of a test that failed stands still in the way of the next."""
    yield
    if "platform" in request.fixturenames:
        platform: Platform = request.getfixturevalue("platform")
        platform.disarm()
