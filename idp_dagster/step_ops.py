"""What the ops of all steps have in common."""

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from inspect import getdoc
from typing import Any

from dagster import (
    In,
    MetadataValue,
    Nothing,
    OpDefinition,
    OpExecutionContext,
    Out,
    Output,
    op,
)
from dagster._core.events import EngineEventData

from idp_dagster.policies import RETRY_POLICIES, SentToWait
from idp_kernel.errors import Unavailable
from idp_kernel.pull_requests import addresses_of
from idp_kernel.telemetry.logs import redact
from idp_kernel.workflows import Step

# No postponed annotations here: Dagster reads those of the decorated functions as classes.

AFTER: Mapping[str, In] = {"before": In(Nothing)}
"""The input of a step that others come before."""


def step_op(
    step: Step, *, ins: Mapping[str, In] | None = None
) -> Callable[[Callable[..., None]], OpDefinition]:
    """Makes a function the op of that step: with its name and retries, and without an output when
    the request was sent to wait, so that the run ends there and no further step begins.
    """

    def decorate(carry_out: Callable[..., None]) -> OpDefinition:
        @wraps(carry_out)
        def compute(context: OpExecutionContext, **arguments: Any) -> Iterator[Output[None]]:
            try:
                carry_out(context, **arguments)
            except SentToWait as sent:
                if sent.for_what is not None:
                    _tell_wait(context, step, sent.for_what)
                return
            yield Output(None)

        return op(
            name=step.value,
            description=f"{step.activity}: {getdoc(carry_out) or ''}",
            ins=dict(ins or {}),
            out=Out(Nothing, is_required=False),
            retry_policy=RETRY_POLICIES[step],
        )(compute)

    return decorate


def _tell_wait(context: OpExecutionContext, step: Step, for_what: Unavailable) -> None:
    """Among the run's events, as Dagster's UI shows them: with a link to each pull request."""
    links = addresses_of(for_what)
    context.instance.report_engine_event(
        redact(for_what.message),
        context.run,
        EngineEventData(
            {
                f"pull request {number}": MetadataValue.url(link)
                for number, link in enumerate(links, start=1)
            }
        ),
        step_key=step.value,
    )
