"""The jobs that look at all application environments, and at all secrets."""

from dagster import (
    MAX_RUNTIME_SECONDS_TAG,
    AssetSelection,
    define_asset_job,
    in_process_executor,
)
from dagster._core.storage.tags import PRIORITY_TAG

from idp_dagster.jobs.launch import PLATFORM_LOGGER
from idp_dagster.ops.asset_checks import (
    bindings_present,
    gitops_reconciled,
    repository_protected,
    secret_within_policy,
)

MAX_RUNTIME_SECONDS = 600
"""Shorter than the schedules' interval: a run has ended before the next begins."""

_TAGS = {
    MAX_RUNTIME_SECONDS_TAG: str(MAX_RUNTIME_SECONDS),
    # Behind every request that waits in the queue.
    PRIORITY_TAG: "-1",
}

application_environment_checks = define_asset_job(
    "application_environment_checks",
    AssetSelection.checks(repository_protected, bindings_present, gitops_reconciled),
    description=(
        "Looks whether each application environment still stands as it was confirmed last, all in "
        "one run. Started by `application_environment_checks_schedule`, or by a person. Holds no "
        "request."
    ),
    config=PLATFORM_LOGGER,
    tags=_TAGS,
    executor_def=in_process_executor,
)

secret_checks = define_asset_job(
    "secret_checks",
    AssetSelection.checks(secret_within_policy),
    description=(
        "Looks whether each secret's version is there and within its policy, all in one run. "
        "Started by `secret_checks_schedule`, or by a person. Holds no request."
    ),
    config=PLATFORM_LOGGER,
    tags=_TAGS,
    executor_def=in_process_executor,
)
