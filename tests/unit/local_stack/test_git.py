"""Running git: nobody's configuration but ours, and an end to every wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from idp_kernel.errors import InvariantBroken, Unavailable
from local_stack.git import Git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    Git({}).run(tmp_path / "x.git", ["init", "--quiet", "--bare"])
    return tmp_path / "x.git"


def test_only_our_configuration_counts(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".gitconfig").write_text("[user]\nname = somebody\n", encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    git = Git({"core.fsync": "all"})
    assert git.run(repository, ["config", "user.name"], accepted=(1,)).line == ""
    assert git.run(repository, ["config", "core.fsync"]).line == "all"
    changed = git.run(repository, ["config", "user.name"], configuration={"user.name": "bot"})
    assert changed.line == "bot"


def test_an_unexpected_end_is_an_error_with_its_words(repository: Path) -> None:
    with pytest.raises(InvariantBroken, match="rev-parse ended with 128: fatal") as failed:
        Git({}).run(repository, ["rev-parse", "--verify", "nothing"])
    # Tables go by the exact class.
    assert (type(failed.value), failed.value.code) == (InvariantBroken, "git_failed")


def test_no_end_in_time_is_an_error(repository: Path) -> None:
    with pytest.raises(Unavailable, match="did not end within"):
        Git({}).run(repository, ["cat-file", "--batch"], stdin=b"", timeout_seconds=0)


def test_without_git_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="not installed"):
        Git({})
