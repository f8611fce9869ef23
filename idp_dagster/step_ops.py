"""What the ops of all steps have in common."""

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any

from dagster import In, Nothing, OpDefinition, OpExecutionContext, Out, Output, op

from idp_dagster.policies import RETRY_POLICIES, SentToWait
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
            except SentToWait:
                return
            yield Output(None)

        return op(
            name=step.value,
            ins=dict(ins or {}),
            out=Out(Nothing, is_required=False),
            retry_policy=RETRY_POLICIES[step],
        )(compute)

    return decorate
