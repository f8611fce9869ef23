"""The platform as `idp up` starts it: how soon it is ready, what it costs at rest, and how long a
provisioning on the local providers takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from tests.bench.contenders.platform import (
    PlatformClient,
    StartedPlatform,
    WholePlatform,
    started_platform,
)
from tests.bench.figures import Spread, spread
from tests.bench.processes import NotInTime
from tests.bench.usage import Counted, cpu_seconds, pss_mebibytes
from tests.fixtures.stack import private_directory

_LOOK_EVERY_SECONDS = 0.1


@dataclass(frozen=True)
class StandingPlan:
    """How long is looked."""

    rest_seconds: float
    """After which the idle platform has settled."""
    idle_seconds: float
    provisionings: int
    patience_seconds: float = 60.0


FULL = StandingPlan(rest_seconds=10, idle_seconds=30, provisionings=20)
SHORT = StandingPlan(rest_seconds=2, idle_seconds=5, provisionings=2)


def measure_standing(
    plan: StandingPlan, port_offset: int, say: Callable[[str], None]
) -> Mapping[str, Mapping[str, Any]]:
    """The parts `start` and `local_providers` of the results."""
    say("idp up …")
    with (
        private_directory("idp-bench-standing-") as folder,
        started_platform(folder, port_offset, {}) as platform,
        closing(PlatformClient(platform)) as client,
    ):
        start = {"ready_seconds": platform.ready_seconds, **_at_rest(platform, plan)}
        say("provisionings on the local providers …")
        contender = WholePlatform(platform, client)
        contender.prepare(teams=1, applications=1, environments=plan.provisionings + 1)
        _provisioned(platform, contender, 1, plan)
        found = _provisioned(platform, contender, plan.provisionings, plan)
        return {"start": start, "local_providers": found}


def _at_rest(platform: StartedPlatform, plan: StandingPlan) -> dict[str, Any]:
    time.sleep(plan.rest_seconds)
    roots = platform.roots
    cpu, counted, began = cpu_seconds(roots), platform.counts.read(), time.monotonic()
    time.sleep(plan.idle_seconds)
    cpu, took = cpu_seconds(roots) - cpu, time.monotonic() - began
    return {
        "idle_seconds": took,
        "idle_share_of_a_core": cpu / took,
        "idle_statements_per_second": _statements(counted, platform.counts.read()) / took,
        "idle_pss_mebibytes": pss_mebibytes(roots),
    }


def _statements(before: Counted, after: Counted) -> int:
    return after.statements - before.statements


def _provisioned(
    platform: StartedPlatform, contender: WholePlatform, number: int, plan: StandingPlan
) -> dict[str, Any]:
    """One at a time; the moments are the control plane's own."""
    first_step, final_state = [], []
    for _ in range(number):
        ((request_id, accepted_at),) = contender.submit(1).items()
        give_up_at = time.monotonic() + plan.patience_seconds
        while not contender.finished([request_id]):
            if time.monotonic() > give_up_at:
                raise NotInTime(f"A provisioning took more than {plan.patience_seconds:g} s.")
            time.sleep(_LOOK_EVERY_SECONDS)
        (row,) = platform.rows(
            "SELECT first_step_at, ended_at FROM control_plane.workflow_requests WHERE id = %s",
            request_id,
        )
        first_step.append(row[0].timestamp() - accepted_at)
        final_state.append(row[1].timestamp() - accepted_at)
    return {
        "provisionings": number,
        "first_step_seconds": _told(spread(first_step)),
        "final_state_seconds": _told(spread(final_state)),
    }


def _told(found: Spread) -> dict[str, float]:
    return asdict(found)
