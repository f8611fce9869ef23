"""A secret's rotation policy, its suspension and its binding's, its compromise, and the way to its
value.
"""

from __future__ import annotations

from collections.abc import Mapping

from control_plane.application.access import Caller, found
from control_plane.application.ports import Work
from control_plane.application.rotation_causes import raise_cause
from control_plane.application.rotation_policies import policy_of
from control_plane.application.workflows.endings import refuse_unless_ended, refuse_while_ending
from control_plane.application.workflows.flow import refuse_while_active
from control_plane.domain.managed_secrets import Secret
from control_plane.domain.requests import SubjectKind
from idp_kernel.tokens import StoreAccess
from idp_kernel.wire import api as wire
from idp_kernel.wire.engine import TeamRole
from idp_kernel.workflows import DomainEvent

SECRET_EVENTS: dict[str, DomainEvent] = {
    "suspend": DomainEvent.SECRET_SUSPENDED,
    "resume": DomainEvent.SECRET_RESUMED,
    "archive": DomainEvent.SECRET_ARCHIVED,
}
"""The commands that move a secret, and what each is told as."""
BINDING_EVENTS: dict[str, DomainEvent] = {
    "suspend": DomainEvent.SECRET_BINDING_SUSPENDED,
    "resume": DomainEvent.SECRET_BINDING_RESUMED,
}
"""The commands that move a binding alone, and what each is told as."""


def set_rotation_policy(
    work: Work, actor: str, secret_id: str, command: wire.SetRotationPolicy
) -> wire.Secret:
    """The secret under its new policy; setting the same again changes nothing.

    Raises `InvalidInput` (`time_zone_unknown`, `expiry_out_of_range`).
    """
    policy = policy_of(command)
    secret = lock_secret(work, secret_id)
    changed = secret.with_policy(policy)
    if policy != secret.policy:
        work.application_environments.save_secret(changed)
        in_force = changed.policy_in_force
        _tell(
            work, DomainEvent.SECRET_ROTATION_POLICY_CHANGED, actor, changed,
            data={
                "intervalSeconds": int(in_force.interval.total_seconds()),
                "graceSeconds": int(in_force.grace.total_seconds()),
                "hasWindow": in_force.window is not None,
            },
        )  # fmt: skip
    return work.views.secret(secret_id)


def move_secret(work: Work, actor: str, secret_id: str, action: str) -> wire.Secret:
    """The secret after `suspend`, `resume` or `archive`; its binding follows where it can. A
    suspended secret is not rotated, and one that is being rotated is not suspended (`MoveRefused`).

    Raises `Conflict` when it is to be resumed: `workflow_active` while a request is at work on it,
    `ending_unfinished` when one began to end it.
    """
    secret = lock_secret(work, secret_id)
    if action == "resume":
        refuse_while_active(work, SubjectKind.SECRET, secret_id)
    is_alone = action == "archive"
    moved = secret.moved(action) if is_alone else secret.with_binding_following(action)
    if action == "resume":
        refuse_unless_ended(work, SubjectKind.SECRET, secret_id)
    work.application_environments.save_secret(moved)
    _tell(work, SECRET_EVENTS[action], actor, moved, data={"state": moved.state})
    return work.views.secret(secret_id)


def move_binding(work: Work, actor: str, binding_id: str, action: str) -> wire.SecretBinding:
    """The binding after `suspend` or `resume`. What it brought to its environment stays there;
    while it is suspended its secret is not rotated, which would move it.

    Raises `Conflict`: `workflow_active` while a request is at work on the secret,
    `secret_not_active` when it is to be resumed and its secret is suspended too.
    """
    secret = lock_secret_of_binding(work, binding_id)
    refuse_while_active(work, SubjectKind.SECRET, secret.id)
    moved = secret.with_binding_moved(action)
    work.application_environments.save_secret(moved)
    data = {"state": moved.binding.state, "bindingId": binding_id}
    _tell(work, BINDING_EVENTS[action], actor, moved, data=data)
    return work.views.secret_binding(binding_id)


def report_compromised(
    work: Work, actor: str, secret_id: str, command: wire.ReportCompromised
) -> wire.Secret:
    """The secret, with an open cause for an emergency rotation.

    Raises `Conflict` (`secret_without_value`) when there is nothing to be compromised.
    """
    secret = lock_secret(work, secret_id)
    event, data = DomainEvent.SECRET_COMPROMISED, {"reason": command.reason}
    raise_cause(work, event, secret, actor=actor, data=data)
    work.journal.audit(
        actor=actor, action=event, subject=f"secret/{secret_id}", reason=command.reason
    )
    return work.views.secret(secret_id)


def admit_to_store(work: Work, caller: Caller, secret_id: str) -> tuple[wire.Secret, StoreAccess]:
    """The secret, and what the caller may do at the store; event and audit say so. The store lets
    them at all the secrets of the team, not only at this one.

    Raises `Conflict`: `secret_without_value`; `workflow_active` and `ending_unfinished` once a
    request ends it, since a value that is written then would be lost.
    """
    secret = lock_secret(work, secret_id)
    secret.check_has_value()
    refuse_while_ending(work, secret)
    access = access_of(caller, work.secrets.team_of(secret_id))
    _tell(
        work, DomainEvent.SECRET_LOGIN_ISSUED, caller.principal, secret,
        reason=f"to {access}", data={"access": access},
    )  # fmt: skip
    return work.views.secret(secret_id), access


def access_of(caller: Caller, team_id: str) -> StoreAccess:
    """Maintainers write, everybody else in the team reads."""
    is_maintainer = caller.roles.get(team_id) is TeamRole.TEAM_MAINTAINER
    return StoreAccess.WRITE if caller.platform_admin or is_maintainer else StoreAccess.READ


def lock_secret(work: Work, secret_id: str) -> Secret:
    """The secret, which nobody else moves until the transaction ends. Raises `NotFound`."""
    return found(work.secrets.by_id(secret_id, lock=True), "secret", secret_id)


def lock_secret_of_binding(work: Work, binding_id: str) -> Secret:
    """The secret with that binding, as `lock_secret`."""
    return found(work.secrets.by_binding(binding_id, lock=True), "secret binding", binding_id)


def _tell(
    work: Work,
    event: DomainEvent,
    actor: str,
    secret: Secret,
    *,
    data: Mapping[str, str | int | bool | None],
    reason: str = "",
) -> None:
    subject, team_id = f"secret/{secret.id}", work.secrets.team_of(secret.id)
    work.journal.event(event, subject=subject, actor=actor, team_id=team_id, data=data)
    work.journal.audit(actor=actor, action=event, subject=subject, reason=reason)
