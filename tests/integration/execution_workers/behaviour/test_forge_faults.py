"""Each fault at each call: told by provider, operation and remedy, and done once by the repeat."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import pytest

from execution_workers.ports import Action, Attempt, Deed, GitForge, Made
from idp_kernel.errors import PlatformError, ProviderRejected, Unavailable
from idp_kernel.ids import new_id
from idp_kernel.wire.worker import EffectKind
from tests.fixtures.vendors import RecordedCall
from tests.fixtures.vendors.stand_in import GIT, OF_GITHUB_ONLY, RETRY_AFTER_SECONDS, Fault
from tests.integration.execution_workers.behaviour.forges import (
    BINDINGS,
    PROTECTION,
    REPOSITORY,
    Bench,
    Kind,
    Thing,
    attempt,
)

TOLD = re.compile(r"^(?P<provider>[\w-]+) did not [\w -]+: .+\. [A-Z].+\.$")
REJECTED = frozenset({Fault.EXPIRED, Fault.DENIED})
"""A person has to do something, so nothing is tried again by itself."""


class Does(Protocol):
    """What a request does, and does again."""

    def do(self, attempt: Attempt) -> Made: ...


@dataclass(frozen=True)
class Undo:
    """What a request made goes, by that request."""

    action: Action

    def do(self, attempt: Attempt) -> Made:
        undone = self.action.undo(attempt)
        assert undone.effect in (EffectKind.UNDONE, EffectKind.ABSENT)
        return Made({}, attempt.request_id, created=False)


@dataclass(frozen=True)
class Operation:
    """One that meets the faults."""

    name: str
    make: Callable[[GitForge, Thing], Does]
    needs: tuple[Kind[Deed], ...] = ()
    """What the same request has done before."""
    is_all_git: bool = False

    def prepare(self, bench: Bench, thing: Thing, request_id: str) -> None:
        for need in self.needs:
            need.make(bench.forge, thing).do(attempt(request_id))


OPERATIONS = (
    *(
        Operation(kind.name, kind.make, kind.needs, kind is BINDINGS)
        for kind in (REPOSITORY, PROTECTION, BINDINGS)
    ),
    Operation(
        "removed binding",
        lambda forge, thing: forge.removed_binding(thing.repository, thing.binding(), {}),
        (REPOSITORY, PROTECTION, BINDINGS),
        is_all_git=True,
    ),
    Operation(
        "archive",
        lambda forge, thing: forge.archived(thing.subject, thing.repository),
        (REPOSITORY,),
    ),
    Operation(
        "undo of protection",
        lambda forge, thing: Undo(PROTECTION.make(forge, thing)),
        (REPOSITORY, PROTECTION),
    ),
    Operation(
        "undo of repository",
        lambda forge, thing: Undo(REPOSITORY.make(forge, thing)),
        (REPOSITORY,),
    ),
)


of_every_operation = pytest.mark.parametrize(
    "operation", OPERATIONS, ids=lambda operation: operation.name
)


PAUSES = {
    Fault.RATE_LIMITED: (RETRY_AFTER_SECONDS, RETRY_AFTER_SECONDS),
    Fault.PRIMARY_LIMIT: (30, 41),
    Fault.SECONDARY_LIMIT: (60, 60),
}
"""How long each limit is told to last, in seconds."""


def is_git(call: RecordedCall) -> bool:
    return call.provider == GIT


def changes_something(call: RecordedCall) -> bool:
    return call.method != "GET" and not call.path.endswith("git-upload-pack")


def is_worth_failing(call: RecordedCall) -> bool:
    return changes_something(call) or not is_git(call)


AT: dict[Fault, Callable[[RecordedCall], bool]] = {
    Fault.RATE_LIMITED: is_worth_failing,
    Fault.FAILED: is_worth_failing,
    Fault.BAD_GATEWAY: changes_something,
    Fault.EXPIRED: is_worth_failing,
    Fault.DENIED: changes_something,
    Fault.SLOW: lambda call: changes_something(call) and not is_git(call),
    Fault.RESET: changes_something,
    Fault.TRUNCATED: lambda call: changes_something(call) and not is_git(call),
    Fault.PRIMARY_LIMIT: lambda call: not is_git(call),
    Fault.SECONDARY_LIMIT: lambda call: not is_git(call),
}
"""At which calls each fault is tried; a wrong clock fails none, so it has a test of its own."""
CASES = [
    (operation, fault)
    for operation in OPERATIONS
    for fault in AT
    if not operation.is_all_git or fault not in (Fault.SLOW, Fault.TRUNCATED)
    if fault not in OF_GITHUB_ONLY
]
"""What is git's alone has its own test of what takes too long."""


def calls_of(bench: Bench, operation: Operation, thing: Thing) -> list[RecordedCall]:
    """What it asks of the forge when nothing goes wrong."""
    request_id = new_id()
    operation.prepare(bench, thing, request_id)
    before = len(bench.stand_in.recorded)
    operation.make(bench.forge, thing).do(attempt(request_id))
    return bench.stand_in.recorded[before:]


def done_to(bench: Bench, thing: Thing) -> list[str]:
    """What was changed of its repository, in order, without its names."""
    done = (each for each in bench.stand_in.done if thing.environment_id in each)
    return [each.replace(thing.environment_id, "").replace(thing.team, "") for each in done]


@dataclass
class Tried:
    """A request for one thing, tried again after each fault; another one once it has succeeded."""

    bench: Bench
    operation: Operation
    thing: Thing = field(default_factory=Thing)
    request_id: str = field(default_factory=new_id)
    is_done: bool = False

    def __post_init__(self) -> None:
        self.operation.prepare(self.bench, self.thing, self.request_id)

    def after(
        self, fault: Fault, call: RecordedCall, number: int, of: Thing
    ) -> PlatformError | None:
        """What the attempt raised that met the fault at the call of that number of its kind."""
        self.plan(fault, call, of, passes=number)
        return self.attempted()

    def plan(self, fault: Fault, call: RecordedCall, of: Thing, *, passes: int) -> None:
        path = call.path.replace(of.team, self.thing.team)
        path = path.replace(of.environment_id, self.thing.environment_id)
        self.bench.stand_in.plan_whole(fault, call.method, path, passes=passes)

    def has_met(self) -> bool:
        """Whether the fault came to pass; else it is called off."""
        has_met = not self.bench.stand_in.planned
        self.bench.stand_in.planned.clear()
        return has_met

    def attempted(self) -> PlatformError | None:
        try:
            work = self.operation.make(self.bench.forge, self.thing)
            made = work.do(attempt(self.request_id))
        except PlatformError as error:
            return error
        assert made.created_by == self.request_id
        self.is_done = True
        return None


@pytest.mark.parametrize(
    ("operation", "fault"), CASES, ids=lambda case: getattr(case, "name", case)
)
def test_a_fault_at_any_call_is_told_and_the_repeat_does_it_once(
    vendor: Bench, operation: Operation, fault: Fault
) -> None:
    """One request meets the fault at one call after the other, and comes to its end as well."""
    undisturbed = Thing()
    calls = calls_of(vendor, operation, undisturbed)
    like = [(call.method, call.path) for call in calls]
    failed = [
        (call, like[:place].count(like[place]))
        for place, call in enumerate(calls)
        if AT[fault](call)
    ]
    assert failed
    tried = Tried(vendor, operation)
    for call, number in failed:
        raised = tried.after(fault, call, number, undisturbed)
        if not tried.has_met():
            # What it was to do was done before, so only one that begins anew calls it.
            _check_done(tried, undisturbed)
            tried = Tried(vendor, operation)
            raised = tried.after(fault, call, number, undisturbed)
            assert tried.has_met(), call.operation_hint
        check_told(vendor, fault, call, raised)
        if tried.is_done:
            _check_done(tried, undisturbed)
            tried = Tried(vendor, operation)
    _check_done(tried, undisturbed)


def _check_done(tried: Tried, undisturbed: Thing) -> None:
    """After the attempt that nothing disturbs, all is done that is to be done, and once."""
    assert tried.attempted() is None
    assert done_to(tried.bench, tried.thing) == done_to(tried.bench, undisturbed)


@pytest.mark.parametrize("fault", sorted(OF_GITHUB_ONLY))
@of_every_operation
def test_a_limit_of_githubs_at_any_call(github: Bench, operation: Operation, fault: Fault) -> None:
    test_a_fault_at_any_call_is_told_and_the_repeat_does_it_once(github, operation, fault)


@of_every_operation
def test_a_clock_that_is_wrong_at_the_forge_changes_nothing(
    vendor: Bench, operation: Operation
) -> None:
    undisturbed = Thing()
    calls = [call for call in calls_of(vendor, operation, undisturbed) if not is_git(call)]
    tried = Tried(vendor, operation)
    for call in calls:
        tried.plan(Fault.SKEWED, call, undisturbed, passes=0)
    assert tried.attempted() is None
    assert tried.has_met()
    _check_done(tried, undisturbed)


def check_told(
    bench: Bench, fault: Fault, call: RecordedCall, raised: PlatformError | None
) -> None:
    if raised is None:
        # The status alone says that a change was made; and git sends a push that was cut off
        # once more by itself, which then comes second.
        assert fault is Fault.TRUNCATED or is_git(call), call.operation_hint
        return
    told = TOLD.match(raised.message)
    assert told is not None, raised.message
    assert told["provider"] == bench.stand_in.provider
    wanted = ProviderRejected if fault in REJECTED else Unavailable
    assert isinstance(raised, wanted), f"{call.operation_hint}: {raised.message}"
    if fault in PAUSES and not is_git(call):
        assert isinstance(raised, Unavailable)
        least, most = PAUSES[fault]
        assert least <= (raised.retry_after_seconds or 0) <= most
