"""What an undo says to execution-workers: for each step the body it was done with, and what must be
gone in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from idp_kernel.errors import InvariantBroken
from idp_kernel.wire.base import WireModel
from idp_kernel.wire.engine import (
    AppEnvDesiredState,
    CompensationDesiredState,
    Desired,
    OnboardingDesiredState,
)
from idp_kernel.wire.worker import (
    GONE,
    CreateSecretBindings,
    EnsureRepositories,
    ItemEffect,
    ProtectBranches,
    ProvisionSecrets,
    RepositoryWanted,
    SecretWanted,
    SeedRepositories,
    VerifyUndone,
)
from idp_kernel.workflows import Step


def undo_body(wanted: CompensationDesiredState, step: Step) -> WireModel:
    """The body that the step was done with."""
    return _BODIES[step](wanted)


def must_be_gone(wanted: CompensationDesiredState, items: Iterable[ItemEffect]) -> VerifyUndone:
    """The repositories and secrets that the undo has removed or found removed."""
    gone = {each.item for each in items if each.effect in GONE}
    repositories, secrets = _made_by(wanted)
    return VerifyUndone(
        subject=wanted.subject,
        repositories=tuple(each for each in repositories if _item(each) in gone),
        secrets=tuple(each for each in secrets if f"secret/{each.secret_id}" in gone),
    )


def _made_by(
    wanted: CompensationDesiredState,
) -> tuple[tuple[RepositoryWanted, ...], tuple[SecretWanted, ...]]:
    undone = wanted.undone
    if isinstance(undone, AppEnvDesiredState):
        return (undone.repository,), undone.secrets
    return undone.repositories, ()


def _item(repository: RepositoryWanted) -> str:
    return f"repository/{repository.repository_id}"


def _code_repository(wanted: CompensationDesiredState) -> EnsureRepositories:
    undone = _undone(wanted, OnboardingDesiredState)
    return EnsureRepositories(subject=undone.subject, repositories=(undone.code_repository,))


def _deployment_repository(wanted: CompensationDesiredState) -> EnsureRepositories:
    undone = _undone(wanted, OnboardingDesiredState)
    return EnsureRepositories(subject=undone.subject, repositories=(undone.deployment_repository,))


def _seeds(wanted: CompensationDesiredState) -> SeedRepositories:
    undone = _undone(wanted, OnboardingDesiredState)
    return SeedRepositories(
        subject=undone.subject, description=undone.description, repositories=undone.repositories
    )


def _repository_protection(wanted: CompensationDesiredState) -> ProtectBranches:
    undone = _undone(wanted, OnboardingDesiredState)
    return ProtectBranches(
        subject=undone.subject,
        repositories=undone.repositories,
        required_approvals=undone.required_approvals,
    )


def _appenv_repository(wanted: CompensationDesiredState) -> EnsureRepositories:
    undone = _undone(wanted, AppEnvDesiredState)
    return EnsureRepositories(
        subject=undone.subject,
        repositories=(undone.repository,),
        is_in_use=undone.adds_secrets,
    )


def _appenv_protection(wanted: CompensationDesiredState) -> ProtectBranches:
    undone = _undone(wanted, AppEnvDesiredState)
    return ProtectBranches(
        subject=undone.subject,
        repositories=(undone.repository,),
        required_approvals=undone.required_approvals,
        is_in_use=undone.adds_secrets,
    )


def _secrets(wanted: CompensationDesiredState) -> ProvisionSecrets:
    undone = _undone(wanted, AppEnvDesiredState)
    return ProvisionSecrets(subject=undone.subject, secrets=undone.secrets)


def _bindings(wanted: CompensationDesiredState) -> CreateSecretBindings:
    """They pin what `provision_secrets` told, which has to come before them."""
    undone = _undone(wanted, AppEnvDesiredState)
    return CreateSecretBindings(
        subject=undone.subject,
        repository=undone.repository,
        bindings=wanted.result_of(Step.PROVISION_SECRETS).bindings(undone),
    )


_BODIES: dict[Step, Callable[[CompensationDesiredState], WireModel]] = {
    Step.CREATE_CODE_REPOSITORY: _code_repository,
    Step.CREATE_DEPLOYMENT_REPOSITORY: _deployment_repository,
    Step.SEED_REPOSITORIES: _seeds,
    Step.APPLY_REPOSITORY_PROTECTION: _repository_protection,
    Step.MATERIALIZE_REPOSITORIES: _appenv_repository,
    Step.APPLY_BRANCH_PROTECTION: _appenv_protection,
    Step.PROVISION_SECRETS: _secrets,
    Step.CREATE_SECRET_BINDINGS: _bindings,
}


def _undone(wanted: CompensationDesiredState, kind: type[Desired]) -> Desired:
    if not isinstance(wanted.undone, kind):
        raise InvariantBroken(f"Request {wanted.undone_request_id} has no {kind.__name__}.")
    return wanted.undone
