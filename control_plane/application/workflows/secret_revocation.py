"""SecretRevocation: a secret and its binding end for good."""

from __future__ import annotations

from typing import Final

from control_plane.application.ports import Work
from control_plane.application.workflows.appenv_provisioning import existing_environment
from control_plane.application.workflows.endings import (
    at_removal,
    begin_end,
    call_off_end,
    repository_of,
    revoke,
    subject_of,
    to_end,
)
from control_plane.application.workflows.flow import (
    Initiator,
    Results,
    SinglePhase,
    has_begun,
    refuse_in_grace,
    refuse_when_never_begun,
    refuse_when_superseded,
    refuse_while_active,
    tell_asked,
)
from control_plane.application.workflows.secret_rotation import (
    RotationSubjects,
    lock_subjects,
)
from control_plane.domain.managed_secrets import Secret
from control_plane.domain.requests import Request, SubjectKind
from idp_kernel.errors import InvariantBroken
from idp_kernel.ids import new_id
from idp_kernel.wire.engine import RevocationDesiredState
from idp_kernel.workflows import DomainEvent, RequestState, WorkflowName

UNFINISHED: Final = (
    "The secret is suspended, and some of its bindings or credentials may be there still. Retry the"
    " request, or revoke the secret again."
)
INSTEAD_OF_WAITING: Final = "cancel that request, then revoke the secret, which ends both"


class SecretRevocation(SinglePhase):
    """The flow of `SecretRevocation`."""

    subject = SubjectKind.SECRET

    def lock(self, work: Work, request: Request) -> None:
        appenv = existing_environment(work, request)
        work.application_environments.by_id(appenv.id, lock=True)
        work.application_environments.secrets(appenv.id, lock=True)

    def check_rules(self, work: Work, request: Request) -> None:
        work.teams.by_id(request.team_id).check_may_start_workflow()

    def give_up(self, work: Work, request: Request) -> None:
        """What no run had begun to end is in use again; anything else stays suspended."""
        if not has_begun(request):
            suspended = _desired_state(work, request).suspended
            call_off_end(work, [_secret_of(work, request)], suspended)

    def left_behind(self, _work: Work, request: Request) -> str | None:
        is_unfinished = request.state is not RequestState.SUCCEEDED and has_begun(request)
        return UNFINISHED if is_unfinished else None

    def restart(self, work: Work, request: Request) -> None:
        refuse_when_never_begun(request)
        subjects = lock_subjects(work, _secret_of(work, request).id)
        refuse_when_superseded(work, request, SubjectKind.SECRET, subjects.secret.id)
        _check_may_start(work, subjects)
        begin_end(work, [subjects.secret])

    def finalize(self, work: Work, request: Request, results: Results) -> None:
        secret = _secret_of(work, request)
        appenv = existing_environment(work, request)
        work.application_environments.save(at_removal(appenv, [secret], results))
        revoke(work, [secret])

    def launch(self, work: Work, initiator: Initiator, subject_id: str) -> Request:
        """Raises `NotFound`; `Conflict`: `team_not_active`, `workflow_active`,
        `rotation_in_grace`; `MoveRefused` unless the secret is Active or Suspended.
        """
        subjects = lock_subjects(work, subject_id)
        _check_may_start(work, subjects)
        desired = _freeze(work, subjects, begin_end(work, [subjects.secret]))
        request = Request.new(
            id_=new_id(),
            workflow=WorkflowName.SECRET_REVOCATION,
            team_id=subjects.team.id,
            application_id=subjects.application.id,
            application_environment_id=subjects.application_environment.id,
            secret_id=subjects.secret.id,
            requested_by=initiator.actor,
            reason=initiator.reason,
            traceparent=initiator.traceparent,
            now=work.now,
        )
        work.requests.add(request, desired, [(SubjectKind.SECRET, subjects.secret.id)])
        data = {"version": subjects.secret.version, "reason": request.reason}
        tell_asked(work, request, DomainEvent.SECRET_REVOCATION_STARTED, data=data)
        work.journal.wake_offers()
        return request


def _check_may_start(work: Work, subjects: RotationSubjects) -> None:
    """The rules of a revocation but for the secret's own move."""
    subjects.team.check_may_start_workflow()
    appenv_id = subjects.application_environment.id
    refuse_while_active(work, SubjectKind.APPLICATION_ENVIRONMENT, appenv_id)
    refuse_while_active(work, SubjectKind.SECRET, subjects.secret.id)
    refuse_in_grace(work, subjects.secret, instead=INSTEAD_OF_WAITING)


def _secret_of(work: Work, request: Request) -> Secret:
    secret = work.secrets.by_id(request.secret_id or "")
    if secret is None:
        raise InvariantBroken(f"revocation {request.id} names no secret")
    return secret


def _desired_state(work: Work, request: Request) -> RevocationDesiredState:
    desired = work.requests.desired_state(request)
    if not isinstance(desired, RevocationDesiredState):
        raise InvariantBroken(f"request {request.id} is no revocation")
    return desired


def _freeze(
    work: Work, subjects: RotationSubjects, suspended: tuple[str, ...]
) -> RevocationDesiredState:
    appenv = subjects.application_environment
    subject = subject_of(work, subjects.team, subjects.application, appenv)
    secret = to_end(subject, repository_of(work, subject), subjects.secret)
    return RevocationDesiredState(subject=subject, secrets=(secret,), suspended=suspended)
