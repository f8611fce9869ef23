"""What long tests take of the others' fixtures."""

from __future__ import annotations

from tests.integration.control_plane.conftest import keys, lone_platform

__all__ = ["keys", "lone_platform"]
