"""What runbooks say to type, typed while all is well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from idp_kernel.services import DEFAULT_PORTS
from tests.docs.pages import RUNBOOKS
from tests.docs.shell import Shell, commands_of, perform, shell
from tests.docs.transcript import Meanings
from tests.e2e.platform import IDP, Platform, minimal_environment

pytestmark = [pytest.mark.e2e, pytest.mark.endurance]


@pytest.fixture(scope="module")
def bash(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell where the platform's folder is `.idp`, as on the pages."""
    folder = tmp_path_factory.mktemp("typed")
    (folder / ".idp").symlink_to(platform.home)
    bare = minimal_environment(IDP_API_URL=platform.url(DEFAULT_PORTS.control_plane_api))
    environment = {**bare, "PATH": f"{IDP.parent}:{bare['PATH']}"}
    with shell(folder, environment, folder) as opened:
        yield opened


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_a_runbooks_commands_work(platform: Platform, bash: Shell, page: Path) -> None:
    platform.await_ready()
    for command in commands_of(page):
        perform(command, bash, Meanings(platform.port_offset))
