"""The contract of execution-workers: one POST per step and item list, and the undo of some.

Each call carries `Authorization: Bearer <run token>`, `Idempotency-Key:
<request id>/<generation>/<step>` (undo: the same with `/undo`) and `traceparent`. Bodies hold
references only; no secret value ever crosses this contract.

Checks (`/checks/…`) belong to no request: they carry a service token with the scope `probes`, no
idempotency key, and change nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from idp_kernel.ids import Id, Slug
from idp_kernel.wire.base import Timestamp, WireModel
from idp_kernel.wire.forge import BranchName
from idp_kernel.workflows import ProviderEvent

GIT_REPOSITORIES = "/git/repositories"
GIT_REPOSITORIES_VALIDATE = "/git/repositories/validate"
GIT_REPOSITORIES_SEED = "/git/repositories/seed"
GIT_REPOSITORIES_ARCHIVE = "/git/repositories/archive"
GIT_REPOSITORIES_VERIFY_ARCHIVED = "/git/repositories/verify-archived"
GIT_BRANCH_PROTECTION = "/git/branch-protection"
APPENV_BRANCH_PROTECTION = "/appenv/branch-protection"
APPENV_SECRETS = "/appenv/secrets"
APPENV_SECRET_BINDINGS = "/appenv/secret-bindings"
APPENV_GITOPS_VERIFY = "/appenv/gitops-verify"
SECRETS_VALIDATE = "/secrets/validate"
SECRETS_ISSUE = "/secrets/issue"
SECRETS_VERIFY = "/secrets/verify"
SECRETS_BINDINGS_UPDATE = "/secrets/bindings/update"
SECRETS_CONSUMERS = "/secrets/consumers"
SECRETS_RETIRE = "/secrets/retire"
SECRETS_BINDINGS_REMOVE = "/secrets/bindings/remove"
SECRETS_END = "/secrets/end"
SECRETS_VERIFY_ENDED = "/secrets/verify-ended"
CHECK_REPOSITORY_PROTECTED = "/checks/repository-protected"
CHECK_BINDINGS_PRESENT = "/checks/bindings-present"
CHECK_GITOPS_RECONCILED = "/checks/gitops-reconciled"
CHECK_SECRET_WITHIN_POLICY = "/checks/secret-within-policy"
FENCES = "/fences"
UNDO_SUFFIX = "/undo"
UNDO_VERIFY = "/undo/verify"

DEADLINE_PASSED = "deadline_passed"
"""Code of the `Conflict` with which a call ends whose request has no time left."""

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


class CredentialIssuerName(StrEnum):
    """Who makes a secret's credential."""

    OPENBAO = "openbao"
    """A random value; whoever reads it decides what it opens."""
    POSTGRES = "postgres"
    """A database login: two roles take turns."""
    HARBOR = "harbor"
    """A registry login to the team's project: robot accounts take turns."""


DOCKER_CONFIG: Final = "dockerconfigjson"
"""The property that has a registry login as container runtimes read it."""
CREDENTIAL_PROPERTIES: dict[CredentialIssuerName, tuple[str, ...]] = {
    CredentialIssuerName.OPENBAO: ("value",),
    CredentialIssuerName.POSTGRES: ("host", "port", "database", "username", "password"),
    CredentialIssuerName.HARBOR: ("registry", "project", "username", "password", DOCKER_CONFIG),
}
"""The properties of a secret's version in the store, by its issuer; bindings name them all."""


class RepositoryKind(StrEnum):
    """What a repository is for; decides what it is seeded with."""

    CODE = "code"
    DEPLOYMENT = "deployment"
    APPLICATION_ENVIRONMENT = "application_environment"


APPENV_REPOSITORY_PREFIX: Final = "appenv-"
"""Begins the names of application environments' repositories and of no others: what stands in one
is applied.
"""


def appenv_repository_name(application_environment_id: str) -> str:
    """The name the platform gives an application environment's repository."""
    return f"{APPENV_REPOSITORY_PREFIX}{application_environment_id}"


class RepositoryWanted(WireModel):
    """A repository that shall exist, seeded in one commit on its default branch."""

    repository_id: Id
    kind: RepositoryKind = RepositoryKind.APPLICATION_ENVIRONMENT
    owner: Slug
    """The team's slug; the forge's organisation or group."""
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,99}$")]
    description: Annotated[str, Field(max_length=200)] = ""
    default_branch: BranchName = DEFAULT_BRANCH


REPOSITORIES_PER_CALL: Final = 20
Repositories = Annotated[
    tuple[RepositoryWanted, ...], Field(min_length=1, max_length=REPOSITORIES_PER_CALL)
]


class AppEnvSubject(WireModel):
    """Whose side effects these are."""

    application_environment_id: Id
    team: Slug
    application: Slug
    environment: Slug


class ApplicationSubject(WireModel):
    """The application whose side effects these are."""

    application_id: Id
    team: Slug
    application: Slug


Subject = AppEnvSubject | ApplicationSubject
"""Told apart by their ids."""


class EnsureRepositories(WireModel):
    """Body of `/git/repositories`, its undo, and `/git/repositories/validate`.

    A repository of the kind `application_environment` is seeded in the same call, the others by
    `/git/repositories/seed`. `validate` is a probe: does any of the names belong to somebody else?
    """

    subject: Subject
    repositories: Repositories
    is_in_use: bool = False
    """They belong to what is in use already: one that is missing is not made but refused
    (`repository_missing`), and the undo leaves them all and names none."""


class SeedRepositories(WireModel):
    """Body of `/git/repositories/seed` and its undo: one commit for each repository."""

    subject: ApplicationSubject
    description: Annotated[str, Field(max_length=300)] = ""
    """The application's, for README and `catalog-info.yaml`."""
    repositories: Repositories


class ProtectBranches(WireModel):
    """Body of `/git/branch-protection`, `/appenv/branch-protection` and their undo."""

    subject: Subject
    repositories: Repositories
    required_approvals: Annotated[int, Field(ge=0, le=6)] = 1
    is_in_use: bool = False
    """They belong to what is in use already: the undo leaves all protections and names none."""


class SecretWanted(WireModel):
    """A secret that shall have a value in the store; the value is born in the worker."""

    secret_id: Id
    name: Slug
    purpose: SecretPurpose
    sensitivity: SecretSensitivity
    issuer: CredentialIssuerName = CredentialIssuerName.OPENBAO


class ProvisionSecrets(WireModel):
    """Body of `/appenv/secrets` and its undo."""

    subject: AppEnvSubject
    secrets: Annotated[tuple[SecretWanted, ...], Field(max_length=50)]


StorePath = Annotated[str, Field(max_length=300)]
"""Where a secret is, below the store's mount."""
Version = Annotated[int, Field(ge=1)]
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class SecretBindingWanted(WireModel):
    """A secret that shall reach an application environment at exactly this version."""

    binding_id: Id
    secret_id: Id
    name: Slug
    issuer: CredentialIssuerName = CredentialIssuerName.OPENBAO
    store_path: StorePath
    """Where the store keeps it, as `/appenv/secrets` answered (`storePath`)."""
    version: Version
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
    revision: Revision
    """The commit that `/appenv/secret-bindings` answered."""
    bindings: Annotated[tuple[SecretBindingWanted, ...], Field(max_length=50)]


class BindingTarget(WireModel):
    """Where a secret is bound: the manifest of that binding in that repository."""

    binding_id: Id
    name: Slug
    subject: AppEnvSubject
    repository: RepositoryWanted


Bindings = Annotated[tuple[BindingTarget, ...], Field(max_length=50)]


class RotatedSecret(WireModel):
    """What every call of a rotation, or of a secret's end, says of its secret."""

    subject: AppEnvSubject
    """The application environment the secret belongs to."""
    secret: SecretWanted
    store_path: StorePath
    """Empty only at the end of a secret that is not in use: the workers look where it would be."""
    bindings: Bindings
    """Everywhere it is bound."""


class IssueCredential(RotatedSecret):
    """Body of `/secrets/issue`, its undo, and the probe `/secrets/validate`.

    The new credential is made beside the one that the bindings pin now. Item `credential/<secret
    id>`, references `secretId storePath version replacesVersion`, of a database login also `role`.
    """

    emergency: bool = False
    """Also when somebody is still logged in with the credential before the last one."""


class VerifyCredential(RotatedSecret):
    """Body of `/secrets/verify`, a probe: the new credential is used once."""

    version: Version


class CredentialVerdict(WireModel):
    """Answer of `/secrets/verify`."""

    works: bool
    message: str
    events: tuple[ProviderEvent, ...] = ()


class UpdateSecretBindings(RotatedSecret):
    """Body of `/secrets/bindings/update` and its undo: one commit for each repository.

    One item `binding/<binding id>` for each binding, references `revision version`.
    """

    version: Version
    """The one to pin."""
    replaces_version: Version
    """The one that the undo pins again."""


class ObserveConsumers(RotatedSecret):
    """Body of `/secrets/consumers`, a probe: who uses which version now."""

    version: Version
    replaces_version: Version
    revisions: dict[str, Revision]
    """Binding id to the commit that moved it."""
    emergency: bool = False
    """That the bindings are applied is enough: whoever holds a session open holds up nothing."""


class ConsumersState(StrEnum):
    """What those who know say of the consumers."""

    CONFIRMED = "confirmed"
    PENDING = "pending"
    UNKNOWN = "unknown"
    """The bindings are applied, and nobody can know who reads them."""


class ConsumersVerdict(WireModel):
    """Answer of `/secrets/consumers`: what was seen just now."""

    state: ConsumersState
    message: str
    sessions_on_new: int | None = None
    """Database sessions of the new login; none when nobody can count them."""
    sessions_on_old: int | None = None
    events: tuple[ProviderEvent, ...] = ()


class RetireCredential(RotatedSecret):
    """Body of `/secrets/retire`: ends every credential of the secret but the one at `version`.

    Cannot be undone. Item `retirement/<secret id>`, references `version destroyedVersions
    endedSessions`. Raises `ProviderRejected` (`binding_moved`) unless every binding pins `version`.
    """

    version: Version


class RemoveSecretBindings(RotatedSecret):
    """Body of `/secrets/bindings/remove`: a commit that removes the secret's manifests.

    One item `binding/<binding id>` for each binding, references `revision`: the commit that
    removed it last; none where the repository is gone.
    """


class EndCredentials(RotatedSecret):
    """Body of `/secrets/end`: ends every credential of the secret, its logins' sessions too, and
    every version, as the store is set to: destroyed, or deleted.

    Cannot be undone. Item `ending/<secret id>`, references `storePath destroyedVersions
    endedSessions`, and `keptLogins`: how many stand disabled, since somebody's data hangs on them.
    """


class VerifySecretEnded(RotatedSecret):
    """Body of `/secrets/verify-ended`, a probe: does nobody have the secret any more?

    The first finding is the secret's own: the store has no version of it and its issuer lets no
    login of it in. One follows for each binding, which neither repository nor GitOps agent has.
    """


class ArchiveRepositories(WireModel):
    """Body of `/git/repositories/archive`, and of the probe `/git/repositories/verify-archived`.

    An archived repository keeps all its commits and takes no more. Cannot be undone here. Item
    `archive/<repository id>` for each, references `name owner`; none of one that is gone. The probe
    answers one finding for each: it is archived or gone, and no GitOps agent has it any more.
    """

    subject: Subject
    repositories: Repositories


class Finding(WireModel):
    """What a probe expected of one thing, and what it found."""

    id: Id
    passed: bool
    expected: str
    found: str


class Findings(WireModel):
    """Answer of the validations and checks, one finding for each thing asked about, in order."""

    items: tuple[Finding, ...]


CHECKS_PER_CALL = 50


class AppEnvExpected(WireModel):
    """How an application environment should stand at its providers; its id names the finding."""

    subject: AppEnvSubject
    repository: RepositoryWanted
    required_approvals: Annotated[int, Field(ge=0, le=6)]
    revision: Revision
    """The commit with the bindings that was confirmed last."""
    bindings: Annotated[tuple[SecretBindingWanted, ...], Field(max_length=50)]


class CheckAppEnvs(WireModel):
    """Body of `/checks/repository-protected`, `…/bindings-present` and `…/gitops-reconciled`."""

    items: Annotated[tuple[AppEnvExpected, ...], Field(max_length=CHECKS_PER_CALL)]


class SecretExpected(WireModel):
    """How a secret should stand at store and issuer; its id names the finding."""

    subject: AppEnvSubject
    secret: SecretWanted
    store_path: StorePath
    version: Version
    longest_age_seconds: Annotated[int, Field(ge=1)]
    """How old the version may be by the secret's policy."""


class CheckSecrets(WireModel):
    """Body of `/checks/secret-within-policy`."""

    items: Annotated[tuple[SecretExpected, ...], Field(max_length=CHECKS_PER_CALL)]


class ProviderPermission(WireModel):
    """Something that the platform's credential at a provider has to be allowed."""

    name: str
    granted: bool | None
    """None when the provider does not tell without a change."""
    how_to_grant: str


class ProviderPermissions(WireModel):
    """What `python -m execution_workers.doctor` found."""

    provider: str
    permissions: tuple[ProviderPermission, ...] = ()
    complaint: str | None = None
    """Why the provider could not be asked; None when it could."""


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
    """An undo left it: not this request's creation, adopted since, or changed since by others."""


GONE = frozenset({EffectKind.UNDONE, EffectKind.ABSENT})
"""What an undo answers of things that the providers have no more, or shall have no more."""


class ItemEffect(WireModel):
    """What became of one item."""

    item: str
    """`<kind>/<id>`, such as `repository/<id>` or `secret/<id>`."""
    effect: EffectKind
    references: dict[str, str | int] = {}
    """Where to find it. Keys by kind: repository `repositoryId name owner url revision`;
    protection `branch`; secret `secretId storePath version`; bindings `revision`."""
    created_by: str | None = None
    """The request in its marker, which alone may undo it; empty when the marker names none, `null`
    of an undo."""


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


class VerifyUndone(WireModel):
    """Body of `/undo/verify`, a probe: is what was undone gone?

    One finding for each repository, which neither the forge nor, if it was an application
    environment's, the GitOps agent may have, then one for each secret, which the store may not
    have.
    """

    subject: Subject
    repositories: Annotated[tuple[RepositoryWanted, ...], Field(max_length=REPOSITORIES_PER_CALL)]
    secrets: Annotated[tuple[SecretWanted, ...], Field(max_length=50)]


class RaiseFence(WireModel):
    """Body of `/fences`: from now on refuse this request's calls below the token's fence, and
    answer when none of them is in flight any more. `closing`: the token's run is over; refuse its
    own calls, too, those in flight before their next change.
    """

    closing: bool = False


class FenceRaised(WireModel):
    """Answer of `/fences`."""

    fence: int
