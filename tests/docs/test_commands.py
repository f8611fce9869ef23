"""The commands of the documents, as written there and in that order, on a fresh clone.

The tutorial first, from its `make up` on; then the `how do I` pages, which go on with what it made;
then the operations, which stop and start, back up and restore, and replace keys; then the page on
tracing, and the README, whose demo begins with a platform that is stopped.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import HOW_DO_I, OPERATIONS, README, ROOT, TRACING, TUTORIAL
from tests.docs.shell import commands_of, perform, shell
from tests.docs.transcript import Meanings
from tests.e2e.conftest import PORT_OFFSET
from tests.e2e.platform import eventually, minimal_environment

pytestmark = [pytest.mark.e2e, pytest.mark.endurance, pytest.mark.timeout(1800)]

OFFSET = PORT_OFFSET + 400
"""Beside the platform that other tests share."""
STAYS = ("make up", "idp up")
"""Typed in a shell of its own, since it stays; the page goes on once it says that it is ready."""
INSTALLED_AND_READY_WITHIN_SECONDS = 600
DOWN_WITHIN_SECONDS = 60


class Reader:
    """Somebody with two shells in a fresh clone: one for what stays, one to type in."""

    def __init__(self, clone: Path, scratch: Path) -> None:
        self._clone = clone
        self._scratch = scratch
        self._log = scratch / "up.log"
        self._up: subprocess.Popen[bytes] | None = None

    def go_through(self, page: Path) -> None:
        """Types every command of the page and compares what is said."""
        meanings = Meanings(OFFSET)
        with shell(self._clone, self._environment, self._scratch) as bash:
            for command in commands_of(page):
                if command.text.startswith(STAYS):
                    self._start(command.text)
                else:
                    perform(command, bash, meanings)

    def make_down(self) -> None:
        """Stops what stays, if anything does."""
        subprocess.run(["make", "down"], cwd=self._clone, env=self._environment, check=True)
        self._await_down()

    @property
    def _environment(self) -> dict[str, str]:
        """A bare shell's, with the ports moved as `make up PORT_OFFSET=…` does it, and with `idp`
        where it is once the virtual environment is active.
        """
        bare = minimal_environment(MAKEFLAGS=f"PORT_OFFSET={OFFSET}")
        return {**bare, "PATH": f"{self._clone}/.venv/bin:{bare['PATH']}"}

    def _start(self, text: str) -> None:
        """With the ports moved: `make` is told by its environment, `idp` by an option."""
        self._await_down()
        moved = f"{text} --port-offset {OFFSET}" if text.startswith("idp ") else text
        with self._log.open("wb") as log:
            self._up = subprocess.Popen(
                ["bash", "-c", moved],
                cwd=self._clone,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(
            self._is_ready, within_seconds=INSTALLED_AND_READY_WITHIN_SECONDS, what="it is ready"
        )

    def _await_down(self) -> None:
        if self._up is not None:
            assert self._up.wait(DOWN_WITHIN_SECONDS) == 0, self._log.read_text()

    def _is_ready(self) -> bool:
        assert self._up is not None
        assert self._up.poll() is None, self._log.read_text()
        return "Ready in " in self._log.read_text()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader in a clone of what is committed, on a branch that can be pulled."""
    folder = tmp_path_factory.mktemp("fresh")
    origin, clone = folder / "origin.git", folder / "check out"
    head = _git("-C", str(ROOT), "rev-parse", "HEAD")
    _git("clone", "--quiet", "--bare", str(ROOT), str(origin))
    _git("-C", str(origin), "update-ref", "refs/heads/released", head)
    _git("-C", str(origin), "symbolic-ref", "HEAD", "refs/heads/released")
    _git("clone", "--quiet", str(origin), str(clone))
    sitting = Reader(clone, tmp_path_factory.mktemp("typed"))
    try:
        yield sitting
    finally:
        sitting.make_down()


def _git(*arguments: str) -> str:
    ran = subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    return ran.stdout.strip()


@pytest.fixture(scope="module")
def bakery(reader: Reader) -> Reader:
    """The reader once the tutorial was gone through."""
    reader.go_through(TUTORIAL)
    return reader


def test_the_tutorial_works(bakery: Reader) -> None:
    """Going through it is what makes the bakery."""


@pytest.mark.parametrize("page", HOW_DO_I, ids=lambda page: page.stem)
def test_a_page_works(bakery: Reader, page: Path) -> None:
    assert commands_of(page)
    bakery.go_through(page)


def test_the_operations_work(bakery: Reader) -> None:
    bakery.make_down()
    bakery.go_through(OPERATIONS)


def test_the_page_on_tracing_works(bakery: Reader) -> None:
    bakery.make_down()
    bakery.go_through(TRACING)


def test_the_readme_works(bakery: Reader) -> None:
    bakery.make_down()
    bakery.go_through(README)
