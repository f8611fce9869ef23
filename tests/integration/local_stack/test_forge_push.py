"""What a push to the forge may do, seen with a real git client."""

from __future__ import annotations

import pytest

from tests.integration.local_stack.conftest import SomeRepository


def test_a_maintainer_pushes_fetches_and_forces_a_branch(
    repository: SomeRepository, maintainer: str
) -> None:
    clone = repository.clone("ann", maintainer)
    assert clone.revision("origin/main") == repository.seed
    clone.commit("a.txt", "a")
    assert clone.push("HEAD:feature").returncode == 0
    clone.git("reset", "-q", "--hard", repository.seed)
    changed = clone.commit("a.txt", "b")
    assert "non-fast-forward" in clone.push("HEAD:feature").stderr
    assert clone.push("HEAD:feature", force=True).returncode == 0
    repository.bot.git("fetch", "-q", "origin")
    assert repository.bot.revision("origin/feature") == changed
    assert clone.push(":feature").returncode == 0


def test_tags_are_pushed(repository: SomeRepository, maintainer: str) -> None:
    clone = repository.clone("ann", maintainer)
    clone.git("tag", "v1")
    assert clone.push("v1").returncode == 0


def test_a_big_push_arrives_whole(repository: SomeRepository, maintainer: str) -> None:
    clone = repository.clone("ann", maintainer)
    content = "".join(f"{number:09d} some line that compresses badly\n" for number in range(60000))
    revision = clone.commit("big.txt", content)
    pushed = clone.git("-c", "http.postBuffer=65536", "push", "origin", "HEAD:big", check=False)
    assert pushed.returncode == 0, pushed.stderr
    repository.bot.git("fetch", "-q", "origin")
    assert repository.bot.revision("origin/big") == revision


@pytest.mark.parametrize("protocol", ["0", "2"])
def test_both_fetch_protocols_work(
    repository: SomeRepository, maintainer: str, protocol: str
) -> None:
    clone = repository.clone("ann", maintainer)
    newer = repository.bot.commit("b.txt", "b")
    assert repository.bot.push("HEAD:main").returncode == 0
    clone.git("-c", f"protocol.version={protocol}", "fetch", "-q", "origin")
    assert clone.revision("origin/main") == newer


class TestProtectedBranch:
    @pytest.fixture(autouse=True)
    def _protect(self, repository: SomeRepository) -> None:
        repository.forge.protect(repository.owner, repository.name)

    @pytest.mark.parametrize("who", ["maintainer", "admin"])
    def test_people_do_not_push_to_it(
        self, repository: SomeRepository, who: str, request: pytest.FixtureRequest
    ) -> None:
        clone = repository.clone(who, request.getfixturevalue(who))
        clone.commit("a.txt", "a")
        pushed = clone.push("HEAD:main")
        assert pushed.returncode != 0
        assert "remote: The branch main is protected" in pushed.stderr
        assert "idp repository merge" in pushed.stderr
        assert repository.head() == repository.seed

    def test_people_do_not_force_or_delete_it(
        self, repository: SomeRepository, maintainer: str
    ) -> None:
        clone = repository.clone("ann", maintainer)
        clone.git("checkout", "-q", "--orphan", "other")
        clone.commit("a.txt", "a")
        assert clone.push("HEAD:main", force=True).returncode != 0
        assert "cannot be deleted" in clone.push(":main").stderr
        assert repository.head() == repository.seed

    def test_one_refused_branch_stops_the_whole_push(
        self, repository: SomeRepository, maintainer: str
    ) -> None:
        clone = repository.clone("ann", maintainer)
        clone.commit("a.txt", "a")
        assert clone.push("HEAD:main", "HEAD:feature").returncode != 0
        repository.bot.git("fetch", "-q", "origin")
        assert "feature" not in repository.bot.git("branch", "-r").stdout

    def test_other_branches_stay_free(self, repository: SomeRepository, maintainer: str) -> None:
        clone = repository.clone("ann", maintainer)
        clone.commit("a.txt", "a")
        assert clone.push("HEAD:feature").returncode == 0

    def test_the_bot_moves_it_forward_only(self, repository: SomeRepository) -> None:
        newer = repository.bot.commit("b.txt", "b")
        assert repository.bot.push("HEAD:main").returncode == 0
        repository.bot.git("reset", "-q", "--hard", repository.seed)
        repository.bot.commit("b.txt", "c")
        assert "only moves forward" in repository.bot.push("HEAD:main", force=True).stderr
        assert "cannot be deleted" in repository.bot.push(":main").stderr
        assert repository.head() == newer


def test_refs_outside_branches_and_tags_are_refused(
    repository: SomeRepository, maintainer: str
) -> None:
    clone = repository.clone("ann", maintainer)
    pushed = clone.push("HEAD:refs/notes/commits")
    assert "refs/notes/commits is refused" in pushed.stderr


@pytest.mark.parametrize(
    ("who", "message"), [("viewer", "team-maintainer"), ("stranger", "not found")]
)
def test_others_do_not_push(
    repository: SomeRepository, who: str, message: str, request: pytest.FixtureRequest
) -> None:
    token = request.getfixturevalue(who)
    remote = repository.url.replace("://", f"://{who}:{token}@")
    repository.bot.git("remote", "set-url", "--push", "origin", remote)
    repository.bot.commit("b.txt", "b")
    pushed = repository.bot.push("HEAD:feature")
    assert pushed.returncode != 0
    assert message in pushed.stderr


def test_a_viewer_and_an_admin_fetch(repository: SomeRepository, viewer: str, admin: str) -> None:
    assert repository.clone("vic", viewer).revision("origin/main") == repository.seed
    assert repository.clone("root", admin).revision("origin/main") == repository.seed


def test_the_agent_only_reads(repository: SomeRepository) -> None:
    clone = repository.clone("agent", repository.forge.agent_token)
    clone.commit("a.txt", "a")
    assert clone.push("HEAD:feature").returncode != 0


def test_a_stranger_cannot_tell_a_foreign_repository_from_none(
    repository: SomeRepository, stranger: str
) -> None:
    headers = {"User-Agent": "git/2.39"}
    answers = [
        repository.forge.call(
            "GET",
            f"/payments/{name}.git/info/refs?service=git-upload-pack",
            token=stranger,
            headers=headers,
        )
        for name in (repository.name, "nothing")
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    first, second = (answer.json() for answer in answers)
    assert first["detail"].replace(repository.name, "nothing") == second["detail"]
