"""Plain stand-ins for the engine's ports; each notes what it was told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from idp_dagster.ports import CallPermit
from idp_kernel.errors import PlatformError
from idp_kernel.ids import new_id
from idp_kernel.wire.engine import (
    AppEnvDesiredState,
    Claim,
    LostRun,
    Offer,
    Offers,
    RunReport,
    StepError,
    StepResult,
)
from idp_kernel.wire.worker import (
    AppEnvSubject,
    CreateSecretBindings,
    DownstreamError,
    EffectKind,
    EnsureRepositories,
    GitOpsState,
    GitOpsVerdict,
    ItemEffect,
    ProtectBranches,
    ProvisionSecrets,
    RepositoryWanted,
    SecretPurpose,
    SecretSensitivity,
    SecretWanted,
    StepEffects,
    VerifyGitOps,
    appenv_repository_name,
)
from idp_kernel.workflows import ProviderEvent, Step, WorkflowName

REVISION = "0123456789abcdef0123456789abcdef01234567"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def desired_state() -> AppEnvDesiredState:
    """One secret, bound."""
    appenv_id, secret_id = new_id(), new_id()
    return AppEnvDesiredState(
        subject=AppEnvSubject(
            application_environment_id=appenv_id,
            team="payments",
            application="checkout",
            environment="dev",
        ),
        repository=RepositoryWanted(
            repository_id=new_id(), owner="payments", name=appenv_repository_name(appenv_id)
        ),
        required_approvals=2,
        secrets=(
            SecretWanted(
                secret_id=secret_id,
                name="app-key",
                purpose=SecretPurpose.RUNTIME,
                sensitivity=SecretSensitivity.HIGH,
            ),
        ),
        binding_ids={secret_id: new_id()},
    )


def claim(
    *,
    outcomes: Mapping[Step, StepResult] | None = None,
    heartbeat_seconds: float = 60.0,
    lease: timedelta = timedelta(seconds=60),
    deadline: timedelta = timedelta(minutes=30),
) -> Claim:
    now = datetime.now(UTC)
    wanted = desired_state()
    return Claim(
        request_id=new_id(),
        workflow=WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING,
        run_id="run-1",
        attempt=1,
        phase=1,
        generation=3,
        fence=1,
        run_token="run-token-1",
        lease_expires_at=now + lease,
        heartbeat_seconds=heartbeat_seconds,
        deadline_at=now + deadline,
        team_id=new_id(),
        application_id=new_id(),
        application_environment_id=wanted.subject.application_environment_id,
        desired_state=wanted,
        outcomes=dict(outcomes or {}),
        traceparent=TRACEPARENT,
    )


def offer(attempt: int = 1) -> Offer:
    return Offer(
        request_id=new_id(),
        attempt=attempt,
        phase=1,
        workflow=WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING,
        team_id=new_id(),
        application_id=new_id(),
        application_environment_id=new_id(),
        traceparent=TRACEPARENT,
    )


class FakeControlPlane:
    """Holds a claim and never loses it."""

    def __init__(self, held: Claim | None = None) -> None:
        self.claim = held or claim()
        self.traceparent: str | None = TRACEPARENT
        self.started: list[tuple[Step, int]] = []
        self.downstream: list[DownstreamError] = []
        self.own: dict[Step, StepResult] = {}
        self.told: list[tuple[Step, StepError | None]] = []
        self.waits: list[tuple[str, float]] = []
        self.finalized: dict[Step, StepResult] | None = None
        self.cannot_be_told = False

    @property
    def outcomes(self) -> Mapping[Step, StepResult]:
        return {**self.claim.outcomes, **self.own}

    def permit(self, step: Step) -> CallPermit:
        return CallPermit("run-token", f"{self.claim.request_id}/{self.claim.generation}/{step}")

    def step_started(self, step: Step, retry_number: int) -> None:
        self.started.append((step, retry_number))

    def met(self, step: Step, error: DownstreamError) -> None:
        self.downstream.append(error)

    def achieved(self, step: Step, result: StepResult) -> None:
        self.own[step] = result

    def tell(self, step: Step, error: StepError | None) -> None:
        if self.cannot_be_told:
            raise RuntimeError("nobody listens")
        if error is not None or step in self.own:
            self.told.append((step, error))

    def wait(self, reason: str, seconds: float) -> None:
        self.waits.append((reason, seconds))

    def finalize(self) -> None:
        self.finalized = dict(self.outcomes)


@dataclass
class FakeWorkers:
    """Git provider and provisioning provider in one; succeeds unless told otherwise."""

    errors: dict[Step, list[PlatformError | BaseException]] = field(default_factory=dict)
    """What the next calls of a step raise, in order."""
    before: dict[Step, Callable[[int], None]] = field(default_factory=dict)
    """Called with the number of the call, from 1."""
    verdicts: list[GitOpsState] = field(default_factory=list)
    calls: list[tuple[Step, object, CallPermit]] = field(default_factory=list)

    def ensure_repositories(self, body: EnsureRepositories, permit: CallPermit) -> StepEffects:
        self._called(Step.MATERIALIZE_REPOSITORIES, body, permit)
        repository = body.repositories[0]
        return effects(
            f"repository/{repository.repository_id}",
            ProviderEvent.GIT_REPOSITORY_CREATED,
            url="http://forge/it",
        )

    def protect_branches(self, body: ProtectBranches, permit: CallPermit) -> StepEffects:
        self._called(Step.APPLY_BRANCH_PROTECTION, body, permit)
        return effects("protection/1", ProviderEvent.GIT_BRANCH_PROTECTION_APPLIED, branch="main")

    def provision_secrets(self, body: ProvisionSecrets, permit: CallPermit) -> StepEffects:
        self._called(Step.PROVISION_SECRETS, body, permit)
        return effects(
            f"secret/{body.secrets[0].secret_id}",
            ProviderEvent.SECRET_STORE_SECRET_WRITTEN,
            storePath="payments/app-key",
            version=7,
        )

    def create_secret_bindings(self, body: CreateSecretBindings, permit: CallPermit) -> StepEffects:
        self._called(Step.CREATE_SECRET_BINDINGS, body, permit)
        return effects("bindings/1", ProviderEvent.GIT_SECRET_BINDINGS_COMMITTED, revision=REVISION)

    def verify_gitops(self, body: VerifyGitOps, permit: CallPermit) -> GitOpsVerdict:
        self._called(Step.VERIFY_GITOPS_RECONCILIATION, body, permit)
        state = self.verdicts.pop(0) if self.verdicts else GitOpsState.RECONCILED
        return GitOpsVerdict(
            state=state,
            expected_revision=body.revision,
            observed_revision=body.revision,
            message="ExternalSecret/app-key: no such key.",
            events=(ProviderEvent.GITOPS_RECONCILIATION_VERIFIED,),
        )

    def steps_called(self) -> list[Step]:
        return [step for step, _, _ in self.calls]

    def _called(self, step: Step, body: object, permit: CallPermit) -> None:
        self.calls.append((step, body, permit))
        if step in self.before:
            self.before[step](self.steps_called().count(step))
        if self.errors.get(step):
            raise self.errors[step].pop(0)


def effects(item: str, event: ProviderEvent, **references: str | int) -> StepEffects:
    return StepEffects(
        items=(ItemEffect(item=item, effect=EffectKind.CREATED, references=references),),
        events=(event,),
    )


@dataclass
class FakeWorkflowRequests:
    """Offers what it is given, notes reports."""

    offered: Offers = field(default_factory=lambda: Offers(offers=()))
    lost: tuple[LostRun, ...] = ()
    reports: list[RunReport] = field(default_factory=list)
    error: PlatformError | None = None
    refused: dict[str, PlatformError] = field(default_factory=dict)
    """What a report on a request is answered with."""

    def offers(self) -> Offers:
        self._fail()
        return self.offered

    def lost_runs(self) -> tuple[LostRun, ...]:
        self._fail()
        return self.lost

    def report(self, report: RunReport) -> None:
        self._fail()
        if report.request_id in self.refused:
            raise self.refused[report.request_id]
        self.reports.append(report)

    def _fail(self) -> None:
        if self.error is not None:
            raise self.error
