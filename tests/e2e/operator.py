"""Somebody at a shell of the machine, who types what runbooks say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from idp_kernel.services import DEFAULT_PORTS
from tests.docs.shell import Shell, commands_of, shell
from tests.docs.transcript import Meanings
from tests.e2e.platform import IDP, Platform, minimal_environment


@contextmanager
def operators_shell(platform: Platform, folder: Path) -> Iterator[Shell]:
    """A shell where the platform's folder is `.idp`, as on the pages."""
    (folder / ".idp").symlink_to(platform.home)
    bare = minimal_environment(IDP_API_URL=platform.url(DEFAULT_PORTS.control_plane_api))
    environment = {**bare, "PATH": f"{IDP.parent}:{bare['PATH']}"}
    with shell(folder, environment, folder) as opened:
        yield opened


def typed(platform: Platform, bash: Shell, pages: Iterable[Path]) -> dict[Path, str]:
    """What each page's commands print, after each command; what several pages say is typed once."""
    meanings, printed = Meanings(platform.port_offset), dict[str, str]()
    said = dict.fromkeys(pages, "")
    for page in said:
        for command in commands_of(page):
            if command.text not in printed:
                text, status = bash.run(meanings.in_this_run(command.text))
                printed[command.text] = f"$ {command.text}\n{text}(exit status {status})\n"
            said[page] += printed[command.text]
    return said
