"""What the use cases need of the outside: one transaction with its stores and journals."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from control_plane.domain.application_environments import ApplicationEnvironment
from control_plane.domain.applications import Application
from control_plane.domain.environments import Environment
from control_plane.domain.limits import TeamLimits
from control_plane.domain.managed_secrets import Secret
from control_plane.domain.repositories import (
    AppEnvRepository,
    ApplicationRepository,
    GitOpsIntegration,
)
from control_plane.domain.requests import AttemptEnding, Request, SubjectKind
from control_plane.domain.teams import Team
from idp_kernel.wire import api as wire
from idp_kernel.wire.engine import (
    AssetCheckName,
    DesiredState,
    DueRotations,
    LostRun,
    StepError,
    StepResult,
    TeamRole,
)
from idp_kernel.wire.worker import DownstreamError, Finding
from idp_kernel.workflows import RequestState, Step, StepState, WorkflowName, WorkflowResult


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
    claimed_at: datetime
    ending: AttemptEnding | None


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


@dataclass(frozen=True)
class StoredCause:
    """A domain event that asks for a secret's rotation.

    It is open until a request takes it up, and again a while after that request came to nothing.
    """

    event_id: str
    type: str
    secret_id: str
    is_open: bool
    request_id: str | None
    """The last request that took it up, or that settled it."""


class Principals(Protocol):
    """People and pipelines with their tokens."""

    def ensure(self, name: str) -> None: ...

    def make_platform_admin(self, name: str) -> None: ...

    def remove_platform_admin(self, name: str) -> None: ...

    def lock_platform_admins(self) -> Mapping[str, datetime | None]:
        """Each with the time at which the last of its tokens that are good now ends. Nobody stops
        being one before the transaction ends.
        """
        ...

    def is_platform_admin(self, name: str) -> bool: ...

    def add_token(
        self, *, id_: str, principal: str, token_hash: bytes, expires_at: datetime
    ) -> None: ...

    def token_by_hash(self, token_hash: bytes) -> StoredToken | None: ...

    def token_by_id(self, token_id: str) -> StoredToken | None: ...

    def tokens_by_ids(self, token_ids: Collection[str]) -> Sequence[StoredToken]: ...

    def revoke_token(self, token_id: str) -> None: ...

    def touch_token(self, token_id: str) -> None: ...

    def roles_of(self, principal: str) -> Mapping[str, TeamRole]:
        """Team id to role."""
        ...

    def roles_of_all(self, principals: Collection[str]) -> Mapping[str, Mapping[str, TeamRole]]:
        """As `roles_of`, by principal; who has none is left out."""
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

    def undoes_failures(self, team_id: str) -> bool:
        """Whether by the team's policy what a failed request made is taken back by itself."""
        ...

    def requires_approval(self, team_id: str) -> bool:
        """Whether by the team's policy somebody has to approve a new application first."""
        ...

    def set_policy(
        self, team_id: str, *, undoes_failures: bool, requires_approval: bool
    ) -> None: ...

    def put_member(self, team_id: str, principal: str, role: TeamRole) -> None: ...

    def remove_member(self, team_id: str, principal: str) -> bool:
        """`False` when it was none."""
        ...


class Limits(Protocol):
    """What teams are limited to, and what counts against it."""

    @property
    def default(self) -> TeamLimits:
        """The platform's, for what a team has no limit of its own."""
        ...

    def of(self, team_id: str) -> TeamLimits:
        """The team's own."""
        ...

    def put(self, team_id: str, limits: TeamLimits) -> None: ...

    def hold(self, team_id: str) -> None:
        """Nobody else adds to what the team has until the transaction ends. Comes after all locks
        but those of what is new.
        """
        ...

    def hold_places(self) -> None:
        """Nobody else lets a pending request of any team begin to count as at work until the
        transaction ends. Comes after all locks of rows that wait; `lock_offerable`, which waits
        for none, follows it.
        """
        ...

    def applications(self, team_id: str) -> int: ...

    def application_environments(self, team_id: str) -> int: ...

    def active_requests(self, team_id: str) -> int:
        """How many of the team's requests a run has, or was offered."""
        ...


class Environments(Protocol):
    def add(self, environment: Environment) -> None: ...

    def by_slug(self, slug: str, *, lock: bool = False) -> Environment | None: ...

    def by_id(self, environment_id: str) -> Environment: ...

    def hold(self, environment_id: str) -> Environment:
        """The environment, which cannot change until the transaction ends."""
        ...

    def save(self, environment: Environment) -> None: ...


class Applications(Protocol):
    """Applications with their repositories and the integration that deploys them."""

    def add(self, application: Application) -> None: ...

    def by_id(self, application_id: str, *, lock: bool = False) -> Application | None: ...

    def save(self, application: Application) -> None: ...

    def add_repository(self, repository: ApplicationRepository) -> None: ...

    def repositories(self, application_id: str) -> Sequence[ApplicationRepository]:
        """By kind."""
        ...

    def save_repository(self, repository: ApplicationRepository) -> None: ...

    def add_integration(self, integration: GitOpsIntegration) -> None: ...

    def integration(self, application_id: str) -> GitOpsIntegration | None: ...

    def save_integration(self, integration: GitOpsIntegration) -> None: ...


class ApplicationEnvironments(Protocol):
    """Application environments with what belongs to each: repository, secrets, bindings."""

    def add(self, environment: ApplicationEnvironment, repository: AppEnvRepository) -> None: ...

    def by_id(self, id_: str, *, lock: bool = False) -> ApplicationEnvironment | None: ...

    def by_pair(
        self, application_id: str, environment_id: str, *, lock: bool = False
    ) -> ApplicationEnvironment | None: ...

    def of_application(
        self, application_id: str, *, lock: bool = False
    ) -> Sequence[ApplicationEnvironment]:
        """By id; locked, their secrets and bindings are held too."""
        ...

    def save(self, environment: ApplicationEnvironment) -> None: ...

    def repository(self, id_: str) -> AppEnvRepository: ...

    def save_repository(self, repository: AppEnvRepository) -> None: ...

    def secrets(self, id_: str, *, lock: bool = False) -> Sequence[Secret]:
        """By name; locked, their bindings are held too."""
        ...

    def add_secret(self, secret: Secret) -> None: ...

    def save_secret(self, secret: Secret) -> None:
        """The secret and its binding."""
        ...


class Secrets(Protocol):
    """Secrets with their binding, each by itself; `ApplicationEnvironments` saves them."""

    def by_id(self, secret_id: str, *, lock: bool = False) -> Secret | None: ...

    def by_binding(self, binding_id: str, *, lock: bool = False) -> Secret | None: ...

    def team_of(self, secret_id: str) -> str:
        """The id of the team that owns it."""
        ...

    def due(self, at: datetime) -> Sequence[Secret]:
        """Active secrets of active teams and applications whose rotation was due by then, the most
        overdue first.
        """
        ...

    def lock_expiring(self, now: datetime, notice: timedelta) -> Sequence[Secret]:
        """Active secrets of active teams and applications whose present version ends within that
        time and of which this end was not told yet; at most two hundred, and those that another
        transaction has locked left out.
        """
        ...

    def note_expiry_told(self, secret: Secret) -> None: ...


class Rotations(Protocol):
    """What the schedule did, and why rotations are asked for."""

    def hold_schedule(self) -> None:
        """Nobody else acts on a scheduled time until the transaction ends."""
        ...

    def tick(self, scheduled_at: datetime) -> DueRotations | None:
        """What that scheduled time has brought about already."""
        ...

    def add_tick(self, scheduled_at: datetime, answer: DueRotations) -> None: ...

    def at_work(self) -> int:
        """How many routine rotations are pending, running or at a pause inside a phase; those that
        wait for a provider that is away are left out, so that others go on meanwhile.
        """
        ...

    def back_soon(self) -> int:
        """How many routine rotations are in a grace that is over or soon will be."""
        ...

    def out_of_grace(self, limit: int) -> Sequence[str]:
        """Routine rotations whose grace is over and whose secret nobody else is at work on, those
        that have waited longest first.
        """
        ...

    def add_cause(self, event_id: str, type_: str, secret_id: str, version: int) -> None: ...

    def cause(self, event_id: str, *, lock: bool = False) -> StoredCause | None: ...

    def take_up_causes(self, secret_id: str, request_id: str, *, types: Sequence[str]) -> None:
        """That request answers all of the secret that are not settled."""
        ...

    def hand_back_causes(self, request_id: str) -> None:
        """No request answers any more what that one took up."""
        ...

    def settle_causes_of(self, request_id: str) -> None:
        """What that request took up is not asked again."""
        ...

    def settle_all_causes(self, secret_id: str) -> None:
        """Without a request."""
        ...

    def settle_causes_before(self, secret_id: str, version: int, request: Request) -> None:
        """Those of the secret that arose under an earlier version and that the request answers. Who
        said meanwhile that a value is known may have seen the new one: that asks again.
        """
        ...


class CheckResults(Protocol):
    """The last result of each check of each thing."""

    def teams_of(self, check: AssetCheckName, ids: Sequence[str]) -> Mapping[str, str]:
        """The ids that name something the check is about, with the id of its team."""
        ...

    def moving(
        self, check: AssetCheckName, ids: Sequence[str], *, since: datetime
    ) -> Collection[str]:
        """Those that a request is at work on, or on a secret of theirs, and those that changed by
        one after that moment.
        """
        ...

    def lock_passed(self, check: AssetCheckName, ids: Sequence[str]) -> Mapping[str, bool]:
        """Whether each passed before; a thing never checked did."""
        ...

    def put(self, check: AssetCheckName, findings: Sequence[Finding]) -> None: ...


class Requests(Protocol):
    """Workflow requests with their subjects, attempts, steps and lost runs."""

    def add(
        self,
        request: Request,
        desired_state: DesiredState,
        subjects: Sequence[tuple[SubjectKind, str]],
    ) -> None: ...

    def by_id(self, request_id: str, *, lock: bool = False) -> Request | None: ...

    def save(self, request: Request) -> None: ...

    def save_unshown(self, request: Request) -> None:
        """When only its lease or its offers changed, which nobody who watches it is shown."""
        ...

    def desired_state(self, request: Request) -> DesiredState: ...

    def set_desired_state(self, request: Request, desired_state: DesiredState) -> None: ...

    def latest(self, workflow: WorkflowName, application_id: str) -> Request | None:
        """The newest request of that workflow about the application or anything in it."""
        ...

    def first(self, workflow: WorkflowName, application_id: str) -> Request | None:
        """The oldest one, likewise."""
        ...

    def active_on(self, kind: SubjectKind, subject_id: str) -> str | None:
        """The id of the active request on that subject."""
        ...

    def waiting_on(self, kind: SubjectKind, subject_id: str) -> str | None:
        """The id of a request on that subject that waits and does not keep it to itself."""
        ...

    def newest_on(
        self, kind: SubjectKind, subject_id: str, *, but: Collection[WorkflowName]
    ) -> str | None:
        """The id of the latest request on that subject, ended ones too, of any other workflow."""
        ...

    def last_begun_on(self, kind: SubjectKind, subject_id: str) -> Request | None:
        """Of the requests on that subject of which a run began, undos left out, the one that was
        asked for or retried last.
        """
        ...

    def begun_on(self, kind: SubjectKind, subject_id: str, *, since: datetime) -> Sequence[Request]:
        """The requests on that subject of which a run began, undos left out, that were asked for
        after that moment; the newest first.
        """
        ...

    def succeeded_on(
        self, kind: SubjectKind, subject_id: str, workflow: WorkflowName
    ) -> Sequence[Request]:
        """The requests of that workflow on that subject that succeeded, the one that did so last
        first, whenever it was asked for: an elder one may have been retried since.
        """
        ...

    def subjects(self, request_id: str) -> Sequence[tuple[SubjectKind, str]]: ...

    def set_subjects_active(self, request_id: str, *, active: bool) -> None: ...

    def has_rival(self, request_id: str) -> bool:
        """Whether another request is active on one of its subjects."""
        ...

    def lock_offerable(
        self, *, lost_after: datetime, limit: int, default_per_team: int | None
    ) -> Sequence[Request]:
        """Pending requests that may be offered now: emergency rotations, then in turn over teams,
        the oldest first. They are locked, and those that another transaction has locked left out.
        But for emergencies no team gets more than it may have at work at once, if `hold_places`
        was called before.
        """
        ...

    def any_in(self, states: Collection[RequestState]) -> bool:
        """Whether any request is in one of these states."""
        ...

    def overdue(self, *, with_leases: bool) -> Sequence[str]:
        """Requests past deadline, past the end of a wait and, if asked, past their lease; those
        with the earliest deadline first, at most two hundred. One that waits for what another
        request has taken up is left out, and a routine rotation in its grace.
        """
        ...

    def put_attempt(self, request: Request) -> None:
        """The claim just made: a new attempt, or the same run's with its higher fence."""
        ...

    def end_attempt(self, request: Request, ending: AttemptEnding, cause: str) -> None: ...

    def attempt_of_run(self, run_id: str) -> Attempt | None: ...

    def step(self, request_id: str, attempt: int, step: Step) -> StepRecord | None: ...

    def steps_of_attempt(self, request: Request) -> Mapping[Step, StepRecord]:
        """Those of the current attempt that have begun."""
        ...

    def save_step(self, record: StepRecord) -> None: ...

    def open_steps(self, request: Request) -> Sequence[StepRecord]:
        """The steps of the current attempt that nobody told the outcome of."""
        ...

    def was_interrupted(self, request: Request) -> bool:
        """Whether a step of the current attempt told that the run was stopped."""
        ...

    def interrupt_open_steps(self, request: Request) -> None:
        """Ends the steps of the current attempt that nobody told the outcome of."""
        ...

    def results(self, request: Request) -> Mapping[Step, StepResult]:
        """What succeeded steps of this generation answered, the latest word of each."""
        ...

    def recorded_steps(self, request_id: str) -> Sequence[StepRecord]:
        """Every step that began, of all attempts and generations, by attempt."""
        ...

    def undone_by(self, request_id: str) -> str | None:
        """The id of the last undo that took back what the request made."""
        ...

    def neighbour_steps(self, request_id: str) -> Sequence[StepRecord]:
        """Every step that began of other requests on a subject of it, by request and attempt."""
        ...

    def add_lost_run(self, run: LostRun) -> None: ...

    def confirm_lost_run(self, run_id: str) -> bool:
        """Forgets that run; `False` when it was not lost."""
        ...

    def lost_runs(self) -> Sequence[LostRun]:
        """The oldest hundred."""
        ...


class Views(Protocol):
    """Things that are there, as they are shown, with what this transaction has changed."""

    def application(self, application_id: str) -> wire.Application: ...

    def application_environment(self, id_: str) -> wire.ApplicationEnvironment: ...

    def secret(self, secret_id: str) -> wire.Secret: ...

    def secret_binding(self, binding_id: str) -> wire.SecretBinding: ...


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
    ) -> str:
        """A domain event, counted in the projection; answers its id."""
        ...

    def audit(self, *, actor: str, action: str, subject: str, reason: str = "") -> None: ...

    def count(self, counter: CounterName, label: str, by: int = 1) -> None: ...

    def observe_duration(
        self, workflow: WorkflowName, result: WorkflowResult, duration: timedelta
    ) -> None: ...

    def count_downstream_error(self, error: DownstreamError) -> None:
        """An error that a step met at a party it called."""
        ...

    def past_span(
        self,
        name: str,
        request: Request,
        since: datetime,
        *,
        span_id: str | None = None,
        under: str | None = None,
    ) -> None:
        """A span of the request's trace, told once committed: what ends now, and no process lives
        to tell. One with an id of its own stands for a span that was lost.
        """
        ...

    def wake_offers(self) -> None:
        """Tells waiting offers, once committed, that there may be work."""
        ...

    def wake_lost_runs(self) -> None:
        """Tells who waits for lost runs, once committed, that there is one."""
        ...

    def wake_rotation_causes(self) -> None:
        """Tells who waits for what asks for a rotation, once committed, that something does."""
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
    def secrets(self) -> Secrets: ...

    @property
    def rotations(self) -> Rotations: ...

    @property
    def check_results(self) -> CheckResults: ...

    @property
    def requests(self) -> Requests: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def views(self) -> Views: ...

    @property
    def commands(self) -> Commands: ...

    @property
    def standing(self) -> Standing: ...

    @property
    def journal(self) -> Journal: ...

    def savepoint(self) -> AbstractContextManager[None]:
        """A part that leaves nothing behind when it raises, while the rest goes on."""
        ...


Begin = Callable[[], AbstractContextManager[Work]]
"""Opens a transaction: committed at the end of the block, undone by any exception.

Raises `Unavailable` when the database is away or asks for a repeat.
"""
