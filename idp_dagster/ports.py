"""What ops, hooks and sensors need of the outside; tests pass plain fakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from idp_kernel.wire.base import WireModel
from idp_kernel.wire.engine import (
    AppEnvAsset,
    AssetCheckName,
    Claim,
    DueRotations,
    LostRun,
    Offers,
    RotationCause,
    RotationRequested,
    RunReport,
    SecretAsset,
    StepError,
    StepResult,
)
from idp_kernel.wire.worker import (
    AppEnvExpected,
    ArchiveRepositories,
    ConsumersVerdict,
    CreateSecretBindings,
    CredentialVerdict,
    DownstreamError,
    EndCredentials,
    EnsureRepositories,
    Finding,
    Findings,
    GitOpsVerdict,
    IssueCredential,
    ObserveConsumers,
    ProtectBranches,
    ProvisionSecrets,
    RemoveSecretBindings,
    RetireCredential,
    SecretExpected,
    SeedRepositories,
    StepEffects,
    UpdateSecretBindings,
    VerifyCredential,
    VerifyGitOps,
    VerifySecretEnded,
    VerifyUndone,
)
from idp_kernel.workflows import Step, WaitingReason


@dataclass(frozen=True)
class CallPermit:
    """Leave to make one outward call now; a run whose claim is over gets none."""

    run_token: str
    idempotency_key: str
    """`<request id>/<generation>/<step>`, of an undo with `/undo` behind it."""


class ControlPlane(Protocol):
    """The request that this run has claimed."""

    @property
    def claim(self) -> Claim:
        """What the control plane answered to the claim."""
        ...

    @property
    def outcomes(self) -> Mapping[Step, StepResult]:
        """What earlier attempts and this run have achieved; this run's word counts."""
        ...

    @property
    def traceparent(self) -> str | None:
        """The run's span."""
        ...

    def permit(self, step: Step) -> CallPermit:
        """Leave for one call; raises `Conflict` with code `claim_closed` when the claim is over."""
        ...

    def undo_permit(self, undone: Step) -> CallPermit:
        """Leave for one call that undoes a step of the request that this one is to undo; raises as
        `permit` does.
        """
        ...

    def step_started(self, step: Step, retry_number: int) -> None:
        """Tells that a step begins; retry 0 is the first try."""
        ...

    def met(self, step: Step, error: DownstreamError) -> None:
        """Notes a downstream error, told with the step's outcome even if a repeat succeeds."""
        ...

    def achieved(self, step: Step, result: StepResult) -> None:
        """Notes what a step achieved; `tell` and `finalize` send it."""
        ...

    def tell(self, step: Step, error: StepError | None) -> None:
        """Sends how a step ended. Says nothing once the claim is over, nor for a step that
        neither achieved anything nor failed (it asked to wait).
        """
        ...

    def wait(self, reason: WaitingReason, seconds: float, *, seen: str) -> None:
        """Ends the claim: the request waits and is offered again in the same phase; `seen` is what
        was seen last, in words.
        """
        ...

    def end_phase(self) -> None:
        """Ends the claim and its phase with success, and sends every outcome, told before or not;
        the request's next phase is another run.
        """
        ...

    def finalize(self) -> None:
        """Ends the claim with success, and sends every outcome, told before or not."""
        ...

    def await_approval(self) -> bool:
        """Whether the claim ended: the request waits until somebody approves its application, and
        is then offered again in the same phase. Raises `Conflict` (`approval_not_given`) when
        nobody did so for too long.
        """
        ...

    def declare_environments(self) -> Mapping[str, str]:
        """Lets the onboarding's environments begin to exist; environment slug to application
        environment id. Repeating it answers the same ids.
        """
        ...

    def link(self, path: str) -> str:
        """Where the control plane's API shows what is at `path`."""
        ...


class GitProvider(Protocol):
    """The Git forge, through execution-workers. Errors are those of `ServiceClient.call`."""

    def ensure_repositories(self, body: EnsureRepositories, permit: CallPermit) -> StepEffects:
        """Creates or adopts the repositories."""
        ...

    def validate_repositories(self, body: EnsureRepositories, permit: CallPermit) -> Findings:
        """Whether each name is free or ours."""
        ...

    def seed_repositories(self, body: SeedRepositories, permit: CallPermit) -> StepEffects:
        """Commits each repository's first files."""
        ...

    def protect_repositories(self, body: ProtectBranches, permit: CallPermit) -> StepEffects:
        """Protects the default branches of an application's repositories."""
        ...


class AppEnvProvisioningProvider(Protocol):
    """What an environment needs beside its repository, through execution-workers."""

    def protect_branches(self, body: ProtectBranches, permit: CallPermit) -> StepEffects:
        """Protects the default branches."""
        ...

    def provision_secrets(self, body: ProvisionSecrets, permit: CallPermit) -> StepEffects:
        """Lets values be born in the store; answers where and which version."""
        ...

    def create_secret_bindings(self, body: CreateSecretBindings, permit: CallPermit) -> StepEffects:
        """Commits the bindings; answers the revision."""
        ...

    def verify_gitops(self, body: VerifyGitOps, permit: CallPermit) -> GitOpsVerdict:
        """What the GitOps agent shows just now."""
        ...


class SecretRotationProvider(Protocol):
    """Store, issuer and bindings of a secret, through execution-workers."""

    def validate_rotation(self, body: IssueCredential, permit: CallPermit) -> Findings:
        """Whether a new credential could be issued now."""
        ...

    def issue(self, body: IssueCredential, permit: CallPermit) -> StepEffects:
        """Makes a credential beside the one in use; answers its version."""
        ...

    def verify(self, body: VerifyCredential, permit: CallPermit) -> CredentialVerdict:
        """Uses the new credential once."""
        ...

    def update_bindings(self, body: UpdateSecretBindings, permit: CallPermit) -> StepEffects:
        """Pins the new version in each binding; answers the revisions."""
        ...

    def consumers(self, body: ObserveConsumers, permit: CallPermit) -> ConsumersVerdict:
        """Who uses which version just now."""
        ...

    def retire(self, body: RetireCredential, permit: CallPermit) -> StepEffects:
        """Ends every credential but the one in use. Nothing undoes it."""
        ...


class EndingProvider(Protocol):
    """Ends secrets and repositories for good, through execution-workers. Nothing undoes it."""

    def remove_bindings(self, body: RemoveSecretBindings, permit: CallPermit) -> StepEffects:
        """Commits the removal of a secret's manifests; answers the revisions."""
        ...

    def end(self, body: EndCredentials, permit: CallPermit) -> StepEffects:
        """Ends a secret's logins and destroys its values."""
        ...

    def look(self, body: VerifySecretEnded, permit: CallPermit) -> Findings:
        """What is there of a secret just now: its own finding, then one for each binding."""
        ...

    def archive(self, body: ArchiveRepositories, permit: CallPermit) -> StepEffects:
        """Makes repositories read-only for everybody, with all that they have."""
        ...

    def look_at_archived(self, body: ArchiveRepositories, permit: CallPermit) -> Findings:
        """Whether each is archived or gone, and no agent has it."""
        ...


class UndoProvider(Protocol):
    """Takes back what steps of another request did, through execution-workers.

    An undo takes the body of what it undoes. Repeating it answers `absent` for what is gone.
    """

    def stop(self, permit: CallPermit) -> None:
        """Returns when nothing works for the undone request any more, and nothing can again."""
        ...

    def undo(self, step: Step, body: WireModel, permit: CallPermit) -> StepEffects:
        """Undoes the step's items, the newest first."""
        ...

    def verify(self, body: VerifyUndone, permit: CallPermit) -> Findings:
        """Whether the providers have no more what was undone."""
        ...


class WorkflowRequests(Protocol):
    """The control plane as sensors see it."""

    def offers(self) -> Offers:
        """Waits up to `WAIT_SECONDS` for work and answers what there is."""
        ...

    def lost_runs(self) -> tuple[LostRun, ...]:
        """Runs to be ended here, since their requests were taken from them; waits up to
        `LONG_WAIT_SECONDS` for one.
        """
        ...

    def report(self, report: RunReport) -> None:
        """Tells how a run ended; repeating it changes nothing."""
        ...


class RunNews(Protocol):
    """What Dagster's storage tells of runs."""

    def wait(self) -> bool:
        """Waits up to `LONG_WAIT_SECONDS` for a run to end; answers whether one has."""
        ...


class Rotations(Protocol):
    """The control plane as schedule and sensor of rotations see it."""

    def enqueue_due(self, scheduled_at: datetime) -> DueRotations:
        """Has what is due at that scheduled time rotated; repeating it enqueues nothing more."""
        ...

    def causes(self) -> tuple[RotationCause, ...]:
        """Events that ask for a rotation and that nobody has acted on, oldest first; waits up to
        `LONG_WAIT_SECONDS` for one.
        """
        ...

    def request(self, cause: RotationCause) -> RotationRequested:
        """Acts on a cause; repeating it answers the same request."""
        ...


class RunWatch(Protocol):
    """Ends the step at work when somebody terminates the run, and says from time to time that the
    run is at work; does so for any run whose ops ask for it. A run that holds a request does both
    with its lease.
    """


class AssetRegistry(Protocol):
    """The control plane's list of what the asset catalog shows, and keeper of what was found."""

    def application_environments(self) -> tuple[AppEnvAsset, ...]:
        """All of them, by id."""
        ...

    def secrets(self) -> tuple[SecretAsset, ...]:
        """All of them, by id."""
        ...

    def keep_findings(
        self, check: AssetCheckName, read_at: datetime, findings: Sequence[Finding]
    ) -> frozenset[str]:
        """Keeps what a check found that began to read the list at `read_at`; a change becomes a
        domain event there. Answers what it left out, since a request is or was at work on it: of
        that the check has nothing to show.
        """
        ...

    def link(self, path: str) -> str:
        """Where the control plane's API shows what is at `path`."""
        ...


class Probes(Protocol):
    """Looks at the providers, through execution-workers; they change nothing.

    One finding for each thing, in order, of up to `CHECKS_PER_CALL` things. A provider that is
    away is `Unavailable`.
    """

    def repository_protected(self, expected: Sequence[AppEnvExpected]) -> Findings: ...

    def bindings_present(self, expected: Sequence[AppEnvExpected]) -> Findings: ...

    def gitops_reconciled(self, expected: Sequence[AppEnvExpected]) -> Findings: ...

    def secret_within_policy(self, expected: Sequence[SecretExpected]) -> Findings: ...


@dataclass(frozen=True)
class Retention:
    """How long Dagster's storage keeps what has ended."""

    runs: timedelta
    """Runs of workflows, and whatever else a person started."""
    frequent: timedelta
    """Runs of the jobs that begin by the clock, and results of checks."""


class Housekeeping(Protocol):
    """What housekeeping is told."""

    @property
    def retention(self) -> Retention: ...
