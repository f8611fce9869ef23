"""Compensation: what one ended request made, and nobody took over since, is taken back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from control_plane.application.access import found
from control_plane.application.ports import Work
from control_plane.application.undo_plans import UndoPlan, undo_plan
from control_plane.application.workflows.flow import (
    Initiator,
    Results,
    SinglePhase,
    UndoableFlow,
    has_begun,
    tell_asked,
)
from control_plane.domain.requests import Request, SubjectKind
from idp_kernel.errors import Conflict, InvariantBroken
from idp_kernel.ids import new_id
from idp_kernel.wire.engine import (
    AppEnvDesiredState,
    CompensationDesiredState,
    OnboardingDesiredState,
)
from idp_kernel.wire.worker import GONE, EffectKind, ItemEffect
from idp_kernel.workflows import (
    IRREVERSIBLE_STEPS,
    WORKFLOWS,
    DomainEvent,
    RequestState,
    Step,
    WorkflowName,
)

LEFT_BEHIND: Final = (
    "The undo came to no end: some of what was to go may be there still. Ask for it again."
)
KEPT: Final = (
    "Kept, since it is another's, others live on it or it was changed since: {items}. Another undo"
    " of the same request takes what is free by then; what an elder request made goes with the undo"
    " of that one."
)


@dataclass(frozen=True)
class Compensation(SinglePhase):
    """The flow of `Compensation`, which knows how each other workflow is taken back."""

    flows: Mapping[WorkflowName, UndoableFlow]
    subject = SubjectKind.WORKFLOW_REQUEST

    def lock(self, work: Work, request: Request) -> None:
        """The undone request's subjects, then that request itself."""
        undone = undone_request(work, request)
        self._flow_of(undone).lock(work, undone)
        work.requests.by_id(undone.id, lock=True)

    def check_rules(self, work: Work, request: Request) -> None:
        work.teams.by_id(request.team_id).check_may_start_workflow()

    def give_up(self, work: Work, request: Request) -> None:
        """What no run had begun to take back is in use again."""
        undone = undone_request(work, request)
        flow = self._flow_of(undone)
        if has_begun(request):
            flow.end_undo(work, undone, _removed(_effects(work.requests.results(request))))
        else:
            flow.call_off_undo(work, undone)

    def left_behind(self, work: Work, request: Request) -> str | None:
        told = []
        if request.state is not RequestState.SUCCEEDED and has_begun(request):
            told.append(LEFT_BEHIND)
        if kept := _kept(_effects(work.requests.results(request))):
            told.append(KEPT.format(items=", ".join(_named(each) for each in kept)))
        return " ".join(told) or None

    def restart(self, work: Work, request: Request) -> None:
        undone = self._begin(work, undone_request(work, request))
        if undone.started_at > request.created_at:
            raise Conflict(
                f"Request {undone.id} was retried after undo {request.id} was asked for, and may"
                " have made more since. Ask for a new undo of it.",
                code="request_superseded",
                details={"workflowRequestId": undone.id},
            )

    def finalize(self, work: Work, request: Request, results: Results) -> None:
        undone = undone_request(work, request)
        self._flow_of(undone).end_undo(work, undone, _removed(_effects(results)))

    def launch(self, work: Work, initiator: Initiator, subject_id: str) -> Request:
        """Raises `NotFound`; `Conflict`: `not_undoable`, `request_not_ended`, `request_too_old`,
        `request_undone`, `nothing_to_undo`, and as the rules of what is undone say.
        """
        seen = found(work.requests.by_id(subject_id), "workflow request", subject_id)
        undone = self._begin(work, seen)
        plan = undo_plan(work, undone)
        request = Request.new(
            id_=new_id(),
            workflow=WorkflowName.COMPENSATION,
            team_id=undone.team_id,
            application_id=undone.application_id,
            application_environment_id=undone.application_environment_id,
            secret_id=undone.secret_id,
            requested_by=initiator.actor,
            reason=initiator.reason,
            traceparent=initiator.traceparent,
            now=work.now,
            undoes=undone.id,
        )
        subjects = [*work.requests.subjects(undone.id), (self.subject, undone.id)]
        work.requests.add(request, _desired_state(work, plan), subjects)
        tell_asked(
            work,
            request,
            DomainEvent.WORKFLOW_REQUEST_UNDO_REQUESTED,
            subject=f"workflow_request/{request.undoes}",
            data={"reason": request.reason, "undoneRequestId": request.undoes},
        )
        work.journal.wake_offers()
        return request

    def can_undo(self, workflow: WorkflowName) -> bool:
        """Whether what that workflow makes can be taken back."""
        return workflow in self.flows

    def check_may_be_undone(self, work: Work, request: Request) -> None:
        """Raises what `launch` would."""
        self._plan(work, request)
        self._flow_of(request).check_undo(work, request)

    def _plan(self, work: Work, request: Request) -> UndoPlan:
        """What would be taken back. Raises what `launch` does but for the rules of its subject."""
        request.check_may_be_undone(work.now)
        if not self.can_undo(request.workflow):
            why = "nothing it ended comes back" if _ends_for_good(request) else "it is not undone"
            raise Conflict(
                f"Request {request.id} is a {request.workflow}: {why}.",
                code="not_undoable",
                details={"workflowRequestId": request.id},
            )
        undone_by = work.requests.undone_by(request.id)
        if undone_by is not None and not has_kept_something(work, undone_by):
            raise request_undone(request.id, undone_by)
        plan = undo_plan(work, request)
        if not plan.undoable:
            raise Conflict(
                f"Request {request.id} has made nothing that could be taken back.",
                code="nothing_to_undo",
                details={"workflowRequestId": request.id},
            )
        return plan

    def _begin(self, work: Work, seen: Request) -> Request:
        """The request to undo, locked with its subjects, which are moved out of use."""
        self._plan(work, seen)  # refuses before any lock what the lock would not allow either
        self._flow_of(seen).begin_undo(work, seen)
        undone = work.requests.by_id(seen.id, lock=True) or seen
        self._plan(work, undone)
        return undone

    def _flow_of(self, undone: Request) -> UndoableFlow:
        return self.flows[undone.workflow]


def _ends_for_good(request: Request) -> bool:
    return bool(IRREVERSIBLE_STEPS.intersection(WORKFLOWS[request.workflow].steps))


def undone_request(work: Work, request: Request) -> Request:
    """The request that an undo is about."""
    undone = work.requests.by_id(request.undoes or "") if request.undoes else None
    if undone is None:
        raise InvariantBroken(f"request {request.id} undoes none")
    return undone


def request_undone(request_id: str, undone_by: str) -> Conflict:
    """What was taken back is asked for anew."""
    return Conflict(
        f"Request {request_id} was undone by request {undone_by}; ask anew instead.",
        code="request_undone",
        details={"workflowRequestId": request_id, "undoneBy": undone_by},
    )


def has_kept_something(work: Work, undo_id: str) -> bool:
    """Whether that undo, which succeeded, let something be that a further one may find free."""
    undo = found(work.requests.by_id(undo_id), "workflow request", undo_id)
    return bool(_kept(_effects(work.requests.results(undo))))


def _effects(results: Results) -> Sequence[ItemEffect]:
    """What an undo did to each thing, as far as it told."""
    told = results.get(Step.UNDO_EFFECTS)
    return () if told is None else told.items


def _kept(effects: Iterable[ItemEffect]) -> list[ItemEffect]:
    return [each for each in effects if each.effect is EffectKind.KEPT]


def _removed(effects: Iterable[ItemEffect]) -> frozenset[str]:
    return frozenset(each.item for each in effects if each.effect in GONE)


def _named(effect: ItemEffect) -> str:
    """The item, and where the store has it if it is a secret."""
    path = effect.references.get("storePath")
    return effect.item if path is None else f"{effect.item} at {path}"


def _desired_state(work: Work, plan: UndoPlan) -> CompensationDesiredState:
    wanted = work.requests.desired_state(plan.request)
    if not isinstance(wanted, OnboardingDesiredState | AppEnvDesiredState):
        raise InvariantBroken(f"{plan.request.workflow} is not undone")
    return CompensationDesiredState(
        undone_request_id=plan.request.id, undone=wanted, steps=plan.undoable
    )
