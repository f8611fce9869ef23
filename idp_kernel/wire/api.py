"""The public HTTP API: what people, pipelines and the CLI send to the control plane and get back.

Teams and environments are addressed by slug, everything else by id.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Generic, Literal, TypeVar

from pydantic import Field

from idp_kernel.ids import Id, Slug
from idp_kernel.wire.base import Flag, Line, Moment, Timestamp, Whole, WireModel
from idp_kernel.wire.engine import StepError, StepResult, TeamRole
from idp_kernel.wire.worker import (
    CredentialIssuerName,
    RepositoryKind,
    SecretPurpose,
    SecretSensitivity,
)
from idp_kernel.workflows import RequestState, Step, StepState, WorkflowName

Item = TypeVar("Item", bound=WireModel)
SECRETS_PER_ENVIRONMENT = 50
ENVIRONMENTS_PER_APPLICATION = 20
SECRET_LOGIN = "/v1/secrets/{secret_id}/login"
PRINCIPAL_PATTERN = r"^[a-z0-9][a-z0-9._@-]{0,79}$"
PrincipalName = Annotated[str, Field(pattern=PRINCIPAL_PATTERN)]


class Page(WireModel, Generic[Item]):
    """One page of a list; pass `next_cursor` as `cursor` for the next, `null` ends it."""

    items: tuple[Item, ...]
    next_cursor: str | None = None


class CreateTeam(WireModel):
    slug: Slug
    display_name: Annotated[Line, Field(min_length=1, max_length=100)]


class DescribeTeam(WireModel):
    """Body of `PUT /v1/teams/{team}`: all that can be changed of a team; its slug cannot."""

    display_name: Annotated[Line, Field(min_length=1, max_length=100)]


class Team(WireModel):
    id: Id
    slug: str
    display_name: str
    state: str
    created_at: Timestamp


class AddMember(WireModel):
    principal: PrincipalName
    role: TeamRole


class Member(WireModel):
    team: str
    principal: str
    role: TeamRole


class CreateToken(WireModel):
    """A token for a person or pipeline; `platform_admin` makes its principal one."""

    principal: PrincipalName
    platform_admin: Flag = False
    expires_in_seconds: Annotated[int, Whole(ge=1, le=366 * 24 * 3600)] = 90 * 24 * 3600


class PlatformAdmin(WireModel):
    """A principal who may do everything."""

    principal: str
    token_good_until: Timestamp | None = None
    """When the last of its tokens that are good now ends; none when no token of it is good."""


class Token(WireModel):
    id: Id
    principal: str
    platform_admin: bool
    """Whether its principal is a platform-admin now: all tokens of one principal open the same."""
    created_at: Timestamp
    expires_at: Timestamp
    revoked_at: Timestamp | None = None
    last_used_at: Timestamp | None = None
    """To the minute: further uses within a minute are not noted."""


class CreatedToken(Token):
    """The only time the token itself is shown; the platform keeps its hash."""

    token: str


class WhoAmI(WireModel):
    principal: str
    platform_admin: bool
    teams: dict[str, TeamRole]
    token_expires_at: Timestamp


class CreateEnvironment(WireModel):
    slug: Slug
    description: Annotated[Line, Field(max_length=300)] = ""


class DescribeEnvironment(WireModel):
    """Body of `PUT /v1/environments/{environment}`: all that can be changed of it."""

    description: Annotated[Line, Field(max_length=300)]


class Environment(WireModel):
    id: Id
    slug: str
    description: str
    state: str
    created_at: Timestamp


class ApplicationApproval(StrEnum):
    """Whether a new application of the team needs somebody's approval before it is onboarded."""

    NONE = "none"
    REQUIRED = "required"


class TeamPolicy(WireModel):
    """Body and answer of `/v1/teams/{team}/policy`."""

    application_approval: ApplicationApproval = ApplicationApproval.NONE
    """Of applications that are registered from now on; one that is Proposed needs its approval
    whatever the policy becomes.
    """
    undo_on_failure: Flag = False
    """Whether what a request has made is taken back by itself when it fails or times out."""


Limit = Annotated[int, Whole(ge=0, le=1_000_000)]


class SetTeamLimits(WireModel):
    """Body of `PUT /v1/teams/{team}/limits`: all of them; what is `null` or left out goes back to
    the platform's default.
    """

    max_applications: Limit | None = None
    """Those that are Archived do not count."""
    max_application_environments: Limit | None = None
    """Over all applications of the team; those that are Retired do not count."""
    max_active_requests: Limit | None = None
    """How many workflow requests are at work at once; those above it stay `pending`. An emergency
    rotation does not wait for it.
    """


class TeamLimit(WireModel):
    """One limit of a team, and how much of it is used now."""

    own: int | None = None
    """What was set for the team; `null` leaves it to the platform."""
    in_force: int | None = None
    """What counts: the team's own, else the platform's default; `null` is no limit."""
    used: int


class TeamLimits(WireModel):
    """Answer of `/v1/teams/{team}/limits`."""

    max_applications: TeamLimit
    max_application_environments: TeamLimit
    max_active_requests: TeamLimit


class DeclareSecret(WireModel):
    """A secret the environment shall have; its value is generated where it is stored."""

    name: Slug
    purpose: SecretPurpose = SecretPurpose.RUNTIME
    sensitivity: SecretSensitivity = SecretSensitivity.MEDIUM
    issuer: CredentialIssuerName = CredentialIssuerName.OPENBAO
    """`postgres` makes a database login, `harbor` a registry login to the team's project; only a
    secret that is not there yet chooses."""


class DeclareEnvironment(WireModel):
    """An environment that onboarding declares; with `provision` it is provisioned right after."""

    environment: Slug
    provision: Flag = False
    secrets: Annotated[tuple[DeclareSecret, ...], Field(max_length=SECRETS_PER_ENVIRONMENT)] = (
        DeclareSecret(name="app-key"),
    )


class RegisterApplication(WireModel):
    """Body of `POST /v1/applications`, which registers and onboards."""

    team: Slug
    slug: Slug
    description: Annotated[Line, Field(max_length=300)] = ""
    environments: Annotated[
        tuple[DeclareEnvironment, ...], Field(max_length=ENVIRONMENTS_PER_APPLICATION)
    ] = ()


class DescribeApplication(WireModel):
    """Body of `PUT /v1/applications/{id}`: all that can be changed of it; its team cannot."""

    description: Annotated[Line, Field(max_length=300)]


class ApproveApplication(WireModel):
    """Body of `POST /v1/applications/{id}/approve`."""

    reason: Annotated[Line, Field(max_length=500)] = ""


class RejectApplication(WireModel):
    """Body of `POST /v1/applications/{id}/reject`. What it ends never comes back."""

    reason: Annotated[Line, Field(min_length=1, max_length=500)]


class RepositorySummary(WireModel):
    """A repository of an application."""

    id: Id
    kind: RepositoryKind
    name: str
    url: str | None = None
    state: str


class Repository(WireModel):
    """A repository of an application or of one of its environments."""

    id: Id
    kind: RepositoryKind
    team: str
    application_id: Id
    application: str
    application_environment_id: Id | None = None
    """Of a repository that carries one environment's manifests and bindings."""
    environment: str | None = None
    owner: str
    """The team's slug at the forge."""
    name: str
    url: str | None = None
    state: str


class GitOpsIntegration(WireModel):
    """Links an application to the deployment repository that says what shall run."""

    id: Id
    team: str
    application_id: Id
    application: str
    repository_id: Id
    state: str


class Application(WireModel):
    id: Id
    team: str
    slug: str
    description: str
    state: str
    repositories: tuple[RepositorySummary, ...] = ()
    active_request_id: Id | None = None
    created_at: Timestamp


class ProvisionEnvironment(WireModel):
    """Body of `POST /v1/applications/{id}/environments`.

    Every secret that the environment has declared is provisioned, and those named here. Without
    `secrets` a new environment gets `app-key`, one that was declared before what it declared.
    """

    environment: Slug
    secrets: (
        Annotated[tuple[DeclareSecret, ...], Field(max_length=SECRETS_PER_ENVIRONMENT)] | None
    ) = None


class AddSecrets(WireModel):
    """Body of `POST /v1/application-environments/{id}/secrets`: what an Active environment gets
    beside the secrets it has.

    One that is Declared still, since the request that was to provision it came to nothing or was
    undone, is named again.
    """

    secrets: Annotated[
        tuple[DeclareSecret, ...], Field(min_length=1, max_length=SECRETS_PER_ENVIRONMENT)
    ]
    reason: Annotated[Line, Field(max_length=500)] = ""


class SecretSummary(WireModel):
    """A secret as references; the value stays in the store."""

    id: Id
    name: str
    purpose: SecretPurpose
    sensitivity: SecretSensitivity
    issuer: CredentialIssuerName
    state: str
    store_path: str | None = None
    version: int | None = None
    binding_id: Id
    binding_state: str


class Weekday(StrEnum):
    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


class RotationWindow(WireModel):
    """When scheduled rotations may begin. Commands and emergencies heed no window."""

    days: Annotated[tuple[Weekday, ...], Field(min_length=1, max_length=7)] = tuple(Weekday)
    from_hour: Annotated[int, Whole(ge=0, le=23)] = 0
    """Full hours of the day in `time_zone`; with `until_hour` at or before it past midnight, then
    counted to the day it began."""
    until_hour: Annotated[int, Whole(ge=1, le=24)] = 24
    time_zone: Annotated[str, Field(max_length=60)] = "UTC"
    """A name of the IANA database, such as `Europe/Madrid`."""


class SetRotationPolicy(WireModel):
    """Body of `PUT /v1/secrets/{id}/rotation-policy`: all of it; what is `null` or left out goes
    back to the default of the secret's sensitivity.
    """

    interval_seconds: Annotated[int, Whole(ge=60, le=2 * 366 * 24 * 3600)] | None = None
    grace_seconds: Annotated[int, Whole(ge=0, le=7 * 24 * 3600)] | None = None
    window: RotationWindow | None = None
    expires_at: Moment | None = None
    """When the credential ends by itself, where somebody outside says so."""


class RotationPolicy(WireModel):
    """The policy in force: the secret's own where it has one, else its sensitivity's."""

    interval_seconds: int
    grace_seconds: int
    window: RotationWindow | None = None
    expires_at: Timestamp | None = None


class SecretBinding(WireModel):
    """What carries a secret into an application environment, by a manifest in its repository."""

    id: Id
    secret_id: Id
    application_environment_id: Id
    application: str
    environment: str
    state: str
    version: int | None = None
    """The version it pins."""


class Secret(WireModel):
    """A secret as references, with its rotation."""

    id: Id
    team: str
    application_id: Id
    application: str
    application_environment_id: Id
    environment: str
    name: str
    purpose: SecretPurpose
    sensitivity: SecretSensitivity
    issuer: CredentialIssuerName
    state: str
    store_path: str | None = None
    version: int | None = None
    rotation_policy: RotationPolicy
    rotated_at: Timestamp | None = None
    """When the present version came into use."""
    next_rotation_at: Timestamp | None = None
    """When the schedule rotates it, jitter included; its window may put that off."""
    bindings: tuple[SecretBinding, ...] = ()
    active_request_id: Id | None = None
    """The rotation or provisioning under way, one in its grace period too."""
    created_at: Timestamp


class RotateSecret(WireModel):
    """Body of `POST /v1/secrets/{id}/rotation`."""

    emergency: Flag = False
    """Retires the old credential as soon as the consumers have the new one, without grace."""
    reason: Annotated[Line, Field(max_length=500)] = ""


class Decommission(WireModel):
    """Body of `POST …/decommission`. What it ends never comes back."""

    reason: Annotated[Line, Field(max_length=500)] = ""


class RevokeSecret(WireModel):
    """Body of `POST /v1/secrets/{id}/revoke`. What it ends never comes back."""

    reason: Annotated[Line, Field(min_length=1, max_length=500)]


class ReportCompromised(WireModel):
    """Body of `POST /v1/secrets/{id}/compromised`; starts an emergency rotation soon after."""

    reason: Annotated[Line, Field(min_length=1, max_length=500)]


class SecretLogin(WireModel):
    """Answer of `POST /v1/secrets/{id}/login`: how a person gets at the value in the store itself.

    `jwt` is exchanged there, at `<store_url>/v1/auth/jwt/login` with `role`, for a token of the
    store; neither opens anything here.
    """

    store_url: str
    namespace: str | None = None
    """The store's namespace with the secret, for the header `X-Vault-Namespace`; none is the
    root."""
    authorities: str | None = None
    """Who vouches for the store's certificate, as PEM; none are the well-known ones."""
    mount: str
    path: str
    """Below the mount."""
    role: str
    jwt: str
    expires_at: Timestamp
    link: str
    """The secret in the store's own user interface."""


class ApplicationEnvironment(WireModel):
    id: Id
    application_id: Id
    team: str
    application: str
    environment: str
    state: str
    repository_name: str
    repository_url: str | None = None
    revision: str | None = None
    """The commit with the bindings that the GitOps agent confirmed."""
    secrets: tuple[SecretSummary, ...] = ()
    active_request_id: Id | None = None
    created_at: Timestamp


class RequestAccepted(WireModel):
    """Answer of a command that starts a workflow; `Location` leads to the request."""

    request_id: Id
    workflow: WorkflowName
    state: RequestState
    application_id: Id
    application_environment_id: Id | None = None
    secret_id: Id | None = None
    undo: str | None = None
    """Of a cancel: where what it has made is shown, and asked to be taken back."""
    needs_approval: bool = False
    """Of an onboarding: whether it makes nothing before somebody approves the application."""


class StepView(WireModel):
    """One step of one attempt."""

    step: Step
    attempt: int
    state: StepState
    retries: int
    started_at: Timestamp
    ended_at: Timestamp | None = None
    error: StepError | None = None
    result: StepResult | None = None


class AttemptView(WireModel):
    """One Dagster run of the request."""

    attempt: int
    run_id: str
    phase: int
    fence: int
    claimed_at: Timestamp
    ended_at: Timestamp | None = None
    ending: str | None = None
    """Why the attempt ended: succeeded, failed, waiting, lost, cancelled, timed_out."""
    cause: str | None = None
    """The same in words: what failed, what was lost, who cancelled it with which reason."""


class WorkflowRequest(WireModel):
    id: Id
    workflow: WorkflowName
    state: RequestState
    phase: int
    attempt: int
    team: str
    application_id: Id
    application_environment_id: Id | None = None
    secret_id: Id | None = None
    requested_by: str
    reason: str
    waiting_reason: str | None = None
    waiting_until: Timestamp | None = None
    waiting_for: str | None = None
    """What was seen before it began to wait, in words."""
    cancel_requested: bool = False
    error: StepError | None = None
    left_behind: str | None = None
    """What an ended request leaves that it was to end, for a person to know."""
    undoes: Id | None = None
    """Of `Compensation`: the request whose effects it takes back."""
    undone_by: Id | None = None
    """The last request that took back what this one made; once there is one it is not retried."""
    created_at: Timestamp
    deadline_at: Timestamp
    first_step_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    planned_steps: tuple[Step, ...]
    steps: tuple[StepView, ...] = ()
    attempts: tuple[AttemptView, ...] = ()


class RetryRequest(WireModel):
    reason: Annotated[Line, Field(max_length=500)] = ""


class UndoFate(StrEnum):
    """What an undo would do to one thing."""

    REMOVED = "removed"
    KEPT = "kept"
    """It is not the request's to remove, or others live on it."""
    IRREVERSIBLE = "irreversible"


class UndoItem(WireModel):
    """One thing that the request made or found, and what an undo would do to it."""

    step: Step
    item: str | None = None
    """`<kind>/<id>`; none of a step that began and told nothing."""
    fate: UndoFate
    reason: str
    references: dict[str, str | int] = {}


class UndoPreview(WireModel):
    """Answer of `GET /v1/workflow-requests/{id}/undo`: what an undo would do, as the platform's
    records tell. The providers have the last word: a repository with commits of people, and a login
    on whose data somebody lives, are kept too.
    """

    request_id: Id
    may_be_undone: bool
    refusal: StepError | None = None
    """Why not, as the command would answer."""
    items: tuple[UndoItem, ...]
    """In the order of the undo: the newest first."""


class UndoRequest(WireModel):
    reason: Annotated[Line, Field(max_length=500)] = ""


class CancelRequest(WireModel):
    reason: Annotated[Line, Field(max_length=500)] = ""


class Event(WireModel):
    """A domain event as it was committed; `sequence` orders all of them."""

    sequence: int
    id: Id
    type: str
    occurred_at: Timestamp
    team: str | None = None
    subject: str
    """`<aggregate>/<id>`; of a platform-admin, who has no id, the principal."""
    request_id: Id | None = None
    actor: str
    data: dict[str, str | int | bool | None] = {}


EVENTS_GONE: Final = "events_gone"


class EventsGone(WireModel):
    """What a stream of events says where some are not kept any more; they are missing there."""

    code: Literal["events_gone"] = EVENTS_GONE
    detail: str
    continue_after: int
    """The sequence after which those come that are kept."""


class PlatformStanding(WireModel):
    """Whether the platform takes new work."""

    draining: bool
