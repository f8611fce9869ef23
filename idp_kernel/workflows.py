"""The workflows, their steps in order, and every name that events and metrics may carry.

Labels in metrics come from these closed sets only, so no series can grow with traffic.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WorkflowName(StrEnum):
    """The `workflow` label."""

    APPLICATION_ENVIRONMENT_PROVISIONING = "ApplicationEnvironmentProvisioning"


class RequestState(StrEnum):
    """Where a workflow request stands."""

    PENDING = "pending"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"


class StepState(StrEnum):
    """Where one step of one attempt stands."""

    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """The run ended first: a cancellation, a wait, the deadline, or a run that was lost."""


class WorkflowResult(StrEnum):
    """The `result` label of `workflow_run_duration_seconds`."""

    SUCCESS = "success"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


RESULT_OF_STATE: dict[RequestState, WorkflowResult] = {
    RequestState.SUCCEEDED: WorkflowResult.SUCCESS,
    RequestState.FAILED: WorkflowResult.ERROR,
    RequestState.TIMED_OUT: WorkflowResult.TIMEOUT,
    RequestState.CANCELLED: WorkflowResult.CANCELLED,
}


WORKFLOW_SECONDS_BUCKETS = (
    0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0,
    14400.0,
)  # fmt: skip
"""Upper bounds of `workflow_run_duration_seconds`, in seconds; a last bucket takes the rest."""


class Step(StrEnum):
    """A step, named as its Dagster op is."""

    MATERIALIZE_REPOSITORIES = "materialize_repositories"
    APPLY_BRANCH_PROTECTION = "apply_branch_protection"
    PROVISION_SECRETS = "provision_secrets"
    CREATE_SECRET_BINDINGS = "create_secret_bindings"
    VERIFY_GITOPS_RECONCILIATION = "verify_gitops_reconciliation"
    FINALIZE_APPLICATION_ENVIRONMENT_PROVISIONING = "finalize_application_environment_provisioning"


@dataclass(frozen=True)
class Workflow:
    """What is fixed about a workflow, whoever runs it."""

    name: WorkflowName
    version: int
    job_name: str
    """The Dagster job's name."""
    event_prefix: str
    """`<prefix>_completed` and `<prefix>_failed` are the events that end it."""
    phases: tuple[tuple[Step, ...], ...]
    """The steps of each phase, in order; each phase is a run of its own."""
    deadline_seconds: int
    """From the command to the end, waiting left out."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps in order, over all phases."""
        return tuple(step for phase in self.phases for step in phase)

    @property
    def completed_event(self) -> str:
        return f"{self.event_prefix}_completed"

    @property
    def failed_event(self) -> str:
        return f"{self.event_prefix}_failed"


APPLICATION_ENVIRONMENT_PROVISIONING = Workflow(
    name=WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING,
    version=1,
    job_name="application_environment_provisioning",
    event_prefix="workflow_appenv_provisioning",
    phases=(
        (
            Step.MATERIALIZE_REPOSITORIES,
            Step.APPLY_BRANCH_PROTECTION,
            Step.PROVISION_SECRETS,
            Step.CREATE_SECRET_BINDINGS,
            Step.VERIFY_GITOPS_RECONCILIATION,
            Step.FINALIZE_APPLICATION_ENVIRONMENT_PROVISIONING,
        ),
    ),
    deadline_seconds=30 * 60,
)

WORKFLOWS: dict[WorkflowName, Workflow] = {
    workflow.name: workflow for workflow in (APPLICATION_ENVIRONMENT_PROVISIONING,)
}


class ProviderEvent(StrEnum):
    """What execution-workers did at a provider: `<integration>_<action>`."""

    GIT_REPOSITORY_CREATED = "git_repository_created"
    GIT_REPOSITORY_ADOPTED = "git_repository_adopted"
    GIT_BRANCH_PROTECTION_APPLIED = "git_branch_protection_applied"
    GIT_SECRET_BINDINGS_COMMITTED = "git_secret_bindings_committed"
    SECRET_STORE_SECRET_WRITTEN = "secret_store_secret_written"
    GITOPS_RECONCILIATION_VERIFIED = "gitops_reconciliation_verified"


class DomainEvent(StrEnum):
    """What a command changed: `<aggregate>_<action>`."""

    TEAM_CREATED = "team_created"
    TEAM_ACTIVATED = "team_activated"
    TEAM_SUSPENDED = "team_suspended"
    TEAM_RESUMED = "team_resumed"
    TEAM_ARCHIVED = "team_archived"
    TEAM_MEMBER_ADDED = "team_member_added"
    ENVIRONMENT_CREATED = "environment_created"
    ENVIRONMENT_ACTIVATED = "environment_activated"
    ENVIRONMENT_FROZEN = "environment_frozen"
    ENVIRONMENT_UNFROZEN = "environment_unfrozen"
    ENVIRONMENT_RETIRED = "environment_retired"
    APPLICATION_CREATED = "application_created"
    APPLICATION_ENVIRONMENT_DECLARED = "application_environment_declared"
    APPLICATION_ENVIRONMENT_PROVISIONING_REQUESTED = (
        "application_environment_provisioning_requested"
    )
    TOKEN_CREATED = "token_created"
    TOKEN_REVOKED = "token_revoked"
    WORKFLOW_REQUEST_CANCELLATION_REQUESTED = "workflow_request_cancellation_requested"
    WORKFLOW_REQUEST_RETRIED = "workflow_request_retried"


def event_names() -> frozenset[str]:
    """Every name that `domain_events_total{event=…}` may carry."""
    ends = {
        name for flow in WORKFLOWS.values() for name in (flow.completed_event, flow.failed_event)
    }
    return frozenset(ends | set(ProviderEvent) | set(DomainEvent))


def event_result(event: str) -> str:
    """The `result` label of an event: `error` for `…_failed` only."""
    return "error" if event.endswith("_failed") else "success"
