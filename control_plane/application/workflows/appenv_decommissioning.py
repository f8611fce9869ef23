"""ApplicationEnvironmentDecommissioning: an application environment ends with all its secrets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from control_plane.application.access import found
from control_plane.application.ports import Work
from control_plane.application.workflows.appenv_provisioning import (
    existing_environment,
    refuse_while_at_work,
)
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
    tell_asked,
)
from control_plane.domain.application_environments import ApplicationEnvironment
from control_plane.domain.applications import Application
from control_plane.domain.managed_secrets import Secret, SecretState
from control_plane.domain.requests import Request, SubjectKind
from control_plane.domain.teams import Team
from idp_kernel.errors import InvariantBroken
from idp_kernel.ids import new_id
from idp_kernel.wire.engine import AppEnvDecommissioningDesiredState
from idp_kernel.workflows import DomainEvent, RequestState, WorkflowName

UNFINISHED: Final = (
    "The environment is frozen and its secrets are suspended; some of their bindings and"
    " credentials, and what its repository describes, may be there still. Retry the request, or"
    " decommission the environment again."
)
_SUPERSEDES_NO_DECOMMISSIONING: Final = (
    WorkflowName.COMPENSATION,
    WorkflowName.SECRET_REVOCATION,
)
INSTEAD_OF_WAITING: Final = "cancel that request and decommission then, which ends both credentials"


@dataclass(frozen=True)
class DecommissioningSubjects:
    """Everything that a decommissioning concerns, locked in the common order."""

    team: Team
    application: Application
    application_environment: ApplicationEnvironment
    secrets: Sequence[Secret]
    """Those that have a value."""
    remains: Sequence[Secret]
    """As `_remains`."""

    @property
    def to_end(self) -> tuple[Secret, ...]:
        return (*self.secrets, *self.remains)


class AppEnvDecommissioning(SinglePhase):
    """The flow of `ApplicationEnvironmentDecommissioning`."""

    subject = SubjectKind.APPLICATION_ENVIRONMENT

    def lock(self, work: Work, request: Request) -> None:
        appenv = existing_environment(work, request)
        work.application_environments.by_id(appenv.id, lock=True)
        work.application_environments.secrets(appenv.id, lock=True)

    def check_rules(self, work: Work, request: Request) -> None:
        work.teams.by_id(request.team_id).check_may_start_workflow()

    def give_up(self, work: Work, request: Request) -> None:
        """Frozen again. Its secrets are in use again if no run had begun to end any."""
        appenv = existing_environment(work, request)
        work.application_environments.save(appenv.moved("give_up_decommissioning"))
        if not has_begun(request):
            call_off_end(work, _standing(work, appenv), _desired_state(work, request).suspended)

    def left_behind(self, _work: Work, request: Request) -> str | None:
        is_unfinished = request.state is not RequestState.SUCCEEDED and has_begun(request)
        return UNFINISHED if is_unfinished else None

    def restart(self, work: Work, request: Request) -> None:
        """A secret that was revoked meanwhile has ended already."""
        refuse_when_never_begun(request)
        subjects = _lock_subjects(work, existing_environment(work, request).id)
        _refuse_when_superseded(work, request, subjects)
        _check_may_start(work, subjects)
        _begin(work, subjects)

    def finalize(self, work: Work, request: Request, results: Results) -> None:
        appenvs = work.application_environments
        appenv = existing_environment(work, request)
        secrets = _standing(work, appenv)
        _check_planned(request, secrets, _desired_state(work, request))
        ended = (*secrets, *_remains(work, appenvs.secrets(appenv.id)))
        appenvs.save(at_removal(appenv, ended, results).moved("retire"))
        appenvs.save_repository(appenvs.repository(appenv.id).moved("archive"))
        revoke(work, secrets)

    def launch(self, work: Work, initiator: Initiator, subject_id: str) -> Request:
        """Raises `NotFound`; `Conflict`: `team_not_active`, `workflow_active`,
        `rotation_in_grace`; `MoveRefused` unless the environment is Frozen.
        """
        subjects = _lock_subjects(work, subject_id)
        _check_may_start(work, subjects)
        desired = _freeze(work, subjects, _begin(work, subjects))
        appenv = subjects.application_environment
        request = Request.new(
            id_=new_id(),
            workflow=WorkflowName.APPLICATION_ENVIRONMENT_DECOMMISSIONING,
            team_id=subjects.team.id,
            application_id=subjects.application.id,
            application_environment_id=appenv.id,
            requested_by=initiator.actor,
            reason=initiator.reason,
            traceparent=initiator.traceparent,
            now=work.now,
        )
        concerned = [
            (SubjectKind.APPLICATION_ENVIRONMENT, appenv.id),
            *((SubjectKind.SECRET, each.id) for each in subjects.to_end),
        ]
        work.requests.add(request, desired, concerned)
        event = DomainEvent.APPLICATION_ENVIRONMENT_DECOMMISSIONING_REQUESTED
        tell_asked(work, request, event, data={"reason": request.reason})
        work.journal.wake_offers()
        return request


def _lock_subjects(work: Work, appenv_id: str) -> DecommissioningSubjects:
    appenvs = work.application_environments
    seen = found(appenvs.by_id(appenv_id), "application environment", appenv_id)
    owner = work.applications.by_id(seen.application_id)
    if owner is None:
        raise InvariantBroken(f"application environment {appenv_id} belongs to no application")
    team = work.teams.hold(owner.team_id)
    application = work.applications.by_id(owner.id, lock=True) or owner
    appenv = appenvs.by_id(appenv_id, lock=True) or seen
    known = appenvs.secrets(appenv_id, lock=True)
    secrets = [each for each in known if each.has_value]
    return DecommissioningSubjects(team, application, appenv, secrets, _remains(work, known))


def _check_may_start(work: Work, subjects: DecommissioningSubjects) -> None:
    """The rules of a decommissioning but for the moves of what it ends."""
    subjects.team.check_may_start_workflow()
    refuse_while_at_work(work, subjects.application_environment.id)
    for secret in subjects.secrets:
        refuse_in_grace(work, secret, instead=INSTEAD_OF_WAITING)


def _refuse_when_superseded(
    work: Work, request: Request, subjects: DecommissioningSubjects
) -> None:
    """What the request is to end was frozen when it was asked for, and must be all there is. A
    revocation since then took something away at most.
    """
    appenv_id = subjects.application_environment.id
    refuse_when_superseded(work, request, SubjectKind.APPLICATION_ENVIRONMENT, appenv_id)
    for secret in subjects.to_end:
        refuse_when_superseded(
            work, request, SubjectKind.SECRET, secret.id, but=_SUPERSEDES_NO_DECOMMISSIONING
        )


def _check_planned(
    request: Request, standing: Sequence[Secret], desired: AppEnvDecommissioningDesiredState
) -> None:
    """Nothing is Revoked that no step has ended."""
    planned = {each.secret.secret_id for each in desired.secrets}
    left = [each.id for each in standing if each.id not in planned]
    if left:
        raise InvariantBroken(
            f"request {request.id} was to end the environment with all its secrets, and has not"
            f" ended {', '.join(left)}"
        )


def _begin(work: Work, subjects: DecommissioningSubjects) -> tuple[str, ...]:
    """The environment is Decommissioning, its secrets are Suspended; the ids of what was not so
    before. Writes nothing unless every move is allowed.
    """
    moved = subjects.application_environment.moved("decommission")
    suspended = begin_end(work, subjects.secrets)
    work.application_environments.save(moved)
    return suspended


def _standing(work: Work, appenv: ApplicationEnvironment) -> list[Secret]:
    """The environment's secrets that have not ended."""
    return [each for each in work.application_environments.secrets(appenv.id) if each.has_value]


def _remains(work: Work, secrets: Iterable[Secret]) -> list[Secret]:
    """Those without a value in use that a run began to give one. Where its request failed, or its
    undo kept something, the store may have a value, the issuer let a login in and a manifest bind
    it; however long ago that was. They stay Declared, since nothing of them is in use.
    """
    return [
        each
        for each in secrets
        if each.state is SecretState.DECLARED
        and work.requests.last_begun_on(SubjectKind.SECRET, each.id) is not None
    ]


def _desired_state(work: Work, request: Request) -> AppEnvDecommissioningDesiredState:
    desired = work.requests.desired_state(request)
    if not isinstance(desired, AppEnvDecommissioningDesiredState):
        raise InvariantBroken(f"request {request.id} is no decommissioning of an environment")
    return desired


def _freeze(
    work: Work, subjects: DecommissioningSubjects, suspended: tuple[str, ...]
) -> AppEnvDecommissioningDesiredState:
    appenv = subjects.application_environment
    subject = subject_of(work, subjects.team, subjects.application, appenv)
    repository = repository_of(work, subject)
    return AppEnvDecommissioningDesiredState(
        subject=subject,
        repository=repository,
        secrets=tuple(to_end(subject, repository, each) for each in subjects.to_end),
        suspended=suspended,
    )
