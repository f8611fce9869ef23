"""What Dagster is told, and what it refuses to keep."""

from __future__ import annotations

import pytest
from dagster import DagsterInstance, Definitions, job, op

from idp_dagster.definitions import engine_definitions
from idp_dagster.resources.io_manager import NoDataIOManager
from idp_dagster.settings import EngineSettings
from idp_kernel.workflows import WORKFLOWS

pytestmark = pytest.mark.filterwarnings(
    # Dagster warns of a parameter that only Dagster itself passes.
    "ignore:Parameter `owners`:dagster_shared.utils.warnings.BetaWarning"
)


@pytest.fixture
def defs(settings: EngineSettings) -> Definitions:
    return engine_definitions(settings)


def test_every_workflow_has_its_job(defs: Definitions) -> None:
    Definitions.validate_loadable(defs)
    jobs = {each.name for each in defs.get_repository_def().get_all_jobs()}
    assert jobs == {workflow.job_name for workflow in WORKFLOWS.values()}


def test_the_launchpad_asks_for_two_things_only(defs: Definitions) -> None:
    for workflow in WORKFLOWS.values():
        mapping = defs.resolve_job_def(workflow.job_name).config_mapping
        assert mapping is not None
        fields = mapping.config_schema.config_type.fields  # type: ignore[union-attr]
        assert set(fields) == {"application_environment_id", "reason"}
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
