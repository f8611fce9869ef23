"""Dagster's UI as a way in: launches, re-runs and cancels obey every rule of the control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from idp_kernel.workflows import APPLICATION_ENVIRONMENT_PROVISIONING, Step
from tests.e2e import dagster_ui
from tests.e2e.failures import fails_to_provision, lets_it_provision
from tests.e2e.oracle import assert_provisioned_once, events_of
from tests.e2e.platform import Platform, Subject, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.endurance]

FIRST = Step.MATERIALIZE_REPOSITORIES
STEPS = [str(step) for step in APPLICATION_ENVIRONMENT_PROVISIONING.steps]


def _declared(platform: Platform, subject: Subject) -> str:
    """An application environment that no request works on: its only one was cancelled."""
    hit = platform.arm(f"workflow-engine.{FIRST}.before_call")
    accepted = platform.provision(subject)
    eventually(hit.exists, what="the run is under way")
    platform.ok("POST", f"/v1/workflow-requests/{accepted['requestId']}/cancel", {})
    assert platform.ended(accepted["requestId"])["state"] == "cancelled"
    hit.unlink(missing_ok=True)
    return str(accepted["applicationEnvironmentId"])


def _latest_request(platform: Platform, appenv_id: str) -> dict[str, Any]:
    page = platform.ok("GET", f"/v1/workflow-requests?applicationEnvironmentId={appenv_id}")
    latest = max(page["items"], key=lambda request: request["createdAt"])
    return platform.request(latest["id"])


def test_a_launch_without_a_request_makes_one(
    platform: Platform, subject: Subject, tmp_path: Path
) -> None:
    appenv_id = _declared(platform, subject)
    run_id = dagster_ui.launch(
        platform, {"application_environment_id": appenv_id, "reason": "asked for by phone"}
    )
    assert dagster_ui.ended_run(platform, run_id)["status"] == "SUCCESS"
    request = _latest_request(platform, appenv_id)
    assert request["state"] == "succeeded"
    assert request["requestedBy"] == "dagster-ui (local)"
    assert request["reason"] == "asked for by phone"
    assert [attempt["runId"] for attempt in request["attempts"]] == [run_id]
    run = dagster_ui.ended_run(platform, run_id)
    assert dagster_ui.tags(run)["idp/request_id"] == request["id"]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "application_environment_id"),
        ({"application_environment_id": "no-id", "reason": "x"}, "application_environment_id"),
        (
            {"application_environment_id": "01a20000-0000-7000-8000-000000000000", "reason": "x"},
            "01a20000-0000-7000-8000-000000000000",
        ),
    ],
    ids=["nothing", "no id", "unknown id"],
)
def test_a_launch_that_cannot_be_says_why(
    platform: Platform, config: dict[str, object], told: str
) -> None:
    run = dagster_ui.ended_run(platform, dagster_ui.launch(platform, config))
    assert run["status"] == "FAILURE"
    assert told in dagster_ui.messages(run)


def test_a_launch_beside_an_active_request_is_refused_with_its_id(
    platform: Platform, subject: Subject
) -> None:
    hit = platform.arm(f"workflow-engine.{FIRST}.before_call")
    accepted = platform.provision(subject)
    eventually(hit.exists, what="the first is under way")
    launch = {
        "application_environment_id": accepted["applicationEnvironmentId"],
        "reason": "impatience",
    }
    run = dagster_ui.ended_run(platform, dagster_ui.launch(platform, launch))
    hit.unlink()
    assert run["status"] == "FAILURE"
    assert accepted["requestId"] in dagster_ui.messages(run)
    assert platform.ended(accepted["requestId"])["state"] == "succeeded"


@pytest.mark.parametrize(
    ("strategy", "ran_again"),
    [("FROM_FAILURE", STEPS[STEPS.index("provision_secrets") :]), ("ALL_STEPS", STEPS)],
)
def test_a_failed_run_is_rerun(
    platform: Platform, subject: Subject, tmp_path: Path, strategy: str, ran_again: list[str]
) -> None:
    failed = fails_to_provision(platform, subject)
    assert failed["state"] == "failed"
    assert failed["error"]["code"] == "foreign_owner"
    assert events_of(platform, failed["id"])[-1] == "workflow_appenv_provisioning_failed"
    lets_it_provision(platform, subject, failed)
    parent = failed["attempts"][-1]["runId"]
    run = dagster_ui.ended_run(platform, dagster_ui.reexecute(platform, parent, strategy))
    assert run["status"] == "SUCCESS", dagster_ui.messages(run)
    assert sorted(dagster_ui.steps_run(run)) == sorted(ran_again)
    request = platform.ended(failed["id"])
    assert len(request["attempts"]) == len(failed["attempts"]) + 1
    assert_rerun_left_one_of_each(platform, subject, request, tmp_path)


def assert_rerun_left_one_of_each(
    platform: Platform, subject: Subject, request: dict[str, Any], folder: Path
) -> None:
    """As after a first run, but for the failure that stands in the events before the end."""
    events = events_of(platform, request["id"])
    assert events.count("workflow_appenv_provisioning_failed") == 1
    assert_provisioned_once(
        platform,
        subject,
        request,
        folder,
        aside={"workflow_appenv_provisioning_failed", "workflow_request_retried"},
    )


def test_a_succeeded_run_is_not_rerun(platform: Platform, subject: Subject) -> None:
    request = platform.ended(platform.provision(subject)["requestId"])
    parent = request["attempts"][-1]["runId"]
    run = dagster_ui.ended_run(platform, dagster_ui.reexecute(platform, parent, "ALL_STEPS"))
    assert run["status"] == "FAILURE"
    assert request["id"] in dagster_ui.messages(run)
    assert platform.request(request["id"]) == request


def test_terminate_cancels_run_and_request(platform: Platform, subject: Subject) -> None:
    hit = platform.arm(f"workflow-engine.{Step.PROVISION_SECRETS}.before_call")
    accepted = platform.provision(subject)
    eventually(hit.exists, what="the run is in the middle of a step")
    run_id = platform.request(accepted["requestId"])["attempts"][-1]["runId"]
    dagster_ui.terminate(platform, run_id)
    assert dagster_ui.ended_run(platform, run_id, within_seconds=15)["status"] == "CANCELED"
    hit.unlink(missing_ok=True)
    assert platform.ended(accepted["requestId"], within_seconds=15)["state"] == "cancelled"
    appenv_id = accepted["applicationEnvironmentId"]
    assert platform.ok("GET", f"/v1/application-environments/{appenv_id}")["state"] == "Declared"
