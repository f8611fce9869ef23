"""Runs a job's steps on fakes, without the Launchpad's form."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from dagster import (
    AssetKey,
    DagsterInstance,
    ExecuteInProcessResult,
    GraphDefinition,
    ResourceDefinition,
    in_process_executor,
)

from idp_dagster.hooks import tell_step_failed, tell_step_succeeded
from idp_dagster.resources.io_manager import NoDataIOManager
from tests.unit.idp_dagster.fakes import FakeControlPlane, FakeWorkers

QUICK = {"look_every_seconds": 0.01, "longest_seconds": 0.2}
"""What a fake can be looked at with."""


def run_steps(
    steps: GraphDefinition,
    control_plane: FakeControlPlane | ResourceDefinition,
    workers: FakeWorkers,
    *,
    ops: Mapping[str, Mapping[str, float]] | None = None,
    selection: list[str] | None = None,
    instance: DagsterInstance | None = None,
) -> ExecuteInProcessResult:
    """The ended run; `ops` is the configuration of single steps."""
    job = steps.to_job(
        name="steps_on_fakes",
        executor_def=in_process_executor,
        hooks={tell_step_succeeded, tell_step_failed},
    )
    config: dict[str, Any] = {"ops": {name: {"config": each} for name, each in (ops or {}).items()}}
    return job.execute_in_process(
        run_config=config,
        instance=instance or shared_instance(),
        raise_on_error=False,
        op_selection=selection,
        resources={
            "control_plane": control_plane,
            "git_provider": workers,
            "appenv_provisioning_provider": workers,
            "secret_rotation_provider": workers,
            "ending_provider": workers,
            "undo_provider": workers,
            "io_manager": NoDataIOManager(),
        },
    )


@cache
def shared_instance() -> DagsterInstance:
    """Made once, since that takes as long as a run."""
    return DagsterInstance.ephemeral()


def materialized(
    run: ExecuteInProcessResult,
) -> dict[tuple[AssetKey, str | None], dict[str, object]]:
    """What the catalog was told, by asset and partition."""
    events = [
        each.step_materialization_data.materialization
        for each in run.all_events
        if each.is_step_materialization
    ]
    return {
        (event.asset_key, event.partition): {
            name: value.value for name, value in event.metadata.items()
        }
        for event in events
    }
