"""The contract of execution-workers: one POST per step and item list, and an undo for each.

Each call carries `Authorization: Bearer <run token>`, `Idempotency-Key:
<request id>/<generation>/<step>` (undo: the same with `/undo`) and `traceparent`. Bodies hold
references only; no secret value ever crosses this contract.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from idp_kernel.ids import Id, Slug
from idp_kernel.wire.base import Timestamp, WireModel
from idp_kernel.wire.forge import BranchName
from idp_kernel.workflows import ProviderEvent

GIT_REPOSITORIES = "/git/repositories"
APPENV_BRANCH_PROTECTION = "/appenv/branch-protection"
APPENV_SECRETS = "/appenv/secrets"
APPENV_SECRET_BINDINGS = "/appenv/secret-bindings"
APPENV_GITOPS_VERIFY = "/appenv/gitops-verify"
FENCES = "/fences"
UNDO_SUFFIX = "/undo"

DEFAULT_BRANCH = "main"


class SecretPurpose(StrEnum):
    """What a secret opens."""

    CONTAINER_REGISTRY = "container_registry"
    VCS_ACCESS = "vcs_access"
    RUNTIME = "runtime"
    EXTERNAL_INTEGRATION = "external_integration"


class SecretSensitivity(StrEnum):
    """How much harm a leak does; sets rotation defaults."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


def appenv_repository_name(application_environment_id: str) -> str:
    """The name the platform gives an application environment's repository."""
    return f"appenv-{application_environment_id}"


class RepositoryWanted(WireModel):
    """A repository that shall exist, seeded in one commit on its default branch."""

    repository_id: Id
    owner: Slug
    """The team's slug; the forge's organisation or group."""
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,99}$")]
    description: Annotated[str, Field(max_length=200)] = ""
    default_branch: BranchName = DEFAULT_BRANCH


class AppEnvSubject(WireModel):
    """Whose side effects these are."""

    application_environment_id: Id
    team: Slug
    application: Slug
    environment: Slug


class EnsureRepositories(WireModel):
    """Body of `/git/repositories` and its undo."""

    subject: AppEnvSubject
    repositories: Annotated[tuple[RepositoryWanted, ...], Field(min_length=1, max_length=20)]


class ProtectBranches(WireModel):
    """Body of `/appenv/branch-protection` and its undo."""

    subject: AppEnvSubject
    repositories: Annotated[tuple[RepositoryWanted, ...], Field(min_length=1, max_length=20)]
    required_approvals: Annotated[int, Field(ge=0, le=6)] = 1


class SecretWanted(WireModel):
    """A secret that shall have a value in the store; the value is born in the worker."""

    secret_id: Id
    name: Slug
    purpose: SecretPurpose
    sensitivity: SecretSensitivity


class ProvisionSecrets(WireModel):
    """Body of `/appenv/secrets` and its undo."""

    subject: AppEnvSubject
    secrets: Annotated[tuple[SecretWanted, ...], Field(max_length=50)]


class SecretBindingWanted(WireModel):
    """A secret that shall reach an application environment at exactly this version."""

    binding_id: Id
    secret_id: Id
    name: Slug
    store_path: Annotated[str, Field(max_length=300)]
    """Where the store keeps it, as `/appenv/secrets` answered (`storePath`)."""
    version: Annotated[int, Field(ge=1)]
    """The version the binding pins, as `/appenv/secrets` answered (`version`)."""


class CreateSecretBindings(WireModel):
    """Body of `/appenv/secret-bindings` and its undo: one commit for all of them."""

    subject: AppEnvSubject
    repository: RepositoryWanted
    bindings: Annotated[tuple[SecretBindingWanted, ...], Field(max_length=50)]


class VerifyGitOps(WireModel):
    """Body of `/appenv/gitops-verify`; a probe, which always looks again."""

    subject: AppEnvSubject
    repository: RepositoryWanted
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    """The commit that `/appenv/secret-bindings` answered."""
    bindings: Annotated[tuple[SecretBindingWanted, ...], Field(max_length=50)]


class EffectKind(StrEnum):
    """How an item came to be as wanted."""

    CREATED = "created"
    ADOPTED = "adopted"
    """It was there and ours already: a killed call's, or an earlier request's."""
    REPLAYED = "replayed"
    """The ledger had this request's own success."""
    UNDONE = "undone"
    ABSENT = "absent"
    """An undo found nothing to undo."""
    KEPT = "kept"
    """An undo left it: not this request's creation, or adopted since."""


class ItemEffect(WireModel):
    """What became of one item."""

    item: str
    """`<kind>/<id>`, such as `repository/<id>` or `secret/<id>`."""
    effect: EffectKind
    references: dict[str, str | int] = {}
    """Where to find it. Keys by kind: repository `repositoryId name owner url revision`;
    protection `branch`; secret `secretId storePath version`; bindings `revision`."""


class DownstreamError(WireModel):
    """A provider's error that was met on the way, even if a repeat then succeeded."""

    target: Annotated[str, Field(max_length=60)]
    code: Annotated[str, Field(max_length=60)]
    status: Annotated[str, Field(max_length=20)]


class StepEffects(WireModel):
    """Answer of every effect and undo."""

    items: tuple[ItemEffect, ...]
    events: tuple[ProviderEvent, ...] = ()


class GitOpsState(StrEnum):
    """What the agent says of our revision."""

    RECONCILED = "reconciled"
    PROGRESSING = "progressing"
    DEGRADED = "degraded"


class GitOpsCondition(WireModel):
    """A condition as the agent publishes it (Flux style)."""

    type: str
    status: str
    reason: str
    message: str
    last_transition_at: Timestamp | None = None


class GitOpsVerdict(WireModel):
    """Answer of `/appenv/gitops-verify`: what was seen just now."""

    state: GitOpsState
    expected_revision: str
    observed_revision: str | None
    message: str
    conditions: tuple[GitOpsCondition, ...] = ()
    events: tuple[ProviderEvent, ...] = ()


class RaiseFence(WireModel):
    """Body of `/fences`: from now on refuse this request's calls below the token's fence, and
    answer when none of them is in flight any more.
    """


class FenceRaised(WireModel):
    """Answer of `/fences`."""

    fence: int
