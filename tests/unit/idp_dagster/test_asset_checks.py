"""The checks of the catalog on fakes, and what Dagster then shows of each partition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetMaterialization,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    in_process_executor,
)
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionResolvedStatus
from dagster._core.storage.tags import PARTITION_NAME_TAG

from idp_dagster.catalog import (
    APPLICATION_ENVIRONMENT_IDS,
    APPLICATION_ENVIRONMENTS,
    PARTITIONS,
    SECRETS,
    asset_specs,
    partitions_of,
)
from idp_dagster.jobs.asset_checks import application_environment_checks, secret_checks
from idp_dagster.ops.asset_checks import ASSET_CHECKS
from idp_dagster.process import process_log
from idp_dagster.resources.io_manager import NoDataIOManager
from idp_kernel.errors import Conflict, NotAllowed, Unavailable
from idp_kernel.ids import new_id
from idp_kernel.wire.engine import AssetCheckName
from idp_kernel.wire.worker import CHECKS_PER_CALL
from tests.unit.idp_dagster.fakes import (
    FakeAssetRegistry,
    FakeProbes,
    environment_asset,
    secret_asset,
)
from tests.unit.idp_dagster.running import materialized

ENVIRONMENT_CHECKS = [
    AssetCheckName.REPOSITORY_PROTECTED,
    AssetCheckName.BINDINGS_PRESENT,
    AssetCheckName.GITOPS_RECONCILED,
]
PROTECTED = AssetCheckName.REPOSITORY_PROTECTED
PASSED, FAILED = (
    AssetCheckExecutionResolvedStatus.SUCCEEDED,
    AssetCheckExecutionResolvedStatus.FAILED,
)

pytestmark = pytest.mark.filterwarnings(
    # Dagster warns of a parameter that only Dagster itself passes.
    "ignore:Parameter `owners`:dagster_shared.utils.warnings.BetaWarning"
)


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


def check(
    instance: DagsterInstance,
    registry: FakeAssetRegistry,
    probes: FakeProbes,
    *,
    job: str = "application_environment_checks",
    tags: Mapping[str, str] | None = None,
) -> ExecuteInProcessResult:
    defs = Definitions(
        assets=asset_specs("http://api"),
        asset_checks=ASSET_CHECKS,
        jobs=[application_environment_checks, secret_checks],
        executor=in_process_executor,
        loggers={"console": process_log},
        resources={
            "asset_registry": registry,
            "probes": probes,
            "run_watch": object(),
            "io_manager": NoDataIOManager(),
        },
    )
    return defs.resolve_job_def(job).execute_in_process(
        instance=instance, raise_on_error=False, tags=tags
    )


def standing(
    instance: DagsterInstance, check: AssetCheckName, asset: AssetKey = APPLICATION_ENVIRONMENTS
) -> dict[AssetCheckExecutionResolvedStatus, set[str]]:
    """The partitions by what the UI shows of them."""
    key, partitions = AssetCheckKey(asset, check), PARTITIONS[asset]
    with partition_loading_context(dynamic_partitions_store=instance):
        state = instance.event_log_storage.get_asset_check_state([(key, partitions)])[key]
        return {
            status: set(subset.subset_value.get_partition_keys())
            for status, subset in state.subsets.items()
            if not subset.is_empty
        }


def registry_of(count: int) -> tuple[FakeAssetRegistry, list[str]]:
    registry = FakeAssetRegistry(environments=[environment_asset() for _ in range(count)])
    return registry, [
        each.expected.subject.application_environment_id for each in registry.environments
    ]


def test_each_partition_has_its_own_result_in_one_run(instance: DagsterInstance) -> None:
    registry, ids = registry_of(CHECKS_PER_CALL + 3)
    probes = FakeProbes(drifted={ids[0], ids[-1]})
    run = check(instance, registry, probes)
    assert run.success
    assert instance.get_runs_count() == 1
    for name in ENVIRONMENT_CHECKS:
        assert standing(instance, name) == {PASSED: set(ids[1:-1]), FAILED: {ids[0], ids[-1]}}
        assert [n for asked, n in probes.asked if asked is name] == [CHECKS_PER_CALL, 3]
    assert {name for name, _ in registry.kept} == set(ENVIRONMENT_CHECKS)
    assert all([each.id for each in findings] == ids for _, findings in registry.kept)


def test_a_result_says_what_was_expected_and_found(instance: DagsterInstance) -> None:
    registry, ids = registry_of(2)
    run = check(instance, registry, FakeProbes(drifted={ids[1]}))
    (drifted,) = [
        each for each in run.get_asset_check_evaluations()
        if each.partition == ids[1] and each.check_name == PROTECTED
    ]  # fmt: skip
    assert not drifted.passed
    assert {name: value.value for name, value in drifted.metadata.items()} == {
        "expected": "main closed to pushes",
        "found": "main open",
    }


def test_the_whole_check_shows_as_failed_when_a_partition_is(instance: DagsterInstance) -> None:
    registry, ids = registry_of(3)
    check(instance, registry, FakeProbes(drifted={ids[0]}))
    key = AssetCheckKey(APPLICATION_ENVIRONMENTS, PROTECTED)
    storage = instance.event_log_storage
    newest = storage.get_latest_asset_check_execution_by_key([key])[key]
    assert newest.partition == ids[0]
    whole = [
        each
        for each in storage.get_asset_check_execution_history(key, limit=10)
        if each.partition is None
    ]
    assert [each.evaluation.description for each in whole if each.evaluation] == [
        "1 of 3 are not as expected."
    ]


def test_a_repair_is_seen_by_the_next_check(instance: DagsterInstance) -> None:
    registry, ids = registry_of(3)
    probes = FakeProbes(drifted={ids[1]})
    check(instance, registry, probes)
    assert standing(instance, PROTECTED)[FAILED] == {ids[1]}
    probes.drifted.clear()
    check(instance, registry, probes)
    assert standing(instance, PROTECTED) == {PASSED: set(ids)}


def test_a_result_is_of_the_newest_materialization(instance: DagsterInstance) -> None:
    registry, ids = registry_of(2)
    for _ in range(2):
        instance.report_runless_asset_event(
            AssetMaterialization(APPLICATION_ENVIRONMENTS, partition=ids[0])
        )
    check(instance, registry, FakeProbes())
    assert standing(instance, PROTECTED) == {PASSED: set(ids)}


def test_a_result_says_nothing_of_what_was_brought_about_meanwhile(
    instance: DagsterInstance,
) -> None:
    registry, ids = registry_of(2)
    provisioned = AssetMaterialization(APPLICATION_ENVIRONMENTS, partition=ids[0])
    probes = FakeProbes(
        drifted={ids[0]},
        while_looking=lambda: instance.report_runless_asset_event(provisioned),
    )
    check(instance, registry, probes)
    assert standing(instance, PROTECTED) == {PASSED: {ids[1]}}


def test_what_no_workflow_could_tell_is_shown_by_the_next_check(instance: DagsterInstance) -> None:
    registry = FakeAssetRegistry(kept_secrets=[secret_asset() for _ in range(3)])
    ids = [each.expected.secret.secret_id for each in registry.kept_secrets]
    told_long_ago = AssetMaterialization(SECRETS, partition=ids[1], metadata={"version": 6})
    told = AssetMaterialization(SECRETS, partition=ids[2], metadata={"version": 7})
    for event in (told_long_ago, told):
        instance.report_runless_asset_event(event)
    run = check(instance, registry, FakeProbes(drifted={ids[1]}), job="secret_checks")
    assert run.success
    shown = materialized(run)
    assert shown == {
        (SECRETS, id_): {
            "team": "payments",
            "api": f"http://api/v1/secrets/{id_}",
            "store_path": "payments/app-key",
            "version": 7,
        }
        for id_ in ids[:2]
    }
    assert standing(instance, AssetCheckName.SECRET_WITHIN_POLICY, SECRETS) == {
        PASSED: {ids[0], ids[2]},
        FAILED: {ids[1]},
    }
    assert materialized(check(instance, registry, FakeProbes(), job="secret_checks")) == {}


def test_a_thing_at_work_is_shown_by_its_workflow_only(instance: DagsterInstance) -> None:
    registry = FakeAssetRegistry(kept_secrets=[secret_asset()])
    registry.at_work_on = {registry.kept_secrets[0].expected.secret.secret_id}
    run = check(instance, registry, FakeProbes(), job="secret_checks")
    assert run.success
    assert materialized(run) == {}


def test_secrets_are_checked_by_their_own_job(instance: DagsterInstance) -> None:
    registry = FakeAssetRegistry(kept_secrets=[secret_asset() for _ in range(3)])
    ids = [each.expected.secret.secret_id for each in registry.kept_secrets]
    run = check(instance, registry, FakeProbes(drifted={ids[2]}), job="secret_checks")
    assert run.success
    assert standing(instance, AssetCheckName.SECRET_WITHIN_POLICY, SECRETS) == {
        PASSED: set(ids[:2]),
        FAILED: {ids[2]},
    }


def test_a_provider_that_is_away_fails_its_check_and_marks_nothing(
    instance: DagsterInstance,
) -> None:
    registry, ids = registry_of(CHECKS_PER_CALL + 1)
    away = Unavailable("The forge is away.", code="forge_away")
    probes = FakeProbes(errors={PROTECTED: [away] * 9})
    run = check(instance, registry, probes)
    assert not run.success
    assert "The forge is away." in str(run.all_events)
    assert PASSED not in standing(instance, PROTECTED)
    assert FAILED not in standing(instance, PROTECTED)
    others = ENVIRONMENT_CHECKS[1:]
    assert all(standing(instance, name) == {PASSED: set(ids)} for name in others)
    assert {name for name, _ in registry.kept} == set(others)


def test_an_outage_in_the_middle_marks_nothing_and_is_sat_out(instance: DagsterInstance) -> None:
    registry, ids = registry_of(2)
    probes = FakeProbes(errors={PROTECTED: [Unavailable("away")]})
    assert check(instance, registry, probes).success
    assert standing(instance, PROTECTED) == {PASSED: set(ids)}


def test_a_refusal_is_not_repeated(instance: DagsterInstance) -> None:
    registry, _ = registry_of(1)
    probes = FakeProbes(errors={PROTECTED: [NotAllowed("No such scope.")] * 9})
    assert not check(instance, registry, probes).success
    assert [name for name, _ in probes.asked].count(PROTECTED) == 1


def test_findings_that_cannot_be_kept_fail_the_run_and_mark_nothing(
    instance: DagsterInstance,
) -> None:
    registry, ids = registry_of(2)
    registry.errors = [Conflict("no")] * len(ENVIRONMENT_CHECKS)
    run = check(instance, registry, FakeProbes(drifted={ids[0]}))
    assert not run.success
    assert run.get_asset_check_evaluations() == []


def test_findings_are_told_again_after_an_outage(instance: DagsterInstance) -> None:
    registry, ids = registry_of(2)
    registry.errors = [Unavailable("away")]
    assert check(instance, registry, FakeProbes()).success
    assert standing(instance, PROTECTED) == {PASSED: set(ids)}


def test_a_rotation_under_way_is_no_drift(instance: DagsterInstance) -> None:
    registry, ids = registry_of(3)
    probes = FakeProbes()
    check(instance, registry, probes)
    registry.at_work_on, probes.drifted = {ids[0]}, {ids[0], ids[1]}
    run = check(instance, registry, probes)
    assert run.success
    assert standing(instance, PROTECTED) == {PASSED: {ids[0], ids[2]}, FAILED: {ids[1]}}
    (whole,) = [
        each for each in run.get_asset_check_evaluations()
        if each.partition is None and each.check_name == PROTECTED
    ]  # fmt: skip
    assert whole.description == "1 of 2 are not as expected."
    assert whole.metadata["left_out"].value == 1


def test_a_thing_at_work_that_is_looked_at_alone_is_not_marked(instance: DagsterInstance) -> None:
    registry, ids = registry_of(2)
    registry.at_work_on = {ids[0]}
    probes = FakeProbes(drifted={ids[0]})
    run = check(instance, registry, probes, tags={PARTITION_NAME_TAG: ids[0]})
    assert run.success
    assert run.get_asset_check_evaluations() == []
    assert FAILED not in standing(instance, PROTECTED)


def test_the_control_plane_is_told_from_when_the_list_is(instance: DagsterInstance) -> None:
    registry, _ = registry_of(1)
    check(instance, registry, FakeProbes())
    assert len(registry.read_at) == len(ENVIRONMENT_CHECKS)
    assert all(
        read_at <= listed_at
        for read_at, listed_at in zip(registry.read_at, registry.listed_at, strict=True)
    )


def test_a_person_may_look_at_one_partition(instance: DagsterInstance) -> None:
    registry, ids = registry_of(3)
    probes = FakeProbes(drifted={ids[1]})
    assert check(instance, registry, probes, tags={PARTITION_NAME_TAG: ids[1]}).success
    assert standing(instance, PROTECTED) == {FAILED: {ids[1]}}
    assert {n for _, n in probes.asked} == {1}


def test_the_catalog_shows_what_the_control_plane_lists(instance: DagsterInstance) -> None:
    registry, ids = registry_of(2)
    gone = new_id()
    name = str(APPLICATION_ENVIRONMENT_IDS.name)
    instance.add_dynamic_partitions(name, [gone])
    check(instance, registry, FakeProbes())
    assert partitions_of(instance, APPLICATION_ENVIRONMENTS) == set(ids)


def test_what_is_provisioned_meanwhile_stays(instance: DagsterInstance) -> None:
    registry, ids = registry_of(1)
    new, looks = new_id(), []

    def provision() -> None:
        """The run's last check has its list, and has not aligned the catalog with it yet."""
        looks.append(1)
        if len(looks) == len(ENVIRONMENT_CHECKS):
            instance.add_dynamic_partitions(str(APPLICATION_ENVIRONMENT_IDS.name), [new])

    registry.while_listing = provision
    assert check(instance, registry, FakeProbes()).success
    assert partitions_of(instance, APPLICATION_ENVIRONMENTS) == {*ids, new}


def test_nothing_to_look_at_is_no_failure(instance: DagsterInstance) -> None:
    probes = FakeProbes()
    assert check(instance, FakeAssetRegistry(), probes).success
    assert probes.asked == []
