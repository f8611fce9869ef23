"""What counts as lost and what as doubled, in the providers' own records."""

from __future__ import annotations

import subprocess
from pathlib import Path

from execution_workers.providers.forges.git import with_trailers
from tests.chaos.counters import wrong_counts
from tests.chaos.oracle import (
    Commit,
    Repository,
    findings_of_roles,
    findings_of_versions,
    repeated,
    rewound,
)
from tests.chaos.results import Kind

SEED = Commit("1", "Describe shop", "r1", "seed/x")


def test_a_commit_of_one_request_for_one_thing_is_there_once() -> None:
    other = Commit("2", "Describe shop", "r2", "seed/x")
    undone = Commit("3", "Describe shop no more", "r1", "seed/x")
    persons = [Commit("4", "Fix", "", ""), Commit("5", "Fix", "", "")]
    assert list(repeated([SEED, other, undone, *persons])) == []
    (told,) = repeated([SEED, SEED, other])
    assert "2 commits" in told
    assert "r1" in told


def test_what_was_on_main_stays_in_its_history() -> None:
    assert list(rewound([SEED], ["1"])) == []
    (told,) = rewound([SEED], ["1", "2"])
    assert "2" in told


def test_versions_are_one_for_each_request() -> None:
    assert [each.kind for each in findings_of_versions(3, 2, "x")] == [Kind.DUPLICATED]
    assert [each.kind for each in findings_of_versions(1, 2, "x")] == [Kind.LOST]
    assert list(findings_of_versions(2, 2, "x")) == []


def test_one_role_may_log_in_and_it_is_the_bound_one() -> None:
    def kinds(standing: dict[str, bool], username: str | None) -> list[Kind]:
        return [each.kind for each in findings_of_roles(standing, username, "x")]

    assert kinds({"a": True, "b": False}, "a") == []
    assert kinds({"a": False, "b": False}, None) == []
    assert kinds({"a": True, "b": True}, "a") == [Kind.DUPLICATED]
    assert kinds({"a": False}, "a") == [Kind.LOST]
    assert kinds({"a": True}, None) == [Kind.DUPLICATED]
    assert kinds({"a": True, "b": False, "c": False}, "a") == [Kind.DUPLICATED]


def test_a_repository_tells_who_made_each_commit_and_where_main_was(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x@example.test", *arguments],
            cwd=tmp_path, check=True, capture_output=True, timeout=30,
        )  # fmt: skip

    message = with_trailers("Describe shop", installation_id="i", entity="seed/x", request_id="r1")
    git("init", "--initial-branch=main", ".")
    repository = Repository(tmp_path / ".git")
    assert (repository.commits(), repository.moves()) == ([], [])
    git("commit", "--allow-empty", "-m", message)
    git("commit", "--allow-empty", "-m", "Mine")
    git("pack-refs", "--all")
    mine, seed = repository.commits()
    assert (mine.request_id, mine.entity) == ("", "")
    assert (seed.subject, seed.request_id, seed.entity) == ("Describe shop", "r1", "seed/x")
    git("reset", "--hard", "HEAD~1")
    (told,) = rewound(repository.commits(), repository.moves())
    assert mine.revision[:10] in told


def test_a_counter_is_what_the_rows_say() -> None:
    assert list(wrong_counts("n", {("a",): 1.0, ("b",): 0.0}, {("a",): 1.0})) == []
    found = list(wrong_counts("n", {("a",): 2.0}, {("a",): 1.0, ("b",): 1.0}))
    assert [each.kind for each in found] == [Kind.WRONG_METRICS] * 2
