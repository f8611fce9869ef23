"""The public HTTP API: what people, pipelines and the CLI send to the control plane and get back.

Teams and environments are addressed by slug, everything else by id.
"""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from pydantic import Field

from idp_kernel.ids import Id, Slug
from idp_kernel.wire.base import Line, Timestamp, WireModel
from idp_kernel.wire.engine import StepError, StepResult, TeamRole
from idp_kernel.wire.worker import SecretPurpose, SecretSensitivity
from idp_kernel.workflows import RequestState, Step, StepState, WorkflowName

Item = TypeVar("Item", bound=WireModel)
SECRETS_PER_ENVIRONMENT = 50
PrincipalName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._@-]{0,79}$")]


class Page(WireModel, Generic[Item]):
    """One page of a list; pass `next_cursor` as `cursor` for the next, `null` ends it."""

    items: tuple[Item, ...]
    next_cursor: str | None = None


class CreateTeam(WireModel):
    slug: Slug
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
    platform_admin: bool = False
    expires_in_seconds: Annotated[int, Field(ge=1, le=366 * 24 * 3600)] = 90 * 24 * 3600


class Token(WireModel):
    id: Id
    principal: str
    created_at: Timestamp
    expires_at: Timestamp
    revoked_at: Timestamp | None = None


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


class Environment(WireModel):
    id: Id
    slug: str
    description: str
    state: str
    created_at: Timestamp


class RegisterApplication(WireModel):
    team: Slug
    slug: Slug
    description: Annotated[Line, Field(max_length=300)] = ""


class Application(WireModel):
    id: Id
    team: str
    slug: str
    description: str
    state: str
    created_at: Timestamp


class DeclareSecret(WireModel):
    """A secret the environment shall have; its value is generated where it is stored."""

    name: Slug
    purpose: SecretPurpose = SecretPurpose.RUNTIME
    sensitivity: SecretSensitivity = SecretSensitivity.MEDIUM


class ProvisionEnvironment(WireModel):
    """Body of `POST /v1/applications/{id}/environments`."""

    environment: Slug
    secrets: Annotated[tuple[DeclareSecret, ...], Field(max_length=SECRETS_PER_ENVIRONMENT)] = (
        DeclareSecret(name="app-key"),
    )


class SecretSummary(WireModel):
    """A secret as references; the value stays in the store."""

    id: Id
    name: str
    purpose: SecretPurpose
    sensitivity: SecretSensitivity
    state: str
    store_path: str | None = None
    version: int | None = None
    binding_id: Id
    binding_state: str


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
    application_environment_id: Id | None = None


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


class WorkflowRequest(WireModel):
    id: Id
    workflow: WorkflowName
    state: RequestState
    phase: int
    attempt: int
    team: str
    application_id: Id
    application_environment_id: Id | None = None
    requested_by: str
    reason: str
    waiting_reason: str | None = None
    cancel_requested: bool = False
    error: StepError | None = None
    created_at: Timestamp
    deadline_at: Timestamp
    first_step_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    planned_steps: tuple[Step, ...]
    steps: tuple[StepView, ...] = ()
    attempts: tuple[AttemptView, ...] = ()


class RetryRequest(WireModel):
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
    """`<aggregate>/<id>`."""
    request_id: Id | None = None
    actor: str
    data: dict[str, str | int | bool | None] = {}


class PlatformStanding(WireModel):
    """Whether the platform takes new work."""

    draining: bool
