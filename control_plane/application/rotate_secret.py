"""A secret is rotated because somebody, or something that happened, asks for it."""

from __future__ import annotations

from control_plane.application.access import found
from control_plane.application.ports import Work
from control_plane.application.request_progress import Cause, commit_transition, lock_request
from control_plane.application.workflows.flow import BeginTrace, Initiator
from control_plane.application.workflows.secret_rotation import (
    RotationSubjects,
    free_places,
    lock_subjects,
    refuse_in_grace_of_person,
    start_rotation,
)
from control_plane.domain.managed_secrets import SecretState
from control_plane.domain.requests import Request, SubjectKind
from control_plane.domain.rotation import ACTOR_EVENTS_SENSOR
from idp_kernel.errors import Conflict
from idp_kernel.ids import new_id
from idp_kernel.wire.api import RotateSecret
from idp_kernel.wire.engine import RotationRequested
from idp_kernel.workflows import DomainEvent, RequestState

CAUSES = (DomainEvent.SECRET_EXPIRING, DomainEvent.SECRET_COMPROMISED)
"""The domain events that ask for a rotation, the less urgent first."""

_NEVER_AGAIN = (SecretState.REVOKED, SecretState.ARCHIVED)


def rotate_secret(
    work: Work, initiator: Initiator, secret_id: str, command: RotateSecret
) -> Request:
    """The pending rotation.

    Raises `Conflict`: `workflow_active` with the id of the request that is under way on the secret
    or its environment, `rotation_in_grace` with that of one in its grace period unless this is an
    emergency, which a rotation to a person's value refuses as `persons_value_in_grace`;
    `team_not_active`, `application_not_ready`; `MoveRefused` unless the secret is
    Active.
    """
    subjects = lock_subjects(work, secret_id)
    return _rotate(work, initiator, subjects, emergency=command.emergency)


def act_on_cause(
    work: Work, event_id: str, *, at_once: int, begin_trace: BeginTrace
) -> RotationRequested:
    """The rotation that the event asks for; the same one however often it is asked, until it came
    to nothing and the event asks again.

    None when the secret will never be rotated again. Raises as `rotate_secret` does, and
    `Conflict` (`too_many_rotations`) while an event that is no emergency finds no place among the
    rotations at once; the cause then stays open.
    """
    seen = found(work.rotations.cause(event_id), "rotation cause", event_id)
    is_emergency = seen.type == DomainEvent.SECRET_COMPROMISED
    if not is_emergency:
        work.rotations.hold_schedule()
    subjects = lock_subjects(work, seen.secret_id)
    cause = work.rotations.cause(event_id, lock=True) or seen
    if not cause.is_open:
        return RotationRequested(request_id=cause.request_id)
    if subjects.secret.state in _NEVER_AGAIN:
        work.rotations.settle_all_causes(cause.secret_id)
        return RotationRequested(request_id=None)
    if not is_emergency:
        _check_place(work, at_once)
    initiator = Initiator(ACTOR_EVENTS_SENSOR, cause.type, begin_trace())
    request_id = _rotate(work, initiator, subjects, emergency=is_emergency).id
    answered = CAUSES if is_emergency else CAUSES[:1]
    work.rotations.take_up_causes(cause.secret_id, request_id, types=answered)
    return RotationRequested(request_id=request_id)


def _check_place(work: Work, at_once: int) -> None:
    if free_places(work, at_once) == 0:
        raise Conflict(
            f"No more than {at_once} rotations that are no emergency are at work at once; the"
            " secret's turn comes when one of them has ended.",
            code="too_many_rotations",
        )


def _rotate(
    work: Work, initiator: Initiator, subjects: RotationSubjects, *, emergency: bool
) -> Request:
    if not emergency:
        return start_rotation(work, initiator, subjects, emergency=False)
    request_id = new_id()
    if _supersede(work, initiator, subjects, request_id):
        subjects = lock_subjects(work, subjects.secret.id)
    return start_rotation(work, initiator, subjects, emergency=True, request_id=request_id)


def _supersede(
    work: Work, initiator: Initiator, subjects: RotationSubjects, request_id: str
) -> bool:
    """Ends the rotation that waits in its grace period, if there is one. The older credential ends
    with the next one at the latest; what asked for the ended one asks until then.
    """
    waiting = work.requests.waiting_on(SubjectKind.SECRET, subjects.secret.id)
    if waiting is None:
        return False
    before = lock_request(work, waiting)
    if before.state is not RequestState.WAITING:
        return False
    refuse_in_grace_of_person(work, subjects.secret, before)
    work.rotations.hand_back_causes(waiting)
    cause = Cause(initiator.actor, f"superseded by emergency rotation {request_id}")
    commit_transition(work, before, before.cancelled(work.now), cause)
    return True
