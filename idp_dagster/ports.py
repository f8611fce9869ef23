"""What ops, hooks and sensors need of the outside; tests pass plain fakes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from idp_kernel.wire.engine import (
    Claim,
    LostRun,
    Offers,
    RunReport,
    StepError,
    StepResult,
)
from idp_kernel.wire.worker import (
    CreateSecretBindings,
    DownstreamError,
    EnsureRepositories,
    GitOpsVerdict,
    ProtectBranches,
    ProvisionSecrets,
    StepEffects,
    VerifyGitOps,
)
from idp_kernel.workflows import Step


@dataclass(frozen=True)
class CallPermit:
    """Leave to make one outward call now; a run whose claim is over gets none."""

    run_token: str
    idempotency_key: str
    """`<request id>/<generation>/<step>`."""


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

    def wait(self, reason: str, seconds: float) -> None:
        """Ends the claim: the request waits and is offered again in the same phase."""
        ...

    def finalize(self) -> None:
        """Ends the claim with success, and sends every outcome, told before or not."""
        ...


class GitProvider(Protocol):
    """The Git forge, through execution-workers. Errors are those of `ServiceClient.call`."""

    def ensure_repositories(self, body: EnsureRepositories, permit: CallPermit) -> StepEffects:
        """Creates or adopts the repositories."""
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


class WorkflowRequests(Protocol):
    """The control plane as sensors see it."""

    def offers(self) -> Offers:
        """Waits up to `OFFERS_WAIT_SECONDS` for work and answers what there is."""
        ...

    def lost_runs(self) -> tuple[LostRun, ...]:
        """Runs to be ended here, since their requests were taken from them."""
        ...

    def report(self, report: RunReport) -> None:
        """Tells how a run ended; repeating it changes nothing."""
        ...
