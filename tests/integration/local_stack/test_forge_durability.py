"""The forge after kill -9: everything it said yes to is there, nothing is half there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.forge import ForgeServer, KnownPeople, running_forge
from tests.fixtures.git_client import Clone
from tests.fixtures.stack import private_directory

pytestmark = pytest.mark.endurance


@pytest.fixture
def home() -> Iterator[Path]:
    with private_directory("idp-forge-") as directory:
        yield directory


def kill(forge: ForgeServer) -> None:
    forge.process.kill()
    forge.process.wait()


def test_repositories_protections_and_authors_survive_a_kill(
    home: Path, people: KnownPeople, tmp_path: Path
) -> None:
    token = people.add("ann", payments="team-maintainer")
    path = "/api/v1/repositories/payments/kept"
    with running_forge(home, people) as forge:
        created = forge.create_repository("payments", "kept")
        bot = Clone.make(tmp_path / "bot", created["cloneUrl"], person="bot", token=forge.bot_token)
        bot.commit("README.md", "seed")
        assert bot.push("HEAD:main").returncode == 0
        forge.protect("payments", "kept")
        ann = Clone.make(tmp_path / "ann", created["cloneUrl"], person="ann", token=token)
        ann.commit("a.txt", "a")
        assert ann.push("HEAD:feature").returncode == 0
        before = forge.call("GET", path, token=forge.bot_token).json()
        kill(forge)
    with running_forge(home, people, port=forge.port) as again:
        assert again.call("GET", path, token=again.bot_token).json() == before
        assert "is protected" in ann.push("HEAD:main").stderr
        body = {"branch": "feature"}
        own = again.call("POST", f"{path}/merges", token=token, json=body)
        assert own.json()["code"] == "own_branch"
        reflog = home / "forge/repositories/payments/kept.git/logs/refs/heads/feature"
        assert "ann" in reflog.read_text(encoding="utf-8")


def test_what_a_kill_left_half_done_is_cleared_away(
    home: Path, people: KnownPeople, tmp_path: Path
) -> None:
    with running_forge(home, people) as forge:
        created = forge.create_repository("payments", "locked")
        kill(forge)
    repository = forge.data_dir / "repositories/payments/locked.git"
    (repository / "refs/heads/main.lock").touch()
    (repository / "objects/tmp_objdir-incoming-x").mkdir()
    (forge.data_dir / "drafts/half").mkdir()
    (forge.data_dir / "trash/half").mkdir()
    with running_forge(home, people, port=forge.port) as again:
        bot = Clone.make(tmp_path / "bot", created["cloneUrl"], person="bot", token=again.bot_token)
        bot.commit("README.md", "seed")
        assert bot.push("HEAD:main").returncode == 0
        assert not list(again.data_dir.glob("drafts/*"))
        assert not list(again.data_dir.glob("trash/*"))
        assert not list(repository.glob("objects/*incoming*"))
