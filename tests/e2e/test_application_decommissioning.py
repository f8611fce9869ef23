"""An application is decommissioned; asked of forge, agent and store themselves."""

from __future__ import annotations

from typing import Any

import pytest

from idp_kernel.services import DEFAULT_PORTS
from idp_kernel.wire.forge import REPOSITORY
from idp_kernel.wire.worker import appenv_repository_name
from idp_kernel.workflows import APPLICATION_DECOMMISSIONING, Step
from tests.e2e.oracle import events_of
from tests.e2e.platform import Platform, Subject
from tests.e2e.test_appenv_decommissioning import decommission as decommission_environment
from tests.e2e.test_appenv_decommissioning import frozen
from tests.e2e.test_undo import is_listed

pytestmark = [pytest.mark.e2e, pytest.mark.system]


def deprecated(platform: Platform, subject: Subject) -> None:
    platform.ok("POST", f"/v1/applications/{subject.application_id}/deprecate")


def decommission(platform: Platform, subject: Subject) -> str:
    """The id of the request."""
    path = f"/v1/applications/{subject.application_id}/decommission"
    return str(platform.ok("POST", path, {"reason": "Nobody sells there."})["requestId"])


def is_archived(platform: Platform, owner: str, name: str) -> bool:
    bot = (platform.home / "keys" / "forge-bot.token").read_text().strip()
    answer = platform.client.get(
        platform.url(DEFAULT_PORTS.local_forge, REPOSITORY.format(owner=owner, name=name)),
        headers={"Authorization": f"Bearer {bot}"},
    )
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["archived"])


def assert_archived(platform: Platform, subject: Subject) -> None:
    shown = platform.ok("GET", f"/v1/applications/{subject.application_id}")
    assert shown["state"] == "Archived"
    for name in (subject.application, f"{subject.application}-deploy"):
        assert is_archived(platform, subject.team, name)


@pytest.fixture
def subject(platform: Platform) -> Subject:
    """An application that no other test has."""
    return platform.new_subject()


def test_it_ends_after_its_environment_and_keeps_its_history(
    platform: Platform, subject: Subject
) -> None:
    appenv = frozen(platform, subject)
    deprecated(platform, subject)
    path = f"/v1/applications/{subject.application_id}/decommission"
    refused = platform.api("POST", path, {})
    assert (refused.status_code, refused.json()["code"]) == (409, "application_in_use")
    assert appenv["id"] in refused.json()["detail"]
    ended = platform.ended(decommission_environment(platform, appenv))
    assert ended["state"] == "succeeded", ended
    repository = appenv_repository_name(appenv["id"])

    request = platform.ended(decommission(platform, subject))

    assert request["state"] == "succeeded", request
    assert_archived(platform, subject)
    assert is_archived(platform, subject.team, repository)
    assert not is_listed(platform, subject.team, repository)
    told: list[Any] = events_of(platform, request["id"])
    assert told[0] == "application_decommissioning_requested"
    assert told[-1] == "workflow_application_decommissioning_completed"
    assert "git_repository_archived" in told


@pytest.mark.endurance
@pytest.mark.parametrize("step", APPLICATION_DECOMMISSIONING.steps)
def test_killed_in_any_step_it_goes_on_in_its_next_attempt(
    platform: Platform, subject: Subject, step: Step
) -> None:
    deprecated(platform, subject)
    place = f"workflow-engine.{step}.after_call"
    platform.arm(place)
    request_id = decommission(platform, subject)
    platform.kill_at(place)
    request = platform.ended(request_id)
    assert request["state"] == "succeeded", request
    assert_archived(platform, subject)
