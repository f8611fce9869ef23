"""What an undo of a request would take back, as far as the records tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from control_plane.application.ports import StepRecord, Work
from control_plane.domain.requests import Request
from idp_kernel.wire.engine import StepResult, UndoneStep
from idp_kernel.workflows import (
    IRREVERSIBLE_STEPS,
    UNDOABLE_STEPS,
    WORKFLOWS,
    Step,
    StepState,
)

_TOLD_NOTHING: Final = StepResult()


@dataclass(frozen=True)
class UndoPlan:
    """The steps of a request that began, each with its latest result, the newest first."""

    request: Request
    steps: Sequence[UndoneStep]

    @property
    def undoable(self) -> tuple[UndoneStep, ...]:
        """Those whose effects can be taken back. Bindings pin what the step of their secrets told;
        without its word they go with their repository.
        """
        told = {each.step for each in self.steps if each.result.items}
        return tuple(
            each
            for each in self.steps
            if each.step in UNDOABLE_STEPS
            and (each.step is not Step.CREATE_SECRET_BINDINGS or Step.PROVISION_SECRETS in told)
        )

    @property
    def shown(self) -> tuple[UndoneStep, ...]:
        """Those that an undo takes back, and those whose effects nothing takes back."""
        undoable = self.undoable
        return tuple(
            each for each in self.steps if each in undoable or each.step in IRREVERSIBLE_STEPS
        )


def undo_plan(work: Work, request: Request) -> UndoPlan:
    """What is known of the request's effects."""
    results = _latest_results(work.requests.recorded_steps(request.id))
    order = reversed(WORKFLOWS[request.workflow].steps)
    steps = [UndoneStep(step=step, result=results[step]) for step in order if step in results]
    return UndoPlan(request, steps)


def _latest_results(records: Sequence[StepRecord]) -> Mapping[Step, StepResult]:
    """Of every step that began; of a failed or lost one what an earlier attempt told."""
    results: dict[Step, StepResult] = {}
    for step, result in _told(records):
        if result is not None or step not in results:
            results[step] = result or _TOLD_NOTHING
    return results


def _told(records: Sequence[StepRecord]) -> Iterator[tuple[Step, StepResult | None]]:
    for record in records:
        is_good = record.state is StepState.SUCCEEDED
        yield record.step, record.result if is_good else None
