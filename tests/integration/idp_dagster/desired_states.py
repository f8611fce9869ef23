"""What the stood-in control plane wants of each workflow, by the id of its subject."""

from __future__ import annotations

from collections.abc import Callable

from idp_kernel.ids import new_id
from idp_kernel.wire import engine, worker
from idp_kernel.workflows import WorkflowName

SECRET_ID, BINDING_ID = new_id(), new_id()
"""The one secret of every environment."""
STORE_PATH = "payments/app-key"
REVISION = "c0ffee" * 6 + "c0ff"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"


def application_state(application_id: str) -> engine.OnboardingDesiredState:
    """Two repositories, one environment to be provisioned."""
    return engine.OnboardingDesiredState(
        subject=worker.ApplicationSubject(
            application_id=application_id, team="payments", application="checkout"
        ),
        description="Takes the money.",
        code_repository=_repository(worker.RepositoryKind.CODE, "checkout"),
        deployment_repository=_repository(worker.RepositoryKind.DEPLOYMENT, "checkout-deploy"),
        required_approvals=1,
        environments=(engine.DeclaredEnvironment(environment="dev", provision=True, secrets=()),),
    )


def environment_state(environment_id: str) -> engine.AppEnvDesiredState:
    """One secret, bound."""
    return engine.AppEnvDesiredState(
        subject=_subject(environment_id),
        repository=_environment_repository(environment_id),
        required_approvals=1,
        secrets=(_secret(SECRET_ID),),
        binding_ids={SECRET_ID: BINDING_ID},
    )


def secret_state(secret_id: str) -> engine.RotationDesiredState:
    """Bound in one environment."""
    environment_id = new_id()
    return engine.RotationDesiredState(
        subject=_subject(environment_id),
        secret=_secret(secret_id),
        store_path=STORE_PATH,
        bindings=(
            worker.BindingTarget(
                binding_id=BINDING_ID,
                name="app-key",
                subject=_subject(environment_id),
                repository=_environment_repository(environment_id),
            ),
        ),
        grace_seconds=3600,
        emergency=False,
    )


def revocation_state(secret_id: str) -> engine.RevocationDesiredState:
    """The end of that secret."""
    rotated = secret_state(secret_id)
    secret = worker.RotatedSecret(
        subject=rotated.subject,
        secret=rotated.secret,
        store_path=rotated.store_path,
        bindings=rotated.bindings,
    )
    return engine.RevocationDesiredState(
        subject=rotated.subject, secrets=(secret,), suspended=(secret_id, BINDING_ID)
    )


def environment_end_state(environment_id: str) -> engine.AppEnvDecommissioningDesiredState:
    """Without secrets; a revocation has one."""
    return engine.AppEnvDecommissioningDesiredState(
        subject=_subject(environment_id),
        repository=_environment_repository(environment_id),
        secrets=(),
        suspended=(),
    )


def application_end_state(application_id: str) -> engine.ApplicationDecommissioningDesiredState:
    """With the repository of one environment, without secrets."""
    onboarding = application_state(application_id)
    return engine.ApplicationDecommissioningDesiredState(
        subject=onboarding.subject,
        repositories=(*onboarding.repositories, _environment_repository(new_id())),
        ended_secrets=(),
    )


DESIRED_STATES: dict[WorkflowName, Callable[[str], engine.DesiredState]] = {
    WorkflowName.APPLICATION_ONBOARDING: application_state,
    WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING: environment_state,
    WorkflowName.APPLICATION_ENVIRONMENT_DECOMMISSIONING: environment_end_state,
    WorkflowName.APPLICATION_DECOMMISSIONING: application_end_state,
    WorkflowName.SECRET_ROTATION: secret_state,
    WorkflowName.SECRET_REVOCATION: revocation_state,
}


def environment_asset() -> engine.AppEnvAsset:
    """An environment for the catalog."""
    environment_id = new_id()
    expected = worker.AppEnvExpected(
        subject=_subject(environment_id),
        repository=_environment_repository(environment_id),
        required_approvals=1,
        revision=REVISION,
        bindings=(),
    )
    return engine.AppEnvAsset(expected=expected, url="http://forge/it", state="Active")


def secret_asset() -> engine.SecretAsset:
    """A secret for the catalog."""
    expected = worker.SecretExpected(
        subject=_subject(new_id()),
        secret=_secret(new_id()),
        store_path=STORE_PATH,
        version=1,
        longest_age_seconds=3600,
    )
    return engine.SecretAsset(expected=expected, state="Active", next_rotation_at=None)


def _subject(environment_id: str) -> worker.AppEnvSubject:
    return worker.AppEnvSubject(
        application_environment_id=environment_id,
        team="payments",
        application="checkout",
        environment="dev",
    )


def _environment_repository(environment_id: str) -> worker.RepositoryWanted:
    name = worker.appenv_repository_name(environment_id)
    return _repository(worker.RepositoryKind.APPLICATION_ENVIRONMENT, name)


def _repository(kind: worker.RepositoryKind, name: str) -> worker.RepositoryWanted:
    return worker.RepositoryWanted(repository_id=new_id(), kind=kind, owner="payments", name=name)


def _secret(secret_id: str) -> worker.SecretWanted:
    return worker.SecretWanted(
        secret_id=secret_id,
        name="app-key",
        purpose=worker.SecretPurpose.RUNTIME,
        sensitivity=worker.SecretSensitivity.MEDIUM,
    )
