"""One running platform for all end-to-end tests; each test works on a team of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.platform import Platform, Subject, running_platform

PORT_OFFSET = 10_000


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder: Path = tmp_path_factory.mktemp("e2e")
    with running_platform(folder, PORT_OFFSET) as running:
        yield running


@pytest.fixture
def subject(platform: Platform) -> Subject:
    return platform.new_subject()
