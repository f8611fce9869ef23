"""execution-workers as the engine sees them: every effect succeeds, unless the script says else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from fastapi import FastAPI, Request

from idp_kernel.errors import NotAllowed, PlatformError
from idp_kernel.wire import worker
from idp_kernel.wire.base import WireModel
from tests.integration.idp_dagster.desired_states import REVISION, STORE_PATH

SERVICE_BEARER = "Bearer service-token"
"""What the stood-in control plane gives the engine itself."""


@dataclass
class WorkerCall:
    """What was sent for a request."""

    path: str
    key: str
    bearer: str
    traceparent: str | None
    body: WireModel


@dataclass
class Script:
    """How the workers answer; nothing said, they succeed at once."""

    errors: dict[str, list[PlatformError | threading.Event]] = field(default_factory=dict)
    """By path, one for each of the next calls; with an event, it is answered once that is set."""
    hold: dict[str, threading.Event] = field(default_factory=dict)
    """By path: answer only once it is set."""
    verdicts: list[worker.GitOpsState] = field(default_factory=list)
    drifted: set[str] = field(default_factory=set)
    """The ids whose checks fail."""


@dataclass
class StoodInWorkers:
    """What they were sent, and how they answer."""

    calls: list[WorkerCall] = field(default_factory=list)
    drains: list[tuple[str, bool]] = field(default_factory=list)
    """The bearer of each call that asked them to be through, and whether its run is over."""
    looks: list[tuple[str, int]] = field(default_factory=list)
    """Each check with the number of things it was asked about."""
    script: Script = field(default_factory=Script)

    def called(self, path: str, body: WireModel, http: Request) -> None:
        headers = http.headers
        self.calls.append(
            WorkerCall(
                path=path,
                key=headers["Idempotency-Key"],
                bearer=headers["Authorization"],
                traceparent=headers.get("traceparent"),
                body=body,
            )
        )
        if path in self.script.hold:
            assert self.script.hold[path].wait(60)
        self.fail(path)

    def fail(self, path: str) -> None:
        if not self.script.errors.get(path):
            return
        error = self.script.errors[path].pop(0)
        if isinstance(error, PlatformError):
            raise error
        assert error.wait(60)

    def looked(self, path: str, ids: Iterable[str], http: Request) -> worker.Findings:
        if http.headers["Authorization"] != SERVICE_BEARER:
            raise NotAllowed("A check takes the service's own token.")
        asked = list(ids)
        self.looks.append((path, len(asked)))
        if path in self.script.hold:
            assert self.script.hold[path].wait(60)
        self.fail(path)
        return findings(asked, failed=self.script.drifted)


def findings(ids: Iterable[str], *, failed: Iterable[str] = ()) -> worker.Findings:
    drifted = set(failed)
    return worker.Findings(
        items=tuple(
            worker.Finding(
                id=each,
                passed=each not in drifted,
                expected="as confirmed",
                found="changed by hand" if each in drifted else "as confirmed",
            )
            for each in ids
        )
    )


def effects(items: Iterable[worker.ItemEffect]) -> worker.StepEffects:
    return worker.StepEffects(items=tuple(items))


def effect(item: str, **references: str | int) -> worker.ItemEffect:
    return worker.ItemEffect(item=item, effect=worker.EffectKind.CREATED, references=references)


def repository_effects(body: worker.EnsureRepositories) -> worker.StepEffects:
    return effects(
        effect(f"repository/{each.repository_id}", url=f"http://forge/{each.name}")
        for each in body.repositories
    )


def protection_effects(body: worker.ProtectBranches) -> worker.StepEffects:
    return effects(
        effect(f"protection/{each.repository_id}", branch="main") for each in body.repositories
    )


def seed_effects(body: worker.SeedRepositories) -> worker.StepEffects:
    return effects(
        effect(f"seed/{each.repository_id}", revision=REVISION) for each in body.repositories
    )


def secret_effects(body: worker.ProvisionSecrets) -> worker.StepEffects:
    return effects(
        effect(f"secret/{each.secret_id}", secretId=each.secret_id, storePath=STORE_PATH, version=1)
        for each in body.secrets
    )


def binding_effects(body: worker.CreateSecretBindings) -> worker.StepEffects:
    assert [binding.store_path for binding in body.bindings] == [STORE_PATH]
    return effects([effect("bindings/1", revision=REVISION)])


def credential_effects(body: worker.IssueCredential) -> worker.StepEffects:
    return effects([effect(f"credential/{body.secret.secret_id}", version=2, replacesVersion=1)])


def moved_effects(body: worker.UpdateSecretBindings) -> worker.StepEffects:
    assert (body.version, body.replaces_version) == (2, 1)
    return effects(
        effect(f"binding/{each.binding_id}", revision=REVISION, version=body.version)
        for each in body.bindings
    )


def retirement_effects(body: worker.RetireCredential) -> worker.StepEffects:
    return effects([effect(f"retirement/{body.secret.secret_id}", version=body.version)])


def removed_effects(body: worker.RemoveSecretBindings) -> worker.StepEffects:
    return effects(
        effect(f"binding/{each.binding_id}", revision=REVISION) for each in body.bindings
    )


def ended_effects(body: worker.EndCredentials) -> worker.StepEffects:
    return effects([effect(f"ending/{body.secret.secret_id}", storePath=body.store_path)])


def archive_effects(body: worker.ArchiveRepositories) -> worker.StepEffects:
    return effects(
        effect(f"archive/{each.repository_id}", name=each.name) for each in body.repositories
    )


def add_workers(app: FastAPI, workers: StoodInWorkers) -> None:
    """The routes of the steps."""
    _add_effect(
        app, workers, worker.GIT_REPOSITORIES, worker.EnsureRepositories, repository_effects
    )
    _add_effect(app, workers, worker.GIT_REPOSITORIES_SEED, worker.SeedRepositories, seed_effects)
    for path in (worker.GIT_BRANCH_PROTECTION, worker.APPENV_BRANCH_PROTECTION):
        _add_effect(app, workers, path, worker.ProtectBranches, protection_effects)
    _add_effect(app, workers, worker.APPENV_SECRETS, worker.ProvisionSecrets, secret_effects)
    _add_effect(
        app, workers, worker.APPENV_SECRET_BINDINGS, worker.CreateSecretBindings, binding_effects
    )
    _add_effect(app, workers, worker.SECRETS_ISSUE, worker.IssueCredential, credential_effects)
    _add_effect(
        app, workers, worker.SECRETS_BINDINGS_UPDATE, worker.UpdateSecretBindings, moved_effects
    )
    _add_effect(app, workers, worker.SECRETS_RETIRE, worker.RetireCredential, retirement_effects)
    _add_effect(
        app, workers, worker.SECRETS_BINDINGS_REMOVE, worker.RemoveSecretBindings, removed_effects
    )
    _add_effect(app, workers, worker.SECRETS_END, worker.EndCredentials, ended_effects)
    _add_effect(
        app, workers, worker.GIT_REPOSITORIES_ARCHIVE, worker.ArchiveRepositories, archive_effects
    )
    _add_probes(app, workers)
    _add_fences(app, workers)


def _add_effect(
    app: FastAPI,
    workers: StoodInWorkers,
    path: str,
    kind: type[WireModel],
    answer: Callable[..., worker.StepEffects],
) -> None:
    def act(body: WireModel, http: Request) -> worker.StepEffects:
        workers.called(path, body, http)
        return answer(body)

    # FastAPI reads the body's kind here.
    act.__annotations__ = {"body": kind, "http": Request, "return": worker.StepEffects}
    app.post(path)(act)


def _add_probes(app: FastAPI, workers: StoodInWorkers) -> None:
    @app.post(worker.GIT_REPOSITORIES_VALIDATE)
    def validate(body: worker.EnsureRepositories, http: Request) -> worker.Findings:
        workers.called(worker.GIT_REPOSITORIES_VALIDATE, body, http)
        return findings(each.repository_id for each in body.repositories)

    @app.post(worker.SECRETS_VALIDATE)
    def validate_rotation(body: worker.IssueCredential, http: Request) -> worker.Findings:
        workers.called(worker.SECRETS_VALIDATE, body, http)
        return findings([body.secret.secret_id])

    @app.post(worker.SECRETS_VERIFY)
    def verify_credential(body: worker.VerifyCredential, http: Request) -> worker.CredentialVerdict:
        workers.called(worker.SECRETS_VERIFY, body, http)
        return worker.CredentialVerdict(works=True, message="as seen")

    @app.post(worker.SECRETS_CONSUMERS)
    def consumers(body: worker.ObserveConsumers, http: Request) -> worker.ConsumersVerdict:
        workers.called(worker.SECRETS_CONSUMERS, body, http)
        return worker.ConsumersVerdict(state=worker.ConsumersState.CONFIRMED, message="as seen")

    @app.post(worker.SECRETS_VERIFY_ENDED)
    def verify_ended(body: worker.VerifySecretEnded, http: Request) -> worker.Findings:
        workers.called(worker.SECRETS_VERIFY_ENDED, body, http)
        ids = [body.secret.secret_id, *(each.binding_id for each in body.bindings)]
        return findings(ids, failed=workers.script.drifted)

    @app.post(worker.GIT_REPOSITORIES_VERIFY_ARCHIVED)
    def verify_archived(body: worker.ArchiveRepositories, http: Request) -> worker.Findings:
        workers.called(worker.GIT_REPOSITORIES_VERIFY_ARCHIVED, body, http)
        return findings(each.repository_id for each in body.repositories)

    @app.post(worker.APPENV_GITOPS_VERIFY)
    def verify(body: worker.VerifyGitOps, http: Request) -> worker.GitOpsVerdict:
        workers.called(worker.APPENV_GITOPS_VERIFY, body, http)
        verdicts = workers.script.verdicts
        return worker.GitOpsVerdict(
            state=verdicts.pop(0) if verdicts else worker.GitOpsState.RECONCILED,
            expected_revision=body.revision,
            observed_revision=body.revision,
            message="as seen",
        )


def _add_fences(app: FastAPI, workers: StoodInWorkers) -> None:
    @app.post(worker.FENCES)
    def fences(body: worker.RaiseFence, http: Request) -> worker.FenceRaised:
        workers.drains.append((http.headers["Authorization"], body.closing))
        if worker.FENCES in workers.script.hold:
            assert workers.script.hold[worker.FENCES].wait(60)
        return worker.FenceRaised(fence=1)


ENVIRONMENT_CHECKS = (
    worker.CHECK_REPOSITORY_PROTECTED,
    worker.CHECK_BINDINGS_PRESENT,
    worker.CHECK_GITOPS_RECONCILED,
)


def add_checks(app: FastAPI, workers: StoodInWorkers) -> None:
    """The routes of the checks, which belong to no request."""
    for path in ENVIRONMENT_CHECKS:
        _add_environment_check(app, workers, path)

    @app.post(worker.CHECK_SECRET_WITHIN_POLICY)
    def secrets(body: worker.CheckSecrets, http: Request) -> worker.Findings:
        ids = (each.secret.secret_id for each in body.items)
        return workers.looked(worker.CHECK_SECRET_WITHIN_POLICY, ids, http)


def _add_environment_check(app: FastAPI, workers: StoodInWorkers, path: str) -> None:
    @app.post(path)
    def environments(body: worker.CheckAppEnvs, http: Request) -> worker.Findings:
        ids = (each.subject.application_environment_id for each in body.items)
        return workers.looked(path, ids, http)
