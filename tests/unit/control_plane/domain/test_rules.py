"""The invariants: who may start what, and what must be there first."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from control_plane.domain.application_environments import (
    ApplicationEnvironment,
    ApplicationEnvironmentState,
)
from control_plane.domain.applications import Application, ApplicationState
from control_plane.domain.environments import Environment, EnvironmentState
from control_plane.domain.managed_secrets import (
    Secret,
    SecretBinding,
    SecretBindingState,
    SecretState,
)
from control_plane.domain.teams import Team, TeamState
from idp_kernel.errors import Conflict, NotAllowed

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def secret(state: SecretState) -> Secret:
    binding = SecretBinding("b", "s", "a", SecretBindingState.PROVISIONING)
    return Secret(
        "s", "a", "app-key", "runtime", "medium", "openbao", state, None, None, binding, NOW
    )


@pytest.mark.parametrize("state", TeamState)
def test_only_an_active_team_starts_workflows(state: TeamState) -> None:
    team = Team("t", "payments", "Payments", state, NOW)
    if state is TeamState.ACTIVE:
        team.check_may_start_workflow()
        return
    with pytest.raises(Conflict, match=f"payments is {state}") as refused:
        team.check_may_start_workflow()
    assert refused.value.code == "team_not_active"


@pytest.mark.parametrize("state", EnvironmentState)
def test_only_an_active_environment_is_provisioned(state: EnvironmentState) -> None:
    environment = Environment("e", "prod", "", state, NOW)
    if state is EnvironmentState.ACTIVE:
        environment.check_may_be_provisioned()
        return
    with pytest.raises(Conflict, match=f"prod is {state}") as refused:
        environment.check_may_be_provisioned()
    assert refused.value.code == "environment_not_active"


def test_nobody_decides_on_their_own_proposal() -> None:
    application = Application("a", "t", "shop", "", ApplicationState.PROPOSED, NOW)
    application.check_may_be_decided_by("bea", proposed_by="ada")
    with pytest.raises(NotAllowed, match="ada has proposed application shop") as refused:
        application.check_may_be_decided_by("ada", proposed_by="ada")
    assert refused.value.code == "own_proposal"


@pytest.mark.parametrize("state", ApplicationEnvironmentState)
def test_secrets_come_to_an_application_environment_that_is_active_alone(
    state: ApplicationEnvironmentState,
) -> None:
    appenv = ApplicationEnvironment("a", "p", "e", state, None, NOW)
    if state is ApplicationEnvironmentState.ACTIVE:
        appenv.check_secrets_may_come_and_go()
        return
    with pytest.raises(Conflict, match=f"a is {state}") as refused:
        appenv.check_secrets_may_come_and_go()
    assert refused.value.code == "application_environment_not_ready"


GOES_ON_IN = {
    ApplicationState.APPROVED,
    ApplicationState.ONBOARDING,
    ApplicationState.ACTIVE,
    ApplicationState.DEPRECATED,
}


@pytest.mark.parametrize("state", ApplicationState)
def test_what_was_asked_for_goes_on_until_the_application_ends(state: ApplicationState) -> None:
    application = Application("a", "t", "shop", "", state, NOW)
    if state in GOES_ON_IN:
        application.check_may_go_on_provisioning()
        return
    with pytest.raises(Conflict, match=f"shop is {state}") as refused:
        application.check_may_go_on_provisioning()
    assert refused.value.code == "application_not_ready"


@pytest.mark.parametrize("state", ApplicationState)
def test_only_active_applications_get_environments(state: ApplicationState) -> None:
    application = Application("a", "t", "shop", "", state, NOW)
    if state is ApplicationState.ACTIVE:
        application.check_may_get_environments()
        return
    with pytest.raises(Conflict, match=f"shop is {state}") as refused:
        application.check_may_get_environments()
    assert refused.value.code == "application_not_ready"


@pytest.mark.parametrize("state", SecretState)
def test_a_binding_needs_an_active_secret(state: SecretState) -> None:
    if state is SecretState.ACTIVE:
        bound = secret(state).with_binding_moved("activate")
        assert bound.binding.state is SecretBindingState.ACTIVE
        return
    with pytest.raises(Conflict, match="must be Active first") as refused:
        secret(state).with_binding_moved("activate")
    assert refused.value.code == "secret_not_active"
