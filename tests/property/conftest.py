"""The control plane of the integration tests, for whatever is thrown at it."""

from tests.integration.control_plane.conftest import (  # noqa: F401 - fixtures
    keys,
    migrated,
    platform,
    short_tracebacks,
)
