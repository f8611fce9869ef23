"""What the use cases need of the outside: one transaction with its stores and journals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from control_plane.domain.application_environments import ApplicationEnvironment
from control_plane.domain.applications import Application
from control_plane.domain.environments import Environment
from control_plane.domain.managed_secrets import Secret
from control_plane.domain.repositories import DeploymentRepository
from control_plane.domain.requests import AttemptEnding, Request, SubjectKind
from control_plane.domain.teams import Team
from idp_kernel.wire.engine import AppEnvDesiredState, LostRun, StepError, StepResult, TeamRole
from idp_kernel.workflows import Step, StepState, WorkflowName, WorkflowResult


class CounterName(StrEnum):
    """Counters of the metrics projection; each has one label from a closed set."""

    RETRIES = "workflow_retries_total"
    EVENTS = "domain_events_total"
    LEASE_LOSSES = "workflow_lease_losses_total"


@dataclass(frozen=True)
class StoredToken:
    """A bearer token as the platform keeps it: without itself."""

    id: str
    principal: str
    platform_admin: bool
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True)
class StepRecord:
    """One step of one attempt."""

    request_id: str
    attempt: int
    step: Step
    generation: int
    state: StepState
    retries: int
    started_at: datetime
    ended_at: datetime | None = None
    error: StepError | None = None
    result: StepResult | None = None


@dataclass(frozen=True)
class Attempt:
    """Which run claimed which attempt of which request."""

    request_id: str
    attempt: int
    run_id: str


@dataclass(frozen=True)
class CommandKey:
    """One command of one caller, as the idempotency key names it."""

    principal: str
    method: str
    path: str
    key: str
    body_hash: bytes


@dataclass(frozen=True)
class Answer:
    """What a command answered. `body` is JSON text; none is kept of one that is shown once."""

    status: int
    body: str | None
    location: str | None = None


@dataclass(frozen=True)
class RecordedCommand:
    """An earlier command under the same key."""

    body_hash: bytes
    answer: Answer


class Principals(Protocol):
    """People and pipelines with their tokens."""

    def ensure(self, name: str) -> None: ...

    def make_platform_admin(self, name: str) -> None: ...

    def add_token(
        self, *, id_: str, principal: str, token_hash: bytes, expires_at: datetime
    ) -> None: ...

    def token_by_hash(self, token_hash: bytes) -> StoredToken | None: ...

    def token_by_id(self, token_id: str) -> StoredToken | None: ...

    def revoke_token(self, token_id: str) -> None: ...

    def touch_token(self, token_id: str) -> None: ...

    def roles_of(self, principal: str) -> Mapping[str, TeamRole]:
        """Team id to role."""
        ...

    def roles_by_team_slug(self, principal: str) -> Mapping[str, TeamRole]: ...

    def is_new_assertion(self, jti: str, expires_at: datetime) -> bool:
        """Remembers the assertion; `False` when it was seen before."""
        ...


class Teams(Protocol):
    def add(self, team: Team) -> None: ...

    def by_slug(self, slug: str, *, lock: bool = False) -> Team | None: ...

    def by_id(self, team_id: str) -> Team: ...

    def hold(self, team_id: str) -> Team:
        """The team, which cannot change until the transaction ends."""
        ...

    def save(self, team: Team) -> None: ...

    def put_member(self, team_id: str, principal: str, role: TeamRole) -> None: ...


class Environments(Protocol):
    def add(self, environment: Environment) -> None: ...

    def by_slug(self, slug: str, *, lock: bool = False) -> Environment | None: ...

    def by_id(self, environment_id: str) -> Environment: ...

    def hold(self, environment_id: str) -> Environment:
        """The environment, which cannot change until the transaction ends."""
        ...

    def save(self, environment: Environment) -> None: ...


class Applications(Protocol):
    def add(self, application: Application) -> None: ...

    def by_id(self, application_id: str, *, lock: bool = False) -> Application | None: ...


class ApplicationEnvironments(Protocol):
    """Application environments with what belongs to each: repository, secrets, bindings."""

    def add(
        self, environment: ApplicationEnvironment, repository: DeploymentRepository
    ) -> None: ...

    def by_id(self, id_: str, *, lock: bool = False) -> ApplicationEnvironment | None: ...

    def by_pair(
        self, application_id: str, environment_id: str, *, lock: bool = False
    ) -> ApplicationEnvironment | None: ...

    def save(self, environment: ApplicationEnvironment) -> None: ...

    def repository(self, id_: str) -> DeploymentRepository: ...

    def save_repository(self, repository: DeploymentRepository) -> None: ...

    def secrets(self, id_: str, *, lock: bool = False) -> Sequence[Secret]:
        """By name; locked, their bindings are held too."""
        ...

    def add_secret(self, secret: Secret) -> None: ...

    def save_secret(self, secret: Secret) -> None:
        """The secret and its binding."""
        ...


class Requests(Protocol):
    """Workflow requests with their subjects, attempts, steps and lost runs."""

    def add(
        self,
        request: Request,
        desired_state: AppEnvDesiredState,
        subjects: Sequence[tuple[SubjectKind, str]],
    ) -> None: ...

    def by_id(self, request_id: str, *, lock: bool = False) -> Request | None: ...

    def save(self, request: Request) -> None: ...

    def desired_state(self, request_id: str) -> AppEnvDesiredState: ...

    def active_on(self, kind: SubjectKind, subject_id: str) -> str | None:
        """The id of the active request on that subject."""
        ...

    def subjects(self, request_id: str) -> Sequence[tuple[SubjectKind, str]]: ...

    def set_subjects_active(self, request_id: str, *, active: bool) -> None: ...

    def lock_offerable(self, *, lost_after: datetime, limit: int) -> Sequence[Request]:
        """Pending requests that may be offered now, in turn over teams, oldest first; locked,
        and those that another transaction has locked left out.
        """
        ...

    def overdue(self, *, with_leases: bool) -> Sequence[str]:
        """Requests past deadline, past the end of a wait and, if asked, past their lease; those
        with the earliest deadline first, at most two hundred.
        """
        ...

    def put_attempt(self, request: Request) -> None:
        """The claim just made: a new attempt, or the same run's with its higher fence."""
        ...

    def end_attempt(self, request: Request, ending: AttemptEnding) -> None: ...

    def attempt_of_run(self, run_id: str) -> Attempt | None: ...

    def step(self, request_id: str, attempt: int, step: Step) -> StepRecord | None: ...

    def save_step(self, record: StepRecord) -> None: ...

    def interrupt_open_steps(self, request: Request) -> None:
        """Ends the steps of the current attempt that nobody told the outcome of."""
        ...

    def results(self, request: Request) -> Mapping[Step, StepResult]:
        """What succeeded steps of this generation answered, the latest word of each."""
        ...

    def add_lost_run(self, run: LostRun) -> None: ...

    def confirm_lost_run(self, run_id: str) -> bool:
        """Forgets that run; `False` when it was not lost."""
        ...

    def lost_runs(self) -> Sequence[LostRun]:
        """The oldest hundred."""
        ...


class Commands(Protocol):
    """Answers of commands under their idempotency keys."""

    def begin(self, key: CommandKey) -> RecordedCommand | None:
        """Nothing when this transaction is the one to act; waits for another that is acting."""
        ...

    def finish(self, key: CommandKey, answer: Answer) -> None: ...


class Standing(Protocol):
    """What is true of the whole platform."""

    def is_draining(self) -> bool: ...

    def set_draining(self, *, draining: bool) -> None: ...


class Journal(Protocol):
    """What the transaction will have told when it commits; written last, in a fixed order."""

    def event(
        self,
        type_: str,
        *,
        subject: str,
        actor: str,
        team_id: str | None = None,
        request_id: str | None = None,
        data: Mapping[str, str | int | bool | None] | None = None,
    ) -> None:
        """A domain event, counted in the projection."""
        ...

    def audit(self, *, actor: str, action: str, subject: str, reason: str = "") -> None: ...

    def count(self, counter: CounterName, label: str, by: int = 1) -> None: ...

    def observe_duration(
        self, workflow: WorkflowName, result: WorkflowResult, duration: timedelta
    ) -> None: ...

    def wake_offers(self) -> None:
        """Tells waiting offers, once committed, that there may be work."""
        ...


class Work(Protocol):
    """One transaction."""

    @property
    def now(self) -> datetime:
        """When it began."""
        ...

    @property
    def principals(self) -> Principals: ...

    @property
    def teams(self) -> Teams: ...

    @property
    def environments(self) -> Environments: ...

    @property
    def applications(self) -> Applications: ...

    @property
    def application_environments(self) -> ApplicationEnvironments: ...

    @property
    def requests(self) -> Requests: ...

    @property
    def commands(self) -> Commands: ...

    @property
    def standing(self) -> Standing: ...

    @property
    def journal(self) -> Journal: ...


Begin = Callable[[], AbstractContextManager[Work]]
"""Opens a transaction: committed at the end of the block, undone by any exception.

Raises `Unavailable` when the database is away or asks for a repeat.
"""
