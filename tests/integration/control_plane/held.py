"""The control plane held still at a failpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.integration.control_plane.conftest import eventually


@dataclass
class Held:
    """What stands still at a failpoint until it is let go."""

    folder: Path
    name: str

    def wait(self) -> None:
        eventually((self.folder / f"{self.name}.hit").exists)

    def let_go(self) -> None:
        (self.folder / f"{self.name}.hit").unlink()


def arm(folder: Path, name: str) -> Held:
    """From now on whoever comes to that failpoint stands still there."""
    (folder / name).touch()
    return Held(folder, name)
