"""What runbooks say to type, while all is well; `test_observability` types it in the faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docs.pages import RUNBOOKS
from tests.docs.shell import Shell, commands_of, perform
from tests.docs.transcript import Command, Meanings
from tests.e2e.operator import operators_shell
from tests.e2e.platform import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.endurance]


@pytest.fixture(scope="module")
def bash(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    platform.await_ready()
    with operators_shell(platform, tmp_path_factory.mktemp("typed")) as opened:
        yield opened


COMMANDS = {each.text: each for page in RUNBOOKS for each in commands_of(page)}
"""What several pages say is typed once."""


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_runbooks_command_works(platform: Platform, bash: Shell, command: Command) -> None:
    perform(command, bash, Meanings(platform.port_offset))
