"""The routes of execution-workers (`idp_kernel.wire.worker`): one POST per step, and its undo.

Handlers are plain functions: they run in threads, and a client that hangs up does not stop them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from execution_workers.calls import (
    IDEMPOTENCY_KEY_HEADER,
    Call,
    require_own_team,
    verified_call,
)
from execution_workers.effects import Effects
from execution_workers.gitops import GitOpsVerification
from execution_workers.ledger.ledger import Ledger
from execution_workers.ports import Action, GitForge, SecretStore
from execution_workers.run_tokens import RunTokens
from idp_kernel.errors import Unauthenticated
from idp_kernel.telemetry.traces import span
from idp_kernel.tokens import RunClaims
from idp_kernel.wire.worker import (
    APPENV_BRANCH_PROTECTION,
    APPENV_GITOPS_VERIFY,
    APPENV_SECRET_BINDINGS,
    APPENV_SECRETS,
    FENCES,
    GIT_REPOSITORIES,
    UNDO_SUFFIX,
    AppEnvSubject,
    CreateSecretBindings,
    EnsureRepositories,
    FenceRaised,
    GitOpsVerdict,
    ProtectBranches,
    ProvisionSecrets,
    RaiseFence,
    StepEffects,
    VerifyGitOps,
)
from idp_kernel.workflows import Step

BEARER = HTTPBearer(auto_error=False, description="The run token that the claim answered.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias=IDEMPOTENCY_KEY_HEADER,
        description="`<request id>/<generation>/<step>`, for an undo with `/undo` behind it.",
    ),
]


@dataclass(frozen=True)
class Workers:
    """All that the routes work with."""

    tokens: RunTokens
    ledger: Ledger
    effects: Effects
    forge: GitForge
    store: SecretStore
    verification: GitOpsVerification
    drain_wait_seconds: float


def routes(workers: Workers) -> APIRouter:
    """Every route but those each server has."""
    router = APIRouter()
    _add_repositories(router, workers)
    _add_branch_protection(router, workers)
    _add_secrets(router, workers)
    _add_secret_bindings(router, workers)
    _add_gitops_verify(router, workers)
    _add_fences(router, workers)
    return router


def _add_repositories(router: APIRouter, workers: Workers) -> None:
    done, undone = _calls_of(workers, Step.MATERIALIZE_REPOSITORIES)

    def actions(body: EnsureRepositories, call: Call) -> Sequence[Action]:
        require_own_team(call, body.subject, *(each.owner for each in body.repositories))
        return [workers.forge.repository(body.subject, each) for each in body.repositories]

    @router.post(GIT_REPOSITORIES)
    def ensure_repositories(body: EnsureRepositories, call: Call = done) -> StepEffects:
        return workers.effects.do(call, body.subject, actions(body, call))

    @router.post(GIT_REPOSITORIES + UNDO_SUFFIX)
    def undo_repositories(body: EnsureRepositories, call: Call = undone) -> StepEffects:
        return workers.effects.undo(call, body.subject, actions(body, call))


def _add_branch_protection(router: APIRouter, workers: Workers) -> None:
    done, undone = _calls_of(workers, Step.APPLY_BRANCH_PROTECTION)

    def actions(body: ProtectBranches, call: Call) -> Sequence[Action]:
        require_own_team(call, body.subject, *(each.owner for each in body.repositories))
        return [
            workers.forge.protection(body.subject, each, body.required_approvals)
            for each in body.repositories
        ]

    @router.post(APPENV_BRANCH_PROTECTION)
    def protect_branches(body: ProtectBranches, call: Call = done) -> StepEffects:
        return workers.effects.do(call, body.subject, actions(body, call))

    @router.post(APPENV_BRANCH_PROTECTION + UNDO_SUFFIX)
    def undo_branch_protection(body: ProtectBranches, call: Call = undone) -> StepEffects:
        return workers.effects.undo(call, body.subject, actions(body, call))


def _add_secrets(router: APIRouter, workers: Workers) -> None:
    done, undone = _calls_of(workers, Step.PROVISION_SECRETS)

    def actions(body: ProvisionSecrets, call: Call) -> Sequence[Action]:
        require_own_team(call, body.subject)
        return [workers.store.secret(body.subject, each) for each in body.secrets]

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
        return [workers.forge.secret_bindings(body.subject, body.repository, body.bindings)]

    @router.post(APPENV_SECRET_BINDINGS)
    def create_secret_bindings(body: CreateSecretBindings, call: Call = done) -> StepEffects:
        return workers.effects.do(call, body.subject, actions(body, call))

    @router.post(APPENV_SECRET_BINDINGS + UNDO_SUFFIX)
    def undo_secret_bindings(body: CreateSecretBindings, call: Call = undone) -> StepEffects:
        return workers.effects.undo(call, body.subject, actions(body, call))


def _add_gitops_verify(router: APIRouter, workers: Workers) -> None:
    step = Step.VERIFY_GITOPS_RECONCILIATION
    done, _ = _calls_of(workers, step)

    @router.post(APPENV_GITOPS_VERIFY)
    def verify_gitops(body: VerifyGitOps, call: Call = done) -> GitOpsVerdict:
        require_own_team(call, body.subject, body.repository.owner)
        with workers.ledger.opened(call), span(step, attributes=_attributes(call, body.subject)):
            return workers.verification.verify(body)


def _add_fences(router: APIRouter, workers: Workers) -> None:
    authenticated = Depends(_authenticated(workers.tokens))

    @router.post(FENCES)
    def raise_fence(
        body: RaiseFence,  # noqa: ARG001 - FastAPI checks the body by it
        claims: RunClaims = authenticated,
    ) -> FenceRaised:
        workers.ledger.drain(
            claims.request_id, claims.fence, wait_seconds=workers.drain_wait_seconds
        )
        return FenceRaised(fence=claims.fence)


def _authenticated(tokens: RunTokens) -> Callable[[Credentials], RunClaims]:
    """The claims of the bearer token; raises `Unauthenticated` without a valid one."""

    def authenticated(credentials: Credentials) -> RunClaims:
        if credentials is None:
            raise Unauthenticated("This needs a run token as bearer.", code="token_missing")
        return tokens.claims(credentials.credentials)

    return authenticated


def _calls_of(workers: Workers, step: Step) -> tuple[Any, Any]:
    """Dependencies that give the verified call, for the step's do and for its undo."""
    authenticated = Depends(_authenticated(workers.tokens))

    def do_call(claims: RunClaims = authenticated, key: IdempotencyKey = None) -> Call:
        return verified_call(claims, key, step, undo=False)

    def undo_call(claims: RunClaims = authenticated, key: IdempotencyKey = None) -> Call:
        return verified_call(claims, key, step, undo=True)

    return Depends(do_call), Depends(undo_call)


def _attributes(call: Call, subject: AppEnvSubject) -> dict[str, str]:
    return {
        "idp.workflow_request_id": call.request_id,
        "idp.team_id": call.team_id,
        "idp.application_environment_id": subject.application_environment_id,
    }
