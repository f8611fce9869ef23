"""What differs between workflows, once their requests are rows like any other.

Offers, claims, leases, waits, attempts and ends are the same for all. Locks are taken in one order
everywhere: team and environment (held), application, application environment, its secrets, the
request. One exception: the undo that a team's policy asks for begins when all of that but the team
is locked, and holds the team last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from control_plane.application.ports import Work
from control_plane.domain.managed_secrets import Secret
from control_plane.domain.requests import Request, SubjectKind
from idp_kernel.errors import Conflict, InvalidInput, InvariantBroken
from idp_kernel.wire.engine import StepResult
from idp_kernel.workflows import DomainEvent, Step, WorkflowName

REVISION: Final = re.compile(r"[0-9a-f]{40}")
"""The id of a commit."""
Results = Mapping[Step, StepResult]
BeginTrace = Callable[[], str | None]
"""Begins a trace for one request; answers its `traceparent`."""


@dataclass(frozen=True)
class Initiator:
    """Who asks for a workflow, why, and under which trace."""

    actor: str
    reason: str
    traceparent: str | None


class Flow(Protocol):
    """What one workflow does to the domain, each time in the caller's transaction."""

    @property
    def subject(self) -> SubjectKind:
        """What a launch by hand names."""
        ...

    def lock(self, work: Work, request: Request) -> None:
        """Locks everything the request may move, in the common order; the request comes after."""
        ...

    def check_rules(self, work: Work, request: Request) -> None:
        """The command's rules that may be broken since. Raises `Conflict`."""
        ...

    def give_up(self, work: Work, request: Request) -> None:
        """Takes back what the command moved, so that it can be asked for again. The caller has
        locked all of it.
        """
        ...

    def left_behind(self, work: Work, request: Request) -> str | None:
        """What an ended request leaves that it was to end; asked after `give_up`, if that was."""
        ...

    def restart(self, work: Work, request: Request) -> None:
        """Moves everything a given-up request concerns once more, rules checked.

        The caller holds no lock yet; afterwards all but the request is locked.
        """
        ...

    def end_phase(self, work: Work, request: Request, results: Results) -> datetime:
        """Moves what the end of the request's phase brings; answers until when the request waits
        for the next. The caller has locked everything.
        """
        ...

    def finalize(self, work: Work, request: Request, results: Results) -> None:
        """Moves what success brings. The caller has locked everything.

        Raises `InvalidInput` (`outcomes_missing`) when an outcome lacks a reference.
        """
        ...

    def launch(self, work: Work, initiator: Initiator, subject_id: str) -> Request:
        """The pending request for a subject that a person names. Raises as the command does."""
        ...


class UndoableFlow(Flow, Protocol):
    """A workflow whose effects can be taken back, each time in the caller's transaction."""

    def check_undo(self, work: Work, request: Request) -> None:
        """The rules of an undo of the ended request. Raises `Conflict`, `MoveRefused`."""
        ...

    def begin_undo(self, work: Work, request: Request) -> None:
        """Locks everything the ended request concerns, rules checked, and moves what it brought
        into use out of it. Of a request that brought nothing into use it moves nothing.

        Raises as `check_undo` does; the caller holds no lock yet.
        """
        ...

    def call_off_undo(self, work: Work, request: Request) -> None:
        """Back into use: the undo ended before anything was taken back. All is locked."""
        ...

    def end_undo(self, work: Work, request: Request, removed: Collection[str]) -> None:
        """Back to where it can be asked for again, however much was taken back. `removed` are the
        items that are known to be gone. All is locked.
        """
        ...


class SinglePhase:
    """A workflow that ends with its first phase."""

    def left_behind(self, _work: Work, _request: Request) -> str | None:
        return None

    def end_phase(self, _work: Work, request: Request, _results: Results) -> datetime:
        raise InvariantBroken(f"{request.workflow} has one phase, which finalize ends")


def has_begun(request: Request) -> bool:
    """Whether a run of the request may have ended, or taken back, something."""
    return request.fence > 0


def tell_asked(
    work: Work,
    request: Request,
    event: DomainEvent,
    *,
    subject: str = "",
    data: Mapping[str, str | int | bool | None] | None = None,
) -> None:
    """Tells events and audit what the new request asks for, of its own subject or another."""
    subject = subject or request.subject
    work.journal.event(
        event,
        subject=subject,
        actor=request.requested_by,
        team_id=request.team_id,
        request_id=request.id,
        data=data,
    )
    work.journal.audit(
        actor=request.requested_by, action=event, subject=subject, reason=request.reason
    )


def refuse_while_active(work: Work, kind: SubjectKind, subject_id: str) -> None:
    """Raises `Conflict` (`workflow_active`) that names the request under way, if there is one."""
    active = work.requests.active_on(kind, subject_id)
    if active is not None:
        raise workflow_active(active, f"{kind.replace('_', ' ')} {subject_id}")


def refuse_in_grace(
    work: Work, secret: Secret, *, instead: str = "ask for an emergency rotation, which ends it"
) -> None:
    """Raises `Conflict` (`rotation_in_grace`) while both credentials of the secret are good; says
    what ends that at once.
    """
    waiting = work.requests.waiting_on(SubjectKind.SECRET, secret.id)
    if waiting is not None:
        raise Conflict(
            f"Request {waiting} has rotated secret {secret.name} and waits with the old"
            f" credential's end; wait too, or {instead} at once.",
            code="rotation_in_grace",
            details={"activeRequestId": waiting, "workflowRequestId": waiting},
        )


def refuse_when_superseded(
    work: Work,
    request: Request,
    kind: SubjectKind,
    subject_id: str,
    *,
    but: Collection[WorkflowName] = (WorkflowName.COMPENSATION,),
) -> None:
    """Raises `Conflict` (`request_superseded`) when a later request was at work on the subject.

    An undo by itself supersedes nothing: of a secret that it removed the next provisioning does,
    and until then the secret cannot be rotated.
    """
    newest = work.requests.newest_on(kind, subject_id, but=but)
    if newest is not None and newest != request.id:
        raise Conflict(
            f"Request {newest} is a later one on the {kind.replace('_', ' ')} than request"
            f" {request.id}; what this one made may be gone. Ask anew instead.",
            code="request_superseded",
            details={"activeRequestId": newest, "workflowRequestId": newest},
        )


def refuse_when_never_begun(request: Request) -> None:
    """Raises `Conflict` (`request_never_begun`) for the end of something that was called off before
    any run: what it froze of that thing's state was given back, and may have changed since.
    """
    if not has_begun(request):
        raise Conflict(
            f"Request {request.id} ended before a run of it began, and what it was to end is as it"
            " was. Ask anew instead.",
            code="request_never_begun",
            details={"workflowRequestId": request.id},
        )


def workflow_active(request_id: str, subject: str) -> Conflict:
    """One active workflow per subject."""
    return Conflict(
        f"Request {request_id} is at work on {subject}; wait for its end or cancel it.",
        code="workflow_active",
        details={"activeRequestId": request_id, "workflowRequestId": request_id},
    )


def reference(results: Results, step: Step, item: str, key: str) -> str | int:
    """A reference that the step must have answered."""
    try:
        return results[step].reference(item, key)
    except KeyError as error:
        raise InvalidInput(
            f"The outcome of {step} has no {key} of {item}.", code="outcomes_missing"
        ) from error
