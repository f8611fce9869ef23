"""Merging at the forge: by somebody who did not push the branch, and by nobody else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.integration.local_stack.conftest import SomeRepository


def merge(repository: SomeRepository, token: str, branch: str) -> httpx.Response:
    body = {"branch": branch}
    return repository.forge.call("POST", f"{repository.path}/merges", token=token, json=body)


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == code
    return dict(answer.json())


def push_branch(
    repository: SomeRepository, person: str, token: str, branch: str, file: str = "a.txt"
) -> str:
    clone = repository.clone(f"{person}-{branch}", token)
    clone.git("config", "user.name", person)
    revision = clone.commit(file, f"by {person}\n")
    pushed = clone.push(f"HEAD:{branch}")
    assert pushed.returncode == 0, pushed.stderr
    return revision


def test_a_colleague_merges_with_a_merge_commit_of_their_own(
    repository: SomeRepository, maintainer: str, colleague: str
) -> None:
    repository.forge.protect(repository.owner, repository.name)
    revision = push_branch(repository, "ann", maintainer, "feature")
    answer = merge(repository, colleague, "feature").raise_for_status().json()
    assert answer["mergedBy"] == "bob"
    assert answer["authoredBy"] == ["ann"]
    assert repository.head() == answer["revision"]
    bot = repository.bot
    bot.git("fetch", "-q", "origin")
    commit = bot.git("show", "-s", "--format=%P|%cn|%s", answer["revision"]).stdout.strip()
    assert commit == f"{repository.seed} {revision}|bob|Merge branch 'feature'"
    assert bot.git("show", f"{answer['revision']}:a.txt").stdout == "by ann\n"


def test_nobody_merges_a_branch_they_pushed(
    repository: SomeRepository, maintainer: str, colleague: str
) -> None:
    push_branch(repository, "ann", maintainer, "feature")
    problem = refused(merge(repository, maintainer, "feature"), 403, "own_branch")
    assert "idp repository merge" in problem["detail"]
    clone = repository.clone("bob", colleague)
    clone.git("checkout", "-q", "feature")
    clone.commit("b.txt", "b")
    assert clone.push("HEAD:feature").returncode == 0
    refused(merge(repository, colleague, "feature"), 403, "own_branch")
    refused(merge(repository, maintainer, "feature"), 403, "own_branch")


def test_a_push_that_was_replaced_still_counts(
    repository: SomeRepository, maintainer: str, colleague: str
) -> None:
    push_branch(repository, "ann", maintainer, "feature")
    clone = repository.clone("bob", colleague)
    clone.commit("b.txt", "b")
    assert clone.push("HEAD:feature", force=True).returncode == 0
    refused(merge(repository, maintainer, "feature"), 403, "own_branch")


def test_a_deleted_branch_begins_anew(
    repository: SomeRepository, maintainer: str, colleague: str
) -> None:
    push_branch(repository, "ann", maintainer, "feature")
    clone = repository.clone("bob", colleague)
    assert clone.push(":feature").returncode == 0
    clone.commit("b.txt", "b")
    assert clone.push("HEAD:feature").returncode == 0
    assert merge(repository, maintainer, "feature").json()["authoredBy"] == ["bob"]


def test_a_refused_deletion_clears_nobody(repository: SomeRepository, maintainer: str) -> None:
    clone = repository.clone("ann", maintainer)
    clone.commit("a.txt", "a")
    assert clone.push("HEAD:feature").returncode == 0
    repository.forge.protect(repository.owner, repository.name)
    assert clone.push(":feature", "HEAD:main").returncode != 0
    refused(merge(repository, maintainer, "feature"), 403, "own_branch")


def test_after_a_merge_the_branch_counts_from_there(
    repository: SomeRepository, maintainer: str, colleague: str
) -> None:
    push_branch(repository, "ann", maintainer, "feature")
    merge(repository, colleague, "feature").raise_for_status()
    refused(merge(repository, colleague, "feature"), 409, "nothing_to_merge")
    clone = repository.clone("bob", colleague)
    clone.commit("b.txt", "b")
    assert clone.push("HEAD:feature").returncode == 0
    assert merge(repository, maintainer, "feature").json()["authoredBy"] == ["bob"]


def test_a_conflict_names_the_files_and_changes_nothing(
    repository: SomeRepository, maintainer: str, colleague: str
) -> None:
    push_branch(repository, "ann", maintainer, "feature", "same.txt")
    repository.bot.commit("same.txt", "by bot\n")
    assert repository.bot.push("HEAD:main").returncode == 0
    head = repository.head()
    problem = refused(merge(repository, colleague, "feature"), 409, "merge_conflict")
    assert problem["files"] == ["same.txt"]
    assert repository.head() == head


def test_unrelated_histories_are_refused(
    repository: SomeRepository, maintainer: str, colleague: str
) -> None:
    clone = repository.clone("ann", maintainer)
    clone.git("checkout", "-q", "--orphan", "other")
    clone.commit("a.txt", "a")
    assert clone.push("HEAD:other").returncode == 0
    refused(merge(repository, colleague, "other"), 409, "unrelated_histories")


def test_two_merges_at_once_both_arrive(
    repository: SomeRepository, maintainer: str, colleague: str
) -> None:
    for number in range(2):
        push_branch(repository, "ann", maintainer, f"feature-{number}", f"{number}.txt")
    with ThreadPoolExecutor(2) as pool:
        branches = ["feature-0", "feature-1"]
        answers = list(pool.map(lambda branch: merge(repository, colleague, branch), branches))
    assert [answer.status_code for answer in answers] == [200, 200]
    repository.bot.git("pull", "-q", "origin", "main")
    assert {"0.txt", "1.txt"} <= {path.name for path in repository.bot.path.iterdir()}


@pytest.mark.parametrize(
    ("who", "status", "code"),
    [
        ("viewer", 403, "merge_not_allowed"),
        ("admin", 403, "merge_not_allowed"),
        ("stranger", 404, "no_such_repository"),
    ],
)
def test_only_maintainers_merge(
    repository: SomeRepository,
    maintainer: str,
    who: str,
    status: int,
    code: str,
    request: pytest.FixtureRequest,
) -> None:
    push_branch(repository, "ann", maintainer, "feature")
    refused(merge(repository, request.getfixturevalue(who), "feature"), status, code)


def test_the_platform_itself_does_not_merge(repository: SomeRepository) -> None:
    for token in (repository.forge.bot_token, repository.forge.agent_token):
        refused(merge(repository, token, "main"), 403, "merge_not_allowed")


def test_what_is_not_there_is_not_merged(repository: SomeRepository, colleague: str) -> None:
    refused(merge(repository, colleague, "nothing"), 404, "no_such_branch")
    refused(merge(repository, colleague, "main"), 409, "nothing_to_merge")
    refused(merge(repository, colleague, "../../escape"), 422, "invalid_input")
