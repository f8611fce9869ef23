"""What an undo would do to each thing that a request made or found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from control_plane.application.access import found
from control_plane.application.ports import StepRecord, Work
from control_plane.application.undo_plans import undo_plan
from control_plane.application.workflows.appenv_provisioning import adds_secrets
from control_plane.application.workflows.registry import COMPENSATION
from control_plane.domain.requests import Request
from idp_kernel.errors import Conflict
from idp_kernel.wire.api import UndoFate, UndoItem, UndoPreview
from idp_kernel.wire.engine import StepError, UndoneStep
from idp_kernel.wire.worker import EffectKind, ItemEffect
from idp_kernel.workflows import IRREVERSIBLE_STEPS, Step, StepState

_LEFT_IN_USE: Final = frozenset({Step.MATERIALIZE_REPOSITORIES, Step.APPLY_BRANCH_PROTECTION})
"""Steps of a request that added secrets: what they found or mended stays with the environment."""


@dataclass(frozen=True)
class Neighbours:
    """What other requests on the same things live on."""

    adopters: Mapping[str, str]
    """Item of the request to who adopted it."""
    rotations: Mapping[str, str]
    """Secret's item to who gave it another credential."""


def preview_undo(work: Work, request_id: str) -> UndoPreview:
    """The preview, as the records tell. Raises `NotFound`."""
    request = found(work.requests.by_id(request_id), "workflow request", request_id)
    refusal = _refusal(work, request)
    neighbours = _neighbours(work, request)
    left = _LEFT_IN_USE if adds_secrets(work, request) else frozenset()
    items = (
        item
        for each in undo_plan(work, request).shown
        for item in (_left(each) if each.step in left else _items(request, each, neighbours))
    )
    return UndoPreview(
        request_id=request.id,
        may_be_undone=refusal is None,
        refusal=refusal,
        items=tuple(items),
    )


def _refusal(work: Work, request: Request) -> StepError | None:
    try:
        COMPENSATION.check_may_be_undone(work, request)
    except Conflict as refused:
        return StepError(code=refused.code, message=refused.message, retryable=False)
    return None


def _neighbours(work: Work, request: Request) -> Neighbours:
    records = work.requests.neighbour_steps(request.id)
    others = {record.request_id for record in records}
    undone = {other for other in others if work.requests.undone_by(other) is not None}
    standing = [record for record in records if record.request_id not in undone]
    return Neighbours(
        adopters={
            effect.item: record.request_id
            for record in standing
            for effect in _effects(record)
            if effect.created_by == request.id
        },
        rotations=_rotations(standing),
    )


def _rotations(records: Sequence[StepRecord]) -> dict[str, str]:
    return {
        effect.item.replace("credential/", "secret/", 1): record.request_id
        for record in records
        if record.step is Step.ISSUE_NEW_CREDENTIAL
        for effect in _effects(record)
    }


def _effects(record: StepRecord) -> tuple[ItemEffect, ...]:
    if record.state is not StepState.SUCCEEDED or record.result is None:
        return ()
    return record.result.items


def _items(request: Request, step: UndoneStep, neighbours: Neighbours) -> Iterator[UndoItem]:
    if not step.result.items:
        yield _told_nothing(step.step)
    for effect in step.result.items:
        fate, reason = _fate(request, step.step, effect, neighbours)
        yield UndoItem(
            step=step.step,
            item=effect.item,
            fate=fate,
            reason=reason,
            references=effect.references,
        )


def _left(step: UndoneStep) -> Iterator[UndoItem]:
    reason = "the environment is in use with it"
    if not step.result.items:
        yield UndoItem(step=step.step, fate=UndoFate.KEPT, reason=reason)
    for effect in step.result.items:
        yield UndoItem(
            step=step.step,
            item=effect.item,
            fate=UndoFate.KEPT,
            reason=reason,
            references=effect.references,
        )


def _told_nothing(step: Step) -> UndoItem:
    if step in IRREVERSIBLE_STEPS:
        reason = "it named nothing; what it ended, if anything, does not come back"
        return UndoItem(step=step, fate=UndoFate.IRREVERSIBLE, reason=reason)
    reason = "it named nothing; what it left of its own, if anything, is removed"
    return UndoItem(step=step, fate=UndoFate.REMOVED, reason=reason)


def _fate(
    request: Request, step: Step, effect: ItemEffect, neighbours: Neighbours
) -> tuple[UndoFate, str]:
    if step in IRREVERSIBLE_STEPS:
        return UndoFate.IRREVERSIBLE, "what it ended does not come back"
    if not _is_own(request, effect):
        maker = f"request {effect.created_by}" if effect.created_by else "another"
        return UndoFate.KEPT, f"made by {maker}"
    if effect.item in neighbours.adopters:
        return UndoFate.KEPT, f"request {neighbours.adopters[effect.item]} lives on it"
    if effect.item in neighbours.rotations:
        return UndoFate.KEPT, f"rotated since by request {neighbours.rotations[effect.item]}"
    return UndoFate.REMOVED, "made by this request"


def _is_own(request: Request, effect: ItemEffect) -> bool:
    """An elder record names no maker, only whether it was made or found."""
    if effect.created_by is None:
        return effect.effect in (EffectKind.CREATED, EffectKind.REPLAYED)
    return effect.created_by == request.id
