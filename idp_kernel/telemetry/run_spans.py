"""The spans of runs and steps, as engine and control plane name them alike.

Their ids follow from the request, so that a later attempt can lead to an earlier one, and the
control plane can put a span in the place of one that a killed run took with it.
"""

from __future__ import annotations

from idp_kernel.telemetry.traces import span_id_of
from idp_kernel.workflows import Step

QUEUE_WAIT = "queue wait"
"""The time a request is pending; told by whoever takes it out of the queue."""
RUN_WAIT = "run wait"
"""The time between the sensor that asked for a run and the worker that took it up."""


def run_span(job_name: str) -> str:
    """The span's name."""
    return f"run {job_name}"


def run_span_id(request_id: str, attempt: int) -> str:
    """Of the run that works on that attempt."""
    return span_id_of(request_id, attempt)


def step_span_id(request_id: str, attempt: int, step: Step, retry_number: int) -> str:
    """Of one try of a step."""
    return span_id_of(request_id, attempt, step, retry_number)
