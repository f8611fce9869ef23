"""Which runs claim an offer, which ask as a person, and what they are told."""

from __future__ import annotations

from typing import Any

import pytest
from dagster import ConfigMapping, DagsterRun

from idp_dagster.jobs.launch import (
    application_environment_launch,
    application_launch,
    secret_launch,
)
from idp_dagster.resources.control_plane import (
    ControlPlaneResource,
    is_launched_by_person,
    launch_of,
)
from idp_dagster.tags import ATTEMPT, REQUEST_ID
from idp_kernel.errors import InvalidInput
from idp_kernel.ids import new_id
from idp_kernel.wire.engine import Launch
from idp_kernel.workflows import (
    APPLICATION_ENVIRONMENT_PROVISIONING,
    APPLICATION_ONBOARDING,
    SECRET_ROTATION,
    Phase,
    Workflow,
    WorkflowName,
)

JOB = APPLICATION_ENVIRONMENT_PROVISIONING.phase(1).job_name
APPENV_ID = "01a20000-0000-7000-8000-000000000001"
OFFERED = {REQUEST_ID: new_id(), ATTEMPT: "1"}


def run(
    *, tags: dict[str, str] | None = None, parent_run_id: str | None = None, job_name: str = JOB
) -> DagsterRun:
    return DagsterRun(
        job_name=job_name,
        run_id=new_id(),
        tags=tags or {},
        parent_run_id=parent_run_id,
        root_run_id=parent_run_id,
    )


def launch(appenv_id: str = "", reason: str = "") -> ControlPlaneResource:
    """What the Launchpad's form becomes."""
    typed = {"application_environment_id": appenv_id, "reason": reason}
    return resource_of(application_environment_launch.resolve_from_unvalidated_config(typed))


def resource_of(form: dict[str, Any]) -> ControlPlaneResource:
    config = form["resources"]["control_plane"]["config"]
    return ControlPlaneResource(
        control_plane_url="http://x", service_key_file="/x", workers_url="http://y", **config
    )


def test_the_sensors_run_claims_what_its_tags_say() -> None:
    assert not is_launched_by_person(run(tags=OFFERED))


@pytest.mark.parametrize(
    "by_person",
    [run(), run(tags=OFFERED, parent_run_id=new_id()), run(tags={REQUEST_ID: new_id()})],
    ids=["launchpad", "re-run with inherited tags", "half a tag"],
)
def test_everything_else_asks_as_a_person(by_person: DagsterRun) -> None:
    assert is_launched_by_person(by_person)


def test_a_launch_carries_subject_and_reason() -> None:
    appenv_id, by_person = new_id(), run()
    assert launch_of(by_person, launch(appenv_id, "first try")) == Launch(
        run_id=by_person.run_id,
        workflow=WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING,
        subject_id=appenv_id,
        reason="first try",
    )


@pytest.mark.parametrize(
    ("phase", "workflow", "number", "mapping", "field"),
    [
        (APPLICATION_ONBOARDING.phase(1), APPLICATION_ONBOARDING, 1, application_launch,
         "application_id"),
        (SECRET_ROTATION.phase(1), SECRET_ROTATION, 1, secret_launch, "secret_id"),
        (SECRET_ROTATION.phase(2), SECRET_ROTATION, 2, secret_launch, "secret_id"),
    ],
    ids=lambda value: getattr(value, "job_name", ""),
)  # fmt: skip
def test_a_launch_says_the_workflow_and_phase_of_its_job(
    phase: Phase, workflow: Workflow, number: int, mapping: ConfigMapping, field: str
) -> None:
    subject_id, by_person = new_id(), run(job_name=phase.job_name)
    form = mapping.resolve_from_unvalidated_config({field: subject_id, "reason": "why"})
    asked = launch_of(by_person, resource_of(form))
    assert (asked.workflow, asked.phase, asked.subject_id) == (workflow.name, number, subject_id)
    with pytest.raises(InvalidInput, match=f"{field}: <the id"):
        launch_of(by_person, resource_of(mapping.resolve_from_unvalidated_config({})))


def test_a_rerun_names_its_parent_and_needs_nothing_typed() -> None:
    parent_id = new_id()
    asked = launch_of(run(parent_run_id=parent_id), launch())
    assert (asked.parent_run_id, asked.subject_id) == (parent_id, None)


@pytest.mark.parametrize(
    ("appenv_id", "reason"),
    [("", ""), (APPENV_ID, ""), ("", "why"), ("dev", "why"), (APPENV_ID, "x" * 501)],
)
def test_an_incomplete_launch_says_what_to_type(appenv_id: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match="application_environment_id: <the id") as refused:
        launch_of(run(), launch(appenv_id, reason))
    assert refused.value.code == "launch_incomplete"
