"""The state machine of a workflow request, pure: each transition answers the request after it.

A request's `attempt` counts its runs. `used_attempts` counts those that were lost or failed and
may be repeated since a step was last achieved; a run that waited or that never claimed uses none
up. A request fails only on an outcome that cannot be retried, on a broken rule at the claim, or
when attempts are used up.
Every claim raises `fence`. The deadline leaves waiting out: a wake-up moves it on by the wait, and
gives all of it anew where what is waited for has a bound of its own. Each phase has the workflow's
deadline anew, and so the time that it may wait for providers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from control_plane.domain.moves import Move, MoveTable
from idp_kernel.errors import Conflict, InvariantBroken
from idp_kernel.retention import LONGEST_APPROVAL, REPEATABLE_FOR
from idp_kernel.workflows import (
    BOUNDED_WAITS,
    PROVIDER_WAITS,
    RESULT_OF_STATE,
    WORKFLOWS,
    RequestState,
    WaitingReason,
    WorkflowName,
)

_S = RequestState

REQUEST_MOVES = MoveTable(
    "Request",
    _S.PENDING,
    (
        Move("claim", (_S.PENDING,), _S.RUNNING),
        Move("release", (_S.RUNNING,), _S.PENDING),
        Move("wait", (_S.RUNNING,), _S.WAITING),
        Move("wake", (_S.WAITING,), _S.PENDING),
        Move("succeed", (_S.RUNNING,), _S.SUCCEEDED),
        Move("fail", (_S.PENDING, _S.RUNNING), _S.FAILED),
        Move("cancel", (_S.PENDING, _S.RUNNING, _S.WAITING), _S.CANCELLED),
        Move("time_out", (_S.PENDING, _S.RUNNING), _S.TIMED_OUT),
        Move("retry", (_S.FAILED, _S.CANCELLED, _S.TIMED_OUT), _S.PENDING),
    ),
)

ENDED_STATES = frozenset(RESULT_OF_STATE)
ACTIVE_STATES = frozenset(RequestState) - ENDED_STATES

_FIRST_BACKOFF_SECONDS = 1
_LONGEST_BACKOFF_SECONDS = 30
_LONGEST_OFFER_PAUSE = timedelta(seconds=30)


class SubjectKind(StrEnum):
    """What a request works on; each subject has at most one active request."""

    APPLICATION = "application"
    APPLICATION_ENVIRONMENT = "application_environment"
    SECRET = "secret"
    WORKFLOW_REQUEST = "workflow_request"
    """Of an undo: the request whose effects it takes back."""


class AttemptEnding(StrEnum):
    """Why a run's attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    WAITING = "waiting"
    LOST = "lost"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True)
class AttemptPolicy:
    """How long a claim lasts without renewal, how many attempts in a row may be lost or fail and
    achieve no step, and how long a request may wait for providers in each phase.
    """

    lease: timedelta
    max_attempts: int
    longest_provider_wait: timedelta


@dataclass(frozen=True)
class Failure:
    """Why a step, a run or a request failed."""

    code: str
    message: str
    retryable: bool


@dataclass(frozen=True)
class Holding:
    """What a run says it holds: it must be the newest claim, to the fence."""

    run_id: str
    attempt: int
    fence: int


@dataclass(frozen=True)
class Waiting:
    """Since when, until when and why a request waits."""

    reason: str
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Request:
    """A workflow request."""

    id: str
    workflow: WorkflowName
    version: int
    team_id: str
    application_id: str
    application_environment_id: str | None
    secret_id: str | None
    requested_by: str
    reason: str
    traceparent: str | None
    created_at: datetime
    started_at: datetime
    """When this round began: the command, or the last retry."""
    pending_since: datetime
    """When it last became pending."""
    deadline_at: datetime
    state: RequestState = REQUEST_MOVES.initial
    phase: int = 1
    attempt: int = 1
    generation: int = 1
    fence: int = 0
    used_attempts: int = 0
    setbacks: int = 0
    """Runs in a row that came to nothing, not one step; sets the pause before the next offer."""
    run_id: str | None = None
    """The run of the newest claim of this attempt; it holds the claim while `running`."""
    lease_expires_at: datetime | None = None
    cancel_requested: bool = False
    waiting: Waiting | None = None
    waited: timedelta = timedelta(0)
    """Over all waits of this round."""
    provider_waited: timedelta = timedelta(0)
    """Over the waits for providers in this phase of this round that are over."""
    last_seen: str = ""
    """What the last run of this phase that sent it to wait saw, in words."""
    not_before: datetime | None = None
    offers: int = 0
    """How often this attempt was offered and not claimed."""
    offer_again_at: datetime | None = None
    first_step_at: datetime | None = None
    ended_at: datetime | None = None
    error: Failure | None = None
    left_behind: str | None = None
    """What it was to end and has left, once it ended."""
    undoes: str | None = None
    """Of Compensation: the request whose effects it takes back."""

    @classmethod
    def new(
        cls,
        *,
        id_: str,
        workflow: WorkflowName,
        team_id: str,
        application_id: str,
        application_environment_id: str | None = None,
        secret_id: str | None = None,
        requested_by: str,
        reason: str,
        traceparent: str | None,
        now: datetime,
        undoes: str | None = None,
    ) -> Request:
        """A pending request, first attempt, with its workflow's deadline from now on."""
        return cls(
            id=id_,
            workflow=workflow,
            version=WORKFLOWS[workflow].version,
            team_id=team_id,
            application_id=application_id,
            application_environment_id=application_environment_id,
            secret_id=secret_id,
            requested_by=requested_by,
            reason=reason,
            traceparent=traceparent,
            created_at=now,
            started_at=now,
            pending_since=now,
            deadline_at=_deadline(workflow, now),
            undoes=undoes,
        )

    # ── questions ────────────────────────────────────────────────────────────────────────────

    @property
    def subject(self) -> str:
        """The narrowest thing it is about, as `<kind>/<id>`."""
        if self.secret_id is not None:
            return f"{SubjectKind.SECRET}/{self.secret_id}"
        if self.application_environment_id is not None:
            return f"{SubjectKind.APPLICATION_ENVIRONMENT}/{self.application_environment_id}"
        return f"{SubjectKind.APPLICATION}/{self.application_id}"

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE_STATES

    def holds(self, holding: Holding) -> bool:
        """Whether that claim is in force."""
        return self.state is _S.RUNNING and self._is_newest(holding)

    def was_left_by(self, holding: Holding, state: RequestState) -> bool:
        """Whether that claim was the one that brought the request where it stands."""
        return self.state is state and self._is_newest(holding)

    def check_held(self, holding: Holding) -> None:
        """Raises `Conflict` (`claim_lost`) unless that claim is in force."""
        if not self.holds(holding):
            raise Conflict(
                f"Run {holding.run_id} does not hold request {self.id} (any more): the request is"
                f" {self.state} at attempt {self.attempt}, fence {self.fence}. End the run.",
                code="claim_lost",
                details=self._standing(),
            )

    def check_may_go_on(self, holding: Holding) -> None:
        """Raises `Conflict`: `claim_lost`, or `cancel_requested` when the run shall stop."""
        self.check_held(holding)
        if self.cancel_requested:
            raise self._conflict("cancel_requested", "is to be cancelled; end the run")

    def check_phase(self, workflow: WorkflowName, phase: int) -> None:
        """Raises `Conflict` (`wrong_phase`) unless the request is there."""
        if (workflow, phase) != (self.workflow, self.phase):
            raise Conflict(
                f"Request {self.id} is in phase {self.phase} of {self.workflow}; this is of phase"
                f" {phase} of {workflow}.",
                code="wrong_phase",
                details={**self._standing(), "phase": self.phase},
            )

    def check_may_be_undone(self, now: datetime) -> None:
        """Only what has ended is undone, as long as its effects are known; an undo is not.

        Raises `Conflict`: `not_undoable`, `request_not_ended`, `request_too_old`.
        """
        if self.workflow is WorkflowName.COMPENSATION:
            raise self._conflict("not_undoable", "is an undo itself; ask for what it undid anew")
        if self.is_active:
            conflict = self._conflict(
                "request_not_ended",
                f"is {self.state}; cancel it or wait for its end, then undo it",
            )
            conflict.details["activeRequestId"] = self.id
            raise conflict
        self._check_young(now)

    def is_past_deadline(self, now: datetime) -> bool:
        return self.state in (_S.PENDING, _S.RUNNING) and now >= self.deadline_at

    def has_lost_lease(self, now: datetime) -> bool:
        return (
            self.state is _S.RUNNING
            and self.lease_expires_at is not None
            and now >= self.lease_expires_at
        )

    def is_due(self, now: datetime) -> bool:
        """Whether a wait is over."""
        return self.waiting is not None and now >= self.waiting.until

    @property
    def waits_for_decision(self) -> bool:
        """Whether it waits for somebody to approve or reject its application."""
        return self.waiting is not None and self.waiting.reason == WaitingReason.APPROVAL_PENDING

    @property
    def duration(self) -> timedelta:
        """From the round's start to the end, waiting left out."""
        if self.ended_at is None:
            raise InvariantBroken(f"request {self.id} has not ended and has no duration")
        return self.ended_at - self.started_at - self.waited

    # ── offers and claims ────────────────────────────────────────────────────────────────────

    def offered(self, now: datetime, first_pause: timedelta) -> Request:
        """Told to the engine. Not a claim: an offer can get lost with whoever took it, so it is
        told again after `first_pause`, then after twice as long, at most after 30 s.
        """
        if self.state is not _S.PENDING:
            raise InvariantBroken(f"request {self.id} is {self.state} and cannot be offered")
        pause = min(first_pause * 2 ** min(self.offers, 10), _LONGEST_OFFER_PAUSE)
        return replace(self, offers=self.offers + 1, offer_again_at=now + pause)

    def claimed(
        self, run_id: str, attempt: int, *, now: datetime, policy: AttemptPolicy
    ) -> Request:
        """Held by that run, one fence higher. The holder may claim again.

        Raises `Conflict`: `request_ended`, `request_waiting`, `attempt_superseded` when another
        attempt is the current one, `already_claimed` when another run holds it,
        `deadline_passed`.
        """
        self._check_claimable(run_id, attempt, now)
        return replace(
            self,
            state=_S.RUNNING,
            run_id=run_id,
            fence=self.fence + 1,
            lease_expires_at=self._lease_end(now, policy),
            not_before=None,
        )

    def renewed(self, holding: Holding, *, now: datetime, policy: AttemptPolicy) -> Request:
        """The lease prolonged, never past the deadline (`Conflict`, `deadline_passed`)."""
        self.check_held(holding)
        self._check_deadline(now)
        return replace(self, lease_expires_at=self._lease_end(now, policy))

    def got_further(self) -> Request:
        """A step was achieved for the first time: it has all of its attempts for the next one."""
        return replace(self, used_attempts=0, setbacks=0)

    # ── runs that come to nothing ────────────────────────────────────────────────────────────

    def run_lost(self, *, now: datetime, policy: AttemptPolicy, why: Failure) -> Request:
        """The run is gone: cancelled if that was wanted, else the next attempt or the end."""
        if self.cancel_requested:
            return self.cancelled(now)
        if self.is_past_deadline(now):
            return self.timed_out(now)
        return self._attempt_used(now=now, policy=policy, why=why, backoff=timedelta(0))

    def step_failed(self, *, now: datetime, policy: AttemptPolicy, why: Failure) -> Request:
        """A step's last word: the end if a repeat would not help, else a further attempt."""
        if self.cancel_requested:
            return self.cancelled(now)
        if not why.retryable:
            return self.failed(now, why)
        return self._attempt_used(now=now, policy=policy, why=why, backoff=self._backoff())

    def run_ended_unfinished(
        self, *, now: datetime, policy: AttemptPolicy, why: Failure
    ) -> Request:
        """The holder ended without an outcome that decides: a further attempt after a pause."""
        return self.step_failed(now=now, policy=policy, why=replace(why, retryable=True))

    def run_never_claimed(self, now: datetime) -> Request:
        """The run of the current attempt ended before it claimed: a new run, none used up."""
        if self.state is not _S.PENDING:
            raise InvariantBroken(f"request {self.id} is {self.state}: its attempt was claimed")
        return _next_attempt(self, not_before=now + self._backoff(), setbacks=self.setbacks + 1)

    # ── waiting ──────────────────────────────────────────────────────────────────────────────

    def waits(
        self, *, reason: str, until: datetime, now: datetime, phase: int, seen: str = ""
    ) -> Request:
        """The run ends; the request waits, then goes on in `phase`, this one or the next."""
        if phase not in (self.phase, self.phase + 1):
            raise InvariantBroken(f"request {self.id} cannot go from phase {self.phase} to {phase}")
        is_same = phase == self.phase
        return replace(
            self,
            state=self._after("wait"),
            phase=phase,
            deadline_at=self.deadline_at if is_same else _deadline(self.workflow, now),
            lease_expires_at=None,
            waiting=Waiting(reason, now, until),
            provider_waited=self.provider_waited if is_same else timedelta(0),
            last_seen=seen,
            used_attempts=self.used_attempts if is_same else 0,
            setbacks=0,
        )

    def waits_here(
        self, *, reason: str, until: datetime, now: datetime, policy: AttemptPolicy, seen: str = ""
    ) -> Request:
        """As `waits`, in this phase: for a provider no longer than it may in all, so that the last
        look comes when that is over. Raises `Conflict` (`waited_too_long`) after that.
        """
        if reason in PROVIDER_WAITS:
            left = policy.longest_provider_wait - self.provider_waited
            if left <= timedelta(0):
                raise self._conflict(
                    "waited_too_long",
                    f"has waited {_rounded(self.provider_waited)} for providers, as long as it may;"
                    " see that the provider answers, then retry it",
                )
            until = min(until, now + left)
        return self.waits(reason=reason, until=until, now=now, phase=self.phase, seen=seen)

    def waits_for_approval(self, *, now: datetime, seen: str) -> Request:
        """As `waits`, in this phase, until somebody decides; at the latest until this round has
        taken as long as it may. Raises `Conflict` (`approval_not_given`) after that.
        """
        until = self.started_at + LONGEST_APPROVAL
        if now >= until:
            raise self._conflict(
                "approval_not_given",
                f"has waited {LONGEST_APPROVAL.days} days for an approval, as long as it may",
            )
        return self.waits(
            reason=WaitingReason.APPROVAL_PENDING, until=until, now=now, phase=self.phase, seen=seen
        )

    def woken(self, now: datetime) -> Request:
        """Pending again, next attempt; neither an attempt nor the deadline is used up. A new phase
        has all of its deadline before it, however late the wake-up comes; so has a look at what is
        waited for within a bound of its own.
        """
        state = self._after("wake")
        awake = _without_wait(self, now)
        if self.waiting is not None and self.waiting.reason in BOUNDED_WAITS:
            whole = _deadline(self.workflow, now)
            awake = replace(awake, deadline_at=max(awake.deadline_at, whole))
        return replace(
            _next_attempt(awake, not_before=None, setbacks=0), state=state, pending_since=now
        )

    def taken_for_undo(self) -> Request:
        """Fenced off from its own runs. Whatever it does later is of another generation."""
        return replace(self, fence=self.fence + 1, generation=self.generation + 1)

    # ── ends ─────────────────────────────────────────────────────────────────────────────────

    def succeeded(self, now: datetime) -> Request:
        return self._ended("succeed", now)

    def failed(self, now: datetime, why: Failure) -> Request:
        return replace(self._ended("fail", now), error=replace(why, retryable=False))

    def cancelled(self, now: datetime) -> Request:
        return self._ended("cancel", now)

    def timed_out(self, now: datetime) -> Request:
        message = f"It did not end by {self.deadline_at:%F %T} UTC."
        if self.last_seen:
            message = f"{message} Before its last wait it saw: {self.last_seen}"
        why = Failure("deadline_passed", message, False)
        return replace(self._ended("time_out", now), error=why)

    def cancellation_requested(self, now: datetime) -> Request:
        """Cancelled at once when no run holds it, else by the run that notices."""
        REQUEST_MOVES.apply("cancel", self.state, subject=self.id)
        if self.state is _S.RUNNING:
            return replace(self, cancel_requested=True)
        return self.cancelled(now)

    def retried(self, now: datetime) -> Request:
        """A new round: next attempt, attempts and deadline renewed, generation and phase kept.

        Raises `Conflict` (`request_too_old`) when its effects may be known no more.
        """
        state = self._after("retry")
        self._check_young(now)
        return replace(
            _next_attempt(self, not_before=None, setbacks=0),
            state=state,
            used_attempts=0,
            started_at=now,
            pending_since=now,
            deadline_at=_deadline(self.workflow, now),
            waited=timedelta(0),
            provider_waited=timedelta(0),
            last_seen="",
            cancel_requested=False,
            ended_at=None,
            error=None,
            left_behind=None,
        )

    # ── inside ───────────────────────────────────────────────────────────────────────────────

    def _is_newest(self, holding: Holding) -> bool:
        return (self.run_id, self.attempt, self.fence) == (
            holding.run_id,
            holding.attempt,
            holding.fence,
        )

    def _check_claimable(self, run_id: str, attempt: int, now: datetime) -> None:
        if not self.is_active:
            raise self._conflict("request_ended", f"has ended: it is {self.state}")
        if attempt != self.attempt:
            raise self._conflict(
                "attempt_superseded", f"is at attempt {self.attempt}, not {attempt}"
            )
        if self.waiting is not None:
            raise self._conflict("request_waiting", f"waits until {self.waiting.until:%F %T} UTC")
        if self.state is _S.RUNNING and self.run_id != run_id:
            raise self._conflict("already_claimed", f"is held by run {self.run_id}")
        self._check_deadline(now)

    def _check_deadline(self, now: datetime) -> None:
        if now >= self.deadline_at:
            raise self._conflict("deadline_passed", "is past its deadline")

    def _check_young(self, now: datetime) -> None:
        if now - self.created_at >= REPEATABLE_FOR:
            raise self._conflict(
                "request_too_old", f"is more than {REPEATABLE_FOR.days} days old; ask for it anew"
            )

    def _conflict(self, code: str, standing: str) -> Conflict:
        return Conflict(f"Request {self.id} {standing}.", code=code, details=self._standing())

    def _standing(self) -> dict[str, object]:
        return {"workflowRequestId": self.id, "state": self.state, "attempt": self.attempt}

    def _after(self, action: str) -> RequestState:
        return REQUEST_MOVES.apply(action, self.state, subject=self.id)

    def _lease_end(self, now: datetime, policy: AttemptPolicy) -> datetime:
        return min(now + policy.lease, self.deadline_at)

    def _backoff(self) -> timedelta:
        seconds = _FIRST_BACKOFF_SECONDS << min(self.setbacks, 10)
        return timedelta(seconds=min(seconds, _LONGEST_BACKOFF_SECONDS))

    def _attempt_used(
        self, *, now: datetime, policy: AttemptPolicy, why: Failure, backoff: timedelta
    ) -> Request:
        counted = replace(self, used_attempts=self.used_attempts + 1)
        if counted.used_attempts >= policy.max_attempts:
            message = (
                f"All {counted.used_attempts} attempts since it last got further are used up."
                f" The last: {why.message}"
            )
            return counted.failed(now, replace(why, message=message))
        released = _next_attempt(counted, not_before=now + backoff, setbacks=self.setbacks + 1)
        return replace(released, state=self._after("release"), pending_since=now)

    def _ended(self, action: str, now: datetime) -> Request:
        state = self._after(action)
        return replace(
            _without_wait(self, now),
            state=state,
            ended_at=now,
            lease_expires_at=None,
            not_before=None,
        )


def _rounded(time: timedelta) -> timedelta:
    """In whole seconds, for messages."""
    return timedelta(seconds=round(time.total_seconds()))


def _deadline(workflow: WorkflowName, now: datetime) -> datetime:
    return now + timedelta(seconds=WORKFLOWS[workflow].deadline_seconds)


def _next_attempt(request: Request, *, not_before: datetime | None, setbacks: int) -> Request:
    return replace(
        request,
        attempt=request.attempt + 1,
        run_id=None,
        lease_expires_at=None,
        offers=0,
        offer_again_at=None,
        not_before=not_before,
        setbacks=setbacks,
    )


def _without_wait(request: Request, now: datetime) -> Request:
    if request.waiting is None:
        return request
    waited = now - request.waiting.since
    for_provider = waited if request.waiting.reason in PROVIDER_WAITS else timedelta(0)
    return replace(
        request,
        waiting=None,
        waited=request.waited + waited,
        provider_waited=request.provider_waited + for_provider,
        deadline_at=request.deadline_at + waited,
    )
