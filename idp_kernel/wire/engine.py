"""The control plane's internal contract with the workflow engine.

Offers, claims of unclaimed requests and reports come with a service token; everything a run says
about its own request comes with the run token that its claim answered.

A request's `attempt` counts its Dagster runs, from 1; `run_key` is `<request id>/<attempt>`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from idp_kernel.ids import Id
from idp_kernel.wire.base import Line, Timestamp, WireModel
from idp_kernel.wire.worker import (
    AppEnvSubject,
    DownstreamError,
    ItemEffect,
    RepositoryWanted,
    SecretBindingWanted,
    SecretWanted,
)
from idp_kernel.workflows import ProviderEvent, RequestState, Step, WorkflowName

TOKENS = "/internal/tokens"
TOKEN_INTROSPECTION = "/internal/tokens/introspection"
OFFERS = "/internal/offers"
LAUNCHES = "/internal/launches"
CLAIM = "/internal/workflow-requests/{request_id}/claim"
LEASE = "/internal/workflow-requests/{request_id}/lease"
STEP_START = "/internal/workflow-requests/{request_id}/steps/{step}/start"
STEP_OUTCOME = "/internal/workflow-requests/{request_id}/steps/{step}/outcome"
WAIT = "/internal/workflow-requests/{request_id}/wait"
FINALIZE = "/internal/workflow-requests/{request_id}/finalize"
RUN_REPORTS = "/internal/run-reports"
RUN_STATUS = "/internal/runs/{run_id}"
LOST_RUNS = "/internal/lost-runs"
METRICS_PROJECTION = "/internal/metrics-projection"
JWKS = "/.well-known/jwks.json"

ACTOR_LOCAL_UI = "dagster-ui (local)"

CANCEL_REQUESTED = "cancel_requested"
"""Code of the `Conflict` that tells a run, when it wants to go on, that it shall stop instead."""

RUN_INTERRUPTED = "run_interrupted"
"""Code of a step's error that says the run was stopped, not why. It decides nothing: the run's
ending does, or its lease."""

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
    traceparent: str | None = None


class Offers(WireModel):
    """Oldest first, in turn over teams. `draining`: the platform takes no new work for now."""

    offers: tuple[Offer, ...]
    draining: bool = False


class AppEnvDesiredState(WireModel):
    """What ApplicationEnvironmentProvisioning shall bring about, frozen at the command."""

    subject: AppEnvSubject
    repository: RepositoryWanted
    required_approvals: int
    secrets: tuple[SecretWanted, ...]
    binding_ids: dict[str, str]
    """Secret id to the id of the binding that carries it into this environment."""


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
                store_path=str(self.reference(f"secret/{secret.secret_id}", "storePath")),
                version=int(self.reference(f"secret/{secret.secret_id}", "version")),
            )
            for secret in wanted.secrets
        )


class ClaimRequest(WireModel):
    """Body of `…/claim`: this run wants to hold this attempt."""

    run_id: RunId
    attempt: Annotated[int, Field(ge=1)]


class Launch(WireModel):
    """Body of `/internal/launches`: a run that a person started in Dagster's UI.

    With `parent_run_id` it asks for the next attempt of that run's request; without, it creates
    the request for `subject_id`. Repeating it for the same run answers the same request.
    """

    run_id: RunId
    workflow: WorkflowName
    parent_run_id: RunId | None = None
    subject_id: Id | None = None
    reason: Annotated[Line, Field(max_length=500)] = ""


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
    desired_state: AppEnvDesiredState
    outcomes: dict[Step, StepResult]
    """What earlier attempts and phases of this generation achieved, step by step."""
    traceparent: str | None = None


class LeaseRenewal(WireModel):
    """Body of `…/lease`."""

    run_id: RunId


class Lease(WireModel):
    """Answer of a renewal. On `cancel_requested` the run stops and starts nothing more."""

    run_token: str
    lease_expires_at: Timestamp
    cancel_requested: bool


class StepStarted(WireModel):
    """Body of `…/start`: retry 0 is the first try."""

    run_id: RunId
    attempt: Annotated[int, Field(ge=1)]
    retry_number: Annotated[int, Field(ge=0)]


class StepError(WireModel):
    """Why a step failed."""

    code: Annotated[str, Field(max_length=100)]
    message: Annotated[str, Field(max_length=2000)]
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
    reason: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,59}$")]
    wait_seconds: Annotated[float, Field(gt=0, le=7 * 24 * 3600)]


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
