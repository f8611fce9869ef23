"""GitHub's rulesets in the place of protections of branches."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from execution_workers.providers.github.settings import GitHubProtectionChoice
from idp_kernel.errors import PlatformError, ProviderRejected
from idp_kernel.ids import new_id
from idp_kernel.wire.worker import EffectKind
from tests.fixtures.vendors.github import APP_ID, APP_SLUG, OWNER_ID, GitHubServer
from tests.fixtures.vendors.stand_in import Fault
from tests.integration.execution_workers.behaviour.forges import (
    BINDINGS,
    PROTECTION,
    REPOSITORY,
    Bench,
    Thing,
    attempt,
    github_bench,
)


@pytest.fixture(scope="module")
def bench(folder: Path) -> Iterator[Bench]:
    choice = GitHubProtectionChoice.RULESET
    with github_bench(folder / new_id(), protection=choice) as bench:
        yield bench


@pytest.fixture
def server(bench: Bench) -> GitHubServer:
    assert isinstance(bench.server, GitHubServer)
    return bench.server


def rulesets_of(server: GitHubServer, thing: Thing) -> dict[int, dict[str, Any]]:
    return server.repositories[thing.team, thing.repository.name].rulesets


def guarded(bench: Bench, thing: Thing) -> str:
    """The request that protected it."""
    REPOSITORY.make(bench.forge, thing).do(attempt())
    request = new_id()
    PROTECTION.make(bench.forge, thing).do(attempt(request))
    return request


def test_the_platform_alone_gets_past_a_ruleset(
    bench: Bench, server: GitHubServer, thing: Thing
) -> None:
    request = guarded(bench, thing)
    (ruleset,) = rulesets_of(server, thing).values()
    assert ruleset["name"] == f"main [idp-protection:{request}]"
    actor = {"actor_id": APP_ID, "actor_type": "Integration", "bypass_mode": "always"}
    assert ruleset["bypass_actors"] == [actor]
    assert ruleset["conditions"]["ref_name"]["include"] == ["refs/heads/main"]
    assert BINDINGS.make(bench.forge, thing).do(attempt()).created
    server.git.protect(thing.team, thing.repository.name, "main", ["eve"])
    with pytest.raises(ProviderRejected):
        bench.forge.moved_binding(thing.move).do(attempt())
    server.git.protect(thing.team, thing.repository.name, "main", [APP_SLUG])
    assert "[idp-protection:" not in bench.vendors_people.description(thing.repository)


def test_a_tokens_owner_is_let_past_as_a_user(folder: Path, thing: Thing) -> None:
    choice = GitHubProtectionChoice.RULESET
    with github_bench(folder / new_id(), is_app=False, protection=choice) as bench:
        guarded(bench, thing)
        assert isinstance(bench.server, GitHubServer)
        (ruleset,) = rulesets_of(bench.server, thing).values()
        (actor,) = ruleset["bypass_actors"]
        assert (actor["actor_type"], actor["actor_id"]) == ("User", OWNER_ID)
        assert BINDINGS.make(bench.forge, thing).do(attempt()).created


def test_a_ruleset_is_repeated_adopted_and_undone(
    bench: Bench, server: GitHubServer, thing: Thing
) -> None:
    request, later = guarded(bench, thing), new_id()
    action = PROTECTION.make(bench.forge, thing)
    for again in (request, later):
        found = action.do(attempt(again))
        assert (found.created, found.created_by) == (False, request)
    assert action.undo(attempt(later)).effect is EffectKind.KEPT
    assert len(rulesets_of(server, thing)) == 1
    assert action.undo(attempt(request)).effect is EffectKind.UNDONE
    assert rulesets_of(server, thing) == {}
    assert action.undo(attempt(request)).effect is EffectKind.ABSENT
    assert action.do(attempt()).created


def test_rulesets_of_others_are_left_alone(
    bench: Bench, server: GitHubServer, thing: Thing
) -> None:
    REPOSITORY.make(bench.forge, thing).do(attempt())
    theirs = {"name": "ours", "target": "branch", "enforcement": "active"}
    rulesets_of(server, thing).update(
        {number: {**theirs, "name": f"r{number}"} for number in range(1, 101)}
    )
    request = new_id()
    action = PROTECTION.make(bench.forge, thing)
    assert action.do(attempt(request)).created
    assert not action.do(attempt(request)).created, "found on the second page"
    assert action.undo(attempt(request)).effect is EffectKind.UNDONE
    assert len(rulesets_of(server, thing)) == 100


def _without(kind: str) -> Any:
    return lambda ruleset: ruleset.update(
        rules=[each for each in ruleset["rules"] if each["type"] != kind]
    )


def _reviews(**changed: object) -> Any:
    def change(ruleset: dict[str, Any]) -> None:
        (found,) = (each for each in ruleset["rules"] if each["type"] == "pull_request")
        found["parameters"] = {**found["parameters"], **changed}

    return change


EVE = {"actor_id": 9, "actor_type": "Team", "bypass_mode": "always"}


@pytest.mark.parametrize(
    ("weaken", "words"),
    [
        (lambda ruleset: ruleset.update(enforcement="disabled"), "the ruleset is disabled"),
        (
            lambda ruleset: ruleset.update(
                conditions={"ref_name": {"include": ["refs/heads/x"], "exclude": []}}
            ),
            "the ruleset is not for main",
        ),
        (_without("deletion"), "the branch may be deleted"),
        (_without("non_fast_forward"), "pushes may be forced"),
        (_without("pull_request"), "everybody who may write may push"),
        (_reviews(dismiss_stale_reviews_on_push=False), "an approval outlives a later change"),
        (_reviews(require_code_owner_review=False), "nobody waits for the code owners"),
        (_reviews(required_review_thread_resolution=False), "conversations need no answer"),
        (
            lambda ruleset: ruleset["bypass_actors"].append(EVE),
            "Team 9 (always) may push",
        ),
        (
            lambda ruleset: ruleset.update(bypass_actors=[]),
            f"the platform may not push as Integration {APP_ID} (always)",
        ),
    ],
    ids=lambda found: found if isinstance(found, str) else "",
)
def test_a_ruleset_that_was_weakened_is_told_and_mended(
    bench: Bench, server: GitHubServer, thing: Thing, weaken: Any, words: str
) -> None:
    request = guarded(bench, thing)
    (ruleset,) = rulesets_of(server, thing).values()
    theirs = {"type": "required_linear_history"}
    ruleset["rules"].append(theirs)
    weaken(ruleset)
    weak = bench.forge.standing(thing.repository)
    assert weak is not None
    assert weak.weaknesses == (words,)
    assert PROTECTION.make(bench.forge, thing).do(attempt()).created_by == request
    mended = bench.forge.standing(thing.repository)
    assert mended is not None
    assert mended.weaknesses == ()
    (ruleset,) = rulesets_of(server, thing).values()
    assert theirs in ruleset["rules"], "what the team has added stays"


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_at_any_call_makes_no_second_ruleset(
    bench: Bench, server: GitHubServer, fault: Fault
) -> None:
    for method in ("GET", "POST"):
        thing, request = Thing(), new_id()
        REPOSITORY.make(bench.forge, thing).do(attempt())
        server.plan(fault, method, "/rulesets")
        try:
            PROTECTION.make(bench.forge, thing).do(attempt(request))
        except PlatformError as error:
            assert error.message.startswith("github did not ")  # noqa: PT017 - it may succeed
        assert server.planned == [], "the fault was met"
        made = PROTECTION.make(bench.forge, thing).do(attempt(request))
        assert made.created_by == request
        assert len(rulesets_of(server, thing)) == 1
