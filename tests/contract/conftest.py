"""The control plane of the integration tests, for those who hold it against its description."""

from tests.integration.control_plane.conftest import (  # noqa: F401 - fixtures
    engine,
    keys,
    leases,
    migrated,
    platform,
    short_tracebacks,
)
