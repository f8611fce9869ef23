"""What steps ask of execution-workers, over HTTP: the resources `git_provider`,
`appenv_provisioning_provider`, `secret_rotation_provider`, `ending_provider` and `undo_provider`.
"""

from __future__ import annotations

from typing import TypeVar

from dagster import ConfigurableResource

from idp_dagster.clients import workers_client
from idp_dagster.ports import CallPermit
from idp_kernel.wire.base import WireModel
from idp_kernel.wire.worker import (
    APPENV_BRANCH_PROTECTION,
    APPENV_GITOPS_VERIFY,
    APPENV_SECRET_BINDINGS,
    APPENV_SECRETS,
    FENCES,
    GIT_BRANCH_PROTECTION,
    GIT_REPOSITORIES,
    GIT_REPOSITORIES_ARCHIVE,
    GIT_REPOSITORIES_SEED,
    GIT_REPOSITORIES_VALIDATE,
    GIT_REPOSITORIES_VERIFY_ARCHIVED,
    SECRETS_BINDINGS_REMOVE,
    SECRETS_BINDINGS_UPDATE,
    SECRETS_CONSUMERS,
    SECRETS_END,
    SECRETS_ISSUE,
    SECRETS_RETIRE,
    SECRETS_VALIDATE,
    SECRETS_VERIFY,
    SECRETS_VERIFY_ENDED,
    UNDO_SUFFIX,
    UNDO_VERIFY,
    ArchiveRepositories,
    ConsumersVerdict,
    CreateSecretBindings,
    CredentialVerdict,
    EndCredentials,
    EnsureRepositories,
    FenceRaised,
    Findings,
    GitOpsVerdict,
    IssueCredential,
    ObserveConsumers,
    ProtectBranches,
    ProvisionSecrets,
    RaiseFence,
    RemoveSecretBindings,
    RetireCredential,
    SeedRepositories,
    StepEffects,
    UpdateSecretBindings,
    VerifyCredential,
    VerifyGitOps,
    VerifySecretEnded,
    VerifyUndone,
)
from idp_kernel.workflows import Step

Answer = TypeVar("Answer", bound=WireModel)

DRAIN_TIMEOUT_SECONDS = 10.0


class GitProviderResource(ConfigurableResource[None]):
    """The Git forge, through execution-workers."""

    workers_url: str

    def ensure_repositories(self, body: EnsureRepositories, permit: CallPermit) -> StepEffects:
        return _call(self.workers_url, GIT_REPOSITORIES, StepEffects, body, permit)

    def validate_repositories(self, body: EnsureRepositories, permit: CallPermit) -> Findings:
        return _call(self.workers_url, GIT_REPOSITORIES_VALIDATE, Findings, body, permit)

    def seed_repositories(self, body: SeedRepositories, permit: CallPermit) -> StepEffects:
        return _call(self.workers_url, GIT_REPOSITORIES_SEED, StepEffects, body, permit)

    def protect_repositories(self, body: ProtectBranches, permit: CallPermit) -> StepEffects:
        return _call(self.workers_url, GIT_BRANCH_PROTECTION, StepEffects, body, permit)


class AppEnvProvisioningProviderResource(ConfigurableResource[None]):
    """What an environment needs beside its repository, through execution-workers."""

    workers_url: str

    def protect_branches(self, body: ProtectBranches, permit: CallPermit) -> StepEffects:
        return _call(self.workers_url, APPENV_BRANCH_PROTECTION, StepEffects, body, permit)

    def provision_secrets(self, body: ProvisionSecrets, permit: CallPermit) -> StepEffects:
        return _call(self.workers_url, APPENV_SECRETS, StepEffects, body, permit)

    def create_secret_bindings(self, body: CreateSecretBindings, permit: CallPermit) -> StepEffects:
        return _call(self.workers_url, APPENV_SECRET_BINDINGS, StepEffects, body, permit)

    def verify_gitops(self, body: VerifyGitOps, permit: CallPermit) -> GitOpsVerdict:
        return _call(self.workers_url, APPENV_GITOPS_VERIFY, GitOpsVerdict, body, permit)


class SecretRotationProviderResource(ConfigurableResource[None]):
    """Store, issuer and bindings of a secret, through execution-workers."""

    workers_url: str

    def validate_rotation(self, body: IssueCredential, permit: CallPermit) -> Findings:
        return _call(self.workers_url, SECRETS_VALIDATE, Findings, body, permit)

    def issue(self, body: IssueCredential, permit: CallPermit) -> StepEffects:
        return _call(self.workers_url, SECRETS_ISSUE, StepEffects, body, permit)

    def verify(self, body: VerifyCredential, permit: CallPermit) -> CredentialVerdict:
        return _call(self.workers_url, SECRETS_VERIFY, CredentialVerdict, body, permit)

    def update_bindings(self, body: UpdateSecretBindings, permit: CallPermit) -> StepEffects:
        return _call(self.workers_url, SECRETS_BINDINGS_UPDATE, StepEffects, body, permit)

    def consumers(self, body: ObserveConsumers, permit: CallPermit) -> ConsumersVerdict:
        return _call(self.workers_url, SECRETS_CONSUMERS, ConsumersVerdict, body, permit)

    def retire(self, body: RetireCredential, permit: CallPermit) -> StepEffects:
        return _call(self.workers_url, SECRETS_RETIRE, StepEffects, body, permit)


class EndingProviderResource(ConfigurableResource[None]):
    """What ends secrets and repositories for good, through execution-workers."""

    workers_url: str

    def remove_bindings(self, body: RemoveSecretBindings, permit: CallPermit) -> StepEffects:
        return _call(self.workers_url, SECRETS_BINDINGS_REMOVE, StepEffects, body, permit)

    def end(self, body: EndCredentials, permit: CallPermit) -> StepEffects:
        return _call(self.workers_url, SECRETS_END, StepEffects, body, permit)

    def look(self, body: VerifySecretEnded, permit: CallPermit) -> Findings:
        return _call(self.workers_url, SECRETS_VERIFY_ENDED, Findings, body, permit)

    def archive(self, body: ArchiveRepositories, permit: CallPermit) -> StepEffects:
        return _call(self.workers_url, GIT_REPOSITORIES_ARCHIVE, StepEffects, body, permit)

    def look_at_archived(self, body: ArchiveRepositories, permit: CallPermit) -> Findings:
        return _call(self.workers_url, GIT_REPOSITORIES_VERIFY_ARCHIVED, Findings, body, permit)


UNDO_PATHS: dict[Step, str] = {
    Step.CREATE_CODE_REPOSITORY: GIT_REPOSITORIES,
    Step.CREATE_DEPLOYMENT_REPOSITORY: GIT_REPOSITORIES,
    Step.SEED_REPOSITORIES: GIT_REPOSITORIES_SEED,
    Step.APPLY_REPOSITORY_PROTECTION: GIT_BRANCH_PROTECTION,
    Step.MATERIALIZE_REPOSITORIES: GIT_REPOSITORIES,
    Step.APPLY_BRANCH_PROTECTION: APPENV_BRANCH_PROTECTION,
    Step.PROVISION_SECRETS: APPENV_SECRETS,
    Step.CREATE_SECRET_BINDINGS: APPENV_SECRET_BINDINGS,
}
"""Where each step that can be undone was done."""


class UndoProviderResource(ConfigurableResource[None]):
    """What takes back the effects of another request, through execution-workers."""

    workers_url: str

    def stop(self, permit: CallPermit) -> None:
        drain_workers(self.workers_url, permit.run_token, closing=False)

    def undo(self, step: Step, body: WireModel, permit: CallPermit) -> StepEffects:
        path = f"{UNDO_PATHS[step]}{UNDO_SUFFIX}"
        return _call(self.workers_url, path, StepEffects, body, permit)

    def verify(self, body: VerifyUndone, permit: CallPermit) -> Findings:
        return _call(self.workers_url, UNDO_VERIFY, Findings, body, permit)


def drain_workers(workers_url: str, run_token: str, *, closing: bool) -> None:
    """Returns when execution-workers are through with every call of the token's request. `closing`
    has them refuse the token's own calls from now on, also when this does not return in time.

    Their calls outlive a client that hangs up. Errors as of `ServiceClient.call`; `Unavailable`
    after 10 s. Repeating it waits again.
    """
    workers_client(workers_url).call(
        "POST",
        FENCES,
        FenceRaised,
        body=RaiseFence(closing=closing),
        bearer=run_token,
        timeout_seconds=DRAIN_TIMEOUT_SECONDS,
    )


def _call(
    workers_url: str, path: str, answer: type[Answer], body: WireModel, permit: CallPermit
) -> Answer:
    return workers_client(workers_url).call(
        "POST",
        path,
        answer,
        body=body,
        headers={"Idempotency-Key": permit.idempotency_key},
        bearer=permit.run_token,
    )
