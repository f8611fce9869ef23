"""Runs that carry requests out as the engine does, against the real control plane and the real
ledger, and that die or are overtaken wherever a test says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from joserfc.jwk import KeySet
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine

from execution_workers.calls import Call, verified_call
from execution_workers.effects import Effects
from execution_workers.ledger.ledger import Ledger
from idp_kernel.clock import Clock
from idp_kernel.errors import PlatformError, Unavailable
from idp_kernel.tokens import AUDIENCE_WORKERS, RunClaims, verify
from idp_kernel.wire.worker import GONE, UNDO_SUFFIX, AppEnvSubject, EffectKind, ItemEffect
from idp_kernel.workflows import Step, WorkflowName
from tests.integration.control_plane.engine_run import EngineRun
from tests.property.provider import AtBoundary, Boundary, MakeThing, Provider, items_of

INSTALLATION = "test"
ITEM_WAIT_SECONDS = 0.02
"""Nobody else is at work while one thread waits for what it holds itself."""


class Died(BaseException):
    """The process is gone; nothing catches it but who started it."""


@dataclass
class Workers:
    """execution-workers without HTTP: token, ledger and effects are the real ones."""

    engine: Engine
    keys: KeySet
    clock: Clock
    provider: Provider
    ledger: Ledger = field(init=False)
    effects: Effects = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.engine, self.clock, max_calls=8)
        self.effects = Effects(self.ledger, INSTALLATION, CollectorRegistry())

    def do(self, token: str, step: Step, wanted: Any, at: AtBoundary) -> list[ItemEffect]:
        call = self._call(token, step, undo=False)
        done = self.effects.do(call, _subject(wanted), self._actions(call, wanted, at))
        return list(done.items)

    def undo(self, token: str, step: Step, wanted: Any, at: AtBoundary) -> list[ItemEffect]:
        call = self._call(token, step, undo=True)
        undone = self.effects.undo(call, _subject(wanted), self._actions(call, wanted, at))
        return list(undone.items)

    def stop(self, token: str) -> None:
        claims = self._claims(token)
        self.ledger.drain(
            claims.request_id, claims.fence, wait_seconds=ITEM_WAIT_SECONDS, closing=False
        )
        self.provider.drained(claims.request_id, claims.fence)

    def _claims(self, token: str) -> RunClaims:
        return verify(token, self.keys, RunClaims, audience=AUDIENCE_WORKERS, clock=self.clock)

    def _call(self, token: str, step: Step, *, undo: bool) -> Call:
        claims = self._claims(token)
        suffix = UNDO_SUFFIX if undo else ""
        key = f"{claims.request_id}/{claims.generation}/{step}{suffix}"
        return verified_call(claims, key, [step], undo=undo)

    def _actions(self, call: Call, wanted: Any, at: AtBoundary) -> Sequence[MakeThing]:
        return [
            MakeThing(self.provider, item, references, call.fence, at)
            for item, references in items_of(call.step, wanted).items()
        ]


def _subject(wanted: Any) -> AppEnvSubject:
    return AppEnvSubject.model_validate(wanted["subject"])


@dataclass
class Run(EngineRun):
    """A run of a provisioning or an undo, which does one step after the other."""

    workers: Workers
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def is_undo(self) -> bool:
        return bool(self.claim["workflow"] == WorkflowName.COMPENSATION)

    @property
    def remaining(self) -> list[Step]:
        done = {**self.claim["outcomes"], **self.told}
        return [step for step in self.steps if step not in done]

    def go_on(self, at: AtBoundary) -> bool:
        """The next step; whether the run goes on after it."""
        step = self.remaining[0]
        if self.say(f"steps/{step}/start", retryNumber=0).status_code != 200:
            return False
        at(Boundary.STARTED)
        if step is self.steps[-1]:
            return self._finalize(at)
        try:
            items = self._perform(step, at)
        except PlatformError as error:
            self._tell_failure(step, error)
            return False
        at(Boundary.ANSWERED)
        result = {"items": [each.model_dump(mode="json", by_alias=True) for each in items]}
        answer = self.say(f"steps/{step}/outcome", retryNumber=0, result=result)
        at(Boundary.TOLD)
        self.told[step] = result
        return bool(answer.status_code == 200)

    def _perform(self, step: Step, at: AtBoundary) -> list[ItemEffect]:
        wanted = self.claim["desiredState"]
        if not self.is_undo:
            return self.workers.do(self.claim["runToken"], step, wanted, at)
        if step is Step.STOP_UNDONE_REQUEST:
            self.workers.stop(self.claim["undone"]["runToken"])
        elif step is Step.UNDO_EFFECTS:
            return [item for each in wanted["steps"] for item in self._undo(each["step"], at)]
        elif step is Step.VERIFY_NOTHING_LEFT:
            self._verify()
        return []

    def _undo(self, step: str, at: AtBoundary) -> list[ItemEffect]:
        token, undone = self.claim["undone"]["runToken"], self.claim["desiredState"]["undone"]
        return self.workers.undo(token, Step(step), undone, at)

    def _verify(self) -> None:
        left = [
            each["item"]
            for each in self._undone_items()
            if each["effect"] in GONE and each["item"] in self.workers.provider.things
        ]
        if left:
            raise Unavailable(f"{left} are still there.", code="still_seen")

    def _undone_items(self) -> list[Any]:
        told = {**self.claim["outcomes"], **self.told}
        return list(told[Step.UNDO_EFFECTS]["items"])

    def _finalize(self, at: AtBoundary) -> bool:
        told = {**self.claim["outcomes"], **self.told}
        outcomes = {step: told[step] for step in self.steps[:-1]}
        answer = self.say("finalize", outcomes=outcomes)
        if answer.status_code == 200 and self.is_undo:
            self._nothing_is_left_without_a_reason()
        at(Boundary.TOLD)
        return False

    def _nothing_is_left_without_a_reason(self) -> None:
        provider, undone = self.workers.provider, self.claim["undone"]["requestId"]
        kept = {each["item"] for each in self._undone_items() if each["effect"] == EffectKind.KEPT}
        for item, thing in provider.things.items():
            if thing.created_by == undone:
                assert item in kept, f"the undo of {undone} left {item}"
                assert provider.users[item] - {undone}, f"{item} was kept for nobody"

    def _tell_failure(self, step: Step, error: PlatformError) -> None:
        told = {
            "code": error.code,
            "message": error.message,
            "retryable": isinstance(error, Unavailable),
        }
        self.say(f"steps/{step}/outcome", retryNumber=0, result={}, error=told)
