"""The asset catalog and its checks, as the UI shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from idp_kernel.errors import Unavailable
from idp_kernel.wire import worker
from idp_kernel.wire.engine import AssetCheckName
from tests.integration.idp_dagster.conftest import LOCATION, Engine, held, messages
from tests.integration.idp_dagster.desired_states import environment_asset, secret_asset

pytestmark = [pytest.mark.usefixtures("fresh_record"), pytest.mark.endurance]

MANY, SOME = 500, worker.CHECKS_PER_CALL + 3
LONG_SECONDS = 100.0
"""Many events are written one by one, on a machine that may have other things to do."""
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
CANCEL_SECONDS = 10.0
"""What is promised of a cancel."""
ENVIRONMENTS, SECRETS = "application_environments", "secrets"
JOB, SECRETS_JOB = "application_environment_checks", "secret_checks"
SCHEDULES = ("application_environment_checks_schedule", "secret_checks_schedule")
ENVIRONMENT_CHECKS = ["bindings_present", "gitops_reconciled", "repository_protected"]


@pytest.fixture(scope="module", autouse=True)
def nobody_else_looks(engine: Engine) -> Iterator[None]:
    """The schedules, which look at everything each quarter of an hour, rest meanwhile."""
    selectors = [{**LOCATION, "scheduleName": name} for name in SCHEDULES]
    for selector in selectors:
        schedule = engine.graphql(_SCHEDULE, selector=selector)["scheduleOrError"]
        stopped = engine.graphql(_STOP, id=schedule["scheduleState"]["id"])["stopRunningSchedule"]
        assert stopped["scheduleState"]["status"] == "STOPPED"
    for job in (JOB, SECRETS_JOB):
        engine.stand_in.wait_for(partial(_all_ended, engine, job))
    yield
    for selector in selectors:
        reset = engine.graphql(_RESET, selector=selector)["resetSchedule"]
        assert reset["scheduleState"]["status"] == "RUNNING"


@pytest.fixture
def ids(engine: Engine) -> Iterator[list[str]]:
    """The environments that the control plane lists."""
    yield listed(engine, SOME)
    engine.stand_in.catalog.environments = []
    engine.stand_in.catalog.at_work_on.clear()
    engine.stand_in.workers.script.drifted.clear()


def listed(engine: Engine, count: int) -> list[str]:
    environments = [environment_asset() for _ in range(count)]
    engine.stand_in.catalog.environments = environments
    return [each.expected.subject.application_environment_id for each in environments]


def test_one_run_looks_at_all_by_every_check_and_the_next_sees_a_repair(
    engine: Engine, ids: list[str]
) -> None:
    drifted = {ids[0], ids[7], ids[-1]}
    engine.stand_in.workers.script.drifted |= drifted
    before = runs_of(engine, JOB)
    run_id = engine.launch({}, JOB)
    run = engine.wait_for_status(run_id, *ENDED, seconds=LONG_SECONDS)
    assert run["status"] == "SUCCESS", messages(run)
    assert runs_of(engine, JOB) - before == {run_id}
    assert run["tags"]["dagster/max_runtime"] == "600"

    assert Counter(engine.stand_in.workers.looks) == {
        (path, asked): 1
        for asked in (worker.CHECKS_PER_CALL, SOME - worker.CHECKS_PER_CALL)
        for path in (
            worker.CHECK_REPOSITORY_PROTECTED,
            worker.CHECK_BINDINGS_PRESENT,
            worker.CHECK_GITOPS_RECONCILED,
        )
    }
    for check in ENVIRONMENT_CHECKS:
        passed, failed = standing(engine, ENVIRONMENTS, check)
        assert failed == drifted
        assert passed == set(ids) - drifted
    newest = execution(engine, ENVIRONMENTS, "repository_protected", ids[7])
    assert newest["runId"] == run_id
    assert not newest["evaluation"]["success"]
    assert newest["evaluation"]["severity"] == "ERROR"
    assert {each["label"]: each["text"] for each in newest["evaluation"]["metadataEntries"]} == {
        "expected": "as confirmed",
        "found": "changed by hand",
    }
    told = [each for each in engine.stand_in.catalog.results if each.findings]
    assert {each.check for each in told} >= {AssetCheckName(each) for each in ENVIRONMENT_CHECKS}
    assert all(
        {each.id for each in result.findings if not each.passed} == drifted for result in told[-3:]
    )

    engine.stand_in.workers.script.drifted.clear()
    repaired_id = engine.launch({}, JOB)
    engine.wait_for_status(repaired_id, "SUCCESS", seconds=LONG_SECONDS)
    for check in ENVIRONMENT_CHECKS:
        assert standing(engine, ENVIRONMENTS, check) == (set(ids), set())


def test_a_check_can_be_executed_from_the_catalog(engine: Engine, ids: list[str]) -> None:
    (shown,) = [each for each in checks(engine, ENVIRONMENTS) if each["name"] == "bindings_present"]
    assert shown["canExecuteIndividually"] == "CAN_EXECUTE"
    run = executed(engine, "bindings_present")
    assert run["status"] == "SUCCESS", messages(run)
    assert [step["stepKey"] for step in run["stepStats"]] == ["bindings_present"]
    assert standing(engine, ENVIRONMENTS, "bindings_present") == (set(ids), set())


def test_a_check_can_be_executed_for_one_partition(engine: Engine, ids: list[str]) -> None:
    executed(engine, "gitops_reconciled")
    engine.stand_in.workers.looks.clear()
    engine.stand_in.workers.script.drifted |= set(ids)
    run = executed(engine, "gitops_reconciled", ids[7])
    assert run["status"] == "SUCCESS", messages(run)
    assert engine.stand_in.workers.looks == [(worker.CHECK_GITOPS_RECONCILED, 1)]
    assert standing(engine, ENVIRONMENTS, "gitops_reconciled") == (set(ids) - {ids[7]}, {ids[7]})


def test_a_rotation_under_way_is_no_drift(engine: Engine, ids: list[str]) -> None:
    executed(engine, "bindings_present")
    engine.stand_in.catalog.at_work_on.add(ids[0])
    engine.stand_in.workers.script.drifted |= {ids[0], ids[1]}
    run = executed(engine, "bindings_present")
    assert run["status"] == "SUCCESS", messages(run)
    assert standing(engine, ENVIRONMENTS, "bindings_present") == (set(ids) - {ids[1]}, {ids[1]})


def test_a_provider_that_is_away_marks_no_partition(engine: Engine, ids: list[str]) -> None:
    executed(engine, "repository_protected")
    away = Unavailable("The forge is away.", code="forge_away", details={"target": "forge"})
    engine.stand_in.workers.script.errors[worker.CHECK_REPOSITORY_PROTECTED] = [away] * 50
    engine.stand_in.workers.script.drifted |= set(ids)
    run = executed(engine, "repository_protected")
    assert run["status"] == "FAILURE"
    assert "The forge is away." in messages(run)
    assert standing(engine, ENVIRONMENTS, "repository_protected") == (set(ids), set())


def test_terminate_in_the_ui_ends_a_check(engine: Engine, ids: list[str]) -> None:
    path = worker.CHECK_BINDINGS_PRESENT
    with held(engine, path):
        run_id = engine.launch_check(ENVIRONMENTS, "bindings_present")
        look = (path, worker.CHECKS_PER_CALL)
        engine.stand_in.wait_for(lambda: look in engine.stand_in.workers.looks)
        engine.terminate(run_id)
        engine.stand_in.wait_for(lambda: engine.status(run_id) == "CANCELED", CANCEL_SECONDS)
    assert engine.stand_in.workers.looks == [look]


def test_an_overdue_secret_fails_its_check(engine: Engine) -> None:
    catalog = engine.stand_in.catalog
    catalog.secrets = [secret_asset() for _ in range(3)]
    secret_ids = [each.expected.secret.secret_id for each in catalog.secrets]
    engine.stand_in.workers.script.drifted |= {secret_ids[1]}
    engine.wait_for_status(engine.launch({}, SECRETS_JOB), "SUCCESS")
    passed, failed = standing(engine, SECRETS, "secret_within_policy")
    assert (passed, failed) == ({secret_ids[0], secret_ids[2]}, {secret_ids[1]})

    catalog.secrets = catalog.secrets[:1]
    engine.wait_for_status(engine.launch({}, SECRETS_JOB), "SUCCESS")
    assert partitions(engine, SECRETS) == secret_ids[:1], "the others are listed no more"


def test_the_catalog_says_what_the_assets_are(engine: Engine) -> None:
    for asset in (ENVIRONMENTS, SECRETS):
        node = engine.graphql(_ASSET, asset=asset)["assetNodeOrError"]
        assert node["groupName"] == "platform"
        assert [each["team"] for each in node["owners"]] == ["platform"]
        assert node["description"]
        assert node["kinds"]
        assert not node["isMaterializable"]


@pytest.mark.timeout(2 * LONG_SECONDS)
@pytest.mark.usefixtures("ids")
def test_each_of_500_partitions_has_its_own_result_in_one_run(engine: Engine) -> None:
    """The last one: each that follows would have to take its partitions out of the catalog."""
    ids = listed(engine, MANY)
    drifted = {ids[0], ids[250], ids[499]}
    engine.stand_in.workers.script.drifted |= drifted
    run = executed(engine, "repository_protected")
    assert run["status"] == "SUCCESS", messages(run)
    looks = [(worker.CHECK_REPOSITORY_PROTECTED, worker.CHECKS_PER_CALL)]
    assert engine.stand_in.workers.looks == looks * (MANY // worker.CHECKS_PER_CALL)
    passed, failed = standing(engine, ENVIRONMENTS, "repository_protected")
    assert failed == drifted
    assert passed == set(ids) - drifted


def executed(engine: Engine, check: str, partition: str | None = None) -> dict[str, Any]:
    """The ended run of the catalog's button."""
    run_id = engine.launch_check(ENVIRONMENTS, check, partition)
    return engine.wait_for_status(run_id, *ENDED, seconds=LONG_SECONDS)


def checks(engine: Engine, asset: str) -> list[dict[str, Any]]:
    answer = engine.graphql(_CHECKS, asset=asset)["assetNodeOrError"]["assetChecksOrError"]
    return list(answer["checks"])


def standing(engine: Engine, asset: str, check: str) -> tuple[set[str], set[str]]:
    """The partitions that passed and those that failed, as the UI colours them."""
    (shown,) = [each for each in checks(engine, asset) if each["name"] == check]
    statuses = shown["partitionStatuses"]
    return set(statuses["succeededPartitions"]), set(statuses["failedPartitions"])


def execution(engine: Engine, asset: str, check: str, partition: str) -> dict[str, Any]:
    """The newest of a partition."""
    variables = {"asset": asset, "check": check, "partition": partition}
    (newest,) = engine.graphql(_EXECUTIONS, **variables)["assetCheckExecutions"]
    return dict(newest)


def partitions(engine: Engine, asset: str) -> list[str]:
    node = engine.graphql(_ASSET, asset=asset)["assetNodeOrError"]
    return list(node["partitionKeys"])


def _all_ended(engine: Engine, job: str) -> bool:
    return all(engine.status(run_id) in ENDED for run_id in runs_of(engine, job))


def runs_of(engine: Engine, job: str) -> set[str]:
    runs = engine.graphql(_RUNS, filter={"pipelineName": job})["runsOrError"]["results"]
    return {run["runId"] for run in runs}


_SCHEDULE = """query ($selector: ScheduleSelector!) { scheduleOrError(scheduleSelector: $selector) {
  ... on Schedule { scheduleState { id } } } }"""
_STOP = """mutation ($id: String!) { stopRunningSchedule(id: $id) {
  ... on ScheduleStateResult { scheduleState { status } } } }"""
_RESET = """mutation ($selector: ScheduleSelector!) { resetSchedule(scheduleSelector: $selector) {
  ... on ScheduleStateResult { scheduleState { status } } } }"""
_RUNS = """query ($filter: RunsFilter!) { runsOrError(filter: $filter) {
  ... on Runs { results { runId } } } }"""
_CHECKS = """query ($asset: String!) { assetNodeOrError(assetKey: {path: [$asset]}) {
  ... on AssetNode { assetChecksOrError { ... on AssetChecks { checks {
    name canExecuteIndividually partitionStatuses {
      ... on AssetCheckDefaultPartitionStatuses { succeededPartitions failedPartitions }
  } } } } } } }"""
_EXECUTIONS = """query ($asset: String!, $check: String!, $partition: String!) {
  assetCheckExecutions(
    assetKey: {path: [$asset]}, checkName: $check, partition: $partition, limit: 1
  ) { runId evaluation { success severity metadataEntries {
    label ... on TextMetadataEntry { text } } } } }"""
_ASSET = """query ($asset: String!) { assetNodeOrError(assetKey: {path: [$asset]}) {
  ... on AssetNode { groupName description kinds isMaterializable partitionKeys
    owners { ... on TeamAssetOwner { team } } } } }"""
