"""An environment is decommissioned; asked of forge, agent, store and database themselves."""

from __future__ import annotations

from typing import Any

import pytest

from idp_kernel.wire.worker import appenv_repository_name
from idp_kernel.workflows import APPLICATION_ENVIRONMENT_DECOMMISSIONING, Step
from tests.e2e import dagster_ui
from tests.e2e.logins import is_let_in
from tests.e2e.oracle import events_of
from tests.e2e.platform import Platform, Subject
from tests.e2e.test_revocation import DATABASE, content, versions
from tests.e2e.test_undo import has_repository, is_listed

pytestmark = [pytest.mark.e2e, pytest.mark.system]


def frozen(platform: Platform, subject: Subject) -> dict[str, Any]:
    """A frozen environment with two secrets."""
    appenv = platform.provisioned(subject, {"name": "app-key"}, DATABASE)
    path = f"/v1/application-environments/{appenv['id']}"
    shown: dict[str, Any] = platform.ok("POST", f"{path}/freeze")
    return shown


def decommission(platform: Platform, appenv: dict[str, Any]) -> str:
    """The id of the request."""
    path = f"/v1/application-environments/{appenv['id']}/decommission"
    return str(platform.ok("POST", path, {"reason": "The trial is over."})["requestId"])


def login_of(platform: Platform, appenv: dict[str, Any]) -> Any:
    (secret,) = [each for each in appenv["secrets"] if each["issuer"] == "postgres"]
    return content(platform, secret["storePath"])


def assert_retired(
    platform: Platform, subject: Subject, appenv: dict[str, Any], login: Any
) -> None:
    shown = platform.ok("GET", f"/v1/application-environments/{appenv['id']}")
    assert shown["state"] == "Retired"
    assert {each["state"] for each in shown["secrets"]} == {"Revoked"}
    for secret in shown["secrets"]:
        assert all(versions(platform, secret["storePath"]))
    assert not is_let_in(login)
    name = appenv_repository_name(appenv["id"])
    assert has_repository(platform, subject.team, name), "what people put there stays"
    assert not is_listed(platform, subject.team, name)


def test_it_ends_with_its_secrets_and_keeps_its_history(
    platform: Platform, subject: Subject
) -> None:
    appenv = frozen(platform, subject)
    login = login_of(platform, appenv)
    assert is_let_in(login)

    request = platform.ended(decommission(platform, appenv))

    assert request["state"] == "succeeded", request
    assert_retired(platform, subject, appenv, login)
    told = events_of(platform, request["id"])
    assert told[0] == "application_environment_decommissioning_requested"
    assert told[-1] == "workflow_appenv_decommissioning_completed"
    assert "git_repository_archived" in told
    again = platform.api("POST", f"/v1/application-environments/{appenv['id']}/decommission", {})
    assert (again.status_code, again.json()["code"]) == (409, "move_refused")


def test_it_is_launched_from_the_launchpad(platform: Platform, subject: Subject) -> None:
    appenv = frozen(platform, subject)
    login = login_of(platform, appenv)
    config = {"application_environment_id": appenv["id"], "reason": "asked for by phone"}
    job = APPLICATION_ENVIRONMENT_DECOMMISSIONING.phase(1).job_name
    run = dagster_ui.ended_run(platform, dagster_ui.launch(platform, config, job))
    assert run["status"] == "SUCCESS", dagster_ui.messages(run)
    assert_retired(platform, subject, appenv, login)


@pytest.mark.endurance
@pytest.mark.parametrize("step", APPLICATION_ENVIRONMENT_DECOMMISSIONING.steps)
def test_killed_in_any_step_it_goes_on_in_its_next_attempt(
    platform: Platform, subject: Subject, step: Step
) -> None:
    appenv = frozen(platform, subject)
    login = login_of(platform, appenv)
    place = f"workflow-engine.{step}.after_call"
    platform.arm(place)
    request_id = decommission(platform, appenv)
    platform.kill_at(place)
    request = platform.ended(request_id)
    assert request["state"] == "succeeded", request
    assert_retired(platform, subject, appenv, login)
