"""ApplicationEnvironmentProvisioning: an application environment with its repository and secrets
becomes Active.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from control_plane.application.access import found
from control_plane.application.ports import Work
from control_plane.application.workflows.flow import (
    Initiator,
    Results,
    SinglePhase,
    reference,
    refuse_in_grace,
    refuse_while_active,
    tell_asked,
)
from control_plane.application.workflows.wanted import appenv_repository_wanted
from control_plane.domain.application_environments import (
    ApplicationEnvironment,
    ApplicationEnvironmentState,
)
from control_plane.domain.applications import Application
from control_plane.domain.environments import Environment
from control_plane.domain.managed_secrets import Secret, SecretState
from control_plane.domain.repositories import REQUIRED_APPROVALS
from control_plane.domain.requests import Request, SubjectKind
from control_plane.domain.teams import Team
from idp_kernel.errors import InvalidInput
from idp_kernel.ids import new_id
from idp_kernel.wire.engine import AppEnvDesiredState, StepResult
from idp_kernel.wire.worker import AppEnvSubject, SecretWanted
from idp_kernel.workflows import DomainEvent, Step, WorkflowName


@dataclass(frozen=True)
class ProvisioningSubjects:
    """Everything that provisioning concerns, locked in the common order, rules checked."""

    team: Team
    application: Application
    environment: Environment
    application_environment: ApplicationEnvironment | None


class AppEnvProvisioning(SinglePhase):
    """The flow of `ApplicationEnvironmentProvisioning`."""

    subject = SubjectKind.APPLICATION_ENVIRONMENT

    def lock(self, work: Work, request: Request) -> None:
        appenv = existing_environment(work, request)
        work.application_environments.by_id(appenv.id, lock=True)
        work.application_environments.secrets(appenv.id, lock=True)

    def check_rules(self, work: Work, request: Request) -> None:
        appenv = existing_environment(work, request)
        application = found(
            work.applications.by_id(request.application_id), "application", request.application_id
        )
        work.teams.by_id(request.team_id).check_may_start_workflow()
        application.check_may_go_on_provisioning()
        work.environments.by_id(appenv.environment_id).check_may_be_provisioned()

    def give_up(self, work: Work, request: Request) -> None:
        appenvs, action = work.application_environments, "give_up_provisioning"
        appenv = existing_environment(work, request)
        appenvs.save(appenv.moved(action))
        appenvs.save_repository(appenvs.repository(appenv.id).moved(action))
        for secret in appenvs.secrets(appenv.id):
            if secret.state is SecretState.PROVISIONING:
                appenvs.save_secret(secret.moved(action).with_binding_moved(action))

    def restart(self, work: Work, request: Request) -> None:
        appenv = existing_environment(work, request)
        environment = work.environments.by_id(appenv.environment_id)
        lock_subjects(work, request.application_id, environment.slug)
        refuse_while_at_work(work, appenv.id)
        current = existing_environment(work, request)
        subjects = work.requests.subjects(request.id)
        wanted = {id_ for kind, id_ in subjects if kind is SubjectKind.SECRET}
        locked = work.application_environments.secrets(appenv.id, lock=True)
        _move_to_provisioning(work, current, [each for each in locked if each.id in wanted])

    def finalize(self, work: Work, request: Request, results: Results) -> None:
        appenvs = work.application_environments
        appenv = existing_environment(work, request)
        repository = appenvs.repository(appenv.id)
        item = f"repository/{repository.id}"
        url = reference(results, Step.MATERIALIZE_REPOSITORIES, item, "url")
        appenvs.save_repository(replace(repository.moved("activate"), url=str(url)))
        for secret in appenvs.secrets(appenv.id, lock=True):
            if secret.state is SecretState.PROVISIONING:
                appenvs.save_secret(_activated(secret, results, work.now))
        revision = _revision(results[Step.CREATE_SECRET_BINDINGS])
        appenvs.save(replace(appenv.moved("activate"), revision=revision))

    def launch(self, work: Work, initiator: Initiator, subject_id: str) -> Request:
        return provision_declared_environment(work, initiator, subject_id)

    def check_undo(self, work: Work, request: Request) -> None:
        work.teams.by_id(request.team_id).check_may_start_workflow()
        appenv = existing_environment(work, request)
        refuse_while_at_work(work, appenv.id)
        if _is_in_use_by(work, request, appenv):
            appenv.moved("undo")
            for secret in work.application_environments.secrets(appenv.id):
                refuse_in_grace(work, secret)

    def begin_undo(self, work: Work, request: Request) -> None:
        work.teams.hold(request.team_id)
        self.lock(work, request)
        self.check_undo(work, request)
        appenv = existing_environment(work, request)
        if _is_in_use_by(work, request, appenv):
            work.application_environments.save(appenv.moved("undo"))

    def call_off_undo(self, work: Work, request: Request) -> None:
        appenv = existing_environment(work, request)
        if appenv.state is ApplicationEnvironmentState.DECOMMISSIONING:
            work.application_environments.save(appenv.moved("call_off_undo"))

    def end_undo(self, work: Work, request: Request, removed: Collection[str]) -> None:
        """A secret that was kept is Declared too: provisioned anew, it is found and adopted. What
        asked for the rotation of one that is gone asks no more.
        """
        appenvs = work.application_environments
        appenv = existing_environment(work, request)
        for secret in appenvs.secrets(appenv.id):
            if _secret_item(secret) in removed:
                work.rotations.settle_all_causes(secret.id)
        if appenv.state is not ApplicationEnvironmentState.DECOMMISSIONING:
            return
        appenvs.save(replace(appenv.moved("end_undo"), revision=None))
        appenvs.save_repository(replace(appenvs.repository(appenv.id).moved("undo"), url=None))
        for secret in appenvs.secrets(appenv.id):
            if secret.has_value:
                appenvs.save_secret(secret.with_provisioning_undone())


def provision_declared_environment(
    work: Work, initiator: Initiator, application_environment_id: str
) -> Request:
    """The pending request for an application environment that is there, with all its secrets but
    those that were revoked.

    Raises `Conflict` as the command does, before anything is written.
    """
    seen = found(
        work.application_environments.by_id(application_environment_id),
        "application environment",
        application_environment_id,
    )
    environment = work.environments.by_id(seen.environment_id)
    subjects = lock_subjects(work, seen.application_id, environment.slug)
    appenv = subjects.application_environment or seen
    refuse_while_at_work(work, appenv.id)
    secrets = work.application_environments.secrets(appenv.id, lock=True)
    standing = [secret for secret in secrets if not secret.is_over]
    return start_provisioning(work, initiator, subjects, appenv, standing)


def refuse_while_at_work(work: Work, application_environment_id: str) -> None:
    """Raises `Conflict` (`workflow_active`) while a request is at work on the environment or on a
    secret of it; one that rotated a secret and waits for the old credential's end is not.
    """
    refuse_while_active(work, SubjectKind.APPLICATION_ENVIRONMENT, application_environment_id)
    for secret in work.application_environments.secrets(application_environment_id):
        refuse_while_active(work, SubjectKind.SECRET, secret.id)


def existing_environment(work: Work, request: Request) -> ApplicationEnvironment:
    """The application environment of a request that is about one."""
    appenv_id = request.application_environment_id or ""
    appenv = work.application_environments.by_id(appenv_id) if appenv_id else None
    return found(appenv, "application environment", appenv_id)


def lock_subjects(work: Work, application_id: str, environment_slug: str) -> ProvisioningSubjects:
    """Raises `NotFound`, or `Conflict` when the team, the application or the environment is not
    ready.
    """
    seen = found(work.applications.by_id(application_id), "application", application_id)
    known = found(work.environments.by_slug(environment_slug), "environment", environment_slug)
    team = work.teams.hold(seen.team_id)
    environment = work.environments.hold(known.id)
    application = work.applications.by_id(application_id, lock=True) or seen
    team.check_may_start_workflow()
    application.check_may_get_environments()
    environment.check_may_be_provisioned()
    appenv = work.application_environments.by_pair(application.id, environment.id, lock=True)
    return ProvisioningSubjects(team, application, environment, appenv)


def start_provisioning(
    work: Work,
    initiator: Initiator,
    subjects: ProvisioningSubjects,
    appenv: ApplicationEnvironment,
    secrets: Sequence[Secret],
) -> Request:
    """The pending request; the environment and these secrets are Provisioning."""
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
    tell_asked(work, request, DomainEvent.APPLICATION_ENVIRONMENT_PROVISIONING_REQUESTED)
    work.journal.wake_offers()
    return request


def _move_to_provisioning(
    work: Work, appenv: ApplicationEnvironment, secrets: Sequence[Secret]
) -> None:
    """Writes nothing unless every move is allowed."""
    appenvs, action = work.application_environments, "provision"
    moved, repository = appenv.moved(action), appenvs.repository(appenv.id).moved(action)
    moved_secrets = [each.moved(action).with_binding_moved(action) for each in secrets]
    appenvs.save(moved)
    appenvs.save_repository(repository)
    for secret in moved_secrets:
        appenvs.save_secret(secret)


def _is_in_use_by(work: Work, request: Request, appenv: ApplicationEnvironment) -> bool:
    """Whether the environment is in use since that request, and not since another one."""
    kind, workflow = SubjectKind.APPLICATION_ENVIRONMENT, request.workflow
    last = work.requests.last_succeeded_on(kind, appenv.id, workflow)
    return last == request.id and appenv.state is not ApplicationEnvironmentState.DECLARED


def _activated(secret: Secret, results: Results, now: datetime) -> Secret:
    item = _secret_item(secret)
    path = reference(results, Step.PROVISION_SECRETS, item, "storePath")
    version = reference(results, Step.PROVISION_SECRETS, item, "version")
    stored = replace(secret.moved("activate"), store_path=str(path))
    return stored.at_version(int(version), now).with_binding_moved("activate")


def _secret_item(secret: Secret) -> str:
    return f"secret/{secret.id}"


def _revision(result: StepResult) -> str:
    """The commit with the bindings; all items of that step name the same."""
    for effect in result.items:
        if "revision" in effect.references:
            return str(effect.references["revision"])
    raise InvalidInput(
        f"The outcome of {Step.CREATE_SECRET_BINDINGS} names no revision.", code="outcomes_missing"
    )


def _desired_state(
    work: Work,
    subjects: ProvisioningSubjects,
    appenv: ApplicationEnvironment,
    secrets: Sequence[Secret],
) -> AppEnvDesiredState:
    repository = work.application_environments.repository(appenv.id)
    subject = AppEnvSubject(
        application_environment_id=appenv.id,
        team=subjects.team.slug,
        application=subjects.application.slug,
        environment=subjects.environment.slug,
    )
    return AppEnvDesiredState(
        subject=subject,
        repository=appenv_repository_wanted(
            repository.id, repository.owner, repository.name, subject
        ),
        required_approvals=REQUIRED_APPROVALS,
        secrets=tuple(secret_wanted(each) for each in secrets),
        binding_ids={each.id: each.binding.id for each in secrets},
    )


def secret_wanted(secret: Secret) -> SecretWanted:
    """The secret in the words of execution-workers."""
    return SecretWanted.model_validate(
        {
            "secret_id": secret.id,
            "name": secret.name,
            "purpose": secret.purpose,
            "sensitivity": secret.sensitivity,
            "issuer": secret.issuer,
        }
    )
