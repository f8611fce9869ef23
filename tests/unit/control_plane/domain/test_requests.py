"""The request state machine: stories of single moves, and properties of any sequence of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pydantic import ValidationError

from control_plane.domain.requests import (
    ACTIVE_STATES,
    ENDED_STATES,
    AttemptPolicy,
    Failure,
    Holding,
    Request,
)
from idp_kernel.errors import Conflict, InvariantBroken, MoveRefused
from idp_kernel.retention import (
    LEDGER_KEPT_FOR,
    LONGEST_APPROVAL,
    LONGEST_PULL_REQUEST,
    REPEATABLE_FOR,
)
from idp_kernel.wire.api import SetRotationPolicy
from idp_kernel.workflows import WORKFLOWS, RequestState, WorkflowName

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = AttemptPolicy(
    lease=timedelta(seconds=15), max_attempts=5, longest_provider_wait=timedelta(hours=24)
)
TRANSIENT = Failure("unavailable", "the forge is away", retryable=True)
FOR_GOOD = Failure("provider_rejected", "the forge said no", retryable=False)
SECOND = timedelta(seconds=1)


def pending() -> Request:
    return Request.new(
        id_="r",
        workflow=WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING,
        team_id="t",
        application_id="a",
        application_environment_id="ae",
        requested_by="ada",
        reason="",
        traceparent=None,
        now=NOW,
    )


def running(run_id: str = "run-1") -> Request:
    return pending().claimed(run_id, 1, now=NOW, policy=POLICY)


def holding(request: Request) -> Holding:
    return Holding(request.run_id or "nobody", request.attempt, request.fence)


def failed() -> Request:
    return running().step_failed(now=NOW, policy=POLICY, why=FOR_GOOD)


def code_of(refused: Callable[[], object]) -> str:
    with pytest.raises(Conflict) as caught:
        refused()
    return caught.value.code


def claim(request: Request, run_id: str, attempt: int, now: datetime = NOW) -> Request:
    return request.claimed(run_id, attempt, now=now, policy=POLICY)


def test_a_claim_raises_the_fence_and_starts_a_lease() -> None:
    request = running()
    assert (request.state, request.fence, request.run_id) == (RequestState.RUNNING, 1, "run-1")
    assert request.lease_expires_at == NOW + POLICY.lease


def test_the_same_run_may_claim_again_one_fence_higher() -> None:
    again = claim(running(), "run-1", 1)
    assert again.fence == 2
    assert not again.holds(Holding("run-1", 1, 1))
    assert again.holds(Holding("run-1", 1, 2))


def test_claims_that_cannot_be() -> None:
    assert code_of(lambda: claim(running(), "run-2", 1)) == "already_claimed"
    assert code_of(lambda: claim(pending(), "run-2", 2)) == "attempt_superseded"
    assert code_of(lambda: claim(failed(), "run-1", 1)) == "request_ended"
    late = pending().deadline_at
    assert code_of(lambda: claim(pending(), "run-1", 1, late)) == "deadline_passed"
    waiting = running().waits(reason="gitops", until=NOW + SECOND, now=NOW, phase=1)
    assert code_of(lambda: claim(waiting, "run-1", 1)) == "request_waiting"


def test_a_lease_never_outlasts_the_deadline() -> None:
    request = running()
    late = request.deadline_at - SECOND
    assert request.renewed(holding(request), now=late, policy=POLICY).lease_expires_at == (
        request.deadline_at
    )
    with pytest.raises(Conflict, match="past its deadline"):
        request.renewed(holding(request), now=request.deadline_at, policy=POLICY)


def test_only_the_newest_claim_renews() -> None:
    old = holding(running())
    newer = claim(running(), "run-1", 1)
    assert code_of(lambda: newer.renewed(old, now=NOW, policy=POLICY)) == "claim_lost"


def test_a_lost_run_leads_to_the_next_attempt_at_once() -> None:
    released = running().run_lost(now=NOW, policy=POLICY, why=TRANSIENT)
    assert (released.state, released.attempt, released.used_attempts) == ("pending", 2, 1)
    assert released.not_before == NOW
    assert released.run_id is None


def test_a_lost_run_ends_a_request_that_was_to_be_cancelled_or_is_too_late() -> None:
    wanted = running().cancellation_requested(NOW)
    assert wanted.run_lost(now=NOW, policy=POLICY, why=TRANSIENT).state == "cancelled"
    late = running()
    lost = late.run_lost(now=late.deadline_at, policy=POLICY, why=TRANSIENT)
    assert lost.state == "timed_out"


def test_an_outcome_that_cannot_be_retried_fails_at_once() -> None:
    assert failed().state == "failed"
    assert failed().error == FOR_GOOD
    assert failed().attempt == 1


def test_transient_outcomes_pause_longer_and_longer_until_attempts_are_used_up() -> None:
    request, pauses = pending(), []
    for attempt in range(1, POLICY.max_attempts + 1):
        request = claim(request, f"run-{attempt}", attempt)
        request = request.step_failed(now=NOW, policy=POLICY, why=TRANSIENT)
        if request.not_before is not None:
            pauses.append((request.not_before - NOW) / SECOND)
    assert pauses == [1, 2, 4, 8]
    assert request.state == "failed"
    assert request.error is not None
    assert "All 5 attempts since it last got further" in request.error.message
    assert "the forge is away" in request.error.message


def test_getting_further_gives_attempts_and_short_pauses_back() -> None:
    worn = replace(running(), used_attempts=POLICY.max_attempts - 1, setbacks=7)
    released = worn.got_further().step_failed(now=NOW, policy=POLICY, why=TRANSIENT)
    assert (released.state, released.used_attempts) == ("pending", 1)
    assert released.not_before == NOW + SECOND


def test_a_new_phase_has_all_attempts() -> None:
    worn = replace(running(), used_attempts=POLICY.max_attempts - 1)
    same = worn.waits(reason="grace", until=NOW, now=NOW, phase=1)
    following = worn.waits(reason="grace", until=NOW, now=NOW, phase=2)
    assert (same.used_attempts, following.used_attempts) == (POLICY.max_attempts - 1, 0)


def test_pauses_have_an_end() -> None:
    worn = replace(running(), setbacks=60)
    released = worn.step_failed(now=NOW, policy=POLICY, why=TRANSIENT)
    assert released.not_before == NOW + timedelta(seconds=30)


def test_a_run_that_never_claimed_uses_no_attempt_up() -> None:
    moved_on = pending().run_never_claimed(NOW)
    assert (moved_on.state, moved_on.attempt, moved_on.used_attempts) == ("pending", 2, 0)
    assert moved_on.not_before == NOW + SECOND
    with pytest.raises(InvariantBroken):
        running().run_never_claimed(NOW)


def test_a_wait_moves_the_deadline_on_and_is_left_out_of_the_duration() -> None:
    hour = timedelta(hours=1)
    waiting = running().waits(reason="grace", until=NOW + hour, now=NOW, phase=1)
    assert not waiting.is_past_deadline(NOW + timedelta(days=3))
    assert not waiting.is_due(NOW)
    assert waiting.is_due(NOW + hour)
    woken = waiting.woken(NOW + hour)
    assert (woken.state, woken.phase, woken.attempt, woken.used_attempts) == ("pending", 1, 2, 0)
    assert woken.deadline_at == pending().deadline_at + hour
    done = claim(woken, "run-2", 2, NOW + hour).succeeded(NOW + hour + SECOND)
    assert done.duration == SECOND


@pytest.mark.parametrize("reason", ["pull_request_open", "circuit_open", "provider_paused"])
def test_looks_at_what_ends_by_a_bound_of_its_own_use_no_deadline_up(reason: str) -> None:
    whole, pause = pending().deadline_at - NOW, 120 * SECOND
    request, now = running(), NOW
    for attempt in range(2, 702):
        now += 3 * SECOND
        waiting = request.waits_here(reason=reason, until=now + pause, now=now, policy=POLICY)
        now += pause
        request = claim(waiting.woken(now), f"run-{attempt}", attempt, now)
    assert request.deadline_at == now + whole


def test_an_approval_is_awaited_within_a_bound_from_the_round_s_begin_on() -> None:
    later, end = NOW + timedelta(days=3), NOW + LONGEST_APPROVAL
    waiting = claim(pending(), "run-1", 1).waits_for_approval(now=NOW, seen="It is Proposed.")
    assert waiting.waits_for_decision
    assert (waiting.is_due(end - SECOND), waiting.is_due(end)) == (False, True)
    woken = waiting.woken(later)
    assert (woken.state, woken.used_attempts, woken.waits_for_decision) == ("pending", 0, False)
    assert woken.deadline_at == later + (pending().deadline_at - NOW), "all of it is left"
    again = claim(woken, "run-2", 2, later).waits_for_approval(now=later, seen="")
    assert again.waiting is not None
    assert again.waiting.until == end, "a second wait ends with the first"
    late = claim(again.woken(end), "run-3", 3, end)
    assert code_of(lambda: late.waits_for_approval(now=end, seen="")) == "approval_not_given"
    anew = claim(late.failed(end, FOR_GOOD).retried(end), "run-4", 4, end)
    assert anew.waits_for_approval(now=end, seen="").waiting is not None


def test_other_waits_leave_the_deadline_what_it_was() -> None:
    reason, late = "gitops_reconciliation_slow", NOW + 60 * SECOND
    waiting = running().waits_here(reason=reason, until=late, now=late, policy=POLICY)
    assert waiting.woken(late).deadline_at == pending().deadline_at


def test_a_new_phase_has_the_deadline_anew_from_the_wake_up_on() -> None:
    whole = pending().deadline_at - NOW
    ended_at = NOW + whole - SECOND
    waiting = running().waits(reason="grace", until=ended_at, now=ended_at, phase=2)
    late = ended_at + timedelta(days=3)
    woken = waiting.woken(late)
    assert (woken.phase, woken.deadline_at) == (2, late + whole)


def test_a_wait_leads_to_this_phase_or_the_next() -> None:
    with pytest.raises(InvariantBroken):
        running().waits(reason="grace", until=NOW, now=NOW, phase=3)


def provider_waits(request: Request, hours: float, now: datetime, attempt: int) -> Request:
    """Waits for a provider, is woken and claimed again."""
    until = now + timedelta(hours=hours)
    waiting = request.waits_here(reason="circuit_open", until=until, now=now, policy=POLICY)
    assert waiting.waiting is not None
    woken = waiting.woken(waiting.waiting.until)
    return claim(woken, f"run-{attempt}", attempt, waiting.waiting.until)


def test_waits_for_providers_end_in_time_all_together() -> None:
    once = provider_waits(running(), 20, NOW, 2)
    assert once.provider_waited == timedelta(hours=20)
    cut = provider_waits(once, 20, NOW + timedelta(hours=20), 3)
    assert cut.provider_waited == timedelta(hours=24), "the last look comes when it is over"
    now = NOW + timedelta(hours=24)
    with pytest.raises(Conflict, match=r"1 day, 0:00:00 for providers, as long as it may") as told:
        cut.waits_here(reason="provider_paused", until=now + SECOND, now=now, policy=POLICY)
    assert told.value.code == "waited_too_long"


def test_only_waits_for_providers_count_and_only_of_this_phase_and_round() -> None:
    day = timedelta(days=9)
    for_others = running().waits_here(
        reason="gitops_reconciliation_slow", until=NOW + day, now=NOW, policy=POLICY
    )
    assert for_others.woken(NOW + day).provider_waited == timedelta(0)
    once = provider_waits(running(), 20, NOW, 2)
    now = NOW + timedelta(hours=20)
    next_phase = once.waits(reason="rotation_grace", until=now, now=now, phase=2)
    assert next_phase.provider_waited == timedelta(0)
    assert once.failed(now, FOR_GOOD).retried(now).provider_waited == timedelta(0)


def test_a_deadline_says_what_was_seen_last() -> None:
    waiting = running().waits(
        reason="gitops_reconciliation_slow", until=NOW + SECOND, now=NOW, phase=1,
        seen="Deployment shop-dev/web is Progressing",
    )  # fmt: skip
    woken = waiting.woken(NOW + SECOND)
    late = woken.timed_out(woken.deadline_at)
    assert late.error is not None
    assert late.error.message.endswith(
        " UTC. Before its last wait it saw: Deployment shop-dev/web is Progressing"
    )
    again = late.retried(NOW + SECOND)
    assert again.timed_out(again.deadline_at).error == Failure(
        "deadline_passed", f"It did not end by {again.deadline_at:%F %T} UTC.", False
    )


def test_cancelling_is_immediate_unless_a_run_holds_the_request() -> None:
    assert pending().cancellation_requested(NOW).state == "cancelled"
    waiting = running().waits(reason="grace", until=NOW + SECOND, now=NOW, phase=1)
    assert waiting.cancellation_requested(NOW).state == "cancelled"
    wanted = running().cancellation_requested(NOW)
    assert (wanted.state, wanted.cancel_requested) == ("running", True)
    with pytest.raises(MoveRefused):
        failed().cancellation_requested(NOW)


def test_a_retry_renews_attempts_and_deadline() -> None:
    later = NOW + timedelta(hours=5)
    again = replace(failed(), used_attempts=4, cancel_requested=True).retried(later)
    assert (again.state, again.attempt, again.used_attempts) == ("pending", 2, 0)
    assert again.deadline_at - later == pending().deadline_at - NOW
    assert again.error is None
    assert again.ended_at is None
    assert not again.cancel_requested
    with pytest.raises(MoveRefused):
        running().retried(NOW)


def test_a_request_that_goes_on_has_no_duration() -> None:
    with pytest.raises(InvariantBroken):
        _ = running().duration


@given(st.integers(min_value=0, max_value=10_000))
def test_a_lost_lease_is_told_from_its_last_moment_on(seconds: int) -> None:
    request = running()
    moment = NOW + timedelta(seconds=seconds)
    assert request.has_lost_lease(moment) == (seconds >= 15)


class AnySequence(RuleBasedStateMachine):
    """Whatever happens in whatever order, the promises hold."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.request = pending()
        self.before, self.moved_at = self.request, self.now
        self.runs = 0
        self.waited = timedelta(0)
        self.decisive = False

    def become(self, after: Request) -> None:
        self.before, self.request, self.moved_at = self.request, after, self.now

    @rule(seconds=st.integers(min_value=0, max_value=600))
    def time_passes(self, seconds: int) -> None:
        if self.request.waiting is not None:
            self.waited += timedelta(seconds=seconds)
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.request.state is RequestState.PENDING)
    @rule()
    def offer(self) -> None:
        self.become(self.request.offered(self.now, timedelta(seconds=5)))

    @precondition(
        lambda self: (
            self.request.state is RequestState.PENDING
            and not self.request.is_past_deadline(self.now)
        )
    )
    @rule()
    def claim(self) -> None:
        self.runs += 1
        self.become(claim(self.request, f"run-{self.runs}", self.request.attempt, self.now))
        assert self.request.fence == self.before.fence + 1

    @precondition(lambda self: self.request.state is RequestState.RUNNING)
    @rule()
    def stranger_claims(self) -> None:
        with pytest.raises(Conflict):
            claim(self.request, "stranger", self.request.attempt, self.now)

    @precondition(lambda self: self.request.state is RequestState.RUNNING)
    @rule()
    def lose_run(self) -> None:
        self.become(self.request.run_lost(now=self.now, policy=POLICY, why=TRANSIENT))

    @precondition(lambda self: self.request.state is RequestState.RUNNING)
    @rule(why=st.sampled_from([TRANSIENT, FOR_GOOD]))
    def fail_step(self, why: Failure) -> None:
        self.decisive = not why.retryable
        self.become(self.request.step_failed(now=self.now, policy=POLICY, why=why))

    @precondition(lambda self: self.request.state is RequestState.RUNNING)
    @rule()
    def end_unfinished(self) -> None:
        self.become(self.request.run_ended_unfinished(now=self.now, policy=POLICY, why=FOR_GOOD))

    @precondition(lambda self: self.request.state is RequestState.RUNNING)
    @rule()
    def achieve_step(self) -> None:
        self.become(self.request.got_further())

    @precondition(lambda self: self.request.state is RequestState.PENDING)
    @rule()
    def end_unclaimed(self) -> None:
        self.become(self.request.run_never_claimed(self.now))
        assert self.request.used_attempts == self.before.used_attempts

    @precondition(lambda self: self.request.state is RequestState.RUNNING)
    @rule()
    def wait(self) -> None:
        until = self.now + timedelta(minutes=5)
        phase = self.request.phase
        self.become(self.request.waits(reason="grace", until=until, now=self.now, phase=phase))

    @precondition(lambda self: self.request.state is RequestState.WAITING)
    @rule()
    def wake(self) -> None:
        self.become(self.request.woken(self.now))

    @precondition(lambda self: self.request.state is RequestState.RUNNING)
    @rule()
    def succeed(self) -> None:
        self.become(self.request.succeeded(self.now))

    @precondition(lambda self: self.request.is_active)
    @rule()
    def cancel(self) -> None:
        self.become(self.request.cancellation_requested(self.now))

    @precondition(lambda self: self.request.is_past_deadline(self.now))
    @rule()
    def time_out(self) -> None:
        self.become(self.request.timed_out(self.now))

    @precondition(lambda self: self.request.state in ENDED_STATES - {RequestState.SUCCEEDED})
    @rule()
    def retry(self) -> None:
        self.decisive, self.waited = False, timedelta(0)
        self.become(self.request.retried(self.now))
        assert self.request.attempt == self.before.attempt + 1

    @invariant()
    def fence_and_attempt_never_fall(self) -> None:
        assert self.request.fence >= self.before.fence
        assert self.request.attempt >= self.before.attempt

    @invariant()
    def pending_counts_from_the_last_move_to_it(self) -> None:
        became = self.request.state is RequestState.PENDING is not self.before.state
        assert self.request.pending_since == (
            self.moved_at if became else self.before.pending_since
        )

    @invariant()
    def failure_has_a_reason_that_counts(self) -> None:
        if self.request.state is RequestState.FAILED:
            used_up = self.request.used_attempts == POLICY.max_attempts
            assert self.decisive or used_up
        assert self.request.used_attempts <= POLICY.max_attempts

    @invariant()
    def a_lease_belongs_to_a_running_request(self) -> None:
        is_running = self.request.state is RequestState.RUNNING
        assert (self.request.lease_expires_at is not None) == is_running
        if self.request.lease_expires_at is not None:
            assert self.request.lease_expires_at <= self.request.deadline_at

    @invariant()
    def waiting_is_neither_in_the_deadline_nor_in_the_duration(self) -> None:
        if self.request.state is RequestState.WAITING:
            return
        assert self.request.waited == self.waited
        if self.request.ended_at is not None:
            span = self.request.ended_at - self.request.started_at
            assert self.request.duration == span - self.waited >= timedelta(0)

    @invariant()
    def active_or_ended(self) -> None:
        assert (self.request.ended_at is None) == (self.request.state in ACTIVE_STATES)


TestAnySequence = AnySequence.TestCase
TestAnySequence.settings = settings(max_examples=60, stateful_step_count=40)


def test_a_request_is_about_the_narrowest_thing_it_names() -> None:
    whole = replace(pending(), application_environment_id=None)
    assert whole.subject == "application/a"
    assert pending().subject == "application_environment/ae"
    assert replace(pending(), secret_id="s").subject == "secret/s"


def test_a_run_of_another_phase_or_workflow_is_told_where_the_request_is() -> None:
    request = pending()
    request.check_phase(request.workflow, 1)
    for workflow, phase in ((request.workflow, 2), (WorkflowName.APPLICATION_ONBOARDING, 1)):
        with pytest.raises(Conflict, match="is in phase 1") as refused:
            request.check_phase(workflow, phase)
        assert refused.value.code == "wrong_phase"
        assert refused.value.details["phase"] == 1


def test_what_is_too_old_is_neither_retried_nor_undone() -> None:
    ended = failed()
    almost = ended.created_at + REPEATABLE_FOR - timedelta(seconds=1)
    assert ended.retried(almost).state is RequestState.PENDING
    ended.check_may_be_undone(almost)
    for act in (ended.retried, ended.check_may_be_undone):
        with pytest.raises(Conflict) as refused:
            act(ended.created_at + REPEATABLE_FOR)
        assert refused.value.code == "request_too_old"


def test_the_ledger_outlives_every_way_back() -> None:
    """A round that begins as late as it may ends before its effects are forgotten."""
    longest = max(
        len(flow.phases) * timedelta(seconds=flow.deadline_seconds) for flow in WORKFLOWS.values()
    )
    longest_grace = timedelta(days=7)
    longest_round = longest + longest_grace + LONGEST_PULL_REQUEST
    assert REPEATABLE_FOR + longest_round < LEDGER_KEPT_FOR
    with pytest.raises(ValidationError):
        SetRotationPolicy(grace_seconds=int(longest_grace.total_seconds()) + 1)
