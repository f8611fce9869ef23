"""The workflows, their steps in order, and every name that events and metrics may carry.

Labels in metrics come from these closed sets only, so no series can grow with traffic.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class WorkflowName(StrEnum):
    """The `workflow` label."""

    APPLICATION_ONBOARDING = "ApplicationOnboarding"
    APPLICATION_ENVIRONMENT_PROVISIONING = "ApplicationEnvironmentProvisioning"
    SECRET_ROTATION = "SecretRotation"
    SECRET_REVOCATION = "SecretRevocation"
    APPLICATION_ENVIRONMENT_DECOMMISSIONING = "ApplicationEnvironmentDecommissioning"
    APPLICATION_DECOMMISSIONING = "ApplicationDecommissioning"
    COMPENSATION = "Compensation"


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

    @property
    def activity(self) -> str:
        """Its name as workflows are written elsewhere, such as `MaterializeRepositories`."""
        return self.title().replace("_", "").replace("Gitops", "GitOps")

    VALIDATE_APPLICATION = "validate_application"
    CREATE_CODE_REPOSITORY = "create_code_repository"
    CREATE_DEPLOYMENT_REPOSITORY = "create_deployment_repository"
    SEED_REPOSITORIES = "seed_repositories"
    APPLY_REPOSITORY_PROTECTION = "apply_repository_protection"
    DECLARE_APPLICATION_ENVIRONMENTS = "declare_application_environments"
    FINALIZE_APPLICATION_ONBOARDING = "finalize_application_onboarding"
    MATERIALIZE_REPOSITORIES = "materialize_repositories"
    APPLY_BRANCH_PROTECTION = "apply_branch_protection"
    PROVISION_SECRETS = "provision_secrets"
    CREATE_SECRET_BINDINGS = "create_secret_bindings"
    VERIFY_GITOPS_RECONCILIATION = "verify_gitops_reconciliation"
    FINALIZE_APPLICATION_ENVIRONMENT_PROVISIONING = "finalize_application_environment_provisioning"
    VALIDATE_ROTATION = "validate_rotation"
    ISSUE_NEW_CREDENTIAL = "issue_new_credential"
    VERIFY_NEW_CREDENTIAL = "verify_new_credential"
    UPDATE_SECRET_BINDINGS = "update_secret_bindings"
    CONFIRM_CONSUMERS = "confirm_consumers"
    RETIRE_OLD_CREDENTIAL = "retire_old_credential"
    FINALIZE_SECRET_ROTATION = "finalize_secret_rotation"
    REMOVE_SECRET_BINDINGS = "remove_secret_bindings"
    RELEASE_CONSUMERS = "release_consumers"
    END_CREDENTIALS = "end_credentials"
    VERIFY_SECRETS_ENDED = "verify_secrets_ended"
    FINALIZE_SECRET_REVOCATION = "finalize_secret_revocation"
    ARCHIVE_ENVIRONMENT_REPOSITORY = "archive_environment_repository"
    VERIFY_NOTHING_RECONCILED = "verify_nothing_reconciled"
    FINALIZE_APPLICATION_ENVIRONMENT_DECOMMISSIONING = (
        "finalize_application_environment_decommissioning"
    )
    ARCHIVE_APPLICATION_REPOSITORIES = "archive_application_repositories"
    VERIFY_APPLICATION_ENDED = "verify_application_ended"
    FINALIZE_APPLICATION_DECOMMISSIONING = "finalize_application_decommissioning"
    STOP_UNDONE_REQUEST = "stop_undone_request"
    UNDO_EFFECTS = "undo_effects"
    VERIFY_NOTHING_LEFT = "verify_nothing_left"
    FINALIZE_COMPENSATION = "finalize_compensation"


UNDOABLE_STEPS = frozenset(
    {
        Step.CREATE_CODE_REPOSITORY,
        Step.CREATE_DEPLOYMENT_REPOSITORY,
        Step.SEED_REPOSITORIES,
        Step.APPLY_REPOSITORY_PROTECTION,
        Step.MATERIALIZE_REPOSITORIES,
        Step.APPLY_BRANCH_PROTECTION,
        Step.PROVISION_SECRETS,
        Step.CREATE_SECRET_BINDINGS,
    }
)
"""Steps whose effects `Compensation` can take back."""

IRREVERSIBLE_STEPS = frozenset(
    {
        Step.RETIRE_OLD_CREDENTIAL,
        Step.END_CREDENTIALS,
        Step.ARCHIVE_ENVIRONMENT_REPOSITORY,
        Step.ARCHIVE_APPLICATION_REPOSITORIES,
    }
)
"""Steps whose effects nothing can take back."""


class WaitingReason(StrEnum):
    """Why a request waits: the `reason` label."""

    ROTATION_GRACE = "rotation_grace"
    GITOPS_RECONCILIATION_SLOW = "gitops_reconciliation_slow"
    CONSUMERS_NOT_CONFIRMED = "consumers_not_confirmed"
    UNDONE_STILL_SEEN = "undone_still_seen"
    ENDED_STILL_SEEN = "ended_still_seen"
    PROVIDER_PAUSED = "provider_paused"
    """A provider said when to come again, and that is longer than a run may wait."""
    PULL_REQUEST_OPEN = "pull_request_open"
    """A commit of the platform's comes by a pull request that nobody has merged yet."""
    APPROVAL_PENDING = "approval_pending"
    """Nobody has approved or rejected the application yet."""
    CIRCUIT_OPEN = "circuit_open"
    """A provider gave no answer several times in a row and is called no more for a while."""


PROVIDER_WAITS = frozenset({WaitingReason.PROVIDER_PAUSED, WaitingReason.CIRCUIT_OPEN})
"""Reasons that a provider gives; such waits end in time, all together."""
BOUNDED_WAITS = PROVIDER_WAITS | {WaitingReason.PULL_REQUEST_OPEN, WaitingReason.APPROVAL_PENDING}
"""Those that end by a bound of their own, after any number of short runs that look."""


@dataclass(frozen=True)
class PhaseWait:
    """The wait that follows a phase; no run, worker or connection is held meanwhile."""

    reason: WaitingReason
    is_exclusive: bool
    """Whether the request keeps its subjects to itself while it waits."""


@dataclass(frozen=True)
class Phase:
    """The steps of one run, in order, and the job that has them."""

    job_name: str
    """The Dagster job's name."""
    steps: tuple[Step, ...]
    wait_after: PhaseWait | None = None
    """None for the last phase, which finalizes."""


@dataclass(frozen=True)
class Workflow:
    """What is fixed about a workflow, whoever runs it."""

    name: WorkflowName
    version: int
    event_prefix: str
    """`<prefix>_completed` and `<prefix>_failed` are the events that end it."""
    phases: tuple[Phase, ...]
    """Each is a run of its own; a request begins in phase 1."""
    deadline_seconds: int
    """Of each phase, from the command or the wake-up on, waiting left out."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps in order, over all phases."""
        return tuple(step for phase in self.phases for step in phase.steps)

    def phase(self, number: int) -> Phase:
        """The phase of that number, from 1."""
        return self.phases[number - 1]

    @property
    def completed_event(self) -> str:
        return f"{self.event_prefix}_completed"

    @property
    def failed_event(self) -> str:
        return f"{self.event_prefix}_failed"


APPLICATION_ONBOARDING = Workflow(
    name=WorkflowName.APPLICATION_ONBOARDING,
    version=1,
    event_prefix="workflow_application_onboarding",
    phases=(
        Phase(
            job_name="application_onboarding",
            steps=(
                Step.VALIDATE_APPLICATION,
                Step.CREATE_CODE_REPOSITORY,
                Step.CREATE_DEPLOYMENT_REPOSITORY,
                Step.SEED_REPOSITORIES,
                Step.APPLY_REPOSITORY_PROTECTION,
                Step.DECLARE_APPLICATION_ENVIRONMENTS,
                Step.FINALIZE_APPLICATION_ONBOARDING,
            ),
        ),
    ),
    deadline_seconds=30 * 60,
)

APPLICATION_ENVIRONMENT_PROVISIONING = Workflow(
    name=WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING,
    version=1,
    event_prefix="workflow_appenv_provisioning",
    phases=(
        Phase(
            job_name="application_environment_provisioning",
            steps=(
                Step.MATERIALIZE_REPOSITORIES,
                Step.APPLY_BRANCH_PROTECTION,
                Step.PROVISION_SECRETS,
                Step.CREATE_SECRET_BINDINGS,
                Step.VERIFY_GITOPS_RECONCILIATION,
                Step.FINALIZE_APPLICATION_ENVIRONMENT_PROVISIONING,
            ),
        ),
    ),
    deadline_seconds=30 * 60,
)

ROTATION_GRACE = PhaseWait(reason=WaitingReason.ROTATION_GRACE, is_exclusive=False)
"""Both credentials work; whoever still has the old one takes up the new one meanwhile."""

SECRET_ROTATION = Workflow(
    name=WorkflowName.SECRET_ROTATION,
    version=1,
    event_prefix="workflow_secret_rotation",
    phases=(
        Phase(
            job_name="secret_rotation",
            steps=(
                Step.VALIDATE_ROTATION,
                Step.ISSUE_NEW_CREDENTIAL,
                Step.VERIFY_NEW_CREDENTIAL,
                Step.UPDATE_SECRET_BINDINGS,
                Step.CONFIRM_CONSUMERS,
            ),
            wait_after=ROTATION_GRACE,
        ),
        Phase(
            job_name="secret_rotation_retirement",
            steps=(Step.RETIRE_OLD_CREDENTIAL, Step.FINALIZE_SECRET_ROTATION),
        ),
    ),
    deadline_seconds=30 * 60,
)

SECRET_REVOCATION = Workflow(
    name=WorkflowName.SECRET_REVOCATION,
    version=1,
    event_prefix="workflow_secret_revocation",
    phases=(
        Phase(
            job_name="secret_revocation",
            steps=(
                Step.REMOVE_SECRET_BINDINGS,
                Step.RELEASE_CONSUMERS,
                Step.END_CREDENTIALS,
                Step.VERIFY_SECRETS_ENDED,
                Step.FINALIZE_SECRET_REVOCATION,
            ),
        ),
    ),
    deadline_seconds=30 * 60,
)

APPLICATION_ENVIRONMENT_DECOMMISSIONING = Workflow(
    name=WorkflowName.APPLICATION_ENVIRONMENT_DECOMMISSIONING,
    version=1,
    event_prefix="workflow_appenv_decommissioning",
    phases=(
        Phase(
            job_name="application_environment_decommissioning",
            steps=(
                Step.REMOVE_SECRET_BINDINGS,
                Step.RELEASE_CONSUMERS,
                Step.END_CREDENTIALS,
                Step.ARCHIVE_ENVIRONMENT_REPOSITORY,
                Step.VERIFY_NOTHING_RECONCILED,
                Step.FINALIZE_APPLICATION_ENVIRONMENT_DECOMMISSIONING,
            ),
        ),
    ),
    deadline_seconds=30 * 60,
)
"""Its secrets end as they do in `SecretRevocation`, by the same steps."""

APPLICATION_DECOMMISSIONING = Workflow(
    name=WorkflowName.APPLICATION_DECOMMISSIONING,
    version=1,
    event_prefix="workflow_application_decommissioning",
    phases=(
        Phase(
            job_name="application_decommissioning",
            steps=(
                Step.ARCHIVE_APPLICATION_REPOSITORIES,
                Step.VERIFY_APPLICATION_ENDED,
                Step.FINALIZE_APPLICATION_DECOMMISSIONING,
            ),
        ),
    ),
    deadline_seconds=30 * 60,
)

COMPENSATION = Workflow(
    name=WorkflowName.COMPENSATION,
    version=1,
    event_prefix="workflow_compensation",
    phases=(
        Phase(
            job_name="compensation",
            steps=(
                Step.STOP_UNDONE_REQUEST,
                Step.UNDO_EFFECTS,
                Step.VERIFY_NOTHING_LEFT,
                Step.FINALIZE_COMPENSATION,
            ),
        ),
    ),
    deadline_seconds=30 * 60,
)
"""Takes back what one other request made, newest first."""

WORKFLOWS: dict[WorkflowName, Workflow] = {
    workflow.name: workflow
    for workflow in (
        APPLICATION_ONBOARDING,
        APPLICATION_ENVIRONMENT_PROVISIONING,
        SECRET_ROTATION,
        SECRET_REVOCATION,
        APPLICATION_ENVIRONMENT_DECOMMISSIONING,
        APPLICATION_DECOMMISSIONING,
        COMPENSATION,
    )
}


class ProviderEvent(StrEnum):
    """What execution-workers did at a provider: `<integration>_<action>`."""

    GIT_REPOSITORY_CREATED = "git_repository_created"
    GIT_REPOSITORY_ADOPTED = "git_repository_adopted"
    GIT_REPOSITORY_SEEDED = "git_repository_seeded"
    GIT_REPOSITORY_ARCHIVED = "git_repository_archived"
    GIT_BRANCH_PROTECTION_APPLIED = "git_branch_protection_applied"
    GIT_SECRET_BINDINGS_COMMITTED = "git_secret_bindings_committed"
    GIT_SECRET_BINDINGS_UPDATED = "git_secret_bindings_updated"
    GIT_SECRET_BINDINGS_REMOVED = "git_secret_bindings_removed"
    SECRET_STORE_SECRET_WRITTEN = "secret_store_secret_written"
    CREDENTIAL_ISSUER_CREDENTIAL_ISSUED = "credential_issuer_credential_issued"
    CREDENTIAL_ISSUER_CREDENTIAL_VERIFIED = "credential_issuer_credential_verified"
    CREDENTIAL_ISSUER_CREDENTIAL_RETIRED = "credential_issuer_credential_retired"
    CREDENTIAL_ISSUER_CREDENTIALS_ENDED = "credential_issuer_credentials_ended"
    GITOPS_RECONCILIATION_VERIFIED = "gitops_reconciliation_verified"
    GITOPS_CONSUMERS_CONFIRMED = "gitops_consumers_confirmed"


class DomainEvent(StrEnum):
    """What a command changed: `<aggregate>_<action>`."""

    TEAM_CREATED = "team_created"
    TEAM_ACTIVATED = "team_activated"
    TEAM_SUSPENDED = "team_suspended"
    TEAM_RESUMED = "team_resumed"
    TEAM_ARCHIVED = "team_archived"
    TEAM_CHANGED = "team_changed"
    TEAM_LIMITS_CHANGED = "team_limits_changed"
    TEAM_POLICY_CHANGED = "team_policy_changed"
    TEAM_MEMBER_ADDED = "team_member_added"
    TEAM_MEMBER_REMOVED = "team_member_removed"
    ENVIRONMENT_CREATED = "environment_created"
    ENVIRONMENT_ACTIVATED = "environment_activated"
    ENVIRONMENT_FROZEN = "environment_frozen"
    ENVIRONMENT_UNFROZEN = "environment_unfrozen"
    ENVIRONMENT_RETIRED = "environment_retired"
    ENVIRONMENT_CHANGED = "environment_changed"
    APPLICATION_CREATED = "application_created"
    APPLICATION_APPROVED = "application_approved"
    APPLICATION_REJECTED = "application_rejected"
    APPLICATION_CHANGED = "application_changed"
    APPLICATION_DEPRECATED = "application_deprecated"
    APPLICATION_DECOMMISSIONING_REQUESTED = "application_decommissioning_requested"
    APPLICATION_ENVIRONMENT_DECLARED = "application_environment_declared"
    APPLICATION_ENVIRONMENT_PROVISIONING_REQUESTED = (
        "application_environment_provisioning_requested"
    )
    APPLICATION_ENVIRONMENT_PROVISIONING_REFUSED = "application_environment_provisioning_refused"
    """Onboarding was to ask for it, and by then a rule stood against it."""
    APPLICATION_ENVIRONMENT_FROZEN = "application_environment_frozen"
    APPLICATION_ENVIRONMENT_UNFROZEN = "application_environment_unfrozen"
    APPLICATION_ENVIRONMENT_DECOMMISSIONING_REQUESTED = (
        "application_environment_decommissioning_requested"
    )
    APPLICATION_ENVIRONMENT_DRIFTED = "application_environment_drifted"
    APPLICATION_ENVIRONMENT_RESTORED = "application_environment_restored"
    SECRET_ROTATION_STARTED = "secret_rotation_started"
    SECRET_REVOCATION_STARTED = "secret_revocation_started"
    SECRET_ROTATION_POLICY_CHANGED = "secret_rotation_policy_changed"
    SECRET_EXPIRING = "secret_expiring"
    SECRET_COMPROMISED = "secret_compromised"
    SECRET_SUSPENDED = "secret_suspended"
    SECRET_RESUMED = "secret_resumed"
    SECRET_ARCHIVED = "secret_archived"
    SECRET_BINDING_SUSPENDED = "secret_binding_suspended"
    SECRET_BINDING_RESUMED = "secret_binding_resumed"
    SECRET_LOGIN_ISSUED = "secret_login_issued"
    SECRET_OVERDUE = "secret_overdue"
    SECRET_WITHIN_POLICY = "secret_within_policy"
    PLATFORM_ADMIN_REMOVED = "platform_admin_removed"
    TOKEN_CREATED = "token_created"
    TOKEN_REVOKED = "token_revoked"
    WORKFLOW_REQUEST_CANCELLATION_REQUESTED = "workflow_request_cancellation_requested"
    WORKFLOW_REQUEST_RETRIED = "workflow_request_retried"
    WORKFLOW_REQUEST_UNDO_REQUESTED = "workflow_request_undo_requested"
    WORKFLOW_REQUEST_UNDO_REFUSED = "workflow_request_undo_refused"
    """The team's policy was to ask for it, and there was nothing to undo, or a rule against it."""


def event_names() -> frozenset[str]:
    """Every name that `domain_events_total{event=…}` may carry."""
    ends = {
        name for flow in WORKFLOWS.values() for name in (flow.completed_event, flow.failed_event)
    }
    return frozenset(ends | set(ProviderEvent) | set(DomainEvent))


def event_result(event: str) -> str:
    """The `result` label of an event: `error` for `…_failed` only."""
    return "error" if event.endswith("_failed") else "success"
