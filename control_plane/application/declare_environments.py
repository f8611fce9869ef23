"""Application environments and their secrets begin to exist, declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from control_plane.application.ports import Work
from control_plane.application.team_limits import check_room_for_environment
from control_plane.domain.application_environments import (
    APPLICATION_ENVIRONMENT_MOVES,
    ApplicationEnvironment,
)
from control_plane.domain.applications import Application
from control_plane.domain.environments import Environment
from control_plane.domain.managed_secrets import (
    SECRET_BINDING_MOVES,
    SECRET_MOVES,
    Secret,
    SecretBinding,
)
from control_plane.domain.repositories import APPENV_REPOSITORY_MOVES, AppEnvRepository
from control_plane.domain.teams import Team
from idp_kernel.ids import new_id
from idp_kernel.wire.api import DeclareSecret
from idp_kernel.wire.engine import DeclaredSecret
from idp_kernel.wire.worker import appenv_repository_name
from idp_kernel.workflows import DomainEvent


def declare_environment(
    work: Work,
    actor: str,
    team: Team,
    application: Application,
    environment: Environment,
    *,
    request_id: str | None = None,
) -> ApplicationEnvironment:
    """A new application environment with its repository, both declared.

    Raises `Conflict` (`quota_exceeded`).
    """
    check_room_for_environment(work, team)
    appenv = ApplicationEnvironment(
        id=new_id(),
        application_id=application.id,
        environment_id=environment.id,
        state=APPLICATION_ENVIRONMENT_MOVES.initial,
        revision=None,
        created_at=work.now,
    )
    repository = AppEnvRepository(
        id=new_id(),
        application_environment_id=appenv.id,
        owner=team.slug,
        name=appenv_repository_name(appenv.id),
        url=None,
        state=APPENV_REPOSITORY_MOVES.initial,
    )
    work.application_environments.add(appenv, repository)
    work.journal.event(
        DomainEvent.APPLICATION_ENVIRONMENT_DECLARED,
        subject=f"application_environment/{appenv.id}",
        actor=actor,
        team_id=team.id,
        request_id=request_id,
        data={"environment": environment.slug},
    )
    return appenv


def declare_secret(
    work: Work,
    appenv: ApplicationEnvironment,
    declared: Mapping[str, Secret],
    wanted: DeclareSecret | DeclaredSecret,
) -> Secret:
    """The secret as wanted, new unless the name is declared; then its issuer stays."""
    known = declared.get(wanted.name)
    if known is not None:
        return replace(known, purpose=wanted.purpose, sensitivity=wanted.sensitivity)
    secret_id = new_id()
    secret = Secret(
        id=secret_id,
        application_environment_id=appenv.id,
        name=wanted.name,
        purpose=wanted.purpose,
        sensitivity=wanted.sensitivity,
        issuer=wanted.issuer,
        state=SECRET_MOVES.initial,
        store_path=None,
        version=None,
        binding=SecretBinding(new_id(), secret_id, appenv.id, SECRET_BINDING_MOVES.initial),
        created_at=work.now,
    )
    work.application_environments.add_secret(secret)
    return secret
