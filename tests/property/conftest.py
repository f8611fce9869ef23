"""The control plane of the integration tests, for whatever is thrown at it."""

import pytest

from tests.integration.control_plane.conftest import (
    Platform,
    keys,  # noqa: F401 - a fixture
    lone_platform,  # noqa: F401 - a fixture
    short_tracebacks,  # noqa: F401 - a fixture
)


@pytest.fixture
def platform(lone_platform: Platform) -> Platform:  # noqa: F811 - the fixture
    """With a database of its own: what is asserted is about all that is in it."""
    return lone_platform
