"""Internal routes: services get tokens, the engine gets offers and reports, runs do their work."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool

from control_plane.api.guards import Open, Run, Service, id_in_path, run_id_in_path
from control_plane.api.openapi import refuses
from control_plane.api.problem_codes import (
    CLAIMS,
    ENDS_A_PHASE,
    HOLDS,
    ONBOARDS,
    ROTATES,
    UNDOES,
)
from control_plane.api.services import Services, Use
from control_plane.api.spans import name_request
from control_plane.api.waits import WaitSeconds, pause, waited_for
from control_plane.application import run_progress
from control_plane.application.access import no_such
from control_plane.application.claim_requests import (
    Granted,
    Refused,
    claim_request,
    launch_request,
)
from control_plane.application.manage_tokens import introspect_token
from control_plane.application.offer_requests import offer_requests
from control_plane.application.onboard_application import declare_wanted_environments
from control_plane.application.report_runs import report_run, run_standing
from control_plane.application.service_tokens import issue_token_to_service
from control_plane.application.workflows.compensation import undone_request
from control_plane.domain import requests as domain
from control_plane.failpoints import END_PHASE_AFTER_COMMIT, FINALIZE_AFTER_COMMIT
from idp_kernel.errors import Conflict, InvariantBroken
from idp_kernel.failpoints import failpoint
from idp_kernel.services import Scope
from idp_kernel.telemetry.traces import current_traceparent
from idp_kernel.tokens import (
    RunClaims,
    ServiceClaims,
    issue_run_token,
)
from idp_kernel.wire import engine as wire
from idp_kernel.wire.metrics import MetricsProjection
from idp_kernel.workflows import RequestState, Step

router = APIRouter(tags=["internal"])

HEARTBEATS_PER_LEASE = 3
LOOK_EVERY_SECONDS = 1.0
"""How often a waiting offer looks by itself while requests are pending: pauses end and lost runs
are given up unannounced."""

Anybody = Annotated[None, Depends(Open())]
Introspector = Annotated[ServiceClaims, Depends(Service(Scope.TOKEN_INTROSPECTION))]
Offered = Annotated[ServiceClaims, Depends(Service(Scope.OFFERS))]
Claimer = Annotated[ServiceClaims, Depends(Service(Scope.CLAIMS))]
Reporter = Annotated[ServiceClaims, Depends(Service(Scope.REPORTS))]
Exporter = Annotated[ServiceClaims, Depends(Service(Scope.METRICS_PROJECTION))]
Holder = Annotated[RunClaims, Depends(Run())]


@router.get(wire.JWKS)
def get_jwks(services: Use, _caller: Anybody) -> dict[str, object]:
    """The public keys that verify what the control plane signs (RFC 7517)."""
    return services.published_keys


@router.post(
    wire.TOKENS, openapi_extra=refuses("token_invalid", "token_expired", "assertion_replayed")
)
def post_service_token(
    services: Use, _caller: Anybody, body: wire.ServiceAssertion
) -> wire.ServiceToken:
    """A service's access token for an assertion signed with its own key."""
    with services.begin() as work:
        return issue_token_to_service(
            work, body.assertion, services.service_keys, services.signing_key, services.clock
        )


@router.post(wire.TOKEN_INTROSPECTION)
def post_introspection(
    services: Use, _caller: Introspector, body: wire.IntrospectToken
) -> wire.Introspection:
    """Who holds a person's token."""
    with services.begin() as work:
        return introspect_token(work, services.hash_token(body.token))


@router.post(wire.OFFERS)
async def post_offers(
    request: Request, services: Use, _caller: Offered, body: wire.AskOffers
) -> wire.Offers:
    """What may be claimed; waits for it when there is nothing yet."""
    until = time.monotonic() + body.wait_seconds
    with services.wakeups.waiter() as woken:
        while True:
            woken.clear()
            offers, pending = await run_in_threadpool(_offers, services, body.limit)
            left = until - time.monotonic()
            if offers.offers or left <= 0 or services.wakeups.is_closed:
                return offers
            await pause(woken, min(left, LOOK_EVERY_SECONDS) if pending else left)
            if await request.is_disconnected():
                # Nobody hears the answer: what it offered would lie idle until offered again.
                return offers


def _offers(services: Services, limit: int) -> tuple[wire.Offers, bool]:
    """What is offered; where that is nothing, whether requests are pending all the same."""
    with services.begin() as work:
        offers = offer_requests(work, limit, services.offers)
        return offers, not offers.offers and work.requests.any_in({RequestState.PENDING})


@router.post(
    wire.LAUNCHES,
    openapi_extra=refuses(
        *CLAIMS,
        *ONBOARDS,
        *ROTATES,
        "platform_draining",
        "request_succeeded",
        "request_superseded",
        "request_never_begun",
        "reason_required",
        "subject_required",
        "wrong_phase",
        "quota_exceeded",
        *UNDOES,
    ),
)
def post_launch(services: Use, _caller: Claimer, body: wire.Launch) -> wire.Claim:
    """A claim for a run that a person started in Dagster's UI."""
    with services.begin() as work:
        outcome = launch_request(work, body, services.attempts, current_traceparent())
    return _claim(services, outcome)


@router.post(
    wire.CLAIM,
    openapi_extra=refuses(*CLAIMS),
)
def post_claim(
    services: Use, _caller: Claimer, request_id: str, body: wire.ClaimRequest
) -> wire.Claim:
    """A claim for the run of an offered attempt."""
    named = id_in_path("workflow request", request_id)
    with services.begin() as work:
        outcome = claim_request(work, named, body.run_id, body.attempt, services.attempts)
    return _claim(services, outcome)


@router.post(
    wire.LEASE,
    openapi_extra=refuses(*HOLDS),
)
def post_lease(services: Use, run: Holder, request_id: str, body: wire.LeaseRenewal) -> wire.Lease:
    """The lease prolonged, with a new run token."""
    holding = _holding(run, body.run_id, run.attempt)
    with services.begin() as work:
        held = run_progress.renew_lease(work, request_id, holding, services.attempts)
        undone = undone_request(work, held) if held.undoes else None
    name_request(held)
    return wire.Lease(
        run_token=_run_token(services, held, run.team),
        lease_expires_at=_lease_end(held),
        cancel_requested=held.cancel_requested,
        undone=_undone_permit(services, held, undone, run.team),
    )


@router.post(
    wire.STEP_START,
    openapi_extra=refuses(*HOLDS),
)
def post_step_start(
    services: Use, run: Holder, request_id: str, step: str, body: wire.StepStarted
) -> wire.RequestStanding:
    """A step begins, or begins again."""
    holding = _holding(run, body.run_id, body.attempt)
    with services.begin() as work:
        return _standing(run_progress.start_step(work, request_id, holding, _step(step), body))


@router.post(
    wire.STEP_OUTCOME,
    openapi_extra=refuses(*HOLDS),
)
def post_step_outcome(
    services: Use, run: Holder, request_id: str, step: str, body: wire.StepOutcome
) -> wire.RequestStanding:
    """A step has ended for good."""
    holding = _holding(run, body.run_id, body.attempt)
    with services.begin() as work:
        return _standing(
            run_progress.end_step(work, request_id, holding, _step(step), body, services.attempts)
        )


@router.post(
    wire.WAIT,
    openapi_extra=refuses(*HOLDS, wire.WAITED_TOO_LONG),
)
def post_wait(
    services: Use, run: Holder, request_id: str, body: wire.WaitRequested
) -> wire.RequestStanding:
    """The run ends; the request waits, for providers no longer than it may in all."""
    holding = _holding(run, body.run_id, body.attempt)
    with services.begin() as work:
        after = run_progress.wait_for_time(work, request_id, holding, body, services.attempts)
    return _standing(after)


@router.post(
    wire.AWAIT_APPROVAL,
    openapi_extra=refuses(*HOLDS, "wrong_workflow", "approval_not_given"),
)
def post_await_approval(
    services: Use, run: Holder, request_id: str, body: wire.AwaitApproval
) -> wire.AwaitedApproval:
    """The run ends and the request waits while the application is Proposed, or the run goes on."""
    holding = _holding(run, body.run_id, body.attempt)
    with services.begin() as work:
        waits = run_progress.await_approval(work, request_id, holding)
    return wire.AwaitedApproval(waits=waits)


@router.post(
    wire.DECLARE_ENVIRONMENTS,
    openapi_extra=refuses(*HOLDS, "wrong_workflow", "quota_exceeded"),
)
def post_declare_environments(
    services: Use, run: Holder, request_id: str, body: wire.DeclareEnvironments
) -> wire.DeclaredEnvironments:
    """The onboarding's environments begin to exist, declared."""
    holding = _holding(run, body.run_id, body.attempt)
    with services.begin() as work:
        return declare_wanted_environments(work, request_id, holding)


@router.post(
    wire.END_PHASE,
    openapi_extra=refuses(*ENDS_A_PHASE),
)
def post_end_phase(
    services: Use, run: Holder, request_id: str, body: wire.EndPhase
) -> wire.RequestStanding:
    """A phase is done: the domain moves, the request waits for the next."""
    holding = _holding(run, body.run_id, body.attempt)
    with services.begin() as work:
        standing = _standing(run_progress.end_phase(work, request_id, holding, body))
    failpoint(END_PHASE_AFTER_COMMIT)
    return standing


@router.post(
    wire.FINALIZE,
    openapi_extra=refuses(*ENDS_A_PHASE),
)
def post_finalize(
    services: Use, run: Holder, request_id: str, body: wire.Finalize
) -> wire.RequestStanding:
    """Everything is done: the domain moves, the request succeeds."""
    holding = _holding(run, body.run_id, body.attempt)
    with services.begin() as work:
        standing = _standing(run_progress.finalize(work, request_id, holding, body))
    failpoint(FINALIZE_AFTER_COMMIT)
    return standing


@router.post(wire.RUN_REPORTS, openapi_extra=refuses("not_found"))
def post_run_report(services: Use, _caller: Reporter, body: wire.RunReport) -> wire.RunReported:
    """How a run ended."""
    with services.begin() as work:
        return report_run(work, body, services.attempts)


@router.get(wire.RUN_STATUS, openapi_extra=refuses("not_found"))
def get_run(services: Use, _caller: Reporter, run_id: str) -> wire.RunStanding:
    """Whether a run still holds its claim."""
    named = run_id_in_path(run_id)
    with services.begin() as work:
        return run_standing(work, named)


@router.get(wire.LOST_RUNS)
async def get_lost_runs(
    request: Request, services: Use, _caller: Reporter, wait_seconds: WaitSeconds = 0
) -> wire.LostRuns:
    """Runs to be ended, since their requests were taken from them; waits for one when there is
    none yet.
    """
    runs = await waited_for(
        request, services.lost_run_wakeups, services.queries.lost_runs, wait_seconds
    )
    return wire.LostRuns(runs=runs)


@router.get(wire.METRICS_PROJECTION)
def get_metrics_projection(services: Use, _caller: Exporter) -> MetricsProjection:
    """Workflow metrics as committed rows tell them."""
    return services.queries.metrics()


def _claim(services: Services, outcome: Granted | Refused) -> wire.Claim:
    if isinstance(outcome, Refused):
        raise outcome.error
    request = outcome.request
    name_request(request)
    return wire.Claim(
        request_id=request.id,
        workflow=request.workflow,
        run_id=request.run_id or "",
        attempt=request.attempt,
        phase=request.phase,
        generation=request.generation,
        fence=request.fence,
        run_token=_run_token(services, request, outcome.team_slug),
        lease_expires_at=_lease_end(request),
        heartbeat_seconds=services.attempts.lease.total_seconds() / HEARTBEATS_PER_LEASE,
        deadline_at=request.deadline_at,
        team_id=request.team_id,
        application_id=request.application_id,
        application_environment_id=request.application_environment_id,
        secret_id=request.secret_id,
        desired_state=outcome.desired_state,
        outcomes=dict(outcome.outcomes),
        undone=_undone_permit(services, request, outcome.undone, outcome.team_slug),
        traceparent=request.traceparent,
    )


def _undone_permit(
    services: Services, request: domain.Request, undone: domain.Request | None, team: str
) -> wire.UndonePermit | None:
    """Leave to undo for the undone request at execution-workers, as long as the lease lasts."""
    if undone is None:
        return None
    speaks_for = replace(
        undone,
        run_id=request.run_id,
        attempt=request.attempt,
        lease_expires_at=request.lease_expires_at,
        deadline_at=request.deadline_at,
    )
    return wire.UndonePermit(
        request_id=undone.id,
        generation=undone.generation,
        run_token=_run_token(services, speaks_for, team, is_for_undo=True),
    )


def _run_token(
    services: Services, request: domain.Request, team: str, *, is_for_undo: bool = False
) -> str:
    """The token of the run that holds the request, in whole seconds to the end of its lease.

    Raises `Conflict` (`deadline_passed`) when that end came while the run waited for its claim.
    """
    if request.run_id is None:
        raise InvariantBroken(f"request {request.id} is held by no run and gets no token")
    now, until = services.clock.now(), _lease_end(request)
    if until.replace(microsecond=0) <= now:
        raise Conflict(
            f"Request {request.id} passed its deadline while its run took hold of it.",
            code="deadline_passed",
            details={"workflowRequestId": request.id},
        )
    return issue_run_token(
        services.signing_key,
        request_id=request.id,
        run_id=request.run_id,
        attempt=request.attempt,
        generation=request.generation,
        fence=request.fence,
        team_id=request.team_id,
        team=team,
        now=now,
        until=until,
        deadline=request.deadline_at,
        is_for_undo=is_for_undo,
    )


def _lease_end(request: domain.Request) -> datetime:
    if request.lease_expires_at is None:
        raise InvariantBroken(f"request {request.id} is held without a lease")
    return request.lease_expires_at


def _holding(run: RunClaims, run_id: str, attempt: int) -> domain.Holding:
    """What the run token says it holds; the body must say the same."""
    if (run_id, attempt) != (run.run_id, run.attempt):
        raise Conflict(
            f"The run token is run {run.run_id}'s at attempt {run.attempt}, and the body speaks"
            f" of run {run_id} at attempt {attempt}.",
            code="claim_lost",
            details={"workflowRequestId": run.request_id},
        )
    return domain.Holding(run.run_id, run.attempt, run.fence)


def _standing(request: domain.Request) -> wire.RequestStanding:
    name_request(request)
    return wire.RequestStanding(request_id=request.id, state=request.state)


def _step(named: str) -> Step:
    try:
        return Step(named)
    except ValueError as error:
        raise no_such("step", named) from error
