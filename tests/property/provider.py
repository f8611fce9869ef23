"""A provider in memory, whose own record says what was done to it, whatever the ledger says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from execution_workers.ports import Attempt, Made, Undone
from idp_kernel.wire.worker import EffectKind
from idp_kernel.workflows import Step


class Boundary(StrEnum):
    """Where a run or the workers may die, stand still, or meet another."""

    STARTED = "the control plane knows that the step began"
    LOOKED = "the workers have the fence and the locks, and know what the provider has"
    IN_FLIGHT = "the fence was looked at, and the change is on its way"
    HALFWAY = "the first of two changes is made"
    DONE = "the provider has it, the ledger does not know"
    ANSWERED = "the ledger knows, the control plane does not"
    TOLD = "the control plane knows, its answer is lost"


AtBoundary = Callable[[Boundary], None]


@dataclass
class Thing:
    """What stands at the provider."""

    created_by: str
    is_complete: bool = False


@dataclass
class Provider:
    """Refuses, as a failed assertion, what must never be asked of it."""

    things: dict[str, Thing] = field(default_factory=dict)
    users: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Requests that were told that the item is theirs to use, by item."""
    changed_with: dict[tuple[str, str], int] = field(default_factory=dict)
    """The highest fence with which a request changed an item."""
    drained_to: dict[str, int] = field(default_factory=dict)
    """The fence below which a request was told to have no call in flight any more."""

    def create(self, item: str, request_id: str, fence: int) -> None:
        self._note(item, request_id, fence)
        assert item not in self.things, f"{item} is made twice"
        self.things[item] = Thing(request_id)

    def complete(self, item: str, request_id: str, fence: int) -> None:
        self._note(item, request_id, fence)
        assert not self.things[item].is_complete, f"{item} is completed twice"
        self.things[item].is_complete = True

    def remove(self, item: str, request_id: str, fence: int) -> None:
        self._note(item, request_id, fence)
        assert self.things[item].created_by == request_id, f"{item} is another's"
        del self.things[item]

    def drained(self, request_id: str, fence: int) -> None:
        """Somebody was told that no call of an older run is in flight."""
        self.drained_to[request_id] = max(fence, self.drained_to.get(request_id, 0))

    def _note(self, item: str, request_id: str, fence: int) -> None:
        seen = max(self.changed_with.get((request_id, item), 0), self.drained_to.get(request_id, 0))
        assert fence >= seen, f"{item} is changed with fence {fence} after {seen}"
        self.changed_with[request_id, item] = fence


@dataclass(frozen=True)
class MakeThing:
    """The action of one item, in two changes, as the real ones are."""

    provider: Provider
    item: str
    references: Mapping[str, str | int]
    fence: int
    at: AtBoundary

    @property
    def locks(self) -> Sequence[str]:
        return [self.item]

    @property
    def wanted(self) -> Mapping[str, object]:
        return {"item": self.item}

    def do(self, attempt: Attempt) -> Made:
        created = self.item not in self.provider.things
        self.at(Boundary.LOOKED)
        if created:
            attempt.check_fence()
            self.at(Boundary.IN_FLIGHT)
            self.provider.create(self.item, attempt.request_id, self.fence)
            self.at(Boundary.HALFWAY)
        thing = self.provider.things[self.item]
        if not thing.is_complete:
            attempt.check_fence()
            self.provider.complete(self.item, attempt.request_id, self.fence)
        self.at(Boundary.DONE)
        self.provider.users[self.item].add(attempt.request_id)
        return Made(self.references, thing.created_by, created)

    def undo(self, attempt: Attempt) -> Undone:
        thing = self.provider.things.get(self.item)
        self.at(Boundary.LOOKED)
        if thing is None:
            return Undone(EffectKind.ABSENT, {})
        if thing.created_by != attempt.request_id:
            return Undone(EffectKind.KEPT, {})
        attempt.check_fence()
        self.at(Boundary.IN_FLIGHT)
        self.provider.remove(self.item, attempt.request_id, self.fence)
        self.at(Boundary.DONE)
        return Undone(EffectKind.UNDONE, {})


def items_of(step: Step, wanted: Any) -> dict[str, dict[str, str | int]]:
    """The items of a step of a provisioning, with what is told of each."""
    repository = wanted["repository"]["repositoryId"]
    if step is Step.MATERIALIZE_REPOSITORIES:
        return {f"repository/{repository}": {"url": "http://forge/r.git", "revision": "b" * 40}}
    if step is Step.APPLY_BRANCH_PROTECTION:
        return {f"protection/{repository}": {"branch": "main"}}
    if step is Step.PROVISION_SECRETS:
        return {
            f"secret/{each['secretId']}": {"storePath": f"kv/{each['name']}", "version": 1}
            for each in wanted["secrets"]
        }
    if step is Step.CREATE_SECRET_BINDINGS:
        return {f"bindings/{repository}": {"revision": "a" * 40}}
    return {}
