"""The control plane's internal contract with the workflow engine.

Offers, claims of unclaimed requests and reports come with a service token; everything a run says
about its own request comes with the run token that its claim answered.

A request's `attempt` counts its Dagster runs, from 1; `run_key` is `<request id>/<attempt>`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import Field

from idp_kernel.errors import InvariantBroken
from idp_kernel.ids import Id, Slug
from idp_kernel.wire.base import Line, Timestamp, WireModel
from idp_kernel.wire.worker import (
    AppEnvExpected,
    AppEnvSubject,
    ApplicationSubject,
    BindingTarget,
    CredentialIssuerName,
    DownstreamError,
    Finding,
    ItemEffect,
    RepositoryWanted,
    RotatedSecret,
    SecretBindingWanted,
    SecretExpected,
    SecretPurpose,
    SecretSensitivity,
    SecretWanted,
    StorePath,
)
from idp_kernel.workflows import ProviderEvent, RequestState, Step, WaitingReason, WorkflowName

Desired = TypeVar("Desired", bound=WireModel)

TOKENS = "/internal/tokens"
TOKEN_INTROSPECTION = "/internal/tokens/introspection"
OFFERS = "/internal/offers"
LAUNCHES = "/internal/launches"
CLAIM = "/internal/workflow-requests/{request_id}/claim"
LEASE = "/internal/workflow-requests/{request_id}/lease"
STEP_START = "/internal/workflow-requests/{request_id}/steps/{step}/start"
STEP_OUTCOME = "/internal/workflow-requests/{request_id}/steps/{step}/outcome"
WAIT = "/internal/workflow-requests/{request_id}/wait"
END_PHASE = "/internal/workflow-requests/{request_id}/end-phase"
AWAIT_APPROVAL = "/internal/workflow-requests/{request_id}/await-approval"
DECLARE_ENVIRONMENTS = "/internal/workflow-requests/{request_id}/declare-environments"
FINALIZE = "/internal/workflow-requests/{request_id}/finalize"
RUN_REPORTS = "/internal/run-reports"
RUN_STATUS = "/internal/runs/{run_id}"
LOST_RUNS = "/internal/lost-runs"
DUE_ROTATIONS = "/internal/rotations/due"
ROTATIONS = "/internal/rotations"
ROTATION_CAUSES = "/internal/rotation-causes"
ASSET_APPLICATION_ENVIRONMENTS = "/internal/assets/application-environments"
ASSET_SECRETS = "/internal/assets/secrets"
CHECK_RESULTS = "/internal/check-results"
METRICS_PROJECTION = "/internal/metrics-projection"
JWKS = "/.well-known/jwks.json"

ACTOR_LOCAL_UI = "dagster-ui (local)"

CANCEL_REQUESTED = "cancel_requested"
"""Code of the `Conflict` that tells a run, when it wants to go on, that it shall stop instead."""
WAITED_TOO_LONG = "waited_too_long"
"""The code of a refused wait: the request has waited for providers as long as it may."""

ROW_HELD = "row_held"
"""Code of the `Unavailable` that says somebody else held one thing for too long; others go on."""

RUN_INTERRUPTED = "run_interrupted"
"""Code of a step's error that says the run was stopped, not why. It decides nothing: the run's
ending does, or its lease."""

MESSAGE_LENGTH = 2000
"""Of what a run tells in words."""

RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,64}$")]
"""A Dagster run's id."""


class ServiceAssertion(WireModel):
    """Body of `/internal/tokens`: a JWT the service signed with its own key (RFC 7523)."""

    assertion: Annotated[str, Field(max_length=4096)]


class ServiceToken(WireModel):
    """A short-lived, teamless access token."""

    access_token: str
    expires_at: Timestamp


class IntrospectToken(WireModel):
    """Body of `/internal/tokens/introspection`: a person's bearer token, seen at the forge."""

    token: Annotated[str, Field(max_length=512)]


class TeamRole(StrEnum):
    """What a member may do in a team."""

    TEAM_MAINTAINER = "team-maintainer"
    TEAM_VIEWER = "team-viewer"


class Introspection(WireModel):
    """Who holds the token; `active: false` says nothing more."""

    active: bool
    principal: str | None = None
    platform_admin: bool = False
    teams: dict[str, TeamRole] = {}
    """Team slug to role."""


class AskOffers(WireModel):
    """Body of `/internal/offers`: wait up to `wait_seconds` for work, then answer."""

    wait_seconds: Annotated[float, Field(ge=0, le=20)] = 5
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class Offer(WireModel):
    """A pending request that nobody holds. To offer is not to claim."""

    request_id: Id
    attempt: int
    phase: int
    workflow: WorkflowName
    team_id: Id
    application_id: Id
    application_environment_id: Id | None = None
    secret_id: Id | None = None
    pending_since: Timestamp
    traceparent: str | None = None


class Offers(WireModel):
    """Emergency rotations, then in turn over teams, oldest first. `draining`: the platform takes no
    new work for now.
    """

    offers: tuple[Offer, ...]
    draining: bool = False


class DeclaredSecret(WireModel):
    """A secret as it was declared; it gets an id with its environment."""

    name: Slug
    purpose: SecretPurpose
    sensitivity: SecretSensitivity
    issuer: CredentialIssuerName


class DeclaredEnvironment(WireModel):
    """An environment that onboarding declares for its application."""

    environment: Slug
    provision: bool
    """Whether finalize asks for its provisioning."""
    secrets: tuple[DeclaredSecret, ...]


class OnboardingDesiredState(WireModel):
    """What ApplicationOnboarding shall bring about, frozen at the command."""

    subject: ApplicationSubject
    description: str
    """That of the approval, where it needed one."""
    code_repository: RepositoryWanted
    deployment_repository: RepositoryWanted
    required_approvals: int
    environments: tuple[DeclaredEnvironment, ...]
    needs_approval: bool = False
    """Whether somebody has to approve the application before anything is made."""

    @property
    def repositories(self) -> tuple[RepositoryWanted, ...]:
        return (self.code_repository, self.deployment_repository)


class RotationDesiredState(WireModel):
    """What SecretRotation shall bring about, frozen at the command."""

    subject: AppEnvSubject
    secret: SecretWanted
    store_path: StorePath
    bindings: tuple[BindingTarget, ...]
    grace_seconds: Annotated[int, Field(ge=0)]
    """Between the confirmed consumers and the old credential's end; 0 in an emergency."""
    emergency: bool


class SecretsToEnd(WireModel):
    """What the steps work with that end secrets for good, frozen at the command."""

    subject: AppEnvSubject
    secrets: tuple[RotatedSecret, ...]


class RevocationDesiredState(SecretsToEnd):
    """What SecretRevocation shall bring about: the end of one secret."""

    suspended: tuple[Id, ...]
    """The secret and its binding, as far as the command suspended them."""


class AppEnvDecommissioningDesiredState(SecretsToEnd):
    """What ApplicationEnvironmentDecommissioning shall bring about: the end of an environment with
    all its secrets that have a value, or that a run began to give one.
    """

    repository: RepositoryWanted
    suspended: tuple[Id, ...]
    """The secrets and bindings that the command suspended."""


class ApplicationDecommissioningDesiredState(WireModel):
    """What ApplicationDecommissioning shall bring about: the end of what an application has itself;
    its environments have ended before.
    """

    subject: ApplicationSubject
    repositories: tuple[RepositoryWanted, ...]
    """All that take no commits any more: its own, and those of its environments."""
    ended_secrets: tuple[RotatedSecret, ...]
    """Those of its environments, which were revoked before: nobody has anything of them."""


class AppEnvDesiredState(WireModel):
    """What ApplicationEnvironmentProvisioning shall bring about, frozen at the command."""

    subject: AppEnvSubject
    repository: RepositoryWanted
    required_approvals: int
    secrets: tuple[SecretWanted, ...]
    binding_ids: dict[str, str]
    """Secret id to the id of the binding that carries it into this environment."""
    adds_secrets: bool = False
    """Whether the environment is in use and stays so: these secrets come to those it has."""


class StepResult(WireModel):
    """What a step achieved, as references."""

    items: tuple[ItemEffect, ...] = ()
    events: tuple[ProviderEvent, ...] = ()
    downstream_errors: tuple[DownstreamError, ...] = ()

    def reference(self, item: str, key: str) -> str | int:
        """One reference of one item; raises `KeyError` when the step did not answer it."""
        for effect in self.items:
            if effect.item == item:
                return effect.references[key]
        raise KeyError(item)

    def bindings(self, wanted: AppEnvDesiredState) -> tuple[SecretBindingWanted, ...]:
        """The bindings that pin what `provision_secrets` answered in this result."""
        return tuple(
            SecretBindingWanted(
                binding_id=wanted.binding_ids[secret.secret_id],
                secret_id=secret.secret_id,
                name=secret.name,
                issuer=secret.issuer,
                store_path=str(self.reference(f"secret/{secret.secret_id}", "storePath")),
                version=int(self.reference(f"secret/{secret.secret_id}", "version")),
            )
            for secret in wanted.secrets
        )


UndoneDesiredState = OnboardingDesiredState | AppEnvDesiredState
"""Of the workflows whose effects can be taken back."""


class UndoneStep(WireModel):
    """A step that is to be undone, with what it told; empty of one that began and told nothing."""

    step: Step
    result: StepResult


class CompensationDesiredState(WireModel):
    """What Compensation shall take back, frozen at the command."""

    undone_request_id: Id
    undone: UndoneDesiredState
    """What that request was to bring about."""
    steps: tuple[UndoneStep, ...]
    """The newest first."""

    @property
    def subject(self) -> AppEnvSubject | ApplicationSubject:
        return self.undone.subject

    def result_of(self, step: Step) -> StepResult:
        """What that step of the undone request told; raises `KeyError` when it is not there."""
        return {each.step: each.result for each in self.steps}[step]


DesiredState = (
    OnboardingDesiredState
    | AppEnvDesiredState
    | RotationDesiredState
    | RevocationDesiredState
    | AppEnvDecommissioningDesiredState
    | ApplicationDecommissioningDesiredState
    | CompensationDesiredState
)
"""Told apart by their fields."""
DESIRED_STATES: dict[WorkflowName, type[DesiredState]] = {
    WorkflowName.APPLICATION_ONBOARDING: OnboardingDesiredState,
    WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING: AppEnvDesiredState,
    WorkflowName.SECRET_ROTATION: RotationDesiredState,
    WorkflowName.SECRET_REVOCATION: RevocationDesiredState,
    WorkflowName.APPLICATION_ENVIRONMENT_DECOMMISSIONING: AppEnvDecommissioningDesiredState,
    WorkflowName.APPLICATION_DECOMMISSIONING: ApplicationDecommissioningDesiredState,
    WorkflowName.COMPENSATION: CompensationDesiredState,
}


class ClaimRequest(WireModel):
    """Body of `…/claim`: this run wants to hold this attempt."""

    run_id: RunId
    attempt: Annotated[int, Field(ge=1)]


class Launch(WireModel):
    """Body of `/internal/launches`: a run that a person started in Dagster's UI.

    With `parent_run_id` it asks for the next attempt of that run's request; without, it creates
    the request for `subject_id`, the application, application environment or secret that the
    workflow is about; for Compensation the request to undo. Repeating it for the same run answers
    the same request. A job that is not of the request's phase is refused (`Conflict`,
    `wrong_phase`).
    """

    run_id: RunId
    workflow: WorkflowName
    phase: Annotated[int, Field(ge=1)] = 1
    parent_run_id: RunId | None = None
    subject_id: Id | None = None
    reason: Annotated[Line, Field(max_length=500)] = ""


class UndonePermit(WireModel):
    """Leave to take back another request's effects in its name; good at execution-workers alone."""

    request_id: Id
    generation: int
    """Raised by the claim: whatever the request does later is another effect."""
    run_token: str


class Claim(WireModel):
    """What a run needs to work on its request. Every claim raises the fence."""

    request_id: Id
    workflow: WorkflowName
    run_id: RunId
    attempt: int
    phase: int
    generation: int
    fence: int
    run_token: str
    lease_expires_at: Timestamp
    heartbeat_seconds: float
    deadline_at: Timestamp
    team_id: Id
    application_id: Id
    application_environment_id: Id | None = None
    secret_id: Id | None = None
    desired_state: DesiredState
    outcomes: dict[Step, StepResult]
    """What earlier attempts and phases of this generation achieved, step by step."""
    undone: UndonePermit | None = None
    """Of Compensation alone; that request's fence was raised too."""
    traceparent: str | None = None

    def wanted(self, kind: type[Desired]) -> Desired:
        """The desired state, of the kind that the workflow's steps work with."""
        if not isinstance(self.desired_state, kind):
            raise InvariantBroken(f"{self.workflow} has no {kind.__name__}.")
        return self.desired_state


class LeaseRenewal(WireModel):
    """Body of `…/lease`."""

    run_id: RunId


class Lease(WireModel):
    """Answer of a renewal. On `cancel_requested` the run stops and starts nothing more."""

    run_token: str
    lease_expires_at: Timestamp
    cancel_requested: bool
    undone: UndonePermit | None = None
    """Of Compensation alone."""


class StepStarted(WireModel):
    """Body of `…/start`: retry 0 is the first try."""

    run_id: RunId
    attempt: Annotated[int, Field(ge=1)]
    retry_number: Annotated[int, Field(ge=0)]


class StepError(WireModel):
    """Why a step failed."""

    code: Annotated[str, Field(max_length=100)]
    message: Annotated[str, Field(max_length=MESSAGE_LENGTH)]
    retryable: bool
    """Whether a further attempt may succeed without anybody doing anything."""


class StepOutcome(WireModel):
    """Body of `…/outcome`: how a step of an attempt ended. Unique per request, attempt, step."""

    run_id: RunId
    attempt: Annotated[int, Field(ge=1)]
    retry_number: Annotated[int, Field(ge=0)]
    result: StepResult = StepResult()
    error: StepError | None = None


class WaitRequested(WireModel):
    """Body of `…/wait`: the run ends, the request waits until a time and is then offered again
    in the same phase.
    """

    run_id: RunId
    attempt: Annotated[int, Field(ge=1)]
    reason: WaitingReason
    wait_seconds: Annotated[float, Field(gt=0, le=7 * 24 * 3600)]
    seen: Annotated[str, Field(max_length=MESSAGE_LENGTH)] = ""
    """What the run saw last, in words."""


class EndPhase(WireModel):
    """Body of `…/end-phase`: the last step of a phase that is not the last has succeeded.

    Carries every outcome of the run, as `Finalize` does. The control plane decides how long the
    request waits; the next phase is a new run, at once when there is nothing to wait for.
    """

    run_id: RunId
    attempt: Annotated[int, Field(ge=1)]
    outcomes: dict[Step, StepResult]


class AwaitApproval(WireModel):
    """Body of `…/await-approval`: nothing is made before somebody approves the application."""

    run_id: RunId
    attempt: Annotated[int, Field(ge=1)]


class AwaitedApproval(WireModel):
    """Answer of `…/await-approval`."""

    waits: bool
    """Whether the run ends and the request waits; otherwise the application is approved."""


class DeclareEnvironments(WireModel):
    """Body of `…/declare-environments`: the onboarding's environments begin to exist, declared."""

    run_id: RunId
    attempt: Annotated[int, Field(ge=1)]


class DeclaredEnvironments(WireModel):
    """Answer of `…/declare-environments`: environment slug to application environment id."""

    ids: dict[str, Id]


class Finalize(WireModel):
    """Body of `…/finalize`: every outcome of the run, so that none a hook failed to tell is
    lost.
    """

    run_id: RunId
    attempt: Annotated[int, Field(ge=1)]
    outcomes: dict[Step, StepResult]


class RequestStanding(WireModel):
    """Answer of every call that may have moved the request."""

    request_id: Id
    state: RequestState


class RunEnding(StrEnum):
    """How a Dagster run ended, as the engine saw it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    NEVER_STARTED = "never_started"


class RunReport(WireModel):
    """Body of `/internal/run-reports`. Ignored when the run does not hold the claim."""

    request_id: Id
    run_id: RunId
    attempt: Annotated[int, Field(ge=1)]
    ending: RunEnding
    message: Annotated[str, Field(max_length=2000)] = ""


class RunReported(WireModel):
    """Answer of a report: what became of it."""

    accepted: bool
    state: RequestState


class RunStanding(WireModel):
    """Answer of `/internal/runs/{run_id}`: whether the run still holds its claim."""

    run_id: RunId
    request_id: Id
    attempt: int
    holds_claim: bool
    lease_expires_at: Timestamp | None


class LostRun(WireModel):
    """A run whose request was taken from it; the engine ends it, then reports its ending, and
    only then is the next attempt offered.
    """

    run_id: RunId
    request_id: Id
    attempt: int
    cause: str


class LostRuns(WireModel):
    """Answer of `/internal/lost-runs`."""

    runs: tuple[LostRun, ...]


class EnqueueDueRotations(WireModel):
    """Body of `/internal/rotations/due`: what is due at that scheduled time shall be rotated.

    Each scheduled time counts once; a repeat answers what the first brought about.
    """

    scheduled_at: Timestamp


class DueRotations(WireModel):
    """Answer of `/internal/rotations/due`."""

    enqueued: tuple[Id, ...]
    """Requests that this scheduled time brought about."""
    put_off: Annotated[int, Field(ge=0)]
    """Secrets that are due and have to wait: too many rotations at once."""


class RotationCause(WireModel):
    """A domain event that asks for a rotation: `secret_expiring` or `secret_compromised`."""

    event_id: Id
    type: str
    secret_id: Id


class RotationCauses(WireModel):
    """Answer of `/internal/rotation-causes`: those nobody has acted on, oldest first."""

    causes: tuple[RotationCause, ...]


class RequestRotation(WireModel):
    """Body of `/internal/rotations`: act on a cause. Repeating it answers the same request.

    `secret_compromised` is an emergency. Raises `Conflict` as the command does; the cause then
    stays open.
    """

    event_id: Id


class RotationRequested(WireModel):
    """Answer of `/internal/rotations`. No request: the cause is settled without one."""

    request_id: Id | None


class AppEnvAsset(WireModel):
    """An active application environment for the asset catalog."""

    expected: AppEnvExpected
    url: str | None
    state: str


class AppEnvAssets(WireModel):
    """Answer of `/internal/assets/application-environments`, a page by id."""

    items: tuple[AppEnvAsset, ...]
    next_cursor: str | None = None


class SecretAsset(WireModel):
    """A secret with a value for the asset catalog."""

    expected: SecretExpected
    state: str
    next_rotation_at: Timestamp | None


class SecretAssets(WireModel):
    """Answer of `/internal/assets/secrets`, a page by id."""

    items: tuple[SecretAsset, ...]
    next_cursor: str | None = None


class AssetCheckName(StrEnum):
    """The checks of assets."""

    REPOSITORY_PROTECTED = "repository_protected"
    BINDINGS_PRESENT = "bindings_present"
    GITOPS_RECONCILED = "gitops_reconciled"
    SECRET_WITHIN_POLICY = "secret_within_policy"


class CheckResults(WireModel):
    """Body of `/internal/check-results`: what a check found. Only a change is a domain event.

    A thing that a request has been at work on since `read_at` is left out: what was expected of it
    then says nothing about it now.
    """

    check: AssetCheckName
    read_at: Timestamp
    """When the check began to read what is expected, from the assets' routes."""
    findings: Annotated[tuple[Finding, ...], Field(max_length=500)]


class CheckResultsKept(WireModel):
    """Answer of `/internal/check-results`."""

    changed: tuple[Id, ...]
    """The things that passed before and do not now, or the reverse."""
    left_out: tuple[Id, ...] = ()
    """The things that a request is or was at work on; the check has nothing to show of them."""
