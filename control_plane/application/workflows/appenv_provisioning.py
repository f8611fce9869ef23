"""ApplicationEnvironmentProvisioning: an application environment with its repository and secrets
becomes Active, or one that is Active gets further secrets and stays so.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from control_plane.application.access import found
from control_plane.application.ports import Work
from control_plane.application.undo_plans import undo_plan
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
from idp_kernel.errors import Conflict, InvalidInput
from idp_kernel.ids import new_id
from idp_kernel.retention import REPEATABLE_FOR
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
        if not _comes_into_use(appenv):
            appenv.check_secrets_may_come_and_go()

    def give_up(self, work: Work, request: Request) -> None:
        appenvs, action = work.application_environments, "give_up_provisioning"
        appenv = existing_environment(work, request)
        if _comes_into_use(appenv):
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
        wanted = _secret_ids(work, request)
        locked = work.application_environments.secrets(appenv.id, lock=True)
        _move_to_provisioning(
            work,
            current,
            [each for each in locked if each.id in wanted],
            adds_secrets=adds_secrets(work, request),
        )

    def finalize(self, work: Work, request: Request, results: Results) -> None:
        appenvs = work.application_environments
        appenv = existing_environment(work, request)
        if _comes_into_use(appenv):
            appenv = appenv.moved("activate")
            repository = appenvs.repository(appenv.id)
            item = f"repository/{repository.id}"
            url = reference(results, Step.MATERIALIZE_REPOSITORIES, item, "url")
            appenvs.save_repository(replace(repository.moved("activate"), url=str(url)))
        for secret in appenvs.secrets(appenv.id, lock=True):
            if secret.state is SecretState.PROVISIONING:
                appenvs.save_secret(_activated(secret, results, work.now))
        revision = _revision(results[Step.CREATE_SECRET_BINDINGS])
        appenvs.save(replace(appenv, revision=revision))

    def launch(self, work: Work, initiator: Initiator, subject_id: str) -> Request:
        return provision_declared_environment(work, initiator, subject_id)

    def check_undo(self, work: Work, request: Request) -> None:
        work.teams.by_id(request.team_id).check_may_start_workflow()
        appenv = existing_environment(work, request)
        refuse_while_at_work(work, appenv.id)
        leaving: Sequence[Secret] = ()
        if adds_secrets(work, request):
            leaving = _in_use_by(work, request)
            if leaving:
                appenv.check_secrets_may_come_and_go()
        elif _is_in_use_by(work, request, appenv):
            appenv.moved("undo")
            leaving = work.application_environments.secrets(appenv.id)
            _refuse_while_adds_stand(work, request, appenv)
            _refuse_added_in_use(work, request, leaving)
        for secret in leaving:
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
        asked for the rotation of one that is gone asks no more. An environment that stays in use
        keeps a secret that was rotated since, and its binding.
        """
        appenvs = work.application_environments
        appenv = existing_environment(work, request)
        for secret in appenvs.secrets(appenv.id):
            if _secret_item(secret) in removed:
                work.rotations.settle_all_causes(secret.id)
        if adds_secrets(work, request):
            for secret in _in_use_by(work, request):
                is_gone = _secret_item(secret) in removed
                if is_gone or not _is_rotated_since(work, request, secret):
                    appenvs.save_secret(secret.with_provisioning_undone())
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
    subjects, appenv = lock_subjects_of(work, application_environment_id)
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


def lock_subjects_of(
    work: Work, application_environment_id: str
) -> tuple[ProvisioningSubjects, ApplicationEnvironment]:
    """The same for an application environment that is there."""
    seen = found(
        work.application_environments.by_id(application_environment_id),
        "application environment",
        application_environment_id,
    )
    environment = work.environments.by_id(seen.environment_id)
    subjects = lock_subjects(work, seen.application_id, environment.slug)
    return subjects, subjects.application_environment or seen


def start_provisioning(
    work: Work,
    initiator: Initiator,
    subjects: ProvisioningSubjects,
    appenv: ApplicationEnvironment,
    secrets: Sequence[Secret],
    *,
    adds_secrets: bool = False,
) -> Request:
    """The pending request; these secrets are Provisioning, the environment too unless they are
    added to it while it is in use.
    """
    _move_to_provisioning(work, appenv, secrets, adds_secrets=adds_secrets)
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
    wanted = _desired_state(work, subjects, appenv, secrets, adds_secrets=adds_secrets)
    work.requests.add(request, wanted, concerned)
    added = ", ".join(secret.name for secret in secrets)
    tell_asked(
        work,
        request,
        DomainEvent.APPLICATION_ENVIRONMENT_PROVISIONING_REQUESTED,
        data={"addedSecrets": added} if adds_secrets else None,
    )
    work.journal.wake_offers()
    return request


def _move_to_provisioning(
    work: Work, appenv: ApplicationEnvironment, secrets: Sequence[Secret], *, adds_secrets: bool
) -> None:
    """Writes nothing unless every move is allowed."""
    appenvs, action = work.application_environments, "provision"
    repository = appenvs.repository(appenv.id)
    if adds_secrets:
        appenv.check_secrets_may_come_and_go()
    else:
        appenv, repository = appenv.moved(action), repository.moved(action)
    moved_secrets = [each.moved(action).with_binding_moved(action) for each in secrets]
    appenvs.save(appenv)
    appenvs.save_repository(repository)
    for secret in moved_secrets:
        appenvs.save_secret(secret)


def _comes_into_use(appenv: ApplicationEnvironment) -> bool:
    """Whether the request that is at work on it brings it into use; else that one adds secrets."""
    return appenv.state is ApplicationEnvironmentState.PROVISIONING


def adds_secrets(work: Work, request: Request) -> bool:
    """Whether the request adds secrets to an environment that is in use."""
    desired = work.requests.desired_state(request)
    return isinstance(desired, AppEnvDesiredState) and desired.adds_secrets


def _secret_ids(work: Work, request: Request) -> set[str]:
    """Of the secrets that the request provisions."""
    subjects = work.requests.subjects(request.id)
    return {id_ for kind, id_ in subjects if kind is SubjectKind.SECRET}


def _is_in_use_by(work: Work, request: Request, appenv: ApplicationEnvironment) -> bool:
    """Whether the environment is in use since that request, and not since another one. Those that
    only added secrets to it brought it into use no more than it was.
    """
    if appenv.state is ApplicationEnvironmentState.DECLARED:
        return False
    kind, workflow = SubjectKind.APPLICATION_ENVIRONMENT, request.workflow
    for each in work.requests.succeeded_on(kind, appenv.id, workflow):
        if not adds_secrets(work, each):
            return each.id == request.id
    return False


def _in_use_by(work: Work, request: Request) -> list[Secret]:
    """The secrets that have their value since that request, and not since another one."""
    appenv = existing_environment(work, request)
    of_it = _secret_ids(work, request)
    return [
        secret
        for secret in work.application_environments.secrets(appenv.id)
        if secret.id in of_it and secret.has_value and _adder(work, secret) == request.id
    ]


def _adder(work: Work, secret: Secret) -> str | None:
    """The id of the request that the secret has its value since."""
    workflow = WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING
    succeeded = work.requests.succeeded_on(SubjectKind.SECRET, secret.id, workflow)
    return succeeded[0].id if succeeded else None


def _refuse_while_adds_stand(work: Work, request: Request, appenv: ApplicationEnvironment) -> None:
    """Raises `Conflict` (`secrets_added_since`) that names the latest request that added secrets to
    the environment, came to its end whichever way and was not undone: what it made there would be
    left without the environment, and keeps the workers from taking that. One that is too old to be
    undone is not waited for.
    """
    begun = work.requests.begun_on(
        SubjectKind.APPLICATION_ENVIRONMENT, appenv.id, since=work.now - REPEATABLE_FOR
    )
    for each in begun:
        if not adds_secrets(work, each) or work.requests.undone_by(each.id) is not None:
            continue
        if undo_plan(work, each).undoable:
            raise Conflict(
                f"Request {each.id} added secrets to the environment and was not undone; it may"
                f" have left something there. Undo that request before {request.id}.",
                code="secrets_added_since",
                details={"activeRequestId": each.id, "workflowRequestId": each.id},
            )


def _refuse_added_in_use(work: Work, request: Request, secrets: Sequence[Secret]) -> None:
    """Raises `Conflict` (`added_secret_in_use`) while the environment has secrets in use that the
    request did not give it: the undo of what added them keeps one that was rotated since.
    """
    own = _secret_ids(work, request)
    added = [each for each in secrets if each.has_value and each.id not in own]
    if added:
        names = ", ".join(each.name for each in added)
        raise Conflict(
            f"The environment has secrets in use that request {request.id} did not bring: {names}."
            " Revoke them first.",
            code="added_secret_in_use",
            details={"secretId": added[0].id},
        )


def _is_rotated_since(work: Work, request: Request, secret: Secret) -> bool:
    """Whether the secret has another version than the request gave it."""
    told = {each.step: each.result for each in undo_plan(work, request).steps}
    given = reference(told, Step.PROVISION_SECRETS, _secret_item(secret), "version")
    return secret.version != given


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
    *,
    adds_secrets: bool,
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
        adds_secrets=adds_secrets,
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
