"""One running platform for all end-to-end tests; each test works on a team of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.platform import Platform, Subject, running_platform

PORT_OFFSET = 10_000


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several test processes, those that share the platform stay in one."""
    for item in items:
        if "platform" in getattr(item, "fixturenames", ()) and "e2e" in item.keywords:
            item.add_marker(pytest.mark.xdist_group("platform"))


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder: Path = tmp_path_factory.mktemp("e2e")
    with running_platform(folder, PORT_OFFSET) as running:
        yield running


@pytest.fixture
def subject(platform: Platform) -> Subject:
    return platform.new_subject()
