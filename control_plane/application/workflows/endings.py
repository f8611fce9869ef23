"""What ends for good has in common, whether one secret ends or a whole environment."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Final

from control_plane.application.ports import Work
from control_plane.application.workflows.appenv_provisioning import secret_wanted
from control_plane.application.workflows.flow import REVISION, Results, workflow_active
from control_plane.application.workflows.wanted import appenv_repository_wanted
from control_plane.domain.application_environments import ApplicationEnvironment
from control_plane.domain.applications import Application
from control_plane.domain.managed_secrets import Secret, SecretBindingState, SecretState
from control_plane.domain.requests import SubjectKind
from control_plane.domain.teams import Team
from idp_kernel.errors import Conflict
from idp_kernel.wire.worker import AppEnvSubject, BindingTarget, RepositoryWanted, RotatedSecret
from idp_kernel.workflows import RequestState, Step, WorkflowName

_ENDINGS: Final = (
    WorkflowName.SECRET_REVOCATION,
    WorkflowName.APPLICATION_ENVIRONMENT_DECOMMISSIONING,
)


def subject_of(
    work: Work, team: Team, application: Application, appenv: ApplicationEnvironment
) -> AppEnvSubject:
    """The application environment in the words of execution-workers."""
    return AppEnvSubject(
        application_environment_id=appenv.id,
        team=team.slug,
        application=application.slug,
        environment=work.environments.by_id(appenv.environment_id).slug,
    )


def repository_of(work: Work, subject: AppEnvSubject) -> RepositoryWanted:
    """The repository of the subject's application environment, likewise."""
    repository = work.application_environments.repository(subject.application_environment_id)
    return appenv_repository_wanted(repository.id, repository.owner, repository.name, subject)


def to_end(subject: AppEnvSubject, repository: RepositoryWanted, secret: Secret) -> RotatedSecret:
    """A secret with its binding, likewise."""
    return RotatedSecret(
        subject=subject,
        secret=secret_wanted(secret),
        store_path=secret.store_path or "",
        bindings=(
            BindingTarget(
                binding_id=secret.binding.id,
                name=secret.name,
                subject=subject,
                repository=repository,
            ),
        ),
    )


def refuse_unless_ended(work: Work, kind: SubjectKind, subject_id: str) -> None:
    """Raises `Conflict` (`ending_unfinished`) when a run began to end the subject and none did: its
    bindings or credentials may be gone, so that it cannot be used again.
    """
    last = work.requests.last_begun_on(kind, subject_id)
    if last is None or last.workflow not in _ENDINGS or last.state is RequestState.SUCCEEDED:
        return
    raise Conflict(
        f"Request {last.id} began to end {kind.replace('_', ' ')} {subject_id} and did not finish;"
        " some of its bindings or credentials may be gone. Retry that request, or ask for the end"
        " anew.",
        code="ending_unfinished",
        details={"activeRequestId": last.id, "workflowRequestId": last.id},
    )


def refuse_while_ending(work: Work, secret: Secret) -> None:
    """Raises `Conflict` while a request ends the secret, alone or with its environment
    (`workflow_active`), and when one began to and did not finish (`ending_unfinished`).
    """
    active = work.requests.active_on(SubjectKind.SECRET, secret.id)
    request = None if active is None else work.requests.by_id(active)
    if request is not None and request.workflow in _ENDINGS:
        raise workflow_active(request.id, f"the end of secret {secret.name}")
    refuse_unless_ended(work, SubjectKind.SECRET, secret.id)


def begin_end(work: Work, secrets: Sequence[Secret]) -> tuple[str, ...]:
    """Suspends each with its binding; answers the ids of those that were not. Raises `MoveRefused`
    unless every one may be revoked, before anything is written.
    """
    begun = [(secret, secret.with_end_begun()) for secret in secrets]
    for _, after in begun:
        work.application_environments.save_secret(after)
    return tuple(id_ for before, _ in begun for id_ in _not_suspended(before))


def call_off_end(work: Work, secrets: Sequence[Secret], suspended: Collection[str]) -> None:
    """As before the end began, which did nothing yet."""
    for secret in secrets:
        work.application_environments.save_secret(secret.with_end_called_off(suspended))


def revoke(work: Work, secrets: Sequence[Secret]) -> None:
    """For good; nothing asks for their rotation any more."""
    for secret in secrets:
        work.application_environments.save_secret(secret.revoked())
        work.rotations.settle_all_causes(secret.id)


def at_removal(
    appenv: ApplicationEnvironment, secrets: Sequence[Secret], results: Results
) -> ApplicationEnvironment:
    """The environment at the commit that removed the last of the secrets' bindings; as it is where
    its repository was gone before.
    """
    items = {f"binding/{each.binding.id}" for each in secrets}
    told = results.get(Step.REMOVE_SECRET_BINDINGS)
    revision = appenv.revision
    for effect in () if told is None else told.items:
        found = effect.references.get("revision")
        if effect.item in items and isinstance(found, str) and REVISION.fullmatch(found):
            revision = found
    return replace(appenv, revision=revision)


def _not_suspended(secret: Secret) -> Iterator[str]:
    if secret.state is not SecretState.SUSPENDED:
        yield secret.id
    if secret.binding.state is not SecretBindingState.SUSPENDED:
        yield secret.binding.id
