"""What people do in Dagster's UI, through the same GraphQL the UI uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from idp_kernel.services import DEFAULT_PORTS
from idp_kernel.workflows import APPLICATION_ENVIRONMENT_PROVISIONING
from tests.e2e.platform import ENDS_WITHIN_SECONDS, Platform, eventually

RUN_ENDED = {"SUCCESS", "FAILURE", "CANCELED"}

_LOCATION = """
{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }
"""
_LAUNCH = """
mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } }
} }
"""
_REEXECUTE = """
mutation ($params: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $params) {
  __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on PythonError { message }
} }
"""
_TERMINATE = """
mutation ($runId: String!) { terminateRun(runId: $runId) {
  __typename
  ... on TerminateRunFailure { message }
  ... on PythonError { message }
} }
"""
_RUN = """
query ($runId: ID!) { runOrError(runId: $runId) { ... on Run {
  status
  tags { key value }
  stepStats { stepKey status }
  eventConnection { events { ... on ErrorEvent { error { message causes { message } } }
    ... on MessageEvent { message } } }
} } }
"""

_LINKS = """
query ($runId: ID!) { runOrError(runId: $runId) { ... on Run {
  eventConnection { events { ... on EngineEvent {
    stepKey metadataEntries { ... on UrlMetadataEntry { label url } }
  } } }
} } }
"""
_CHECK = """
query ($asset: AssetKeyInput!, $check: String!, $partition: String!) {
  assetCheckExecutions(assetKey: $asset, checkName: $check, partition: $partition, limit: 1) {
    runId
    evaluation { success metadataEntries { label ... on TextMetadataEntry { text } } }
} }
"""


def ask(platform: Platform, query: str, **variables: object) -> Any:
    """The data of a GraphQL answer without errors."""
    answer = platform.client.post(
        platform.url(DEFAULT_PORTS.dagster_webserver, "/graphql"),
        json={"query": query, "variables": variables},
    )
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert "errors" not in document, document
    return document["data"]


def launch(
    platform: Platform,
    run_config: dict[str, object],
    job: str = APPLICATION_ENVIRONMENT_PROVISIONING.phase(1).job_name,
    tags_of_run: Mapping[str, str] | None = None,
) -> str:
    """Launches a job as the Launchpad does; answers the run's id."""
    (repository,) = ask(platform, _LOCATION)["repositoriesOrError"]["nodes"]
    params = {
        "selector": {
            "repositoryLocationName": repository["location"]["name"],
            "repositoryName": repository["name"],
            "jobName": job,
        },
        "runConfigData": run_config,
        "executionMetadata": {
            "tags": [{"key": key, "value": value} for key, value in (tags_of_run or {}).items()]
        },
    }
    launched = ask(platform, _LAUNCH, params=params)["launchRun"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    return str(launched["run"]["runId"])


def reexecute(platform: Platform, parent_run_id: str, strategy: str) -> str:
    """Re-runs `ALL_STEPS` or `FROM_FAILURE`, as the run page's button does once the run ended.

    A request ends with its last step's report, its run a moment later.
    """
    ended_run(platform, parent_run_id)
    params = {"parentRunId": parent_run_id, "strategy": strategy}
    launched = ask(platform, _REEXECUTE, params=params)["launchRunReexecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    return str(launched["run"]["runId"])


def terminate(platform: Platform, run_id: str) -> None:
    """Cancels a run, as the UI's Terminate does."""
    done = ask(platform, _TERMINATE, runId=run_id)["terminateRun"]
    assert done["__typename"] == "TerminateRunSuccess", done


def ended_run(
    platform: Platform, run_id: str, within_seconds: float = ENDS_WITHIN_SECONDS
) -> dict[str, Any]:
    """The run once Dagster says it ended."""

    def look() -> dict[str, Any] | None:
        run: dict[str, Any] = ask(platform, _RUN, runId=run_id)["runOrError"]
        return run if run.get("status") in RUN_ENDED else None

    return eventually(look, within_seconds=within_seconds, what=f"run {run_id} ended")


def tags(run: dict[str, Any]) -> dict[str, str]:
    """A run's tags by key."""
    return {tag["key"]: tag["value"] for tag in run["tags"]}


def messages(run: dict[str, Any]) -> str:
    """Everything the run's page says, in one text."""
    return str(run["eventConnection"]["events"])


def links(platform: Platform, run_id: str) -> list[tuple[str, str]]:
    """Where the run's page leads to from the events of its steps: each step with the address."""
    run = ask(platform, _LINKS, runId=run_id)["runOrError"]
    events = [each for each in run["eventConnection"]["events"] if each]
    return [
        (event["stepKey"], entry["url"])
        for event in events
        for entry in event["metadataEntries"]
        if entry
    ]


def steps_run(run: dict[str, Any]) -> list[str]:
    """The steps this run itself executed."""
    return [step["stepKey"] for step in run["stepStats"]]


def latest_check(platform: Platform, asset: str, check: str, partition: str) -> dict[str, Any]:
    """The newest result of a check for one partition, as the asset catalog shows it."""
    (execution,) = ask(platform, _CHECK, asset={"path": [asset]}, check=check, partition=partition)[
        "assetCheckExecutions"
    ]
    evaluation = execution["evaluation"]
    told = {each["label"]: each.get("text", "") for each in evaluation["metadataEntries"]}
    return {"run_id": execution["runId"], "passed": evaluation["success"], **told}
