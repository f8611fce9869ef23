"""An application gets an environment: declared if it is new, its provisioning asked for. One that
it has gets further secrets in the same way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from control_plane.application.declare_environments import declare_environment, declare_secret
from control_plane.application.ports import Work
from control_plane.application.workflows.appenv_provisioning import (
    lock_subjects,
    lock_subjects_of,
    refuse_while_at_work,
    start_provisioning,
)
from control_plane.application.workflows.flow import Initiator
from control_plane.domain.application_environments import ApplicationEnvironment
from control_plane.domain.managed_secrets import Secret, SecretState
from control_plane.domain.requests import Request
from idp_kernel.errors import Conflict, InvalidInput
from idp_kernel.wire.api import (
    SECRETS_PER_ENVIRONMENT,
    AddSecrets,
    DeclareSecret,
    ProvisionEnvironment,
)

_OF_A_NEW_ENVIRONMENT = (DeclareSecret(name="app-key"),)


def provision_environment(
    work: Work, initiator: Initiator, application_id: str, command: ProvisionEnvironment
) -> Request:
    """The pending request; everything it needs moved to Provisioning, with the secrets that are
    named every one that is declared.

    Raises `Conflict`: `workflow_active` with the id of the request that is under way,
    `team_not_active`, `environment_not_active`, `application_not_ready`, `quota_exceeded` when the
    team can have no further environment, `too_many_secrets` when
    the environment would have more than 50 in all; `MoveRefused` when the application environment
    is past being provisioned.
    """
    check_distinct(command.secrets or ())
    subjects = lock_subjects(work, application_id, command.environment)
    appenv, named = subjects.application_environment, command.secrets or ()
    if appenv is None:
        named = _OF_A_NEW_ENVIRONMENT if command.secrets is None else command.secrets
        team, application, environment = subjects.team, subjects.application, subjects.environment
        appenv = declare_environment(work, initiator.actor, team, application, environment)
    refuse_while_at_work(work, appenv.id)
    present = work.application_environments.secrets(appenv.id, lock=True)
    secrets = _declared(work, appenv, present, named)
    secrets += _waiting_for_provisioning(present, but={each.id for each in secrets})
    return start_provisioning(work, initiator, subjects, appenv, secrets)


def add_secrets(
    work: Work, initiator: Initiator, application_environment_id: str, command: AddSecrets
) -> Request:
    """The pending request; the environment stays Active, and nothing but these secrets and their
    bindings moves. Others that are Declared stay so.

    Raises `NotFound`; `InvalidInput` (`declared_twice`); `Conflict` as `provision_environment`
    does, and `application_environment_not_ready` unless the environment is Active; `MoveRefused`
    for a secret that the environment has already.
    """
    check_distinct(command.secrets)
    subjects, appenv = lock_subjects_of(work, application_environment_id)
    appenv.check_secrets_may_come_and_go()
    refuse_while_at_work(work, appenv.id)
    present = work.application_environments.secrets(appenv.id, lock=True)
    secrets = _declared(work, appenv, present, command.secrets)
    return start_provisioning(work, initiator, subjects, appenv, secrets, adds_secrets=True)


def _declared(
    work: Work,
    appenv: ApplicationEnvironment,
    present: Sequence[Secret],
    named: Sequence[DeclareSecret],
) -> list[Secret]:
    """All that are named, new unless they are present. Raises `Conflict` (`too_many_secrets`)."""
    declared = {secret.name: secret for secret in present}
    _check_number({*declared, *(each.name for each in named)})
    return [declare_secret(work, appenv, declared, each) for each in named]


def _waiting_for_provisioning(secrets: Iterable[Secret], *, but: Collection[str]) -> list[Secret]:
    """An environment becomes Active with all that it declares; it is provisioned once."""
    return [each for each in secrets if each.state is SecretState.DECLARED and each.id not in but]


def check_distinct(secrets: Sequence[DeclareSecret]) -> None:
    """Raises `InvalidInput` (`declared_twice`) for a name that one command has twice."""
    names = [secret.name for secret in secrets]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput(
            f"Secrets are declared twice: {', '.join(twice)}.", code="declared_twice"
        )


def _check_number(names: set[str]) -> None:
    if len(names) > SECRETS_PER_ENVIRONMENT:
        raise Conflict(
            f"The environment would have {len(names)} secrets, with those it declares already;"
            f" it can have {SECRETS_PER_ENVIRONMENT}.",
            code="too_many_secrets",
        )
