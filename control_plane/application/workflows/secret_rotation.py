"""SecretRotation: a new version of a secret comes into use beside the old one, which then ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from control_plane.application.access import found
from control_plane.application.ports import Work
from control_plane.application.workflows.appenv_provisioning import (
    existing_environment,
    secret_wanted,
)
from control_plane.application.workflows.flow import (
    REVISION,
    Initiator,
    Results,
    refuse_in_grace,
    refuse_when_superseded,
    refuse_while_active,
    tell_asked,
)
from control_plane.application.workflows.wanted import appenv_repository_wanted
from control_plane.domain.application_environments import (
    ApplicationEnvironment,
    ApplicationEnvironmentState,
)
from control_plane.domain.applications import ONBOARDING_ADVICE, ROTATABLE_IN, Application
from control_plane.domain.managed_secrets import Secret
from control_plane.domain.requests import Request, SubjectKind
from control_plane.domain.teams import Team
from idp_kernel.downstream import VALUE_SET_BY_PERSON
from idp_kernel.errors import Conflict, InvalidInput, InvariantBroken
from idp_kernel.ids import new_id
from idp_kernel.wire.engine import RotationDesiredState
from idp_kernel.wire.worker import AppEnvSubject, BindingTarget
from idp_kernel.workflows import DomainEvent, RequestState, Step, WorkflowName

_LARGEST_VERSION: Final = 2**31 - 1
_ROTATABLE_IN = (ApplicationEnvironmentState.ACTIVE, ApplicationEnvironmentState.FROZEN)


@dataclass(frozen=True)
class RotationSubjects:
    """Everything that a rotation concerns, locked in the common order."""

    team: Team
    application: Application
    application_environment: ApplicationEnvironment
    secret: Secret


@dataclass(frozen=True)
class Pinned:
    """What the bindings pin since a rotation moved them, and the commit that says so."""

    version: int
    revision: str


class SecretRotation:
    """The flow of `SecretRotation`."""

    subject = SubjectKind.SECRET

    def lock(self, work: Work, request: Request) -> None:
        appenv = existing_environment(work, request)
        work.application_environments.by_id(appenv.id, lock=True)
        work.application_environments.secrets(appenv.id, lock=True)

    def check_rules(self, work: Work, request: Request) -> None:
        """They are about beginning: a rotation that has switched may always end the old version."""
        if request.phase > 1:
            return
        application = found(
            work.applications.by_id(request.application_id), "application", request.application_id
        )
        work.teams.by_id(request.team_id).check_may_start_workflow()
        _check_ready(application, existing_environment(work, request))

    def give_up(self, work: Work, request: Request) -> None:
        """The secret is Active again, at the version that its bindings are known to pin. What asked
        for the rotation asks again after a while, unless a person cancelled it or has to act first.
        """
        secret = _secret_of(work, request).moved("end_rotation")
        results = work.requests.results(request)
        pinned = _pinned(secret, results)
        if pinned is not None:
            secret = _switched(work, request, secret, pinned)
        needs_a_person = request.error is not None and request.error.code == VALUE_SET_BY_PERSON
        if needs_a_person:
            secret = secret.left_to_a_person(work.now)
        elif _leaves_old_credential(secret, results) and not _is_of_a_person(results):
            secret = secret.brought_forward(work.now)
        else:
            secret = secret.put_off(work.now)
        work.application_environments.save_secret(secret)
        is_cancelled = request.state is RequestState.CANCELLED or request.cancel_requested
        if is_cancelled or needs_a_person:
            work.rotations.settle_causes_of(request.id)

    def left_behind(self, work: Work, request: Request) -> str | None:
        results = work.requests.results(request)
        secret = _secret_of(work, request)
        if _leaves_old_credential(secret, results):
            return "The new credential is in use; the old one was not ended."
        if Step.ISSUE_NEW_CREDENTIAL in results and _pinned(secret, results) is None:
            return "A new credential was issued and is not in use; the next rotation replaces it."
        return None

    def restart(self, work: Work, request: Request) -> None:
        seen = _secret_of(work, request)
        subjects = lock_subjects(work, seen.id)
        refuse_when_superseded(work, request, SubjectKind.SECRET, subjects.secret.id)
        check_may_start(work, subjects)
        secret = subjects.secret.moved("rotate")
        secret.check_binding_is_active()
        work.application_environments.save_secret(secret)

    def end_phase(self, work: Work, request: Request, results: Results) -> datetime:
        """The new version is in use; the old one stays good for the grace that was frozen."""
        secret = _secret_of(work, request)
        pinned = _pinned(secret, results)
        if pinned is None:
            raise InvalidInput(
                f"The outcome of {Step.UPDATE_SECRET_BINDINGS} has no version and revision of"
                f" binding {secret.binding.id}.",
                code="outcomes_missing",
            )
        work.application_environments.save_secret(_switched(work, request, secret, pinned))
        return work.now + timedelta(seconds=_desired_state(work, request).grace_seconds)

    def finalize(self, work: Work, request: Request, _results: Results) -> None:
        secret = _secret_of(work, request).moved("end_rotation")
        work.application_environments.save_secret(secret)
        work.rotations.settle_causes_before(secret.id, secret.check_has_value(), request)

    def launch(self, work: Work, initiator: Initiator, subject_id: str) -> Request:
        subjects = lock_subjects(work, subject_id)
        return start_rotation(work, initiator, subjects, emergency=False)


def lock_subjects(work: Work, secret_id: str) -> RotationSubjects:
    """Raises `NotFound` for a secret that is not there."""
    seen = found(work.secrets.by_id(secret_id), "secret", secret_id)
    appenvs = work.application_environments
    where = appenvs.by_id(seen.application_environment_id)
    owner = None if where is None else work.applications.by_id(where.application_id)
    if where is None or owner is None:
        raise InvariantBroken(f"secret {secret_id} belongs to no application")
    team = work.teams.hold(owner.team_id)
    application = work.applications.by_id(owner.id, lock=True) or owner
    appenv = appenvs.by_id(where.id, lock=True) or where
    locked = {secret.id: secret for secret in appenvs.secrets(appenv.id, lock=True)}
    return RotationSubjects(team, application, appenv, locked[secret_id])


def check_may_start(work: Work, subjects: RotationSubjects) -> None:
    """The rules of a rotation but for the secret's own move.

    Raises `Conflict`: `team_not_active`, `workflow_active`, `rotation_in_grace`,
    `application_not_ready`, `application_environment_not_ready`.
    """
    appenv, secret = subjects.application_environment, subjects.secret
    subjects.team.check_may_start_workflow()
    refuse_while_active(work, SubjectKind.APPLICATION_ENVIRONMENT, appenv.id)
    refuse_while_active(work, SubjectKind.SECRET, secret.id)
    refuse_in_grace(work, secret)
    _check_ready(subjects.application, appenv)


def refuse_in_grace_of_person(work: Work, secret: Secret, waiting: Request) -> None:
    """Raises `Conflict` (`persons_value_in_grace`) where the rotation that waits has brought into
    use what a person had set: the store alone knows whether there is a newer value, and without one
    an emergency would end that wait for nothing.
    """
    results = work.requests.results(waiting)
    if _pinned(secret, results) is None or not _is_of_a_person(results):
        return
    raise Conflict(
        f"Request {waiting.id} waits with the old credential's end, and what it brought into use a"
        f" person had set, so no random value may follow. Nothing was cancelled. Write the next"
        f" value of secret {secret.name} at the store, cancel that request, and then ask again.",
        code="persons_value_in_grace",
        details={"activeRequestId": waiting.id, "workflowRequestId": waiting.id},
    )


def free_places(work: Work, at_once: int) -> int:
    """How many routine rotations may begin, with so many at work at once; those that come out of
    their grace soon have their places first.
    """
    return max(0, at_once - work.rotations.at_work() - work.rotations.back_soon())


def start_rotation(
    work: Work,
    initiator: Initiator,
    subjects: RotationSubjects,
    *,
    emergency: bool,
    request_id: str | None = None,
) -> Request:
    """The pending request; the secret is Rotating. Raises as `check_may_start` does, and
    `MoveRefused` unless the secret is Active; `Conflict` (`secret_binding_not_active`).
    """
    check_may_start(work, subjects)
    secret = subjects.secret.moved("rotate")
    secret.check_binding_is_active()
    desired = _freeze(work, subjects, emergency=emergency)
    work.application_environments.save_secret(secret)
    request = Request.new(
        id_=request_id or new_id(),
        workflow=WorkflowName.SECRET_ROTATION,
        team_id=subjects.team.id,
        application_id=subjects.application.id,
        application_environment_id=subjects.application_environment.id,
        secret_id=secret.id,
        requested_by=initiator.actor,
        reason=initiator.reason,
        traceparent=initiator.traceparent,
        now=work.now,
    )
    work.requests.add(request, desired, [(SubjectKind.SECRET, secret.id)])
    data = {"version": secret.version, "emergency": emergency, "reason": request.reason}
    tell_asked(work, request, DomainEvent.SECRET_ROTATION_STARTED, data=data)
    work.journal.wake_offers()
    return request


def _check_ready(application: Application, appenv: ApplicationEnvironment) -> None:
    if application.state not in ROTATABLE_IN:
        raise Conflict(
            f"Application {application.slug} is {application.state} and its secrets are not"
            f" rotated; it must be {' or '.join(ROTATABLE_IN)}. {ONBOARDING_ADVICE}",
            code="application_not_ready",
            details={"current": application.state, "needed": list(ROTATABLE_IN)},
        )
    if appenv.state not in _ROTATABLE_IN:
        raise Conflict(
            f"Application environment {appenv.id} is {appenv.state} and its secrets are not"
            f" rotated; it must be {' or '.join(_ROTATABLE_IN)}.",
            code="application_environment_not_ready",
            details={"current": appenv.state, "needed": list(_ROTATABLE_IN)},
        )


def _secret_of(work: Work, request: Request) -> Secret:
    secret = work.secrets.by_id(request.secret_id or "")
    if secret is None:
        raise InvariantBroken(f"rotation {request.id} names no secret")
    return secret


def _pinned(secret: Secret, results: Results) -> Pinned | None:
    """What the bindings pin, once it is on record in full that they have moved."""
    told = results.get(Step.UPDATE_SECRET_BINDINGS)
    for effect in () if told is None else told.items:
        version, revision = effect.references.get("version"), effect.references.get("revision")
        if (
            effect.item == f"binding/{secret.binding.id}"
            and isinstance(version, int)
            and isinstance(revision, str)
            and 0 < version <= _LARGEST_VERSION
            and REVISION.fullmatch(revision)
        ):
            return Pinned(version, revision)
    return None


def _leaves_old_credential(secret: Secret, results: Results) -> bool:
    """Whether the new credential is in use and the old one was not ended."""
    return _pinned(secret, results) is not None and Step.RETIRE_OLD_CREDENTIAL not in results


def _is_of_a_person(results: Results) -> bool:
    """Whether a person wrote the new credential: the next one has to come from them, too."""
    issued = results.get(Step.ISSUE_NEW_CREDENTIAL)
    return issued is not None and any(effect.created_by == "" for effect in issued.items)


def _switched(work: Work, request: Request, secret: Secret, pinned: Pinned) -> Secret:
    """The secret at the version that the bindings pin now; repeating it changes nothing."""
    if secret.version == pinned.version:
        return secret
    appenv = existing_environment(work, request)
    work.application_environments.save(replace(appenv, revision=pinned.revision))
    return secret.at_version(pinned.version, work.now)


def _desired_state(work: Work, request: Request) -> RotationDesiredState:
    desired = work.requests.desired_state(request)
    if not isinstance(desired, RotationDesiredState):
        raise InvariantBroken(f"request {request.id} is no rotation")
    return desired


def _freeze(work: Work, subjects: RotationSubjects, *, emergency: bool) -> RotationDesiredState:
    secret, appenv = subjects.secret, subjects.application_environment
    environment = work.environments.by_id(appenv.environment_id)
    repository = work.application_environments.repository(appenv.id)
    subject = AppEnvSubject(
        application_environment_id=appenv.id,
        team=subjects.team.slug,
        application=subjects.application.slug,
        environment=environment.slug,
    )
    target = BindingTarget(
        binding_id=secret.binding.id,
        name=secret.name,
        subject=subject,
        repository=appenv_repository_wanted(
            repository.id, repository.owner, repository.name, subject
        ),
    )
    grace = timedelta(0) if emergency else secret.policy_in_force.grace
    return RotationDesiredState(
        subject=subject,
        secret=secret_wanted(secret),
        store_path=secret.store_path or "",
        bindings=(target,),
        grace_seconds=int(grace.total_seconds()),
        emergency=emergency,
    )
