"""What is Gitea's own: marks in descriptions, rules, teams, organisations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from execution_workers.checks import Checks
from execution_workers.ports import GitOpsAgent, SecretStore
from execution_workers.providers.forges.marks import read_description
from idp_kernel.clock import SystemClock
from idp_kernel.errors import ProviderRejected, Unavailable
from idp_kernel.ids import new_id
from idp_kernel.wire.worker import EffectKind, EnsureRepositories
from tests.fixtures.vendors.gitea import BOT, GiteaServer
from tests.fixtures.vendors.stand_in import Answer, Request
from tests.integration.execution_workers.behaviour.forges import (
    BINDINGS,
    INSTALLATION,
    PROTECTION,
    REPOSITORY,
    Bench,
    Thing,
    attempt,
    gitea_bench,
)


@pytest.fixture
def server(gitea: Bench) -> GiteaServer:
    assert isinstance(gitea.server, GiteaServer)
    return gitea.server


def description(server: GiteaServer, thing: Thing) -> str:
    return server.repositories[thing.team, thing.repository.name].description


def made(bench: Bench, thing: Thing, request_id: str | None = None) -> str:
    request = request_id or new_id()
    REPOSITORY.make(bench.forge, thing).do(attempt(request))
    return request


def rule_of(server: GiteaServer, thing: Thing) -> dict[str, Any]:
    return server.repositories[thing.team, thing.repository.name].rules["main"]


def test_the_description_says_whose_it_is_and_who_protected_it(
    gitea: Bench, server: GiteaServer, thing: Thing
) -> None:
    request, guard = made(gitea, thing), new_id()
    own = f"[idp:{INSTALLATION}/{thing.repository_id}/{request}]"
    assert description(server, thing) == f"The shop in dev {own}"
    PROTECTION.make(gitea.forge, thing).do(attempt(guard))
    assert description(server, thing) == f"The shop in dev {own} [idp-protection:{guard}]"
    PROTECTION.make(gitea.forge, thing).undo(attempt(guard))
    assert description(server, thing) == f"The shop in dev {own}"


def test_a_repository_is_private_and_the_teams(
    gitea: Bench, server: GiteaServer, thing: Thing
) -> None:
    made(gitea, thing)
    repository = server.repositories[thing.team, thing.repository.name]
    assert repository.private
    assert repository.teams == {thing.team}


def test_what_a_person_writes_into_the_description_stays(
    gitea: Bench, server: GiteaServer, thing: Thing
) -> None:
    request = made(gitea, thing)
    repository = server.repositories[thing.team, thing.repository.name]
    repository.description = f"Ours now. {repository.description}"
    guard = new_id()
    PROTECTION.make(gitea.forge, thing).do(attempt(guard))
    assert description(server, thing).startswith("Ours now. The shop in dev [idp:")
    assert read_description(description(server, thing)).marker.request_id == request


def test_an_administrator_hands_a_repository_over(
    gitea: Bench, server: GiteaServer, thing: Thing
) -> None:
    gitea.people.make_repository(thing.repository)
    gitea.people.merge_file(thing.repository, "src/main.py", "print()\n")
    with pytest.raises(ProviderRejected) as refused:
        made(gitea, thing)
    mark = f"[idp:{INSTALLATION}/{thing.repository_id}]"
    assert f"put {mark} into its description" in refused.value.message
    server.repositories[thing.team, thing.repository.name].description = f"Old shop {mark}"
    request = new_id()
    adopted = REPOSITORY.make(gitea.forge, thing).do(attempt(request))
    assert (adopted.created, adopted.created_by) == (False, "")
    PROTECTION.make(gitea.forge, thing).do(attempt(request))
    BINDINGS.make(gitea.forge, thing).do(attempt(request))
    assert REPOSITORY.make(gitea.forge, thing).undo(attempt(request)).effect is EffectKind.KEPT
    assert len(gitea.people.revisions(thing.repository, "src/main.py")) == 1


@pytest.fixture
def checks(gitea: Bench) -> Iterator[Checks]:
    agent, store = cast("GitOpsAgent", object()), cast("SecretStore", object())
    found = Checks(gitea.forge, store, {}, agent, SystemClock(), installation_id=INSTALLATION)
    yield found
    found.close()


def test_the_validation_says_how_a_repository_is_handed_over(
    gitea: Bench, checks: Checks, thing: Thing
) -> None:
    gitea.people.make_repository(thing.repository)
    wanted = EnsureRepositories(subject=thing.subject, repositories=(thing.repository,))
    (finding,) = checks.repositories_free(wanted).items
    assert not finding.passed
    assert f"put [idp:{INSTALLATION}/{thing.repository_id}] into" in finding.found


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"enable_push_whitelist": False}, "everybody who may write may push"),
        ({"push_whitelist_usernames": [BOT, "eve"]}, "eve may push"),
        ({"push_whitelist_teams": ["devs"]}, "teams may push"),
        ({"push_whitelist_deploy_keys": True}, "deploy keys may push"),
        ({"enable_force_push": True}, "pushes may be forced"),
        ({"block_on_rejected_reviews": False}, "a rejected change may be merged"),
        ({"block_on_official_review_requests": False}, "nobody waits for the code owners"),
        ({"block_on_outdated_branch": False}, "an outdated branch may be merged"),
        ({"dismiss_stale_approvals": False}, "an approval outlives a later change"),
        ({"apply_to_admins": False}, "administrators are exempt"),
        ({"unprotected_file_patterns": "*.md"}, "some files need no review"),
    ],
    ids=lambda found: "" if isinstance(found, str) else next(iter(found)),
)
def test_a_rule_that_was_weakened_is_told_and_mended(
    gitea: Bench, server: GiteaServer, thing: Thing, changed: dict[str, Any], words: str
) -> None:
    made(gitea, thing)
    PROTECTION.make(gitea.forge, thing).do(attempt())
    rule_of(server, thing).update(changed)
    standing = gitea.forge.standing(thing.repository)
    assert standing is not None
    assert standing.weaknesses == (words,)
    PROTECTION.make(gitea.forge, thing).do(attempt())
    standing = gitea.forge.standing(thing.repository)
    assert standing is not None
    assert standing.weaknesses == ()


def test_checks_of_a_team_are_left_to_it(gitea: Bench, server: GiteaServer, thing: Thing) -> None:
    made(gitea, thing)
    PROTECTION.make(gitea.forge, thing).do(attempt())
    rule_of(server, thing).update(enable_status_check=True, enable_push_whitelist=False)
    PROTECTION.make(gitea.forge, thing).do(attempt())
    assert rule_of(server, thing)["enable_status_check"]


def test_a_repository_that_was_renamed_is_not_made_anew(
    gitea: Bench, server: GiteaServer, thing: Thing, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Answer(307, headers={"Location": "/api/v1/repos/elsewhere/renamed"})
    monkeypatch.setattr(server, "_read", lambda *_, **__: moved)
    with pytest.raises(ProviderRejected, match="Rename or transfer the repository back") as refused:
        made(gitea, thing)
    assert refused.value.code == "gitea_moved"


def test_not_found_by_something_else_is_no_answer(
    gitea: Bench, server: GiteaServer, thing: Thing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def page(_request: Request, **_: str) -> Answer:
        return Answer(404, content=b"<html>No such site</html>")

    monkeypatch.setattr(server, "_read", page)
    with pytest.raises(Unavailable) as unreadable:
        made(gitea, thing)
    assert unreadable.value.code == "gitea_unreadable"


def test_a_rule_that_somebody_makes_meanwhile_is_looked_for_again(
    gitea: Bench, server: GiteaServer, thing: Thing, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = made(gitea, thing)
    exists = Answer(403, {"message": "Branch protection already exist"})
    with monkeypatch.context() as patched:
        patched.setattr(server, "_add_rule", lambda *_, **__: exists)
        with pytest.raises(Unavailable) as contended:
            PROTECTION.make(gitea.forge, thing).do(attempt(request))
    assert contended.value.code == "gitea_contended"


def test_an_organisation_or_a_team_that_is_not_there_is_named(folder: Path, thing: Thing) -> None:
    with gitea_bench(folder / "closed", organisation="company") as bench:
        server = bench.server
        assert isinstance(server, GiteaServer)
        server.organisations = {}
        with pytest.raises(ProviderRejected, match="Create the organisation"):
            made(bench, thing)
        lacking = {each.name: each.granted for each in bench.forge.permissions()}
        assert set(lacking.values()) == {False}


def test_one_organisation_for_all_teams(folder: Path, thing: Thing) -> None:
    with gitea_bench(folder / "company", organisation="company") as bench:
        server = bench.server
        assert isinstance(server, GiteaServer)
        server.organisations["company"].teams.add(thing.team)
        found = REPOSITORY.make(bench.forge, thing).do(attempt())
        assert found.references["owner"] == "company"
        assert server.repositories["company", thing.repository.name].teams == {thing.team}
        owners = server.git.file("company", thing.repository.name, "CODEOWNERS")
        assert f".* @company/{thing.team}\n" in owners
        assert {each.granted for each in bench.forge.permissions()} == {True}


def test_the_platforms_push_gets_past_the_rule_and_nobody_elses(
    gitea: Bench, server: GiteaServer, thing: Thing
) -> None:
    made(gitea, thing)
    PROTECTION.make(gitea.forge, thing).do(attempt())
    server.git.protect(thing.team, thing.repository.name, "main", ["eve"])
    with pytest.raises(ProviderRejected) as refused:
        BINDINGS.make(gitea.forge, thing).do(attempt())
    assert refused.value.code == "forge_rejected"
    server.git.protect(thing.team, thing.repository.name, "main", [BOT])
    assert BINDINGS.make(gitea.forge, thing).do(attempt()).created
