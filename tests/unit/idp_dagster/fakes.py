"""Plain stand-ins for the engine's ports; each notes what it was told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from idp_dagster.ports import CallPermit
from idp_kernel.errors import Conflict, PlatformError
from idp_kernel.ids import new_id
from idp_kernel.wire.engine import (
    AppEnvAsset,
    AppEnvDecommissioningDesiredState,
    AppEnvDesiredState,
    ApplicationDecommissioningDesiredState,
    AssetCheckName,
    Claim,
    CompensationDesiredState,
    DeclaredEnvironment,
    DesiredState,
    DueRotations,
    LostRun,
    Offer,
    Offers,
    OnboardingDesiredState,
    RevocationDesiredState,
    RotationCause,
    RotationDesiredState,
    RotationRequested,
    RunReport,
    SecretAsset,
    StepError,
    StepResult,
    UndoneDesiredState,
    UndonePermit,
    UndoneStep,
)
from idp_kernel.wire.worker import (
    CHECKS_PER_CALL,
    AppEnvExpected,
    AppEnvSubject,
    ApplicationSubject,
    ArchiveRepositories,
    BindingTarget,
    ConsumersState,
    ConsumersVerdict,
    CreateSecretBindings,
    CredentialVerdict,
    DownstreamError,
    EffectKind,
    EndCredentials,
    EnsureRepositories,
    Finding,
    Findings,
    GitOpsState,
    GitOpsVerdict,
    IssueCredential,
    ItemEffect,
    ObserveConsumers,
    ProtectBranches,
    ProvisionSecrets,
    RemoveSecretBindings,
    RepositoryKind,
    RepositoryWanted,
    RetireCredential,
    RotatedSecret,
    SecretExpected,
    SecretPurpose,
    SecretSensitivity,
    SecretWanted,
    SeedRepositories,
    StepEffects,
    UpdateSecretBindings,
    VerifyCredential,
    VerifyGitOps,
    VerifySecretEnded,
    VerifyUndone,
    appenv_repository_name,
)
from idp_kernel.workflows import (
    UNDOABLE_STEPS,
    WORKFLOWS,
    ProviderEvent,
    Step,
    WaitingReason,
    WorkflowName,
)

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


def onboarding_state() -> OnboardingDesiredState:
    """Two environments declared, one of them to be provisioned."""
    return OnboardingDesiredState(
        subject=ApplicationSubject(
            application_id=new_id(), team="payments", application="checkout"
        ),
        description="Takes the money.",
        code_repository=_repository(RepositoryKind.CODE, "checkout"),
        deployment_repository=_repository(RepositoryKind.DEPLOYMENT, "checkout-deploy"),
        required_approvals=1,
        environments=tuple(
            DeclaredEnvironment(environment=name, provision=name == "dev", secrets=())
            for name in ("dev", "prod")
        ),
    )


def _repository(kind: RepositoryKind, name: str) -> RepositoryWanted:
    return RepositoryWanted(repository_id=new_id(), kind=kind, owner="payments", name=name)


def rotation_state(*, emergency: bool = False) -> RotationDesiredState:
    """One secret, bound in one environment."""
    environment = desired_state()
    (secret,) = environment.secrets
    return RotationDesiredState(
        subject=environment.subject,
        secret=secret,
        store_path="payments/app-key",
        bindings=(
            BindingTarget(
                binding_id=environment.binding_ids[secret.secret_id],
                name=secret.name,
                subject=environment.subject,
                repository=environment.repository,
            ),
        ),
        grace_seconds=0 if emergency else 3600,
        emergency=emergency,
    )


def revocation_state() -> RevocationDesiredState:
    """The end of the secret that `rotation_state` has."""
    rotated = rotation_state()
    secret = RotatedSecret(
        subject=rotated.subject,
        secret=rotated.secret,
        store_path=rotated.store_path,
        bindings=rotated.bindings,
    )
    return RevocationDesiredState(subject=rotated.subject, secrets=(secret,), suspended=())


def decommissioning_state() -> AppEnvDecommissioningDesiredState:
    """The end of an environment with the secret that `revocation_state` has."""
    revocation = revocation_state()
    (secret,) = revocation.secrets
    return AppEnvDecommissioningDesiredState(
        subject=revocation.subject,
        repository=secret.bindings[0].repository,
        secrets=revocation.secrets,
        suspended=(),
    )


def application_end_state() -> ApplicationDecommissioningDesiredState:
    """The end of an application that had the environment of `decommissioning_state`."""
    onboarding, environment = onboarding_state(), decommissioning_state()
    return ApplicationDecommissioningDesiredState(
        subject=onboarding.subject,
        repositories=(*onboarding.repositories, environment.repository),
        ended_secrets=environment.secrets,
    )


def compensation_state(undone: UndoneDesiredState | None = None) -> CompensationDesiredState:
    """The undo of a provisioning, or an onboarding, of which every step told."""
    wanted = undone or desired_state()
    workflow = WORKFLOWS[WORKFLOW_OF[type(wanted)]]
    steps = [step for step in reversed(workflow.steps) if step in UNDOABLE_STEPS]
    results = {step: StepResult() for step in steps}
    if isinstance(wanted, AppEnvDesiredState):
        results[Step.PROVISION_SECRETS] = StepResult(
            items=tuple(
                ItemEffect(
                    item=f"secret/{each.secret_id}",
                    effect=EffectKind.CREATED,
                    references={"storePath": "payments/app-key", "version": 7},
                )
                for each in wanted.secrets
            )
        )
    return CompensationDesiredState(
        undone_request_id=new_id(),
        undone=wanted,
        steps=tuple(UndoneStep(step=step, result=results[step]) for step in steps),
    )


WORKFLOW_OF: dict[type[DesiredState], WorkflowName] = {
    OnboardingDesiredState: WorkflowName.APPLICATION_ONBOARDING,
    AppEnvDesiredState: WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING,
    RotationDesiredState: WorkflowName.SECRET_ROTATION,
    RevocationDesiredState: WorkflowName.SECRET_REVOCATION,
    AppEnvDecommissioningDesiredState: WorkflowName.APPLICATION_ENVIRONMENT_DECOMMISSIONING,
    ApplicationDecommissioningDesiredState: WorkflowName.APPLICATION_DECOMMISSIONING,
    CompensationDesiredState: WorkflowName.COMPENSATION,
}


def claim(
    *,
    wanted: DesiredState | None = None,
    phase: int = 1,
    outcomes: Mapping[Step, StepResult] | None = None,
    heartbeat_seconds: float = 60.0,
    lease: timedelta = timedelta(seconds=60),
    deadline: timedelta = timedelta(minutes=30),
) -> Claim:
    now = datetime.now(UTC)
    wanted = wanted or desired_state()
    return Claim(
        request_id=new_id(),
        workflow=WORKFLOW_OF[type(wanted)],
        run_id="run-1",
        attempt=1,
        phase=phase,
        generation=3,
        fence=1,
        run_token="run-token-1",
        lease_expires_at=now + lease,
        heartbeat_seconds=heartbeat_seconds,
        deadline_at=now + deadline,
        team_id=new_id(),
        application_id=new_id(),
        application_environment_id=getattr(wanted.subject, "application_environment_id", None),
        secret_id=_secret_id(wanted),
        desired_state=wanted,
        undone=UndonePermit(
            request_id=wanted.undone_request_id, generation=5, run_token="undo-token"
        )
        if isinstance(wanted, CompensationDesiredState)
        else None,
        outcomes=dict(outcomes or {}),
        traceparent=TRACEPARENT,
    )


def _secret_id(wanted: DesiredState) -> str | None:
    if isinstance(wanted, RotationDesiredState):
        return wanted.secret.secret_id
    if isinstance(wanted, RevocationDesiredState):
        return wanted.secrets[0].secret.secret_id
    return None


def offer(
    attempt: int = 1,
    *,
    workflow: WorkflowName = WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING,
    phase: int = 1,
) -> Offer:
    return Offer(
        request_id=new_id(),
        attempt=attempt,
        phase=phase,
        workflow=workflow,
        team_id=new_id(),
        application_id=new_id(),
        application_environment_id=new_id(),
        pending_since=datetime.now(UTC),
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
        self.refuses_wait: Conflict | None = None
        self.is_proposed = False
        """Whether the application is to be approved."""
        self.seen: list[str] = []
        """What each wait tells."""
        self.ended: dict[Step, StepResult] | None = None
        """What the end of the phase was told with."""
        self.finalized: dict[Step, StepResult] | None = None
        self.declared = {"dev": new_id(), "prod": new_id()}
        self.errors: dict[Step, list[PlatformError]] = {}
        """What the next calls to the control plane itself raise, by step."""
        self.cannot_be_told = False

    @property
    def outcomes(self) -> Mapping[Step, StepResult]:
        return {**self.claim.outcomes, **self.own}

    def permit(self, step: Step) -> CallPermit:
        return CallPermit("run-token", f"{self.claim.request_id}/{self.claim.generation}/{step}")

    def undo_permit(self, undone: Step) -> CallPermit:
        permit = self.claim.undone
        assert permit is not None
        key = f"{permit.request_id}/{permit.generation}/{undone}/undo"
        return CallPermit(permit.run_token, key)

    def step_started(self, step: Step, retry_number: int) -> None:
        self.started.append((step, retry_number))

    def met(self, step: Step, error: DownstreamError) -> None:
        self.downstream.append(error)

    def achieved(self, step: Step, result: StepResult) -> None:
        self.own[step] = result

    def tell(self, step: Step, error: StepError | None) -> None:
        if self.cannot_be_told:
            raise RuntimeError("nobody listens")
        if self.waits or self.ended is not None or self.finalized is not None:
            return
        if error is not None or step in self.own:
            self.told.append((step, error))

    def wait(self, reason: WaitingReason, seconds: float, *, seen: str) -> None:
        if self.refuses_wait is not None:
            raise self.refuses_wait
        self.waits.append((reason, seconds))
        self.seen.append(seen)

    def end_phase(self) -> None:
        self._called()
        self.ended = dict(self.outcomes)

    def finalize(self) -> None:
        self._called()
        self.finalized = dict(self.outcomes)

    def await_approval(self) -> bool:
        self._called()
        if self.is_proposed:
            self.waits.append((WaitingReason.APPROVAL_PENDING, 0))
        return self.is_proposed

    def declare_environments(self) -> Mapping[str, str]:
        self._called()
        return self.declared

    def link(self, path: str) -> str:
        return f"http://api{path}"

    def _called(self) -> None:
        step, _ = self.started[-1]
        if self.errors.get(step):
            raise self.errors[step].pop(0)


@dataclass
class FakeWorkers:
    """Every provider in one; succeeds unless told otherwise."""

    errors: dict[Step, list[PlatformError | BaseException]] = field(default_factory=dict)
    """What the next calls of a step raise, in order."""
    before: dict[Step, Callable[[int], None]] = field(default_factory=dict)
    """Called with the number of the call, from 1."""
    verdicts: list[GitOpsState] = field(default_factory=list)
    consumers_seen: list[ConsumersState] = field(default_factory=list)
    refuted: bool = False
    """Whether validations find what speaks against."""
    works: bool = True
    """Whether a new credential does."""
    calls: list[tuple[Step, object, CallPermit]] = field(default_factory=list)
    undone: list[tuple[Step, object, CallPermit]] = field(default_factory=list)
    """What was undone, of which step."""
    kept: set[str] = field(default_factory=set)
    """Items that an undo leaves."""
    still_seen: int = 0
    """How often a look still finds what was undone, or ended."""

    def stop(self, permit: CallPermit) -> None:
        self._of_undo(Step.STOP_UNDONE_REQUEST, None, permit)

    def undo(self, step: Step, body: object, permit: CallPermit) -> StepEffects:
        self._of_undo(Step.UNDO_EFFECTS, body, permit)
        self.undone.append((step, body, permit))
        return StepEffects(items=tuple(self._gone(each) for each in _items_of(body)))

    def verify(
        self, body: VerifyCredential | VerifyUndone, permit: CallPermit
    ) -> CredentialVerdict | Findings:
        self._called(body, permit)
        if isinstance(body, VerifyCredential):
            event = ProviderEvent.CREDENTIAL_ISSUER_CREDENTIAL_VERIFIED
            return CredentialVerdict(works=self.works, message="Login failed.", events=(event,))
        is_seen = self.still_seen > 0
        self.still_seen -= 1
        ids = [each.repository_id for each in body.repositories]
        return Findings(
            items=tuple(
                Finding(id=each, passed=not is_seen, expected="nobody has it", found="it is there")
                for each in ids
            )
        )

    def _gone(self, item: str) -> ItemEffect:
        effect = EffectKind.KEPT if item in self.kept else EffectKind.UNDONE
        return ItemEffect(item=item, effect=effect)

    def _of_undo(self, step: Step, body: object, permit: CallPermit) -> None:
        self.calls.append((step, body, permit))
        if self.errors.get(step):
            raise self.errors[step].pop(0)

    def validate_repositories(self, body: EnsureRepositories, permit: CallPermit) -> Findings:
        self._called(body, permit)
        return self._findings([each.repository_id for each in body.repositories])

    def ensure_repositories(self, body: EnsureRepositories, permit: CallPermit) -> StepEffects:
        self._called(body, permit)
        repository = body.repositories[0]
        return effects(
            f"repository/{repository.repository_id}",
            ProviderEvent.GIT_REPOSITORY_CREATED,
            url="http://forge/it",
        )

    def seed_repositories(self, body: SeedRepositories, permit: CallPermit) -> StepEffects:
        self._called(body, permit)
        return effects("seed/1", ProviderEvent.GIT_REPOSITORY_SEEDED, revision=REVISION)

    def protect_repositories(self, body: ProtectBranches, permit: CallPermit) -> StepEffects:
        self._called(body, permit)
        return effects("protection/1", ProviderEvent.GIT_BRANCH_PROTECTION_APPLIED, branch="main")

    def protect_branches(self, body: ProtectBranches, permit: CallPermit) -> StepEffects:
        self._called(body, permit)
        return effects("protection/1", ProviderEvent.GIT_BRANCH_PROTECTION_APPLIED, branch="main")

    def provision_secrets(self, body: ProvisionSecrets, permit: CallPermit) -> StepEffects:
        self._called(body, permit)
        return effects(
            f"secret/{body.secrets[0].secret_id}",
            ProviderEvent.SECRET_STORE_SECRET_WRITTEN,
            storePath="payments/app-key",
            version=7,
        )

    def create_secret_bindings(self, body: CreateSecretBindings, permit: CallPermit) -> StepEffects:
        self._called(body, permit)
        return effects("bindings/1", ProviderEvent.GIT_SECRET_BINDINGS_COMMITTED, revision=REVISION)

    def verify_gitops(self, body: VerifyGitOps, permit: CallPermit) -> GitOpsVerdict:
        self._called(body, permit)
        state = self.verdicts.pop(0) if self.verdicts else GitOpsState.RECONCILED
        return GitOpsVerdict(
            state=state,
            expected_revision=body.revision,
            observed_revision=body.revision,
            message="ExternalSecret/app-key: no such key.",
            events=(ProviderEvent.GITOPS_RECONCILIATION_VERIFIED,),
        )

    def validate_rotation(self, body: IssueCredential, permit: CallPermit) -> Findings:
        self._called(body, permit)
        return self._findings([body.secret.secret_id])

    def issue(self, body: IssueCredential, permit: CallPermit) -> StepEffects:
        self._called(body, permit)
        return effects(
            f"credential/{body.secret.secret_id}",
            ProviderEvent.CREDENTIAL_ISSUER_CREDENTIAL_ISSUED,
            storePath=body.store_path,
            version=8,
            replacesVersion=7,
        )

    def update_bindings(self, body: UpdateSecretBindings, permit: CallPermit) -> StepEffects:
        self._called(body, permit)
        return effects(
            f"binding/{body.bindings[0].binding_id}",
            ProviderEvent.GIT_SECRET_BINDINGS_UPDATED,
            revision=REVISION,
            version=body.version,
        )

    def consumers(self, body: ObserveConsumers, permit: CallPermit) -> ConsumersVerdict:
        self._called(body, permit)
        state = self.consumers_seen.pop(0) if self.consumers_seen else ConsumersState.CONFIRMED
        event = ProviderEvent.GITOPS_CONSUMERS_CONFIRMED
        return ConsumersVerdict(state=state, message="as seen", events=(event,))

    def retire(self, body: RetireCredential, permit: CallPermit) -> StepEffects:
        self._called(body, permit)
        return effects(
            f"retirement/{body.secret.secret_id}",
            ProviderEvent.CREDENTIAL_ISSUER_CREDENTIAL_RETIRED,
            version=body.version,
        )

    def remove_bindings(self, body: RemoveSecretBindings, permit: CallPermit) -> StepEffects:
        self._called(body, permit)
        return effects(
            f"binding/{body.bindings[0].binding_id}",
            ProviderEvent.GIT_SECRET_BINDINGS_REMOVED,
            revision=REVISION,
        )

    def end(self, body: EndCredentials, permit: CallPermit) -> StepEffects:
        self._called(body, permit)
        return effects(
            f"ending/{body.secret.secret_id}",
            ProviderEvent.CREDENTIAL_ISSUER_CREDENTIALS_ENDED,
            storePath=body.store_path,
        )

    def look(self, body: VerifySecretEnded, permit: CallPermit) -> Findings:
        """The secret itself is there before it ends; its binding is seen for a while."""
        self._called(body, permit)
        is_seen = self.still_seen > 0
        self.still_seen -= 1
        is_ended = self.steps_called()[-1] is not Step.RELEASE_CONSUMERS
        return Findings(
            items=(
                finding(body.secret.secret_id, passed=is_ended),
                *(finding(each.binding_id, passed=not is_seen) for each in body.bindings),
            )
        )

    def archive(self, body: ArchiveRepositories, permit: CallPermit) -> StepEffects:
        self._called(body, permit)
        return StepEffects(
            items=tuple(
                ItemEffect(
                    item=f"archive/{each.repository_id}",
                    effect=EffectKind.CREATED,
                    references={"name": each.name},
                )
                for each in body.repositories
            ),
            events=(ProviderEvent.GIT_REPOSITORY_ARCHIVED,),
        )

    def look_at_archived(self, body: ArchiveRepositories, permit: CallPermit) -> Findings:
        self._called(body, permit)
        is_seen = self.still_seen > 0
        self.still_seen -= 1
        ids = (each.repository_id for each in body.repositories)
        return Findings(items=tuple(finding(each, passed=not is_seen) for each in ids))

    def steps_called(self) -> list[Step]:
        return [step for step, _, _ in self.calls]

    def _findings(self, ids: list[str]) -> Findings:
        return Findings(
            items=tuple(
                Finding(id=each, passed=not self.refuted, expected="nobody's", found="another's")
                for each in ids
            )
        )

    def _called(self, body: object, permit: CallPermit) -> None:
        step = Step(permit.idempotency_key.rsplit("/", 1)[-1])
        self.calls.append((step, body, permit))
        if step in self.before:
            self.before[step](self.steps_called().count(step))
        if self.errors.get(step):
            raise self.errors[step].pop(0)


def _items_of(body: object) -> list[str]:
    """What execution-workers call the things of a body."""
    if isinstance(body, EnsureRepositories):
        return [f"repository/{each.repository_id}" for each in body.repositories]
    if isinstance(body, ProvisionSecrets):
        return [f"secret/{each.secret_id}" for each in body.secrets]
    return []


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


@dataclass
class FakeRunNews:
    """Tells what a test brings about while somebody waits."""

    meanwhile: list[Callable[[], object]] = field(default_factory=list)
    waits: int = 0

    def wait(self) -> bool:
        self.waits += 1
        for act in self.meanwhile:
            act()
        return bool(self.meanwhile)


@dataclass
class FakeRotations:
    """Notes the scheduled times, and answers each cause as it is told to."""

    due: DueRotations = field(default_factory=lambda: DueRotations(enqueued=(), put_off=0))
    open_causes: tuple[RotationCause, ...] = ()
    answers: dict[str, RotationRequested | PlatformError] = field(default_factory=dict)
    """By event id; of others a request is made."""
    scheduled: list[datetime] = field(default_factory=list)
    errors: list[PlatformError] = field(default_factory=list)
    """What the next calls raise."""
    requested: list[str] = field(default_factory=list)

    def enqueue_due(self, scheduled_at: datetime) -> DueRotations:
        self._fail()
        self.scheduled.append(scheduled_at)
        return self.due

    def causes(self) -> tuple[RotationCause, ...]:
        self._fail()
        return self.open_causes

    def request(self, cause: RotationCause) -> RotationRequested:
        answer = self.answers.get(cause.event_id, RotationRequested(request_id=new_id()))
        if isinstance(answer, PlatformError):
            raise answer
        self.requested.append(cause.event_id)
        return answer

    def _fail(self) -> None:
        if self.errors:
            raise self.errors.pop(0)


@dataclass
class FakeAssetRegistry:
    """Lists what it is given, notes what was found."""

    environments: list[AppEnvAsset] = field(default_factory=list)
    kept_secrets: list[SecretAsset] = field(default_factory=list)
    kept: list[tuple[AssetCheckName, list[Finding]]] = field(default_factory=list)
    read_at: list[datetime] = field(default_factory=list)
    """When the list was read, as the check says."""
    listed_at: list[datetime] = field(default_factory=list)
    at_work_on: set[str] = field(default_factory=set)
    """What is left out."""
    errors: list[PlatformError] = field(default_factory=list)
    """What the next calls to keep findings raise."""
    while_listing: Callable[[], None] = lambda: None
    """Happens when what is listed is read already."""

    def application_environments(self) -> tuple[AppEnvAsset, ...]:
        listed = tuple(self.environments)
        self.listed_at.append(datetime.now(UTC))
        self.while_listing()
        return listed

    def secrets(self) -> tuple[SecretAsset, ...]:
        return tuple(self.kept_secrets)

    def keep_findings(
        self, check: AssetCheckName, read_at: datetime, findings: Sequence[Finding]
    ) -> frozenset[str]:
        if self.errors:
            raise self.errors.pop(0)
        self.kept.append((check, list(findings)))
        self.read_at.append(read_at)
        return frozenset(each.id for each in findings if each.id in self.at_work_on)

    def link(self, path: str) -> str:
        return f"http://api{path}"


@dataclass
class FakeProbes:
    """Everything is as expected, but for what has drifted."""

    drifted: set[str] = field(default_factory=set)
    errors: dict[AssetCheckName, list[PlatformError]] = field(default_factory=dict)
    asked: list[tuple[AssetCheckName, int]] = field(default_factory=list)
    """Each call with the number of things it asked about."""
    while_looking: Callable[[], None] = lambda: None

    def repository_protected(self, expected: Sequence[AppEnvExpected]) -> Findings:
        return self._look(AssetCheckName.REPOSITORY_PROTECTED, _environment_ids(expected))

    def bindings_present(self, expected: Sequence[AppEnvExpected]) -> Findings:
        return self._look(AssetCheckName.BINDINGS_PRESENT, _environment_ids(expected))

    def gitops_reconciled(self, expected: Sequence[AppEnvExpected]) -> Findings:
        return self._look(AssetCheckName.GITOPS_RECONCILED, _environment_ids(expected))

    def secret_within_policy(self, expected: Sequence[SecretExpected]) -> Findings:
        ids = [each.secret.secret_id for each in expected]
        return self._look(AssetCheckName.SECRET_WITHIN_POLICY, ids)

    def _look(self, check: AssetCheckName, ids: list[str]) -> Findings:
        assert len(ids) <= CHECKS_PER_CALL
        self.asked.append((check, len(ids)))
        self.while_looking()
        if self.errors.get(check):
            raise self.errors[check].pop(0)
        return Findings(items=tuple(finding(each, passed=each not in self.drifted) for each in ids))


def _environment_ids(expected: Sequence[AppEnvExpected]) -> list[str]:
    return [each.subject.application_environment_id for each in expected]


def finding(id_: str, *, passed: bool) -> Finding:
    return Finding(
        id=id_,
        passed=passed,
        expected="main closed to pushes",
        found="main closed to pushes" if passed else "main open",
    )


def environment_asset() -> AppEnvAsset:
    wanted = desired_state()
    expected = AppEnvExpected(
        subject=wanted.subject,
        repository=wanted.repository,
        required_approvals=wanted.required_approvals,
        revision=REVISION,
        bindings=(),
    )
    return AppEnvAsset(expected=expected, url="http://forge/it", state="Active")


def secret_asset() -> SecretAsset:
    wanted = rotation_state()
    expected = SecretExpected(
        subject=wanted.subject,
        secret=wanted.secret,
        store_path=wanted.store_path,
        version=7,
        longest_age_seconds=3600,
    )
    return SecretAsset(expected=expected, state="Active", next_rotation_at=None)
