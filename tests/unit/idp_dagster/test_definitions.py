"""What Dagster is told, and what it refuses to keep."""

from __future__ import annotations

import pytest
from dagster import (
    MAX_RUNTIME_SECONDS_TAG,
    DagsterInstance,
    DefaultScheduleStatus,
    Definitions,
    OpDefinition,
    job,
    op,
)

from idp_dagster.definitions import engine_definitions
from idp_dagster.launcher import REQUEST_JOBS
from idp_dagster.resources.io_manager import NoDataIOManager
from idp_dagster.settings import EngineSettings
from idp_kernel.services import OPENAPI_PATH
from idp_kernel.workflows import WORKFLOWS, WorkflowName

pytestmark = pytest.mark.filterwarnings(
    # Dagster warns of a parameter that only Dagster itself passes.
    "ignore:Parameter `owners`:dagster_shared.utils.warnings.BetaWarning"
)

WITHOUT_REQUEST = {"secret_rotation_enqueue", "application_environment_checks", "secret_checks"}
SUBJECTS = {
    WorkflowName.APPLICATION_ONBOARDING: "application_id",
    WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING: "application_environment_id",
    WorkflowName.APPLICATION_ENVIRONMENT_DECOMMISSIONING: "application_environment_id",
    WorkflowName.APPLICATION_DECOMMISSIONING: "application_id",
    WorkflowName.SECRET_ROTATION: "secret_id",
    WorkflowName.SECRET_REVOCATION: "secret_id",
    WorkflowName.COMPENSATION: "request_id",
}


@pytest.fixture
def defs(settings: EngineSettings) -> Definitions:
    return engine_definitions(settings)


def test_every_phase_of_a_workflow_has_its_job(defs: Definitions) -> None:
    Definitions.validate_loadable(defs)
    jobs = {each.name for each in defs.get_repository_def().get_all_jobs()}
    workflow_jobs = {phase.job_name for flow in WORKFLOWS.values() for phase in flow.phases}
    assert jobs - workflow_jobs == {"__ASSET_JOB", *WITHOUT_REQUEST}
    assert workflow_jobs <= jobs


def test_a_job_has_the_steps_of_its_phase_in_order(defs: Definitions) -> None:
    for workflow in WORKFLOWS.values():
        for phase in workflow.phases:
            job = defs.resolve_job_def(phase.job_name)
            assert tuple(node.name for node in job.nodes_in_topological_order) == phase.steps


def test_no_op_is_in_a_pool_whose_limits_nobody_looks_up(defs: Definitions) -> None:
    for each in defs.get_repository_def().get_all_jobs():
        assert [node.name for node in each.nodes if node.definition.pools] == []


def test_any_step_can_end_the_run_by_sending_the_request_to_wait(defs: Definitions) -> None:
    for workflow in WORKFLOWS.values():
        for phase in workflow.phases:
            for node in defs.resolve_job_def(phase.job_name).nodes:
                assert not any(each.is_required for each in node.definition.output_defs), node.name


def test_only_a_job_that_holds_no_request_has_a_limit_of_its_own(defs: Definitions) -> None:
    for each in defs.get_repository_def().get_all_jobs():
        if each.name != "__ASSET_JOB":
            assert (MAX_RUNTIME_SECONDS_TAG in each.run_tags) == (each.name in WITHOUT_REQUEST)
    assert REQUEST_JOBS.isdisjoint(WITHOUT_REQUEST)


def test_what_begins_by_the_clock_does_so_unless_switched_off(defs: Definitions) -> None:
    schedules = {each.name: each for each in defs.get_repository_def().schedule_defs}
    assert {name: each.cron_schedule for name, each in schedules.items()} == {
        "secret_rotation_schedule": "*/5 * * * *",
        "application_environment_checks_schedule": "*/15 * * * *",
        "secret_checks_schedule": "*/15 * * * *",
    }
    assert {each.default_status for each in schedules.values()} == {DefaultScheduleStatus.RUNNING}


def test_every_run_that_holds_no_request_is_watched(defs: Definitions) -> None:
    repository = defs.get_repository_def()
    others = [each for each in repository.get_all_jobs() if each.name not in REQUEST_JOBS]
    assert "__ASSET_JOB" in {each.name for each in others}
    for each in others:
        for node in each.nodes:
            assert isinstance(node.definition, OpDefinition)
            assert "run_watch" in node.definition.required_resource_keys, node.name


def test_the_catalog_says_what_each_asset_is_and_whose(defs: Definitions) -> None:
    specs = list(defs.resolve_all_asset_specs())
    assert {spec.key.to_user_string() for spec in specs} == {"application_environments", "secrets"}
    for spec in specs:
        assert spec.description
        assert spec.kinds
        assert spec.group_name == "platform"
        assert spec.owners == ["team:platform"]
        assert spec.metadata["api"].value == f"http://127.0.0.1:1{OPENAPI_PATH}"


def test_the_launchpad_asks_for_two_things_only(defs: Definitions) -> None:
    for workflow in WORKFLOWS.values():
        for phase in workflow.phases:
            mapping = defs.resolve_job_def(phase.job_name).config_mapping
            assert mapping is not None
            fields = mapping.config_schema.config_type.fields  # type: ignore[union-attr]
            assert set(fields) == {SUBJECTS[workflow.name], "reason"}
            assert all(field.description for field in fields.values())


def test_an_op_that_returns_data_fails_wherever_it_stands(defs: Definitions) -> None:
    @op
    def leaks() -> str:
        return "what should not be kept"

    @job
    def leaky_job() -> None:
        leaks()

    resources = defs.resources or {}
    assert isinstance(resources["io_manager"], NoDataIOManager)
    leaky = Definitions(jobs=[leaky_job], resources={"io_manager": resources["io_manager"]})
    with DagsterInstance.ephemeral() as instance:
        result = leaky.resolve_job_def("leaky_job").execute_in_process(
            instance=instance, raise_on_error=False
        )
    assert not result.success
    assert "ops return nothing" in str(result.all_events)
