"""Reports to the control plane how runs ended. They inform only; what they miss, such as after a
kill, the control plane learns from the lease.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter

from dagster import (
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    DagsterRunStatus,
    DefaultSensorStatus,
    EventLogRecord,
    ResourceParam,
    RunsFilter,
    RunStatusChangeRecordsFilter,
    SensorEvaluationContext,
    SkipReason,
    sensor,
)
from dagster._core.definitions.run_request import DagsterRunReaction
from dagster._core.event_api import RunStatusChangeEventType
from dagster._core.events import EVENT_TYPE_TO_PIPELINE_RUN_STATUS
from dagster._utils.error import serializable_error_info_from_exc_info

from idp_dagster.jobs.workflows import WORKFLOW_JOBS
from idp_dagster.ports import RunNews, WorkflowRequests
from idp_dagster.tags import RUN_ID, TRACEPARENT, request_and_attempt, subject_of
from idp_kernel.errors import Unavailable
from idp_kernel.telemetry.logs import redact
from idp_kernel.telemetry.traces import span
from idp_kernel.wire.engine import RunEnding, RunReport

# No postponed annotations here: Dagster reads those of the decorated functions as classes.

PAGE_SIZE = 50
"""Runs of one ending that one tick reports."""
ENDINGS: dict[DagsterRunStatus, RunEnding] = {
    DagsterRunStatus.SUCCESS: RunEnding.SUCCEEDED,
    DagsterRunStatus.FAILURE: RunEnding.FAILED,
    DagsterRunStatus.CANCELED: RunEnding.CANCELED,
}
_EVENTS: tuple[RunStatusChangeEventType, ...] = (
    DagsterEventType.RUN_SUCCESS,
    DagsterEventType.RUN_FAILURE,
    DagsterEventType.RUN_CANCELED,
)
_JOBS = frozenset(job.name for job in WORKFLOW_JOBS)
_MESSAGE_LENGTH = 2000

Seen = Mapping[str, int]
"""By type of event: the storage id of the last that was looked at."""


def report_of(run: DagsterRun, ending: RunEnding, message: str = "") -> RunReport | None:
    """What is told of a run; nothing of one whose tags are not its own: a launch that was refused
    has none, or those of the run it repeats.
    """
    requested = request_and_attempt(run.tags)
    if requested is None or run.tags.get(RUN_ID, run.run_id) != run.run_id:
        return None
    if run.parent_run_id is not None and RUN_ID not in run.tags:
        return None
    request_id, attempt = requested
    return RunReport(
        request_id=request_id,
        run_id=run.run_id,
        attempt=attempt,
        ending=ending,
        message=redact(message)[:_MESSAGE_LENGTH],
    )


@sensor(
    jobs=WORKFLOW_JOBS,
    minimum_interval_seconds=1,
    default_status=DefaultSensorStatus.RUNNING,
    description="Waits for runs to end and tells the control plane how. Starts nothing.",
)
def run_endings_sensor(
    context: SensorEvaluationContext,
    run_news: ResourceParam[RunNews],
    workflow_requests: ResourceParam[WorkflowRequests],
) -> Iterator[SkipReason | DagsterRunReaction]:
    """Tells each ending since the last look, the oldest first, and never again. One that is refused
    keeps no other from being told and fails the tick; a control plane that is away gets them all
    again later.
    """
    seen = _read(context.cursor)
    if seen is None:
        context.update_cursor(json.dumps(_newest(context.instance)))
        yield SkipReason("What ends from now on is told.")
        return
    records = _ended_since(context.instance, seen)
    if not records and run_news.wait():
        records = _ended_since(context.instance, seen)
    refused = list(_tell(records, context.instance, workflow_requests))
    context.update_cursor(json.dumps({**seen, **_seen_in(records)}))
    if refused:
        yield from refused
    else:
        yield SkipReason(f"{len(records)} runs ended." if records else "No run ended.")


def _tell(
    records: Sequence[EventLogRecord],
    instance: DagsterInstance,
    workflow_requests: WorkflowRequests,
) -> Iterator[DagsterRunReaction]:
    """What the control plane refused. Raises `Unavailable` when it is away."""
    ids = list({record.run_id for record in records})
    found = instance.get_runs(RunsFilter(run_ids=ids)) if ids else ()
    runs = {run.run_id: run for run in found if run.job_name in _JOBS}
    for record in records:
        if record.run_id not in runs:
            continue
        run, status = runs[record.run_id], EVENT_TYPE_TO_PIPELINE_RUN_STATUS[record.event_type]
        try:
            _report(run, record, ENDINGS[status], workflow_requests)
        except Unavailable:
            raise  # nor would the others get an answer
        except Exception:  # noqa: BLE001 - whatever it is, the tick shows it and counts as failed
            error = serializable_error_info_from_exc_info(sys.exc_info())
            yield DagsterRunReaction(dagster_run=run, run_status=status, error=error)


def _report(
    run: DagsterRun, record: EventLogRecord, ending: RunEnding, workflow_requests: WorkflowRequests
) -> None:
    told = record.event_log_entry.dagster_event
    message = "" if told is None or ending is RunEnding.SUCCEEDED else told.message or ""
    if (report := report_of(run, ending, message)) is not None:
        attributes = subject_of(run.tags)
        with span("report run", attributes=attributes, traceparent=run.tags.get(TRACEPARENT)):
            workflow_requests.report(report)


def _ended_since(instance: DagsterInstance, seen: Seen) -> list[EventLogRecord]:
    """In the order in which they were stored."""
    found: list[EventLogRecord] = []
    for kind in _EVENTS:
        later = RunStatusChangeRecordsFilter(kind, after_storage_id=seen[kind.value])
        page = instance.fetch_run_status_changes(later, limit=PAGE_SIZE, ascending=True)
        found.extend(page.records)
    return sorted(found, key=attrgetter("storage_id"))


def _newest(instance: DagsterInstance) -> Seen:
    newest = {kind.value: 0 for kind in _EVENTS}
    for kind in _EVENTS:
        newest.update(_seen_in(instance.fetch_run_status_changes(kind, limit=1).records))
    return newest


def _seen_in(records: Iterable[EventLogRecord]) -> Seen:
    return {record.event_type.value: record.storage_id for record in records}


def _read(cursor: str | None) -> Seen | None:
    """None of a cursor that is not ours."""
    try:
        seen = json.loads(cursor or "null")
        return {kind.value: int(seen[kind.value]) for kind in _EVENTS}
    except (KeyError, TypeError, ValueError):
        return None
