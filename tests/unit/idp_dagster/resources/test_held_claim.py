"""A run that asks to go on hears that it shall stop, and stops."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from idp_dagster.resources.held_claim import HeldClaim
from idp_dagster.resources.lease import Closing, LeaseKeeper
from idp_kernel.clock import SystemClock
from idp_kernel.errors import Conflict
from idp_kernel.http.client import ServiceClient
from idp_kernel.http.problems import PROBLEM_JSON, problem_of
from idp_kernel.wire.engine import CANCEL_REQUESTED, Lease
from idp_kernel.workflows import Step, WaitingReason
from tests.unit.idp_dagster.fakes import claim


def _refusing(_request: httpx.Request) -> httpx.Response:
    refusal = Conflict("It is to be cancelled; end the run.", code=CANCEL_REQUESTED)
    return httpx.Response(
        409, json=problem_of(refusal, "r"), headers={"Content-Type": PROBLEM_JSON}
    )


def _held(answer: Callable[[httpx.Request], httpx.Response]) -> tuple[HeldClaim, list[Closing]]:
    """A claim at a control plane that answers so, and why its run was closed."""
    closings: list[Closing] = []
    lease = LeaseKeeper(
        claim(),
        renew=_never_renewed,
        is_terminated=lambda: False,
        on_closing=closings.append,
        clock=SystemClock(),
    )
    api = ServiceClient(
        "http://control-plane", party="control-plane", transport=httpx.MockTransport(answer)
    )
    held = HeldClaim(
        claim(), lease=lease, api=api, api_url="http://control-plane", traceparent=None
    )
    return held, closings


def _never_renewed(_token: str) -> Lease:
    raise AssertionError


@pytest.mark.parametrize(
    "go_on",
    [
        lambda held: held.step_started(Step.PROVISION_SECRETS, 0),
        lambda held: held.wait(WaitingReason.GITOPS_RECONCILIATION_SLOW, 30.0, seen=""),
        lambda held: held.await_approval(),
        lambda held: held.declare_environments(),
        lambda held: held.end_phase(),
        lambda held: held.finalize(),
    ],
    ids=[
        "next step",
        "wait",
        "await approval",
        "declare environments",
        "end of the phase",
        "finalize",
    ],
)
def test_a_cancelled_request_ends_the_run_s_work(go_on: Callable[[HeldClaim], None]) -> None:
    held, closings = _held(_refusing)
    with pytest.raises(Conflict) as refused:
        go_on(held)
    assert refused.value.code == CANCEL_REQUESTED
    assert closings == [Closing.CANCEL_REQUESTED]
    with pytest.raises(Conflict) as closed:
        held.permit(Step.PROVISION_SECRETS)
    assert closed.value.code == "claim_closed"


@pytest.mark.parametrize("waits", [True, False])
def test_the_claim_is_given_back_when_the_request_waits_for_an_approval(*, waits: bool) -> None:
    held, closings = _held(lambda _: httpx.Response(200, json={"waits": waits}))
    assert held.await_approval() is waits
    if waits:
        with pytest.raises(Conflict) as closed:
            held.permit(Step.VALIDATE_APPLICATION)
        assert closed.value.code == "claim_closed"
    else:
        assert held.permit(Step.VALIDATE_APPLICATION).run_token
    assert closings == []
