"""One forge for the tests of this directory, and repositories of their own for each test."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fixtures.forge import ForgeServer, KnownPeople, running_forge
from tests.fixtures.git_client import Clone
from tests.fixtures.stack import private_directory


@pytest.fixture(scope="package")
def people() -> Iterator[KnownPeople]:
    with KnownPeople() as known:
        yield known


@pytest.fixture(scope="package")
def forge(people: KnownPeople) -> Iterator[ForgeServer]:
    with private_directory("idp-forge-") as home, running_forge(home, people) as server:
        yield server


@dataclass(frozen=True)
class SomeRepository:
    """A repository of team payments with one commit on main."""

    forge: ForgeServer
    owner: str
    name: str
    seed: str
    bot: Clone
    directory: Path

    @property
    def url(self) -> str:
        return f"{self.forge.url}/{self.owner}/{self.name}.git"

    @property
    def path(self) -> str:
        return f"/api/v1/repositories/{self.owner}/{self.name}"

    def clone(self, person: str, token: str) -> Clone:
        return Clone.make(self.directory / person, self.url, person=person, token=token)

    def head(self) -> str:
        answer = self.forge.call("GET", self.path, token=self.forge.bot_token)
        return str(answer.json()["headRevision"])


@pytest.fixture
def repository(forge: ForgeServer, tmp_path: Path) -> SomeRepository:
    name = f"repo-{secrets.token_hex(4)}"
    created = forge.create_repository("payments", name)
    bot = Clone.make(tmp_path / "bot", created["cloneUrl"], person="bot", token=forge.bot_token)
    seed = bot.commit("README.md", "seed\n", "Seed")
    pushed = bot.push("HEAD:refs/heads/main")
    assert pushed.returncode == 0, pushed.stderr
    return SomeRepository(forge, "payments", name, seed, bot, tmp_path)


@pytest.fixture
def maintainer(people: KnownPeople) -> str:
    """The token of ann, who maintains payments."""
    return people.add("ann", payments="team-maintainer")


@pytest.fixture
def colleague(people: KnownPeople) -> str:
    """The token of bob, who maintains payments too."""
    return people.add("bob", payments="team-maintainer")


@pytest.fixture
def viewer(people: KnownPeople) -> str:
    """The token of vic, who only looks at payments."""
    return people.add("vic", payments="team-viewer")


@pytest.fixture
def stranger(people: KnownPeople) -> str:
    """The token of sue, of another team."""
    return people.add("sue", search="team-maintainer")


@pytest.fixture
def admin(people: KnownPeople) -> str:
    """The token of a platform-admin without a team."""
    return people.add("root", platform_admin=True)
