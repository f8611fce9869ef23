"""Turns what the control plane offers into runs."""

from collections.abc import Sequence

import structlog
from dagster import (
    DagsterInstance,
    DefaultSensorStatus,
    ResourceParam,
    RunRequest,
    RunsFilter,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from idp_dagster.jobs.workflows import WORKFLOW_JOBS
from idp_dagster.outcomes import span_attributes
from idp_dagster.ports import WorkflowRequests
from idp_dagster.sensors.endings import ENDINGS, report_of
from idp_dagster.tags import ATTEMPT, REQUEST_ID, REQUESTED_AT, tags_of
from idp_kernel.clock import SystemClock
from idp_kernel.telemetry.run_spans import QUEUE_WAIT
from idp_kernel.telemetry.traces import current_traceparent, past_span, span
from idp_kernel.wire.engine import Offer
from idp_kernel.workflows import WORKFLOWS

# No postponed annotations here: Dagster reads those of the decorated functions as classes.

_log = structlog.get_logger(__name__)


@sensor(
    jobs=WORKFLOW_JOBS,
    minimum_interval_seconds=1,
    default_status=DefaultSensorStatus.RUNNING,
    description=(
        "Waits at the control plane for requests and starts one run for each. Switched off, "
        "nothing new starts."
    ),
)
def workflow_requests_sensor(
    context: SensorEvaluationContext, workflow_requests: ResourceParam[WorkflowRequests]
) -> SensorResult | SkipReason:
    """One run per request and attempt: Dagster remembers the run key."""
    answer = workflow_requests.offers()
    if not answer.offers:
        return SkipReason("The platform is draining." if answer.draining else "No request waits.")
    untried, failures = _untried(answer.offers, context.instance, workflow_requests)
    if failures and not untried:
        told = "; ".join(map(str, failures))
        raise ExceptionGroup(f"{len(failures)} offers could not be taken: {told}", failures)
    return SensorResult(run_requests=[run_request(offer) for offer in untried])


def _untried(
    offers: Sequence[Offer], instance: DagsterInstance, workflow_requests: WorkflowRequests
) -> tuple[list[Offer], list[Exception]]:
    """The offers to start a run for, and what went wrong with others. Those keep none from its
    start: they are logged, and offered again.
    """
    untried: list[Offer] = []
    failures: list[Exception] = []
    for offer in offers:
        try:
            if not _was_tried(offer, instance, workflow_requests):
                untried.append(offer)
        except Exception as error:  # noqa: BLE001 - it is logged, or raised when nothing starts
            _log.exception("offer_not_taken", **span_attributes(offer))
            failures.append(error)
    return untried, failures


def run_request(offer: Offer) -> RunRequest:
    """The run that shall claim the offer. The request has left the queue now."""
    attributes, now = span_attributes(offer), SystemClock().now()
    queue_wait = past_span(
        QUEUE_WAIT,
        since=offer.pending_since,
        until=now,
        traceparent=offer.traceparent,
        attributes=attributes,
    )
    with span("workflow_requests_sensor", attributes=attributes, traceparent=queue_wait):
        return RunRequest(
            run_key=f"{offer.request_id}/{offer.attempt}",
            job_name=WORKFLOWS[offer.workflow].phase(offer.phase).job_name,
            tags={**tags_of(offer, current_traceparent()), REQUESTED_AT: now.isoformat()},
        )


def _was_tried(
    offer: Offer, instance: DagsterInstance, workflow_requests: WorkflowRequests
) -> bool:
    """Whether a run for this very attempt has ended already, and if so tells it again.

    Dagster would never start another with the same key, and an attempt that is still offered was
    never claimed: its run's ending did not reach the control plane, which answers with the next.
    """
    tags = {REQUEST_ID: offer.request_id, ATTEMPT: str(offer.attempt)}
    for run in instance.get_runs(RunsFilter(tags=tags, statuses=[*ENDINGS])):
        if (report := report_of(run, ENDINGS[run.status])) is not None:
            workflow_requests.report(report)
            return True
    return False
