"""What a run of ApplicationOnboarding asks for on its way."""

from __future__ import annotations

from control_plane.application.access import found
from control_plane.application.declare_environments import declare_environment, declare_secret
from control_plane.application.ports import Work
from control_plane.application.request_progress import lock_request_and_subjects
from control_plane.application.workflows.application_onboarding import (
    onboarded_application,
    onboarding_wanted,
)
from control_plane.domain.application_environments import ApplicationEnvironment
from control_plane.domain.requests import Holding, Request
from idp_kernel.wire.engine import DeclaredEnvironment, DeclaredEnvironments


def declare_wanted_environments(
    work: Work, request_id: str, holding: Holding
) -> DeclaredEnvironments:
    """Every environment of the request, declared with its secrets; repeating it adds none.

    Raises `InvalidInput` (`wrong_workflow`) for a request that onboards nothing, `Conflict`
    (`quota_exceeded`) when the team has got its last environment since.
    """
    request = lock_request_and_subjects(work, request_id)
    wanted = onboarding_wanted(work, request)
    request.check_may_go_on(holding)
    declared = {each.environment: _declare(work, request, each) for each in wanted.environments}
    return DeclaredEnvironments(ids={slug: appenv.id for slug, appenv in declared.items()})


def _declare(work: Work, request: Request, wanted: DeclaredEnvironment) -> ApplicationEnvironment:
    environment = found(
        work.environments.by_slug(wanted.environment), "environment", wanted.environment
    )
    application = onboarded_application(work, request)
    appenvs = work.application_environments
    appenv = appenvs.by_pair(application.id, environment.id)
    if appenv is None:
        team = work.teams.by_id(request.team_id)
        actor = f"run:{request.run_id}"
        appenv = declare_environment(
            work, actor, team, application, environment, request_id=request.id
        )
    declared = {secret.name: secret for secret in appenvs.secrets(appenv.id)}
    for secret in wanted.secrets:
        declare_secret(work, appenv, declared, secret)
    return appenv
