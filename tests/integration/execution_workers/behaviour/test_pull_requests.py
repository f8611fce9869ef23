"""Where nobody pushes past a protection: the platform's commits come by pull requests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from execution_workers.calls import Call
from execution_workers.effects import Effects
from execution_workers.ledger.ledger import Ledger, new_engine
from execution_workers.ledger.migrate import migrate
from execution_workers.ports import Deed
from execution_workers.providers.forges.pull_requests import PullRequestRules
from execution_workers.providers.github.settings import GitHubProtectionChoice
from idp_kernel.clock import SystemClock
from idp_kernel.errors import PlatformError, ProviderRejected, Unavailable
from idp_kernel.ids import new_id
from idp_kernel.pull_requests import addresses_of
from idp_kernel.wire.worker import EffectKind
from idp_kernel.workflows import Step
from tests.fixtures.stack import PostgresServer
from tests.fixtures.vendors import RecordedCall
from tests.fixtures.vendors.stand_in import Fault
from tests.integration.execution_workers.behaviour.forges import (
    BINDINGS,
    INSTALLATION,
    MANIFEST,
    MOVED_BINDING,
    PROTECTION,
    REPOSITORY,
    Bench,
    Kind,
    Thing,
    attempt,
    gitea_bench,
    github_bench,
)
from tests.integration.execution_workers.behaviour.test_forge_faults import changes_something


class MovedClock:
    """The system's, later by so much."""

    def __init__(self) -> None:
        self.later = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.later


@pytest.fixture(scope="module")
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture(scope="module", params=["gitea", "github", "github with rulesets"])
def bench(request: pytest.FixtureRequest, folder: Path, clock: MovedClock) -> Iterator[Bench]:
    rules = PullRequestRules(clock, timedelta(days=7))
    place = folder / new_id()
    with ExitStack() as stack:
        if request.param == "gitea":
            yield stack.enter_context(gitea_bench(place, pull_requests=rules))
        else:
            of_rules = request.param.endswith("rulesets")
            choice = GitHubProtectionChoice.RULESET if of_rules else GitHubProtectionChoice.BRANCH
            bench = github_bench(place, protection=choice, pull_requests=rules)
            yield stack.enter_context(bench)


@pytest.fixture(autouse=True)
def _on_time(clock: MovedClock) -> None:
    clock.later = timedelta(0)


def guarded(bench: Bench, thing: Thing) -> None:
    """A repository whose protection lets nobody past."""
    for kind in (REPOSITORY, PROTECTION):
        kind.make(bench.forge, thing).do(attempt())
    standing = bench.forge.standing(thing.repository)
    assert standing is not None
    assert (standing.required_approvals, standing.weaknesses) == (1, ())


def proposed(bench: Bench, kind: Kind[Deed], thing: Thing, request: str) -> Unavailable:
    """What is told while the pull request is open."""
    with pytest.raises(Unavailable) as told:
        kind.make(bench.forge, thing).do(attempt(request))
    assert told.value.code == "pull_request_open"
    return told.value


@pytest.mark.parametrize("squashed", [False, True], ids=["merged", "squashed"])
def test_bindings_wait_for_their_pull_request_and_are_the_requests_own(
    bench: Bench,
    thing: Thing,
    squashed: bool,  # noqa: FBT001 - a parameter of pytest
) -> None:
    guarded(bench, thing)
    people, request = bench.vendors_people, new_id()
    for _ in range(3):
        told = proposed(bench, BINDINGS, thing, request)
        assert f"{bench.stand_in.url}/{thing.team}/" in told.message
        assert told.retry_after_seconds == 30
    (pull,) = people.pull_requests(thing.repository)
    assert pull.branch.endswith(f"{request}-1")
    assert request in pull.body, "whoever squashes keeps whose it is"
    assert people.revisions(thing.repository, MANIFEST) == []
    people.merge(thing.repository, squashed=squashed, removing=False)
    made, again = (BINDINGS.make(bench.forge, thing).do(attempt(request)) for _ in range(2))
    assert made.created_by == again.created_by == request
    assert made.references["revision"] == people.revisions(thing.repository)[0]
    assert made.event == again.event is not None
    assert len(people.pull_requests(thing.repository)) == 1
    assert not people.has_branch(thing.repository, pull.branch)


def test_a_rotation_moves_its_binding_so_too(bench: Bench, thing: Thing) -> None:
    guarded(bench, thing)
    people = bench.vendors_people
    for kind in (BINDINGS, MOVED_BINDING):
        request = new_id()
        proposed(bench, kind, thing, request)
        people.merge(thing.repository)
        assert kind.make(bench.forge, thing).do(attempt(request)).created_by == request
    assert bench.forge.pins(thing.repository, [thing.binding(2)])[thing.binding_id].version == 2


def test_one_that_was_brought_up_to_date_first_is_the_requests_own(
    bench: Bench, thing: Thing
) -> None:
    guarded(bench, thing)
    people, request = bench.vendors_people, new_id()
    proposed(bench, BINDINGS, thing, request)
    people.merge_file(thing.repository, "notes.md", "Of a person's own\n")
    people.update_branch(thing.repository)
    people.merge(thing.repository)
    assert BINDINGS.make(bench.forge, thing).do(attempt(request)).created_by == request


@pytest.mark.parametrize("bench", ["gitea", "github"], indirect=True)
def test_a_protection_that_lets_others_past_is_none_of_the_platforms(
    bench: Bench, thing: Thing
) -> None:
    guarded(bench, thing)
    people = bench.vendors_people
    people.unprotect(thing.repository)
    people.protect_from_all_but(thing.repository, "eve")
    with pytest.raises(ProviderRejected, match="lets nobody else push") as refused:
        PROTECTION.make(bench.forge, thing).do(attempt())
    assert refused.value.code == "foreign_owner"


def test_an_archived_repository_is_told_as_such(bench: Bench, thing: Thing) -> None:
    guarded(bench, thing)
    request = new_id()
    proposed(bench, BINDINGS, thing, request)
    bench.vendors_people.merge(thing.repository)
    BINDINGS.make(bench.forge, thing).do(attempt(request))
    bench.forge.archived(thing.subject, thing.repository).do(attempt())
    removal = bench.forge.removed_binding(thing.repository, thing.binding(), {})
    kinds = (kind.make(bench.forge, thing) for kind in (BINDINGS, PROTECTION, REPOSITORY))
    for deed in (removal, *kinds):
        with pytest.raises(ProviderRejected, match=r"Unarchive it there, then retry") as refused:
            deed.do(attempt())
        assert refused.value.code == "repository_archived"


def test_one_that_was_closed_waits_for_a_person(bench: Bench, thing: Thing) -> None:
    guarded(bench, thing)
    request = new_id()
    proposed(bench, BINDINGS, thing, request)
    (pull,) = bench.vendors_people.pull_requests(thing.repository)
    pull.state = "closed"
    with pytest.raises(ProviderRejected, match="Reopen it and have it merged") as refused:
        BINDINGS.make(bench.forge, thing).do(attempt(request))
    assert refused.value.code == "pull_request_not_merged"
    pull.state = "open"
    proposed(bench, BINDINGS, thing, request)


def test_one_is_looked_at_ever_more_rarely_and_not_for_ever(
    bench: Bench, thing: Thing, clock: MovedClock
) -> None:
    guarded(bench, thing)
    request = new_id()
    proposed(bench, BINDINGS, thing, request)
    looks = []
    for later in (timedelta(minutes=-5), timedelta(hours=1), timedelta(days=6)):
        clock.later = later
        looks.append(proposed(bench, BINDINGS, thing, request).retry_after_seconds)
    assert looks[0] == 30, "the forge's clock is fast"
    assert looks[1] == pytest.approx(360, abs=60)
    assert looks[2] == 900
    clock.later = timedelta(days=7, minutes=1)
    with pytest.raises(ProviderRejected, match=r"longer than it may\. Have it merged"):
        BINDINGS.make(bench.forge, thing).do(attempt(request))
    bench.vendors_people.merge(thing.repository)
    assert BINDINGS.make(bench.forge, thing).do(attempt(request)).created_by == request


def test_what_was_merged_and_taken_out_again_waits_for_a_person(bench: Bench, thing: Thing) -> None:
    guarded(bench, thing)
    people, request = bench.vendors_people, new_id()
    proposed(bench, BINDINGS, thing, request)
    people.merge(thing.repository)
    manifest = bench.forge.pins(thing.repository, [thing.binding()])[thing.binding_id]
    assert manifest.is_there
    people.remove_file(thing.repository, MANIFEST)
    with pytest.raises(ProviderRejected, match="Bring it back, then retry") as refused:
        BINDINGS.make(bench.forge, thing).do(attempt(request))
    assert refused.value.code == "pull_request_not_merged"


def test_an_undo_withdraws_what_nobody_has_merged(bench: Bench, thing: Thing) -> None:
    guarded(bench, thing)
    request = new_id()
    proposed(bench, BINDINGS, thing, request)
    undone = BINDINGS.make(bench.forge, thing).undo(attempt(request, 2))
    assert undone.effect is EffectKind.ABSENT
    (pull,) = bench.vendors_people.pull_requests(thing.repository)
    assert (pull.state, pull.merged_at) == ("closed", None)
    with pytest.raises(Unavailable, match=f"/{pull.number + 1} waits to be approved"):
        BINDINGS.make(bench.forge, thing).do(attempt(request, 2))


def test_a_branch_that_was_left_over_and_a_pull_request_elsewhere_are_none_of_its_own(
    bench: Bench, thing: Thing
) -> None:
    guarded(bench, thing)
    people, request = bench.vendors_people, new_id()
    proposed(bench, BINDINGS, thing, request)
    (pull,) = people.pull_requests(thing.repository)
    elsewhere = replace(pull, number=2, state="closed", base="release")
    people.pull_requests(thing.repository).insert(0, elsewhere)
    proposed(bench, BINDINGS, thing, request)
    pull.state = "closed"
    assert people.has_branch(thing.repository, pull.branch)
    BINDINGS.make(bench.forge, thing).undo(attempt(request))
    assert not people.has_branch(thing.repository, pull.branch)


def test_a_branch_in_the_way_is_named(bench: Bench, thing: Thing) -> None:
    guarded(bench, thing)
    bench.vendors_people.push_branch(thing.repository, "idp")
    with pytest.raises(ProviderRejected, match=r"branch idp/bindings/.* in the way") as refused:
        BINDINGS.make(bench.forge, thing).do(attempt())
    assert refused.value.code == "forge_rejected"


def test_an_undo_of_what_was_merged_comes_by_a_pull_request_as_well(
    bench: Bench, thing: Thing
) -> None:
    guarded(bench, thing)
    people, request = bench.vendors_people, new_id()
    proposed(bench, BINDINGS, thing, request)
    people.merge(thing.repository, squashed=True)
    BINDINGS.make(bench.forge, thing).do(attempt(request))
    undo = BINDINGS.make(bench.forge, thing)
    with pytest.raises(Unavailable) as told:
        undo.undo(attempt(request))
    assert told.value.code == "pull_request_open"
    people.merge(thing.repository)
    assert undo.undo(attempt(request)).effect is EffectKind.ABSENT
    pins = bench.forge.pins(thing.repository, [thing.binding()])
    assert not pins[thing.binding_id].is_there


def test_merges_keep_an_undo_from_the_rest_only_with_work_of_their_own(
    bench: Bench, thing: Thing
) -> None:
    creation, people = new_id(), bench.vendors_people
    for kind in (REPOSITORY, PROTECTION):
        kind.make(bench.forge, thing).do(attempt(creation))
    bound_and_undone(bench, thing, new_id())
    protection, repository = (each.make(bench.forge, thing) for each in (PROTECTION, REPOSITORY))
    people.amend_merge(thing.repository, "notes.md", "Of a person's own\n")
    assert protection.undo(attempt(creation)).effect is EffectKind.KEPT
    assert repository.undo(attempt(creation)).effect is EffectKind.KEPT
    people.amend_merge(thing.repository, "notes.md", None)
    assert protection.undo(attempt(creation)).effect is EffectKind.UNDONE
    assert repository.undo(attempt(creation)).effect is EffectKind.UNDONE
    assert not people.is_there(thing.repository)


def bound_and_undone(bench: Bench, thing: Thing, request: str) -> None:
    """Both by a merge commit of a person's."""
    people, bindings = bench.vendors_people, BINDINGS.make(bench.forge, thing)
    proposed(bench, BINDINGS, thing, request)
    people.merge(thing.repository)
    bindings.do(attempt(request))
    with pytest.raises(Unavailable):
        bindings.undo(attempt(request))
    people.merge(thing.repository)
    assert bindings.undo(attempt(request)).effect is EffectKind.ABSENT


@pytest.fixture
def effects(postgres_server: PostgresServer) -> Iterator[Effects]:
    """Over the real ledger."""
    url = postgres_server.create_database().url
    migrate(url)
    engine = new_engine(url, max_calls=2, item_wait_seconds=10)
    ledger = Ledger(engine, SystemClock(), max_calls=2)
    yield Effects(ledger, INSTALLATION, CollectorRegistry())
    engine.dispose()


def call_of(things: Sequence[Thing], step: Step) -> Call:
    """A first one of a new request."""
    deadline = SystemClock().now() + timedelta(minutes=30)
    return Call(new_id(), 1, step, 1, team_id=new_id(), team=things[0].team, deadline=deadline)


@pytest.mark.parametrize("bench", ["gitea", "github"], indirect=True)
def test_those_of_one_request_are_opened_before_any_is_awaited(
    bench: Bench, effects: Effects
) -> None:
    things, people = [Thing(), Thing(), Thing()], bench.vendors_people
    for thing in things:
        guarded(bench, thing)
    call = call_of(things, Step.CREATE_SECRET_BINDINGS)
    actions = [BINDINGS.make(bench.forge, thing) for thing in things]

    def opened() -> list[int]:
        return [len(people.pull_requests(thing.repository)) for thing in things]

    with pytest.raises(Unavailable, match="3 pull requests wait") as told:
        effects.do(call, things[0].subject, actions)
    assert opened() == [1, 1, 1]
    links = addresses_of(told.value)
    assert [thing.team in link for thing, link in zip(things, links, strict=True)] == [True] * 3

    people.merge(things[1].repository)
    with pytest.raises(Unavailable) as told:
        effects.do(call, things[0].subject, actions)
    assert addresses_of(told.value) == [links[0], links[2]], "whichever is merged first"
    for thing in (things[2], things[0]):
        people.merge(thing.repository)
    done = effects.do(call, things[0].subject, actions)
    assert [each.created_by for each in done.items] == [call.request_id] * 3
    assert done.items[1].effect is EffectKind.REPLAYED, "what was merged before is not looked at"

    with pytest.raises(Unavailable, match="3 pull requests wait"):
        effects.undo(call, things[0].subject, actions)
    for thing in things:
        people.merge(thing.repository)
    undone = effects.undo(call, things[0].subject, actions)
    assert [each.effect for each in undone.items] == [EffectKind.ABSENT] * 3
    assert opened() == [2, 2, 2]


@pytest.mark.parametrize("bench", ["gitea", "github"], indirect=True)
def test_those_that_end_bindings_are_opened_before_any_is_awaited(
    bench: Bench, effects: Effects
) -> None:
    things, people = [Thing(), Thing()], bench.vendors_people
    for thing in things:
        guarded(bench, thing)
        request = new_id()
        proposed(bench, BINDINGS, thing, request)
        people.merge(thing.repository)
        BINDINGS.make(bench.forge, thing).do(attempt(request))
    call = call_of(things, Step.REMOVE_SECRET_BINDINGS)
    deeds = [bench.forge.removed_binding(thing.repository, thing.binding(), {}) for thing in things]
    with pytest.raises(Unavailable, match="2 pull requests wait"):
        effects.end(call, things[0].subject, deeds)
    for thing in reversed(things):
        people.merge(thing.repository)
    ended = effects.end(call, things[0].subject, deeds)
    assert [each.created_by for each in ended.items] == [call.request_id] * 2


AFTER_IT_WAS_DONE = (Fault.RESET, Fault.TRUNCATED, Fault.SLOW)
BEFORE = (
    Fault.FAILED,
    Fault.BAD_GATEWAY,
    Fault.EXPIRED,
    Fault.DENIED,
    Fault.RATE_LIMITED,
    Fault.SECONDARY_LIMIT,
)


@pytest.mark.parametrize("fault", [*AFTER_IT_WAS_DONE, *BEFORE])
def test_a_fault_at_any_call_opens_no_second_one(bench: Bench, thing: Thing, fault: Fault) -> None:
    guarded(bench, thing)
    before = len(bench.stand_in.recorded)
    proposed(bench, BINDINGS, thing, new_id())
    calls = bench.stand_in.recorded[before:]
    methods = [call.method for call in calls if is_worth_it(fault, call)]
    assert methods
    other, request = Thing(), new_id()
    guarded(bench, other)
    for method in methods:
        bench.stand_in.plan(fault, method, "/pulls")
        with pytest.raises(PlatformError) as told:
            BINDINGS.make(bench.forge, other).do(attempt(request))
        assert re.match(rf"{bench.name} did not (list|open) pull request", told.value.message)
        assert bench.stand_in.planned == []
    proposed(bench, BINDINGS, other, request)
    (pull,) = bench.vendors_people.pull_requests(other.repository)
    assert pull.state == "open"


def is_worth_it(fault: Fault, call: RecordedCall) -> bool:
    """Git's own faults have their test."""
    is_of_pulls = "/pulls" in call.path
    return is_of_pulls and (fault in BEFORE or changes_something(call))
