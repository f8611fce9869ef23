"""The engine reports how runs ended; only the run that holds a claim, or never made one, counts."""

from __future__ import annotations

from control_plane.application.access import no_such
from control_plane.application.lost_leases import lose_run
from control_plane.application.ports import Work
from control_plane.application.request_progress import (
    Cause,
    commit_transition,
    lock_request_and_subjects,
)
from control_plane.domain.requests import AttemptPolicy, Failure, Request
from idp_kernel.wire.engine import RunEnding, RunReport, RunReported, RunStanding
from idp_kernel.workflows import RequestState

_CODES: dict[RunEnding, str] = {
    RunEnding.SUCCEEDED: "run_did_not_finalize",
    RunEnding.FAILED: "run_failed",
    RunEnding.CANCELED: "run_canceled",
    RunEnding.NEVER_STARTED: "run_never_started",
}


def report_run(work: Work, report: RunReport, policy: AttemptPolicy) -> RunReported:
    """What became of the report. A lost run's report lets the next attempt be offered, unless a
    person had stopped the run: that counts, though its lease ended before the word came. A run that
    told nothing of its end, and that the engine tells of after its lease, has lost that.
    """
    before = lock_request_and_subjects(work, report.request_id)
    was_lost = work.requests.confirm_lost_run(report.run_id)
    if was_lost:
        work.journal.wake_offers()
    actor = f"run:{report.run_id}"
    untold = report.ending is RunEnding.FAILED and not work.requests.was_interrupted(before)
    if untold and _holds(before, report) and before.has_lost_lease(work.now):
        lost = lose_run(work, before, policy, actor=actor, may_live=False)
        return RunReported(accepted=True, state=lost.state)
    after = _after(work, before, report, policy, was_lost=was_lost)
    if after is None:
        return RunReported(accepted=False, state=before.state)
    reason = report.message or f"run {report.ending}"
    commit_transition(work, before, after, Cause(actor, reason, untold=untold))
    return RunReported(accepted=True, state=after.state)


def run_standing(work: Work, run_id: str) -> RunStanding:
    """Whether that run holds its claim, and until when."""
    attempt = work.requests.attempt_of_run(run_id)
    request = work.requests.by_id(attempt.request_id) if attempt else None
    if attempt is None or request is None:
        raise no_such("run with a claim", run_id)
    holds = request.state is RequestState.RUNNING and request.run_id == run_id
    return RunStanding(
        run_id=run_id,
        request_id=request.id,
        attempt=attempt.attempt,
        holds_claim=holds,
        lease_expires_at=request.lease_expires_at if holds else None,
    )


def _after(
    work: Work, before: Request, report: RunReport, policy: AttemptPolicy, *, was_lost: bool
) -> Request | None:
    if _holds(before, report):
        if report.ending is RunEnding.CANCELED:
            return before.cancelled(work.now)
        return before.run_ended_unfinished(now=work.now, policy=policy, why=_why(report))
    if _never_claimed(work, before, report):
        if report.ending is RunEnding.CANCELED:
            return before.cancelled(work.now)
        return before.run_never_claimed(work.now)
    if was_lost and report.ending is RunEnding.CANCELED and _was_released_by(before, report):
        return before.cancelled(work.now)
    return None


def _holds(before: Request, report: RunReport) -> bool:
    return before.state is RequestState.RUNNING and before.run_id == report.run_id


def _never_claimed(work: Work, before: Request, report: RunReport) -> bool:
    """Whether it is the run of the current attempt and ended before it could claim."""
    return (
        before.state is RequestState.PENDING
        and before.attempt == report.attempt
        and work.requests.attempt_of_run(report.run_id) is None
    )


def _was_released_by(before: Request, report: RunReport) -> bool:
    """Whether the request waits for its next run since that one was lost."""
    return before.state is RequestState.PENDING and before.attempt == report.attempt + 1


def _why(report: RunReport) -> Failure:
    message = report.message or f"Run {report.run_id} ended ({report.ending}) without finalizing."
    return Failure(_CODES[report.ending], message, retryable=True)
