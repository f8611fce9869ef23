"""What the exporter renders: workflow metrics as a projection of committed rows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from idp_kernel.wire.base import Timestamp, WireModel
from idp_kernel.wire.worker import SecretSensitivity
from idp_kernel.workflows import RequestState, WorkflowName, WorkflowResult

Count = Annotated[int, Field(ge=0)]


class RetriesTotal(WireModel):
    """`workflow_retries_total`."""

    workflow: WorkflowName
    value: Count


class EventsTotal(WireModel):
    """`domain_events_total`."""

    event: str
    result: str
    value: Count


class RunDuration(WireModel):
    """`workflow_run_duration_seconds` of ended requests, waiting left out."""

    workflow: WorkflowName
    result: WorkflowResult
    bucket_counts: tuple[Count, ...]
    """One per bound of `WORKFLOW_SECONDS_BUCKETS` and a last for the rest; not cumulative."""
    sum_seconds: float


class OpenRequests(WireModel):
    """How many requests stand in one of the states that are not an end."""

    workflow: WorkflowName
    state: RequestState
    value: Count


class OldestPending(WireModel):
    """How long the request is pending that has waited longest for a run it may have; 0 for none."""

    workflow: WorkflowName
    age_seconds: float


class LapsedLease(WireModel):
    """How long the lease is over of the running request whose lease ended first; 0 when none is."""

    workflow: WorkflowName
    age_seconds: float


class ProviderWait(WireModel):
    """How long the request has waited for providers, over all such waits of its phase, that has
    waited longest of those that have not ended; 0 when none has.
    """

    workflow: WorkflowName
    age_seconds: float


class WaitingRequests(WireModel):
    """How many requests wait for the same reason."""

    workflow: WorkflowName
    reason: str
    value: Count


class LeaseLossesTotal(WireModel):
    """How often a run lost its request by not renewing the lease."""

    workflow: WorkflowName
    value: Count


class DownstreamErrorsTotal(WireModel):
    """`downstream_errors_total`: errors that steps met and told with their outcomes."""

    target: str
    code: str
    status: str
    value: Count


class SecretsStanding(WireModel):
    """How old and how near their end credentials in use are; nothing for what there is none of."""

    sensitivity: SecretSensitivity
    oldest_age_seconds: float | None
    next_expiry_seconds: float | None
    """Negative once it has passed."""
    overdue: Count
    """Those older than their policy lets them get, their rotation at work or not."""


class MetricsProjection(WireModel):
    """Answer of `/internal/metrics-projection`, all read in one snapshot."""

    taken_at: Timestamp
    retries: tuple[RetriesTotal, ...]
    events: tuple[EventsTotal, ...]
    durations: tuple[RunDuration, ...]
    open_requests: tuple[OpenRequests, ...]
    oldest_pending: tuple[OldestPending, ...]
    lapsed_leases: tuple[LapsedLease, ...]
    waiting: tuple[WaitingRequests, ...]
    provider_waits: tuple[ProviderWait, ...]
    lease_losses: tuple[LeaseLossesTotal, ...]
    downstream_errors: tuple[DownstreamErrorsTotal, ...]
    secrets: tuple[SecretsStanding, ...]
