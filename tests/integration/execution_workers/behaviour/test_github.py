"""What is GitHub's own: an App's tokens, protections, teams, conditional reads, its clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from idp_kernel.errors import ProviderRejected
from idp_kernel.ids import new_id
from idp_kernel.wire.worker import EffectKind
from tests.fixtures.vendors.github import APP_SLUG, OWNER, GitHubServer, pushers_of
from tests.integration.execution_workers.behaviour.forges import (
    BINDINGS,
    INSTALLATION,
    PROTECTION,
    REPOSITORY,
    Bench,
    Thing,
    attempt,
    github_bench,
)


class ClockThatIsWrong:
    """Fast or slow by so much."""

    def __init__(self, by: timedelta) -> None:
        self._by = by

    def now(self) -> datetime:
        return datetime.now(UTC) + self._by


@pytest.fixture
def server(github: Bench) -> GitHubServer:
    return server_of(github)


def server_of(bench: Bench) -> GitHubServer:
    assert isinstance(bench.server, GitHubServer)
    return bench.server


@pytest.fixture
def with_token(folder: Path) -> Iterator[Bench]:
    with github_bench(folder / new_id(), is_app=False) as bench:
        yield bench


def made(bench: Bench, thing: Thing) -> str:
    request = new_id()
    REPOSITORY.make(bench.forge, thing).do(attempt(request))
    return request


def protection_of(server: GitHubServer, thing: Thing) -> dict[str, Any]:
    return server.repositories[thing.team, thing.repository.name].protections["main"]


def test_each_attempt_has_a_token_of_its_own(
    github: Bench, server: GitHubServer, thing: Thing
) -> None:
    before = server.minted
    for _ in range(3):
        REPOSITORY.make(github.forge, thing).do(attempt())
    assert server.minted == before + 3


def test_looks_share_a_token_until_it_is_soon_over(
    github: Bench, server: GitHubServer, thing: Thing
) -> None:
    made(github, thing)
    github.forge.standing(thing.repository)
    before = server.minted
    for _ in range(3):
        github.forge.standing(thing.repository)
    assert server.minted == before


def test_what_has_not_changed_is_not_told_again(
    github: Bench, server: GitHubServer, thing: Thing
) -> None:
    made(github, thing)
    PROTECTION.make(github.forge, thing).do(attempt())
    first = github.forge.standing(thing.repository)
    before, asked = server.unchanged, len(server.recorded)
    assert github.forge.standing(thing.repository) == first
    reads = [each for each in server.recorded[asked:] if each.path.startswith("/api/v3/repos/")]
    assert len(reads) >= 2
    assert server.unchanged - before == len(reads)
    protection_of(server, thing)["allow_force_pushes"]["enabled"] = True
    changed = github.forge.standing(thing.repository)
    assert changed is not None
    assert changed.weaknesses == ("pushes may be forced",)


def test_the_app_is_who_pushes_past_the_protection(
    github: Bench, server: GitHubServer, thing: Thing
) -> None:
    made(github, thing)
    PROTECTION.make(github.forge, thing).do(attempt())
    assert pushers_of(protection_of(server, thing)) == [APP_SLUG]
    assert BINDINGS.make(github.forge, thing).do(attempt()).created
    server.git.protect(thing.team, thing.repository.name, "main", ["eve"])
    with pytest.raises(ProviderRejected) as refused:
        github.forge.moved_binding(thing.move).do(attempt())
    assert refused.value.code == "forge_rejected"


def test_the_owner_of_a_token_does_the_same(with_token: Bench, thing: Thing) -> None:
    request = made(with_token, thing)
    PROTECTION.make(with_token.forge, thing).do(attempt())
    server = server_of(with_token)
    assert pushers_of(protection_of(server, thing)) == [OWNER]
    assert BINDINGS.make(with_token.forge, thing).do(attempt()).created
    assert server.minted == 0
    assert {each.granted for each in with_token.forge.permissions()} == {None}
    assert REPOSITORY.make(with_token.forge, thing).undo(attempt(request)).effect is (
        EffectKind.UNDONE
    )


def test_a_permission_that_the_app_lacks_is_told(folder: Path) -> None:
    with github_bench(folder / new_id()) as bench:
        assert {each.granted for each in bench.forge.permissions()} == {True}
    with github_bench(folder / new_id()) as bench:
        server_of(bench).app_permissions.update(administration="read")
        (lacking,) = [each for each in bench.forge.permissions() if not each.granted]
    assert lacking.how_to_grant == (
        f"Give {APP_SLUG} write access to administration, and accept that in the organisation."
    )


@pytest.mark.parametrize("minutes", [-20, 5, 20])
def test_a_clock_that_is_wrong_is_told_as_such(folder: Path, thing: Thing, minutes: int) -> None:
    clock = ClockThatIsWrong(timedelta(minutes=minutes))
    with (
        github_bench(folder / new_id(), clock=clock) as bench,
        pytest.raises(ProviderRejected, match="Set the clock") as refused,
    ):
        made(bench, thing)
    assert refused.value.code == "github_clock"


@pytest.mark.parametrize("seconds", [-300, -40, 40])
def test_a_clock_that_is_a_little_wrong_does_no_harm(
    folder: Path, thing: Thing, seconds: int
) -> None:
    clock = ClockThatIsWrong(timedelta(seconds=seconds))
    with github_bench(folder / new_id(), clock=clock) as bench:
        assert made(bench, thing)


def test_a_file_that_holds_no_key_is_told_without_its_content(folder: Path, thing: Thing) -> None:
    place = folder / new_id()
    with github_bench(place) as bench:
        (place / "app.pem").write_text("not-a-key-but-private")
        with pytest.raises(ProviderRejected) as refused:
            made(bench, thing)
    assert refused.value.code == "credential_unreadable"
    assert "not-a-key" not in str(refused.value)


def test_one_organisation_for_all_teams(folder: Path, thing: Thing) -> None:
    with github_bench(folder / new_id(), organisation="company") as bench:
        server = server_of(bench)
        found = REPOSITORY.make(bench.forge, thing).do(attempt())
        assert found.references["owner"] == "company"
        repository = server.repositories["company", thing.repository.name]
        assert (repository.private, repository.teams) == (True, {thing.team: "push"})
        assert repository.default_branch == "main"
        owners = server.git.file("company", thing.repository.name, "CODEOWNERS")
        assert f"* @company/{thing.team}\n" in owners


def test_a_team_that_may_more_keeps_that(github: Bench, server: GitHubServer, thing: Thing) -> None:
    made(github, thing)
    teams = server.repositories[thing.team, thing.repository.name].teams
    teams[thing.team] = "maintain"
    made(github, thing)
    assert teams == {thing.team: "maintain"}
    teams[thing.team] = "pull"
    made(github, thing)
    assert teams == {thing.team: "push"}


def test_a_team_that_is_not_there_is_named_and_the_repeat_goes_on(
    folder: Path, thing: Thing
) -> None:
    with github_bench(folder / new_id()) as bench:
        server = server_of(bench)
        server.teams = {thing.team: set()}
        with pytest.raises(ProviderRejected, match="in it the team that is named") as refused:
            made(bench, thing)
        assert refused.value.code == "github_missing"
        server.teams[thing.team].add(thing.team)
        REPOSITORY.make(bench.forge, thing).do(attempt())
        assert server.done.count(f"create {thing.team}/{thing.repository.name}") == 1


def test_an_administrator_hands_a_repository_over(
    github: Bench, server: GitHubServer, thing: Thing
) -> None:
    github.people.make_repository(thing.repository)
    github.people.merge_file(thing.repository, "src/main.py", "print()\n")
    mark = f"[idp:{INSTALLATION}/{thing.repository_id}]"
    with pytest.raises(ProviderRejected) as refused:
        made(github, thing)
    assert f"put {mark} into its description" in refused.value.message
    server.repositories[thing.team, thing.repository.name].description = f"Old shop {mark}"
    request = new_id()
    adopted = REPOSITORY.make(github.forge, thing).do(attempt(request))
    assert (adopted.created, adopted.created_by) == (False, "")
    assert REPOSITORY.make(github.forge, thing).undo(attempt(request)).effect is EffectKind.KEPT


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("enforce_admins", "enabled"), False, "administrators are exempt"),
        (("allow_force_pushes", "enabled"), True, "pushes may be forced"),
        (("allow_deletions", "enabled"), True, "the branch may be deleted"),
        (
            ("required_conversation_resolution", "enabled"),
            False,
            "conversations need no answer",
        ),
        (
            ("required_pull_request_reviews", "dismiss_stale_reviews"),
            False,
            "an approval outlives a later change",
        ),
        (
            ("required_pull_request_reviews", "require_code_owner_reviews"),
            False,
            "nobody waits for the code owners",
        ),
        (
            ("required_pull_request_reviews", "bypass_pull_request_allowances"),
            {"users": [], "teams": [], "apps": [{"slug": APP_SLUG}, {"slug": "eve"}]},
            "eve may push",
        ),
    ],
    ids=lambda found: ".".join(found) if isinstance(found, tuple) else "",
)
def test_a_protection_that_was_weakened_is_told_and_mended(
    github: Bench,
    server: GitHubServer,
    thing: Thing,
    place: tuple[str, str],
    value: object,
    words: str,
) -> None:
    made(github, thing)
    PROTECTION.make(github.forge, thing).do(attempt())
    protection_of(server, thing)[place[0]][place[1]] = value
    weak = github.forge.standing(thing.repository)
    assert weak is not None
    assert weak.weaknesses == (words,)
    PROTECTION.make(github.forge, thing).do(attempt())
    mended = github.forge.standing(thing.repository)
    assert mended is not None
    assert mended.weaknesses == ()


def test_the_checks_and_the_history_that_a_team_asks_for_stay(
    github: Bench, server: GitHubServer, thing: Thing
) -> None:
    made(github, thing)
    PROTECTION.make(github.forge, thing).do(attempt())
    checks = {"strict": True, "checks": [{"context": "build", "app_id": 5}, {"context": "lint"}]}
    protection_of(server, thing).update(
        required_status_checks=checks,
        required_linear_history={"enabled": True},
        allow_deletions={"enabled": True},
    )
    PROTECTION.make(github.forge, thing).do(attempt())
    mended = protection_of(server, thing)
    assert mended["required_status_checks"]["checks"] == checks["checks"]
    assert mended["required_linear_history"] == {"enabled": True}
    assert mended["allow_deletions"] == {"enabled": False}


def test_a_token_is_minted_before_the_call_that_needs_it(folder: Path, thing: Thing) -> None:
    """A call within another would wait for the place that the other has."""
    with github_bench(folder / new_id(), concurrency=1) as bench:
        made(bench, thing)
        PROTECTION.make(bench.forge, thing).do(attempt())
        BINDINGS.make(bench.forge, thing).do(attempt())
        assert bench.forge.pins(thing.repository, [thing.binding()])[thing.binding_id].version == 1
