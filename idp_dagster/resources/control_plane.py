"""The resource `control_plane`: claims the run's request when the run starts, once.

A claim is no op: a re-run from failure skips ops, and resources are initialised all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

import stamina
import structlog
from dagster import (
    ConfigurableResource,
    DagsterInstance,
    DagsterRun,
    InitResourceContext,
)
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind
from pydantic import Field, ValidationError

from idp_dagster.clients import control_plane_client
from idp_dagster.failpoints import AFTER_CLAIM
from idp_dagster.outcomes import span_attributes
from idp_dagster.resources.held_claim import HeldClaim
from idp_dagster.resources.interrupts import interrupt_run, is_terminated
from idp_dagster.resources.lease import Closing, LeaseKeeper
from idp_dagster.resources.workers import drain_workers
from idp_dagster.tags import (
    REQUESTED_AT,
    RUN_ID,
    TRACEPARENT,
    request_and_attempt,
    tags_of,
)
from idp_kernel.clock import SystemClock
from idp_kernel.errors import Conflict, InvalidInput, PlatformError, Unavailable
from idp_kernel.failpoints import failpoint
from idp_kernel.http.client import ServiceClient
from idp_kernel.telemetry.run_spans import RUN_WAIT, run_span, run_span_id
from idp_kernel.telemetry.traces import (
    current_traceparent,
    link_to_current,
    past_span,
    span,
)
from idp_kernel.wire.engine import (
    CLAIM,
    LAUNCHES,
    LEASE,
    Claim,
    ClaimRequest,
    Launch,
    Lease,
    LeaseRenewal,
)
from idp_kernel.workflows import WORKFLOWS, RequestState, WorkflowName

_log = structlog.get_logger(__name__)

HEARTBEAT_TIMEOUT_SECONDS = 5.0
CLAIM_PATIENCE_SECONDS = 15.0
"""A run that starts while the control plane restarts waits for it instead of failing."""


class JobPhase(NamedTuple):
    """What a job carries out."""

    workflow: WorkflowName
    phase: int


WORKFLOW_OF_JOB: dict[str, JobPhase] = {
    phase.job_name: JobPhase(workflow.name, number)
    for workflow in WORKFLOWS.values()
    for number, phase in enumerate(workflow.phases, start=1)
}

_SUBJECTS: dict[WorkflowName, str] = {
    WorkflowName.APPLICATION_ONBOARDING: "application_id: <the id of the application>",
    WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING: (
        "application_environment_id: <the id of the application environment>"
    ),
    WorkflowName.APPLICATION_ENVIRONMENT_DECOMMISSIONING: (
        "application_environment_id: <the id of the application environment>"
    ),
    WorkflowName.SECRET_ROTATION: "secret_id: <the id of the secret>",
    WorkflowName.SECRET_REVOCATION: "secret_id: <the id of the secret>",
    WorkflowName.APPLICATION_DECOMMISSIONING: "application_id: <the id of the application>",
    WorkflowName.COMPENSATION: "request_id: <the id of the request to undo>",
}


def how_to_launch(workflow: WorkflowName) -> str:
    """What a person types."""
    return (
        f"Type both into the Launchpad: `{_SUBJECTS[workflow]}` and "
        "`reason: <why, in up to 500 characters>`."
    )


class ControlPlaneResource(ConfigurableResource[HeldClaim]):
    """The request this run works on, claimed and kept for as long as the run lives."""

    control_plane_url: str
    service_key_file: str
    workers_url: str
    subject_id: str = Field(default="", description="What a run that a person launches is about.")
    reason: str = Field(default="", description="Why a person launches it; kept in the audit.")

    @contextmanager
    def yield_for_execution(self, context: InitResourceContext) -> Generator[HeldClaim, None, None]:
        """Claims, renews until the run ends, and lets go. A refusal fails the run and changes
        nothing at the control plane.
        """
        run, instance = context.run, context.instance
        assert run is not None and instance is not None  # noqa: S101, PT018 - for mypy: a run has both
        api = control_plane_client(self.control_plane_url, Path(self.service_key_file))
        with taking_hold(run), canceled_with_its_request(run, instance):
            claim = claim_for(run, self, api)
            trace.get_current_span().set_attributes(span_attributes(claim))
            launch = link_to_current()
        if is_launched_by_person(run):
            instance.add_run_tags(
                run.run_id, {**tags_of(claim, claim.traceparent), RUN_ID: run.run_id}
            )
            parent = claim.traceparent
        else:
            parent, launch = run.tags.get(TRACEPARENT), []
        failpoint(AFTER_CLAIM)
        lease = _lease_keeper(claim, run, instance, api)
        with (
            span(
                run_span(run.job_name),
                attributes=span_attributes(claim),
                traceparent=parent,
                span_id=run_span_id(claim.request_id, claim.attempt),
                repeats=earlier_run(claim),
                links=launch,
            ),
            kept(lease, partial(drain_workers, self.workers_url, closing=True)),
        ):
            yield HeldClaim(
                claim,
                lease=lease,
                api=api,
                api_url=self.control_plane_url,
                traceparent=current_traceparent(),
            )


def taking_hold(run: DagsterRun) -> AbstractContextManager[Span]:
    """The span of the claim; where a person launched the run, a trace begins with it. Tells how
    long an offered one waited until somebody took it up.
    """
    if is_launched_by_person(run):
        return span(f"launch {run.job_name}", kind=SpanKind.SERVER)
    traceparent, requested_at = run.tags.get(TRACEPARENT), run.tags.get(REQUESTED_AT)
    if requested_at is not None:
        past_span(
            RUN_WAIT,
            since=datetime.fromisoformat(requested_at),
            until=SystemClock().now(),
            traceparent=traceparent,
        )
    return span(f"claim {run.job_name}", traceparent=traceparent)


@contextmanager
def canceled_with_its_request(run: DagsterRun, instance: DagsterInstance) -> Iterator[None]:
    """A run whose request was cancelled before it could claim it ends as canceled, not failed."""
    try:
        yield
    except Conflict as refused:
        was_cancelled = refused.details.get("state") == RequestState.CANCELLED
        if was_cancelled and not is_launched_by_person(run):
            instance.report_run_canceling(run, "Its request was cancelled before it began.")
        raise


def earlier_run(claim: Claim) -> str | None:
    """The span of the attempt before."""
    return run_span_id(claim.request_id, claim.attempt - 1) if claim.attempt > 1 else None


@contextmanager
def kept(lease: LeaseKeeper, drain: Callable[[str], None]) -> Iterator[None]:
    """Renews the lease inside the block. A cancelled run has nobody begin a change for it any more
    and leaves when nothing works for it: the end of the run is what makes its request cancelled.
    """
    lease.start()
    try:
        yield
    finally:
        lease.stop()
        if lease.closing in (Closing.CANCEL_REQUESTED, Closing.TERMINATED):
            _drain(lease.last_token, drain)


def _drain(run_token: str, drain: Callable[[str], None]) -> None:
    try:
        drain(run_token)
    except PlatformError as error:
        # The cancel stands all the same; what a call was just making is there for the next request.
        _log.warning("workers_not_drained", code=error.code, detail=error.message)


def is_launched_by_person(run: DagsterRun) -> bool:
    """From the Launchpad or as a re-run, whose tags are its parent's and say nothing of it."""
    return run.parent_run_id is not None or request_and_attempt(run.tags) is None


def claim_for(run: DagsterRun, launch: ControlPlaneResource, api: ServiceClient) -> Claim:
    """The claim of the run's request; errors are the control plane's, in its words."""
    for attempt in stamina.retry_context(
        on=Unavailable, attempts=None, timeout=CLAIM_PATIENCE_SECONDS, wait_initial=0.2, wait_max=2
    ):
        with attempt:
            if is_launched_by_person(run):
                return api.call("POST", LAUNCHES, Claim, body=launch_of(run, launch))
            return _claim_offered(run, api)
    raise AssertionError  # stamina raises the last error itself


def launch_of(run: DagsterRun, launch: ControlPlaneResource) -> Launch:
    """What a person asked for; `InvalidInput` says what to type."""
    workflow, phase = WORKFLOW_OF_JOB[run.job_name]
    if run.parent_run_id is None and not (launch.subject_id and launch.reason):
        raise InvalidInput(
            f"Nothing says what to work on. {how_to_launch(workflow)}", code="launch_incomplete"
        )
    try:
        return Launch(
            run_id=run.run_id,
            workflow=workflow,
            phase=phase,
            parent_run_id=run.parent_run_id,
            subject_id=launch.subject_id or None,
            reason=launch.reason,
        )
    except ValidationError as error:
        problems = "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in error.errors())
        raise InvalidInput(
            f"{problems}. {how_to_launch(workflow)}", code="launch_incomplete"
        ) from error


def _claim_offered(run: DagsterRun, api: ServiceClient) -> Claim:
    offered = request_and_attempt(run.tags)
    assert offered is not None  # noqa: S101 - narrows for mypy; others are launches
    request_id, attempt = offered
    body = ClaimRequest(run_id=run.run_id, attempt=attempt)
    return api.call("POST", CLAIM.format(request_id=request_id), Claim, body=body)


def _lease_keeper(
    claim: Claim, run: DagsterRun, instance: DagsterInstance, api: ServiceClient
) -> LeaseKeeper:
    def renew(token: str) -> Lease:
        return api.call(
            "POST",
            LEASE.format(request_id=claim.request_id),
            Lease,
            body=LeaseRenewal(run_id=claim.run_id),
            bearer=token,
            timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS,
        )

    def close(closing: Closing) -> None:
        try:
            if closing is Closing.CANCEL_REQUESTED:
                # Said first, so that Dagster shows the interrupted run as canceled, not failed.
                instance.report_run_canceling(run, "The request's cancellation was asked for.")
        finally:
            interrupt_run()

    return LeaseKeeper(
        claim,
        renew=renew,
        is_terminated=lambda: is_terminated(instance, run.run_id),
        on_closing=close,
        clock=SystemClock(),
    )
