"""Internal routes: what the schedule and the events sensor of secret rotation ask for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from control_plane.api.guards import Service
from control_plane.api.openapi import refuses
from control_plane.api.problem_codes import ROTATES
from control_plane.api.services import Use
from control_plane.api.spans import new_trace
from control_plane.api.waits import WaitSeconds, waited_for
from control_plane.application.rotate_secret import act_on_cause
from control_plane.application.schedule_rotations import enqueue_due_rotations
from idp_kernel.services import Scope
from idp_kernel.tokens import ServiceClaims
from idp_kernel.wire import engine as wire

router = APIRouter(tags=["internal"])

Rotator = Annotated[ServiceClaims, Depends(Service(Scope.ROTATIONS))]


@router.post(wire.DUE_ROTATIONS)
def post_due_rotations(
    services: Use, _caller: Rotator, body: wire.EnqueueDueRotations
) -> wire.DueRotations:
    """What is due at a scheduled time is rotated; each scheduled time counts once."""
    with services.begin() as work:
        return enqueue_due_rotations(
            work,
            body.scheduled_at,
            at_once=services.rotations_at_once,
            begin_trace=lambda: new_trace("rotation due"),
        )


@router.get(wire.ROTATION_CAUSES)
async def get_rotation_causes(
    request: Request, services: Use, _caller: Rotator, wait_seconds: WaitSeconds = 0
) -> wire.RotationCauses:
    """Events that ask for a rotation and were not acted on; waits for one when there is none."""
    causes = await waited_for(
        request, services.cause_wakeups, services.queries.rotation_causes, wait_seconds
    )
    return wire.RotationCauses(causes=causes)


@router.post(
    wire.ROTATIONS,
    openapi_extra=refuses(*ROTATES, "not_found", "too_many_rotations"),
)
def post_rotation_of_cause(
    services: Use, _caller: Rotator, body: wire.RequestRotation
) -> wire.RotationRequested:
    """Acts on one of them."""
    with services.begin() as work:
        return act_on_cause(
            work,
            body.event_id,
            at_once=services.rotations_at_once,
            begin_trace=lambda: new_trace("rotation caused"),
        )
