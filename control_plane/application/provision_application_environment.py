"""An application gets an environment: declared if it is new, its provisioning asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from control_plane.application.access import no_such
from control_plane.application.ports import Work
from control_plane.domain.application_environments import (
    APPLICATION_ENVIRONMENT_MOVES,
    ApplicationEnvironment,
)
from control_plane.domain.applications import Application
from control_plane.domain.environments import Environment
from control_plane.domain.managed_secrets import (
    SECRET_BINDING_MOVES,
    SECRET_MOVES,
    Secret,
    SecretBinding,
)
from control_plane.domain.repositories import DEPLOYMENT_REPOSITORY_MOVES, DeploymentRepository
from control_plane.domain.requests import Request, SubjectKind
from control_plane.domain.teams import Team
from idp_kernel.errors import Conflict, InvalidInput
from idp_kernel.ids import new_id
from idp_kernel.wire.api import SECRETS_PER_ENVIRONMENT, DeclareSecret, ProvisionEnvironment
from idp_kernel.wire.engine import AppEnvDesiredState
from idp_kernel.wire.worker import (
    AppEnvSubject,
    RepositoryWanted,
    SecretWanted,
    appenv_repository_name,
)
from idp_kernel.workflows import DomainEvent, WorkflowName

REQUIRED_APPROVALS = 1
"""Of another member, before a branch of an environment's repository is merged."""


@dataclass(frozen=True)
class Initiator:
    """Who asks for a workflow, why, and under which trace."""

    actor: str
    reason: str
    traceparent: str | None


@dataclass(frozen=True)
class ProvisioningSubjects:
    """Everything that provisioning concerns, locked in the common order, rules checked."""

    team: Team
    application: Application
    environment: Environment
    application_environment: ApplicationEnvironment | None


def provision_environment(
    work: Work, initiator: Initiator, application_id: str, command: ProvisionEnvironment
) -> Request:
    """The pending request; everything it needs moved to Provisioning.

    Raises `Conflict`: `workflow_active` with the id of the request that is under way,
    `team_not_active`, `environment_not_active`, `application_not_ready`, `too_many_secrets` when
    the environment would have more than 50 in all; `MoveRefused` when the application environment
    is past being provisioned.
    """
    _check_distinct(command.secrets)
    subjects = _lock_subjects(work, application_id, command.environment)
    appenv = subjects.application_environment
    if appenv is None:
        appenv = _declare(work, initiator, subjects)
    refuse_while_active(work, appenv.id)
    declared = {secret.name: secret for secret in work.application_environments.secrets(appenv.id)}
    _check_number({*declared, *(each.name for each in command.secrets)})
    secrets = [_declared_secret(work, appenv, declared, each) for each in command.secrets]
    return _start(work, initiator, subjects, appenv, secrets)


def provision_declared_environment(
    work: Work, initiator: Initiator, application_environment_id: str
) -> Request:
    """The same for an application environment that is there, with the secrets it declares."""
    seen = work.application_environments.by_id(application_environment_id)
    if seen is None:
        raise no_such("application environment", application_environment_id)
    environment = work.environments.by_id(seen.environment_id)
    subjects = _lock_subjects(work, seen.application_id, environment.slug)
    appenv = subjects.application_environment or seen
    refuse_while_active(work, appenv.id)
    secrets = work.application_environments.secrets(appenv.id)
    return _start(work, initiator, subjects, appenv, secrets)


def restart_provisioning(work: Work, request: Request) -> None:
    """Moves everything a given-up request concerns to Provisioning again, rules checked.

    The caller holds no lock yet; afterwards all subjects are locked.
    """
    appenv = existing_environment(work, request)
    environment = work.environments.by_id(appenv.environment_id)
    _lock_subjects(work, request.application_id, environment.slug)
    refuse_while_active(work, appenv.id)
    current = existing_environment(work, request)
    wanted = {id_ for kind, id_ in work.requests.subjects(request.id) if kind is SubjectKind.SECRET}
    locked = work.application_environments.secrets(appenv.id, lock=True)
    _move_to_provisioning(work, current, [each for each in locked if each.id in wanted])


def check_rules(work: Work, request: Request) -> None:
    """The rules that may have changed since the command: team, application, environment."""
    application = work.applications.by_id(request.application_id)
    appenv = existing_environment(work, request)
    if application is None:
        raise no_such("application", request.application_id)
    work.teams.by_id(request.team_id).check_may_start_workflow()
    application.check_may_get_environments()
    work.environments.by_id(appenv.environment_id).check_may_be_provisioned()


def refuse_while_active(work: Work, application_environment_id: str) -> None:
    """Raises `Conflict` (`workflow_active`) that names the request under way, if there is one."""
    active = work.requests.active_on(
        SubjectKind.APPLICATION_ENVIRONMENT, application_environment_id
    )
    if active is not None:
        raise workflow_active(active, f"application environment {application_environment_id}")


def workflow_active(request_id: str, subject: str) -> Conflict:
    """One active workflow per subject."""
    return Conflict(
        f"Request {request_id} is at work on {subject}; wait for its end or cancel it.",
        code="workflow_active",
        details={"activeRequestId": request_id, "workflowRequestId": request_id},
    )


def existing_environment(work: Work, request: Request) -> ApplicationEnvironment:
    """The application environment of a provisioning request."""
    appenv_id = request.application_environment_id or ""
    appenv = work.application_environments.by_id(appenv_id) if appenv_id else None
    if appenv is None:
        raise no_such("application environment", appenv_id)
    return appenv


def _check_distinct(secrets: Sequence[DeclareSecret]) -> None:
    names = [secret.name for secret in secrets]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput(f"Secrets are declared twice: {', '.join(twice)}.")


def _check_number(names: set[str]) -> None:
    if len(names) > SECRETS_PER_ENVIRONMENT:
        raise Conflict(
            f"The environment would have {len(names)} secrets, with those it declares already;"
            f" it can have {SECRETS_PER_ENVIRONMENT}.",
            code="too_many_secrets",
        )


def _lock_subjects(work: Work, application_id: str, environment_slug: str) -> ProvisioningSubjects:
    seen = work.applications.by_id(application_id)
    if seen is None:
        raise no_such("application", application_id)
    known = work.environments.by_slug(environment_slug)
    if known is None:
        raise no_such("environment", environment_slug)
    team = work.teams.hold(seen.team_id)
    environment = work.environments.hold(known.id)
    application = work.applications.by_id(application_id, lock=True) or seen
    team.check_may_start_workflow()
    application.check_may_get_environments()
    environment.check_may_be_provisioned()
    appenv = work.application_environments.by_pair(application.id, environment.id, lock=True)
    return ProvisioningSubjects(team, application, environment, appenv)


def _declare(
    work: Work, initiator: Initiator, subjects: ProvisioningSubjects
) -> ApplicationEnvironment:
    appenv = ApplicationEnvironment(
        id=new_id(),
        application_id=subjects.application.id,
        environment_id=subjects.environment.id,
        state=APPLICATION_ENVIRONMENT_MOVES.initial,
        revision=None,
        created_at=work.now,
    )
    repository = DeploymentRepository(
        id=new_id(),
        application_environment_id=appenv.id,
        owner=subjects.team.slug,
        name=appenv_repository_name(appenv.id),
        url=None,
        state=DEPLOYMENT_REPOSITORY_MOVES.initial,
    )
    work.application_environments.add(appenv, repository)
    work.journal.event(
        DomainEvent.APPLICATION_ENVIRONMENT_DECLARED,
        subject=f"application_environment/{appenv.id}",
        actor=initiator.actor,
        team_id=subjects.team.id,
        data={"environment": subjects.environment.slug},
    )
    return appenv


def _declared_secret(
    work: Work,
    appenv: ApplicationEnvironment,
    declared: dict[str, Secret],
    wanted: DeclareSecret,
) -> Secret:
    known = declared.get(wanted.name)
    if known is not None:
        return replace(known, purpose=wanted.purpose, sensitivity=wanted.sensitivity)
    secret_id = new_id()
    secret = Secret(
        id=secret_id,
        application_environment_id=appenv.id,
        name=wanted.name,
        purpose=wanted.purpose,
        sensitivity=wanted.sensitivity,
        state=SECRET_MOVES.initial,
        store_path=None,
        version=None,
        binding=SecretBinding(new_id(), secret_id, appenv.id, SECRET_BINDING_MOVES.initial),
    )
    work.application_environments.add_secret(secret)
    return secret


def _start(
    work: Work,
    initiator: Initiator,
    subjects: ProvisioningSubjects,
    appenv: ApplicationEnvironment,
    secrets: Sequence[Secret],
) -> Request:
    _move_to_provisioning(work, appenv, secrets)
    request = Request.new(
        id_=new_id(),
        workflow=WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING,
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
        *((SubjectKind.SECRET, secret.id) for secret in secrets),
    ]
    work.requests.add(request, _desired_state(work, subjects, appenv, secrets), concerned)
    _tell(work, request)
    work.journal.wake_offers()
    return request


def _move_to_provisioning(
    work: Work, appenv: ApplicationEnvironment, secrets: Sequence[Secret]
) -> None:
    appenvs = work.application_environments
    appenvs.save(appenv.moved("provision"))
    appenvs.save_repository(appenvs.repository(appenv.id).moved("provision"))
    for secret in secrets:
        appenvs.save_secret(secret.moved("provision").with_binding_moved("provision"))


def _desired_state(
    work: Work,
    subjects: ProvisioningSubjects,
    appenv: ApplicationEnvironment,
    secrets: Sequence[Secret],
) -> AppEnvDesiredState:
    repository = work.application_environments.repository(appenv.id)
    application, environment = subjects.application.slug, subjects.environment.slug
    return AppEnvDesiredState(
        subject=AppEnvSubject(
            application_environment_id=appenv.id,
            team=subjects.team.slug,
            application=application,
            environment=environment,
        ),
        repository=RepositoryWanted(
            repository_id=repository.id,
            owner=repository.owner,
            name=repository.name,
            description=f"{application} in {environment}",
        ),
        required_approvals=REQUIRED_APPROVALS,
        secrets=tuple(
            SecretWanted.model_validate(
                {
                    "secret_id": each.id,
                    "name": each.name,
                    "purpose": each.purpose,
                    "sensitivity": each.sensitivity,
                }
            )
            for each in secrets
        ),
        binding_ids={each.id: each.binding.id for each in secrets},
    )


def _tell(work: Work, request: Request) -> None:
    event = DomainEvent.APPLICATION_ENVIRONMENT_PROVISIONING_REQUESTED
    subject = f"application_environment/{request.application_environment_id}"
    work.journal.event(
        event,
        subject=subject,
        actor=request.requested_by,
        team_id=request.team_id,
        request_id=request.id,
    )
    work.journal.audit(
        actor=request.requested_by, action=event, subject=subject, reason=request.reason
    )
