"""How often and how long a run looks at what others bring about."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TypeVar

import structlog
from dagster import Config

from idp_dagster.outcomes import StepAttempt
from idp_dagster.ports import CallPermit, ControlPlane
from idp_kernel.errors import PlatformError
from idp_kernel.wire.engine import StepResult
from idp_kernel.workflows import WaitingReason

_log = structlog.get_logger(__name__)
Seen = TypeVar("Seen")
OpenCall = Callable[[], AbstractContextManager[CallPermit]]
"""Leave for one outward call, good for as long as the run's lease when it is given."""


class Patience(Config):
    """In seconds."""

    look_every_seconds: float = 0.25
    longest_seconds: float = 60.0
    wait_seconds: float = 60.0
    """How long the request then waits before the next run looks again."""


class ReconciliationPatience(Patience):
    """Beside it, how long bad health may last."""

    degraded_seconds: float = 10.0
    """An agent may pass through bad health while it applies; longer than this it will stay."""


def is_achieved_in_time(
    control_plane: ControlPlane,
    attempt: StepAttempt,
    patience: Patience,
    *,
    look: Callable[[OpenCall], Seen],
    judge: Callable[[Seen], StepResult | None],
    words: Callable[[Seen], str],
    waiting_reason: WaitingReason | None,
    forgiven: tuple[type[PlatformError], ...] = (),
) -> bool:
    """Looks until what is seen is judged an achievement; `False` when the request was sent to wait
    instead, with what was seen last in `words`, or without a reason to wait when time was up. What
    `judge` raises ends the step, and
    what `look` raises, unless it is forgiven: then it is counted, logged and looked again.
    """
    started = time.monotonic()
    logged, told = "", ""
    while True:
        try:
            seen = look(attempt.call)
        except forgiven as error:
            if error.code != logged:
                _log.warning("look_failed", code=error.code)
            logged, result = error.code, None
        else:
            result, told = judge(seen), words(seen)
        if result is not None:
            attempt.achieved(result)
            return True
        if time.monotonic() - started >= patience.longest_seconds:
            if waiting_reason is not None:
                control_plane.wait(waiting_reason, patience.wait_seconds, seen=told)
            return False
        time.sleep(patience.look_every_seconds)


def in_one_call(ask: Callable[[CallPermit], Seen]) -> Callable[[OpenCall], Seen]:
    """A look that asks once."""

    def look(call: OpenCall) -> Seen:
        with call() as permit:
            return ask(permit)

    return look


def each_in_a_call(
    asks: Iterable[Callable[[CallPermit], Seen]],
) -> Callable[[OpenCall], list[Seen]]:
    """A look that asks several times; together they may take longer than one leave lasts."""
    looks = [in_one_call(ask) for ask in asks]
    return lambda call: [look(call) for look in looks]
