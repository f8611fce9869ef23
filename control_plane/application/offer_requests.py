"""Pending requests are told to the workflow engine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from control_plane.application.ports import Work
from control_plane.domain.requests import Request
from idp_kernel.wire.engine import Offer, Offers

GIVE_UP_LOST_RUNS_AFTER = timedelta(seconds=60)
"""So long an attempt waits for the engine's word that the lost run before it has ended."""


@dataclass(frozen=True)
class OfferPolicy:
    """How long the first offer of an attempt is left alone before it is repeated."""

    first_pause: timedelta


def offer_requests(work: Work, limit: int, policy: OfferPolicy) -> Offers:
    """What may be claimed now, each noted as offered; nothing while the platform drains. What a
    team has beyond its `maxActiveRequests` stays pending, unless it is an emergency rotation; its
    deadline does not wait.
    """
    if work.standing.is_draining():
        return Offers(offers=(), draining=True)
    work.limits.hold_places()
    offerable = work.requests.lock_offerable(
        lost_after=work.now - GIVE_UP_LOST_RUNS_AFTER,
        limit=limit,
        default_per_team=work.limits.default.max_active_requests,
    )
    for request in offerable:
        work.requests.save_unshown(request.offered(work.now, policy.first_pause))
    return Offers(offers=tuple(_offer(request) for request in offerable))


def _offer(request: Request) -> Offer:
    return Offer(
        request_id=request.id,
        attempt=request.attempt,
        phase=request.phase,
        workflow=request.workflow,
        team_id=request.team_id,
        application_id=request.application_id,
        application_environment_id=request.application_environment_id,
        secret_id=request.secret_id,
        pending_since=request.pending_since,
        traceparent=request.traceparent,
    )
