"""Does each item once, and undoes it: fence, lock, replay, provider, ledger.

For each item: wait for whoever works on it, look whether a newer run has taken over, replay what
the ledger has, else let the provider's action look and do, then record. A kill between the
provider and the ledger leaves a marked thing, which the repeat finds and adopts. Failures are not
recorded; a repeat looks again. So does a later run at what was ended: what is gone can come back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from opentelemetry.trace import Span
from prometheus_client import CollectorRegistry

from execution_workers.calls import Call, attributes_of
from execution_workers.failpoints import after_provider, after_undo
from execution_workers.ledger.ledger import Ledger, OpenCall, RecordedEffect
from execution_workers.ports import Action, Attempt, Deed, References, Undone
from idp_kernel.failpoints import failpoint
from idp_kernel.pull_requests import AwaitedMerges
from idp_kernel.telemetry.metrics import EFFECTS
from idp_kernel.telemetry.traces import span
from idp_kernel.wire.worker import EffectKind, ItemEffect, StepEffects, Subject
from idp_kernel.workflows import ProviderEvent

ItemOutcome = tuple[ItemEffect, ProviderEvent | None]
DeedT = TypeVar("DeedT", bound=Deed)


class Effects:
    """Runs calls against providers, backed by the ledger. Thread-safe."""

    def __init__(self, ledger: Ledger, installation_id: str, registry: CollectorRegistry) -> None:
        self._ledger = ledger
        self._installation_id = installation_id
        self._count = EFFECTS.counter(registry)

    def do(self, call: Call, subject: Subject, actions: Sequence[Deed]) -> StepEffects:
        """All items as wanted, in order; the first failure ends the call, a repeat goes on. One
        that waits for a pull request holds up none of the others.

        A replayed item carries the event of its first answer, so no lost answer loses an event.
        """
        return self._each(call, subject, actions, self._do)

    def end(self, call: Call, subject: Subject, deeds: Sequence[Deed]) -> StepEffects:
        """As `do`, for what shall be gone: only what the same run recorded is replayed. A later one
        looks again, since somebody may have made it anew in between.
        """
        return self._each(call, subject, deeds, self._end)

    def undo(self, call: Call, subject: Subject, actions: Sequence[Action]) -> StepEffects:
        """Takes back, newest first, what this request made and no other has adopted."""
        return self._each(call, subject, actions[::-1], self._undo)

    def let_go(self, call: Call, subject: Subject, actions: Sequence[Action]) -> StepEffects:
        """Leaves everything as it is, whoever made it. This request lives on it no more, so that
        the undo of another may take it.
        """
        self._each(call, subject, actions[::-1], self._let_go)
        return StepEffects(items=())

    def _each(
        self,
        call: Call,
        subject: Subject,
        actions: Sequence[DeedT],
        work: Callable[[Call, OpenCall, DeedT], ItemOutcome],
    ) -> StepEffects:
        merges, outcomes = AwaitedMerges(), []
        with self._ledger.opened(call) as open_call:
            for each in actions:
                with merges.passed_by():
                    outcomes.append(self._item(call, subject, open_call, each, work))
        merges.require_none()
        return _answer(outcomes)

    def _item(
        self,
        call: Call,
        subject: Subject,
        open_call: OpenCall,
        action: DeedT,
        work: Callable[[Call, OpenCall, DeedT], ItemOutcome],
    ) -> ItemOutcome:
        with _item_span(call, subject, action), open_call.locked(action.locks):
            open_call.check_fence()
            effect, event = work(call, open_call, action)
        self._count.labels(call.step, effect.effect).inc()
        return effect, event

    def _do(self, call: Call, open_call: OpenCall, action: Deed) -> ItemOutcome:
        known = open_call.recorded(action.item, action.wanted)
        if known is not None:
            return _replayed(action, known)
        return self._done(call, open_call, action)

    def _end(self, call: Call, open_call: OpenCall, deed: Deed) -> ItemOutcome:
        known = open_call.recorded(deed.item, deed.wanted)
        if known is not None and known.fence == call.fence:
            return _replayed(deed, known)
        return self._done(call, open_call, deed)

    def _done(self, call: Call, open_call: OpenCall, action: Deed) -> ItemOutcome:
        made = action.do(self._attempt(call, open_call))
        failpoint(after_provider(call.step))
        open_call.record(action.item, action.wanted, made)
        kind = EffectKind.CREATED if made.created else EffectKind.ADOPTED
        return _effect(action, kind, made.references, made.created_by), made.event

    def _undo(self, call: Call, open_call: OpenCall, action: Action) -> ItemOutcome:
        if open_call.is_adopted_by_others(action.item):
            undone = Undone(EffectKind.KEPT, {})
        else:
            undone = action.undo(self._attempt(call, open_call))
            failpoint(after_undo(call.step))
        open_call.let_go(action.item)
        return _effect(action, undone.effect, undone.references), None

    def _let_go(self, _call: Call, open_call: OpenCall, action: Action) -> ItemOutcome:
        open_call.let_go(action.item)
        return _effect(action, EffectKind.KEPT, {}), None

    def _attempt(self, call: Call, open_call: OpenCall) -> Attempt:
        return Attempt(
            self._installation_id, call.request_id, open_call.check_fence, call.generation
        )


def _item_span(call: Call, subject: Subject, action: Deed) -> AbstractContextManager[Span]:
    return span(
        f"{call.step} {action.item.partition('/')[0]}",
        attributes={**attributes_of(call, subject, item=action.item), "idp.item": action.item},
    )


def _replayed(action: Deed, known: RecordedEffect) -> ItemOutcome:
    effect = _effect(action, EffectKind.REPLAYED, known.references, known.created_by)
    return effect, known.event


def _effect(
    action: Deed, kind: EffectKind, references: References, created_by: str | None = None
) -> ItemEffect:
    return ItemEffect(
        item=action.item, effect=kind, references=dict(references), created_by=created_by
    )


def _answer(outcomes: Sequence[ItemOutcome]) -> StepEffects:
    return StepEffects(
        items=tuple(effect for effect, _ in outcomes),
        events=tuple(event for _, event in outcomes if event is not None),
    )
