"""What is due is rotated: once for each scheduled time, a few at once, inside their windows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import structlog

from control_plane.application.ports import Work
from control_plane.application.rotation_causes import raise_cause
from control_plane.application.workflows.flow import BeginTrace, Initiator
from control_plane.application.workflows.secret_rotation import (
    free_places,
    lock_subjects,
    start_rotation,
)
from control_plane.domain.managed_secrets import Secret
from control_plane.domain.rotation import ACTOR_SCHEDULE, EXPIRY_NOTICE, REASON_DUE
from idp_kernel.errors import Conflict, InvalidInput, Unavailable
from idp_kernel.telemetry.subjects import SECRET_ID
from idp_kernel.wire.engine import ROW_HELD, DueRotations
from idp_kernel.workflows import DomainEvent

_log = structlog.get_logger(__name__)


def enqueue_due_rotations(
    work: Work, scheduled_at: datetime, *, at_once: int, begin_trace: BeginTrace
) -> DueRotations:
    """What that scheduled time brings about, or has brought about before.

    The most overdue come first. A secret that may not be rotated just now, whose window cannot be
    read, or that somebody holds, takes no place and is left to the next scheduled time.
    """
    work.rotations.hold_schedule()
    told = work.rotations.tick(scheduled_at)
    if told is not None:
        return told
    due = work.secrets.due(min(scheduled_at, work.now))
    may_begin = [secret for secret in due if _may_begin(secret, work.now)]
    answer = _enqueue(work, may_begin, free_places(work, at_once), begin_trace)
    work.rotations.add_tick(scheduled_at, answer)
    _tell_expiring(work)
    return answer


def _may_begin(secret: Secret, now: datetime) -> bool:
    """Whether its window is open; one in a time zone that nobody knows any more is not."""
    try:
        return secret.policy_in_force.allows(now)
    except InvalidInput as error:
        _log.warning("rotation_not_started", code=error.code, **{SECRET_ID: secret.id})
        return False


def _enqueue(
    work: Work, due: Sequence[Secret], places: int, begin_trace: BeginTrace
) -> DueRotations:
    enqueued: list[str] = []
    tried = 0
    for secret in due:
        if len(enqueued) == places:
            break
        tried += 1
        request_id = _start(work, secret, begin_trace())
        if request_id is not None:
            enqueued.append(request_id)
    return DueRotations(enqueued=tuple(enqueued), put_off=len(due) - tried)


def _start(work: Work, secret: Secret, traceparent: str | None) -> str | None:
    initiator = Initiator(ACTOR_SCHEDULE, REASON_DUE, traceparent)
    try:
        with work.savepoint():
            subjects = lock_subjects(work, secret.id)
            return start_rotation(work, initiator, subjects, emergency=False).id
    except (Conflict, Unavailable) as error:
        if isinstance(error, Unavailable) and error.code != ROW_HELD:
            raise
        _log.info("rotation_not_started", code=error.code, **{SECRET_ID: secret.id})
        return None


def _tell_expiring(work: Work) -> None:
    """Once for each secret and version whose end comes soon."""
    for secret in work.secrets.lock_expiring(work.now, EXPIRY_NOTICE):
        expires_at = secret.policy.expires_at
        raise_cause(
            work,
            DomainEvent.SECRET_EXPIRING,
            secret,
            actor=ACTOR_SCHEDULE,
            data={"expiresAt": None if expires_at is None else f"{expires_at:%FT%TZ}"},
        )
        work.secrets.note_expiry_told(secret)
