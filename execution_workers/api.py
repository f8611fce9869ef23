"""The routes of execution-workers (`idp_kernel.wire.worker`): one POST per step, some with an undo.

Handlers are plain functions: they run in threads, and a client that hangs up does not stop them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Header, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from opentelemetry import trace

from execution_workers.calls import (
    IDEMPOTENCY_KEY_HEADER,
    Call,
    attributes_of,
    request_attributes,
    require_own_secret,
    require_own_team,
    require_team_paths,
    verified_call,
)
from execution_workers.checks import Checks
from execution_workers.effects import Effects
from execution_workers.endings import EndAction
from execution_workers.gitops import GitOpsVerification
from execution_workers.ledger.ledger import Ledger
from execution_workers.manifests import binding_at
from execution_workers.ports import Action, BindingMove, GitForge
from execution_workers.provisioning import SecretAction
from execution_workers.rotation import (
    IssueAction,
    MoveAction,
    RetireAction,
    RotationParties,
)
from execution_workers.rotation_probes import observe_consumers, validate, verify
from execution_workers.run_tokens import RunTokens
from idp_kernel.errors import Unauthenticated
from idp_kernel.telemetry.traces import span
from idp_kernel.tokens import RunClaims, ServiceClaims
from idp_kernel.wire.worker import (
    APPENV_BRANCH_PROTECTION,
    APPENV_GITOPS_VERIFY,
    APPENV_SECRET_BINDINGS,
    APPENV_SECRETS,
    CHECK_BINDINGS_PRESENT,
    CHECK_GITOPS_RECONCILED,
    CHECK_REPOSITORY_PROTECTED,
    CHECK_SECRET_WITHIN_POLICY,
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
    CheckAppEnvs,
    CheckSecrets,
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
    RotatedSecret,
    SeedRepositories,
    StepEffects,
    Subject,
    UpdateSecretBindings,
    VerifyCredential,
    VerifyGitOps,
    VerifySecretEnded,
    VerifyUndone,
)
from idp_kernel.workflows import Step

BEARER = HTTPBearer(
    auto_error=False,
    description="The run token that the claim answered; for checks a service's token.",
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias=IDEMPOTENCY_KEY_HEADER,
        description="`<request id>/<generation>/<step>`, for an undo with `/undo` behind it.",
    ),
]
Claims = TypeVar("Claims", RunClaims, ServiceClaims)
Verdict = TypeVar("Verdict")
Rotated = TypeVar("Rotated", bound=RotatedSecret)


@dataclass(frozen=True)
class Workers:
    """All that the routes work with."""

    tokens: RunTokens
    ledger: Ledger
    effects: Effects
    forge: GitForge
    rotation: RotationParties
    verification: GitOpsVerification
    checks: Checks
    drain_wait_seconds: float

    def probed(
        self, call: Call, subject: Subject, look: Callable[[], Verdict], *, item: str = ""
    ) -> Verdict:
        """What the look finds, in a span, if the call's run is not overtaken."""
        attributes = attributes_of(call, subject, item=item)
        with self.ledger.opened(call), span(call.step, attributes=attributes):
            return look()


def routes(workers: Workers) -> APIRouter:
    """Every route but those each server has."""
    router = APIRouter()
    _add_repositories(router, workers)
    _add_repository_validation(router, workers)
    _add_seeds(router, workers)
    _add_branch_protection(router, workers, GIT_BRANCH_PROTECTION, Step.APPLY_REPOSITORY_PROTECTION)
    _add_branch_protection(router, workers, APPENV_BRANCH_PROTECTION, Step.APPLY_BRANCH_PROTECTION)
    _add_secrets(router, workers)
    _add_secret_bindings(router, workers)
    _add_gitops_verify(router, workers)
    _add_credentials(router, workers)
    _add_moved_bindings(router, workers)
    _add_rotation_probes(router, workers)
    _add_retirement(router, workers)
    _add_endings(router, workers)
    _add_archives(router, workers)
    _add_undo_verification(router, workers)
    _add_checks(router, workers)
    _add_fences(router, workers)
    return router


def _add_repositories(router: APIRouter, workers: Workers) -> None:
    done, undone = _calls_of(
        workers,
        Step.MATERIALIZE_REPOSITORIES,
        Step.CREATE_CODE_REPOSITORY,
        Step.CREATE_DEPLOYMENT_REPOSITORY,
    )

    def actions(body: EnsureRepositories, call: Call) -> Sequence[Action]:
        require_own_team(call, body.subject, *(each.owner for each in body.repositories))
        return [
            workers.forge.repository(body.subject, each, may_create=not body.is_in_use)
            for each in body.repositories
        ]

    @router.post(GIT_REPOSITORIES)
    def ensure_repositories(body: EnsureRepositories, call: Call = done) -> StepEffects:
        return workers.effects.do(call, body.subject, actions(body, call))

    @router.post(GIT_REPOSITORIES + UNDO_SUFFIX)
    def undo_repositories(body: EnsureRepositories, call: Call = undone) -> StepEffects:
        take_back = workers.effects.let_go if body.is_in_use else workers.effects.undo
        return take_back(call, body.subject, actions(body, call))


def _add_repository_validation(router: APIRouter, workers: Workers) -> None:
    done, _ = _calls_of(workers, Step.VALIDATE_APPLICATION)

    @router.post(GIT_REPOSITORIES_VALIDATE)
    def validate_repositories(body: EnsureRepositories, call: Call = done) -> Findings:
        require_own_team(call, body.subject, *(each.owner for each in body.repositories))
        return workers.probed(call, body.subject, lambda: workers.checks.repositories_free(body))


def _add_seeds(router: APIRouter, workers: Workers) -> None:
    done, undone = _calls_of(workers, Step.SEED_REPOSITORIES)

    def actions(body: SeedRepositories, call: Call) -> Sequence[Action]:
        require_own_team(call, body.subject, *(each.owner for each in body.repositories))
        return [workers.forge.seed(body, each) for each in body.repositories]

    @router.post(GIT_REPOSITORIES_SEED)
    def seed_repositories(body: SeedRepositories, call: Call = done) -> StepEffects:
        return workers.effects.do(call, body.subject, actions(body, call))

    @router.post(GIT_REPOSITORIES_SEED + UNDO_SUFFIX)
    def undo_seeds(body: SeedRepositories, call: Call = undone) -> StepEffects:
        return workers.effects.undo(call, body.subject, actions(body, call))


def _add_branch_protection(router: APIRouter, workers: Workers, path: str, step: Step) -> None:
    done, undone = _calls_of(workers, step)

    def actions(body: ProtectBranches, call: Call) -> Sequence[Action]:
        require_own_team(call, body.subject, *(each.owner for each in body.repositories))
        return [
            workers.forge.protection(body.subject, each, body.required_approvals)
            for each in body.repositories
        ]

    @router.post(path)
    def protect_branches(body: ProtectBranches, call: Call = done) -> StepEffects:
        return workers.effects.do(call, body.subject, actions(body, call))

    @router.post(path + UNDO_SUFFIX)
    def undo_branch_protection(body: ProtectBranches, call: Call = undone) -> StepEffects:
        take_back = workers.effects.let_go if body.is_in_use else workers.effects.undo
        return take_back(call, body.subject, actions(body, call))


def _add_secrets(router: APIRouter, workers: Workers) -> None:
    done, undone = _calls_of(workers, Step.PROVISION_SECRETS)
    store, issuers = workers.rotation.store, workers.rotation.issuers

    def actions(body: ProvisionSecrets, call: Call) -> Sequence[Action]:
        require_own_team(call, body.subject)
        return [
            SecretAction(store, issuers[each.issuer], body.subject, each) for each in body.secrets
        ]

    @router.post(APPENV_SECRETS)
    def provision_secrets(body: ProvisionSecrets, call: Call = done) -> StepEffects:
        return workers.effects.do(call, body.subject, actions(body, call))

    @router.post(APPENV_SECRETS + UNDO_SUFFIX)
    def undo_secrets(body: ProvisionSecrets, call: Call = undone) -> StepEffects:
        return workers.effects.undo(call, body.subject, actions(body, call))


def _add_secret_bindings(router: APIRouter, workers: Workers) -> None:
    done, undone = _calls_of(workers, Step.CREATE_SECRET_BINDINGS)

    def actions(body: CreateSecretBindings, call: Call) -> Sequence[Action]:
        require_own_team(call, body.subject, body.repository.owner)
        require_team_paths(call.team, (each.store_path for each in body.bindings))
        return [workers.forge.secret_bindings(body.subject, body.repository, body.bindings)]

    @router.post(APPENV_SECRET_BINDINGS)
    def create_secret_bindings(body: CreateSecretBindings, call: Call = done) -> StepEffects:
        return workers.effects.do(call, body.subject, actions(body, call))

    @router.post(APPENV_SECRET_BINDINGS + UNDO_SUFFIX)
    def undo_secret_bindings(body: CreateSecretBindings, call: Call = undone) -> StepEffects:
        return workers.effects.undo(call, body.subject, actions(body, call))


def _add_gitops_verify(router: APIRouter, workers: Workers) -> None:
    done, _ = _calls_of(workers, Step.VERIFY_GITOPS_RECONCILIATION)

    @router.post(APPENV_GITOPS_VERIFY)
    def verify_gitops(body: VerifyGitOps, call: Call = done) -> GitOpsVerdict:
        require_own_team(call, body.subject, body.repository.owner)
        return workers.probed(call, body.subject, lambda: workers.verification.verify(body))


def _add_credentials(router: APIRouter, workers: Workers) -> None:
    done, _ = _calls_of(workers, Step.ISSUE_NEW_CREDENTIAL)

    @router.post(SECRETS_ISSUE)
    def issue_credential(body: IssueCredential, call: Call = done) -> StepEffects:
        require_own_secret(call, body)
        return workers.effects.do(call, body.subject, [IssueAction(workers.rotation, body)])


def _add_moved_bindings(router: APIRouter, workers: Workers) -> None:
    done, _ = _calls_of(workers, Step.UPDATE_SECRET_BINDINGS)

    @router.post(SECRETS_BINDINGS_UPDATE)
    def update_secret_bindings(body: UpdateSecretBindings, call: Call = done) -> StepEffects:
        require_own_secret(call, body)
        moves = [
            MoveAction(workers.rotation, body, workers.forge.moved_binding(move))
            for move in _moves(body)
        ]
        return workers.effects.do(call, body.subject, moves)


def _add_rotation_probes(router: APIRouter, workers: Workers) -> None:
    parties = workers.rotation
    validating, _ = _calls_of(workers, Step.VALIDATE_ROTATION)
    verifying, _ = _calls_of(workers, Step.VERIFY_NEW_CREDENTIAL)
    observing, _ = _calls_of(workers, Step.CONFIRM_CONSUMERS)

    @router.post(SECRETS_VALIDATE)
    def validate_rotation(body: IssueCredential, call: Call = validating) -> Findings:
        return _secret_probe(workers, call, body, lambda: validate(parties, body, call.request_id))

    @router.post(SECRETS_VERIFY)
    def verify_credential(body: VerifyCredential, call: Call = verifying) -> CredentialVerdict:
        return _secret_probe(workers, call, body, lambda: verify(parties, body))

    @router.post(SECRETS_CONSUMERS)
    def observe(body: ObserveConsumers, call: Call = observing) -> ConsumersVerdict:
        return _secret_probe(workers, call, body, lambda: observe_consumers(parties, body))


def _add_retirement(router: APIRouter, workers: Workers) -> None:
    done, _ = _calls_of(workers, Step.RETIRE_OLD_CREDENTIAL)

    @router.post(SECRETS_RETIRE)
    def retire_credential(body: RetireCredential, call: Call = done) -> StepEffects:
        require_own_secret(call, body)
        return workers.effects.do(call, body.subject, [RetireAction(workers.rotation, body)])


def _add_endings(router: APIRouter, workers: Workers) -> None:
    removing, _ = _calls_of(workers, Step.REMOVE_SECRET_BINDINGS)
    ending, _ = _calls_of(workers, Step.END_CREDENTIALS)
    looking, _ = _calls_of(
        workers,
        Step.RELEASE_CONSUMERS,
        Step.VERIFY_SECRETS_ENDED,
        Step.VERIFY_NOTHING_RECONCILED,
        Step.VERIFY_APPLICATION_ENDED,
    )

    @router.post(SECRETS_BINDINGS_REMOVE)
    def remove_secret_bindings(body: RemoveSecretBindings, call: Call = removing) -> StepEffects:
        body = _placed(workers, body)
        require_own_secret(call, body)
        asked = body.model_dump(mode="json")
        actions = [
            workers.forge.removed_binding(each.repository, binding_at(body, each, 1), asked)
            for each in body.bindings
        ]
        return workers.effects.end(call, body.subject, actions)

    @router.post(SECRETS_END)
    def end_credentials(body: EndCredentials, call: Call = ending) -> StepEffects:
        body = _placed(workers, body)
        require_own_secret(call, body)
        return workers.effects.end(call, body.subject, [EndAction(workers.rotation, body)])

    @router.post(SECRETS_VERIFY_ENDED)
    def verify_secret_ended(body: VerifySecretEnded, call: Call = looking) -> Findings:
        body = _placed(workers, body)
        return _secret_probe(workers, call, body, lambda: workers.checks.secret_ended(body))


def _placed(workers: Workers, body: Rotated) -> Rotated:
    """With the place of a secret that never came into use, where a run may have left something."""
    if body.store_path:
        return body
    path = workers.rotation.store.path_of(body.subject, body.secret.name)
    return body.model_copy(update={"store_path": path})


def _add_archives(router: APIRouter, workers: Workers) -> None:
    archiving, _ = _calls_of(
        workers, Step.ARCHIVE_ENVIRONMENT_REPOSITORY, Step.ARCHIVE_APPLICATION_REPOSITORIES
    )
    looking, _ = _calls_of(workers, Step.VERIFY_NOTHING_RECONCILED, Step.VERIFY_APPLICATION_ENDED)

    @router.post(GIT_REPOSITORIES_ARCHIVE)
    def archive_repositories(body: ArchiveRepositories, call: Call = archiving) -> StepEffects:
        require_own_team(call, body.subject, *(each.owner for each in body.repositories))
        actions = [workers.forge.archived(body.subject, each) for each in body.repositories]
        return workers.effects.end(call, body.subject, actions)

    @router.post(GIT_REPOSITORIES_VERIFY_ARCHIVED)
    def verify_archived(body: ArchiveRepositories, call: Call = looking) -> Findings:
        require_own_team(call, body.subject, *(each.owner for each in body.repositories))
        look = partial(workers.checks.repositories_archived, body)
        return workers.probed(call, body.subject, look)


def _add_undo_verification(router: APIRouter, workers: Workers) -> None:
    done, _ = _calls_of(workers, Step.VERIFY_NOTHING_LEFT)

    @router.post(UNDO_VERIFY)
    def verify_undone(body: VerifyUndone, call: Call = done) -> Findings:
        require_own_team(call, body.subject, *(each.owner for each in body.repositories))
        return workers.probed(call, body.subject, lambda: workers.checks.undone(body))


def _add_checks(router: APIRouter, workers: Workers) -> None:
    checks = workers.checks
    prober = Depends(_authenticated(workers.tokens.prober, "a service token"))
    checked = APIRouter(dependencies=[prober])

    @checked.post(CHECK_REPOSITORY_PROTECTED)
    def check_repository_protected(body: CheckAppEnvs) -> Findings:
        return checks.repositories_protected(body.items)

    @checked.post(CHECK_BINDINGS_PRESENT)
    def check_bindings_present(body: CheckAppEnvs) -> Findings:
        return checks.bindings_present(body.items)

    @checked.post(CHECK_GITOPS_RECONCILED)
    def check_gitops_reconciled(body: CheckAppEnvs) -> Findings:
        return checks.gitops_reconciled(body.items)

    @checked.post(CHECK_SECRET_WITHIN_POLICY)
    def check_secret_within_policy(body: CheckSecrets) -> Findings:
        for each in body.items:
            require_team_paths(each.subject.team, [each.store_path])
        return checks.secrets_within_policy(body.items)

    router.include_router(checked)


def _add_fences(router: APIRouter, workers: Workers) -> None:
    authenticated = Depends(_authenticated(workers.tokens.claims))

    @router.post(FENCES)
    def raise_fence(
        body: RaiseFence,
        claims: RunClaims = authenticated,
    ) -> FenceRaised:
        workers.ledger.drain(
            claims.request_id,
            claims.fence,
            wait_seconds=workers.drain_wait_seconds,
            closing=body.closing,
        )
        return FenceRaised(fence=claims.fence)


def _moves(body: UpdateSecretBindings) -> list[BindingMove]:
    """One for each binding, those of one repository together."""
    return [
        BindingMove(
            subject=target.subject,
            repository=target.repository,
            binding=binding_at(body, target, body.version),
            neighbours=tuple(
                binding_at(body, each, body.version)
                for each in body.bindings
                if each.repository == target.repository
            ),
            replaces_version=body.replaces_version,
            asked=body.model_dump(mode="json"),
        )
        for target in body.bindings
    ]


def _secret_probe(
    workers: Workers, call: Call, body: RotatedSecret, look: Callable[[], Verdict]
) -> Verdict:
    require_own_secret(call, body)
    return workers.probed(call, body.subject, look, item=f"secret/{body.secret.secret_id}")


def _authenticated(
    verified: Callable[[str], Claims], wanted: str = "a run token"
) -> Callable[[Credentials], Claims]:
    """The claims of the bearer token; raises `Unauthenticated` without a valid one."""

    def authenticated(credentials: Credentials) -> Claims:
        if credentials is None:
            raise Unauthenticated(f"This needs {wanted} as bearer.", code="token_missing")
        return verified(credentials.credentials)

    return authenticated


def _calls_of(workers: Workers, *steps: Step) -> tuple[Any, Any]:
    """Dependencies that give the verified call, for the do of one of the steps and for its undo."""
    authenticated = Depends(_authenticated(workers.tokens.claims))

    def do_call(claims: RunClaims = authenticated, key: IdempotencyKey = None) -> Call:
        return _named(verified_call(claims, key, steps, undo=False))

    def undo_call(claims: RunClaims = authenticated, key: IdempotencyKey = None) -> Call:
        return _named(verified_call(claims, key, steps, undo=True))

    return Depends(do_call), Depends(undo_call)


def _named(call: Call) -> Call:
    """The call, its request on the server's span."""
    trace.get_current_span().set_attributes(request_attributes(call))
    return call
