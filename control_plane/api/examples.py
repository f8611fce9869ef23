"""One example of each message of the public API, as instances: they cannot be out of date."""

from __future__ import annotations

import types
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Union, get_args, get_origin

from idp_kernel.secret_store import SECRETS_MOUNT
from idp_kernel.wire import api as wire
from idp_kernel.wire.base import WireModel
from idp_kernel.wire.engine import StepResult, TeamRole
from idp_kernel.wire.worker import (
    CredentialIssuerName,
    RepositoryKind,
    SecretPurpose,
    SecretSensitivity,
)
from idp_kernel.workflows import (
    APPLICATION_ENVIRONMENT_PROVISIONING,
    DomainEvent,
    RequestState,
    Step,
    StepState,
    WorkflowName,
)


def _id(number: int) -> str:
    return f"019ab0c4-6c1e-7d3a-9c55-{number:012x}"


_TEAM, _APPLICATION, _CODE, _DEPLOYMENT, _INTEGRATION = map(_id, range(1, 6))
_APPENV, _APPENV_REPOSITORY, _SECRET, _BINDING, _REQUEST = map(_id, range(6, 11))
_TOKEN, _EVENT, _ENVIRONMENT = map(_id, range(11, 14))
_AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
_FORGE = "http://127.0.0.1:8083/payments"
_REVISION = "9f2c4e1ab0d37c5e8f6a1b2c3d4e5f60718293a4"

_binding = wire.SecretBinding(
    id=_BINDING,
    secret_id=_SECRET,
    application_environment_id=_APPENV,
    application="shop",
    environment="dev",
    state="Active",
    version=2,
)
_token = wire.Token(
    id=_TOKEN,
    principal="ada",
    platform_admin=False,
    created_at=_AT,
    expires_at=_AT + timedelta(days=90),
    last_used_at=_AT,
)
_code_repository = wire.RepositorySummary(
    id=_CODE, kind=RepositoryKind.CODE, name="shop", url=f"{_FORGE}/shop.git", state="Active"
)

EXAMPLES: Final[Sequence[WireModel]] = (
    wire.CreateTeam(slug="payments", display_name="Payments"),
    wire.DescribeTeam(display_name="Payments and Invoices"),
    wire.Team(id=_TEAM, slug="payments", display_name="Payments", state="Active", created_at=_AT),
    wire.AddMember(principal="ada", role=TeamRole.TEAM_MAINTAINER),
    wire.Member(team="payments", principal="ada", role=TeamRole.TEAM_MAINTAINER),
    wire.TeamPolicy(),
    wire.SetTeamLimits(max_applications=20, max_active_requests=5),
    wire.TeamLimits(
        max_applications=wire.TeamLimit(own=20, in_force=20, used=3),
        max_application_environments=wire.TeamLimit(in_force=100, used=7),
        max_active_requests=wire.TeamLimit(own=5, in_force=5, used=1),
    ),
    wire.CreateToken(principal="ada", expires_in_seconds=30 * 24 * 3600),
    _token,
    wire.CreatedToken(**dict(_token), token="idp_pat_…"),  # noqa: S106 - it is no token
    wire.PlatformAdmin(principal="ada", token_good_until=_AT + timedelta(days=90)),
    wire.WhoAmI(
        principal="ada",
        platform_admin=False,
        teams={"payments": TeamRole.TEAM_MAINTAINER},
        token_expires_at=_AT + timedelta(days=90),
    ),
    wire.CreateEnvironment(slug="dev", description="For trying things out"),
    wire.DescribeEnvironment(description="For trying things out, emptied each night"),
    wire.Environment(
        id=_ENVIRONMENT,
        slug="dev",
        description="For trying things out",
        state="Active",
        created_at=_AT,
    ),
    wire.RegisterApplication(
        team="payments",
        slug="shop",
        description="What customers buy from",
        environments=(
            wire.DeclareEnvironment(
                environment="dev",
                provision=True,
                secrets=(
                    wire.DeclareSecret(name="app-key"),
                    wire.DeclareSecret(name="db", issuer=CredentialIssuerName.POSTGRES),
                ),
            ),
        ),
    ),
    wire.ApproveApplication(reason="We agreed on it on Monday"),
    wire.RejectApplication(reason="The store does this already"),
    wire.DescribeApplication(description="What customers buy from, and what they return to"),
    wire.Application(
        id=_APPLICATION,
        team="payments",
        slug="shop",
        description="What customers buy from",
        state="Active",
        repositories=(_code_repository,),
        created_at=_AT,
    ),
    wire.Repository(
        id=_APPENV_REPOSITORY,
        kind=RepositoryKind.APPLICATION_ENVIRONMENT,
        team="payments",
        application_id=_APPLICATION,
        application="shop",
        application_environment_id=_APPENV,
        environment="dev",
        owner="payments",
        name=f"appenv-{_APPENV}",
        url=f"{_FORGE}/appenv-{_APPENV}.git",
        state="Active",
    ),
    wire.GitOpsIntegration(
        id=_INTEGRATION,
        team="payments",
        application_id=_APPLICATION,
        application="shop",
        repository_id=_DEPLOYMENT,
        state="Active",
    ),
    wire.ProvisionEnvironment(environment="dev", secrets=(wire.DeclareSecret(name="app-key"),)),
    wire.AddSecrets(
        secrets=(wire.DeclareSecret(name="db", issuer=CredentialIssuerName.POSTGRES),),
        reason="The shop keeps its orders itself from now on",
    ),
    wire.ApplicationEnvironment(
        id=_APPENV,
        application_id=_APPLICATION,
        team="payments",
        application="shop",
        environment="dev",
        state="Active",
        repository_name=f"appenv-{_APPENV}",
        repository_url=f"{_FORGE}/appenv-{_APPENV}.git",
        revision=_REVISION,
        secrets=(
            wire.SecretSummary(
                id=_SECRET,
                name="db",
                purpose=SecretPurpose.RUNTIME,
                sensitivity=SecretSensitivity.HIGH,
                issuer=CredentialIssuerName.POSTGRES,
                state="Active",
                store_path="payments/shop/dev/db",
                version=2,
                binding_id=_BINDING,
                binding_state="Active",
            ),
        ),
        created_at=_AT,
    ),
    wire.Secret(
        id=_SECRET,
        team="payments",
        application_id=_APPLICATION,
        application="shop",
        application_environment_id=_APPENV,
        environment="dev",
        name="db",
        purpose=SecretPurpose.RUNTIME,
        sensitivity=SecretSensitivity.HIGH,
        issuer=CredentialIssuerName.POSTGRES,
        state="Active",
        store_path="payments/shop/dev/db",
        version=2,
        rotation_policy=wire.RotationPolicy(interval_seconds=30 * 24 * 3600, grace_seconds=3600),
        rotated_at=_AT,
        next_rotation_at=_AT + timedelta(days=29),
        bindings=(_binding,),
        created_at=_AT,
    ),
    _binding,
    wire.SetRotationPolicy(
        interval_seconds=7 * 24 * 3600,
        window=wire.RotationWindow(
            days=(wire.Weekday.TUESDAY, wire.Weekday.THURSDAY),
            from_hour=22,
            until_hour=4,
            time_zone="Europe/Madrid",
        ),
    ),
    wire.RotateSecret(reason="The laptop it was on is gone"),
    wire.ReportCompromised(reason="It was printed in a build log"),
    wire.RevokeSecret(reason="The gateway is another company's now"),
    wire.Decommission(reason="The trial is over"),
    wire.SecretLogin(
        store_url="http://127.0.0.1:8200",
        namespace="platform",
        mount=SECRETS_MOUNT,
        path="payments/shop/dev/db",
        role="team-payments-read",
        jwt="eyJ…",
        expires_at=_AT + timedelta(minutes=5),
        link="http://127.0.0.1:8200/ui/vault/secrets/kv/show/payments/shop/dev/db?namespace=platform",
    ),
    wire.RequestAccepted(
        request_id=_REQUEST,
        workflow=WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING,
        state=RequestState.PENDING,
        application_id=_APPLICATION,
        application_environment_id=_APPENV,
    ),
    wire.RetryRequest(reason="The forge is back"),
    wire.CancelRequest(reason="Asked for by mistake"),
    wire.UndoRequest(reason="Asked for in the wrong team"),
    wire.UndoPreview(
        request_id=_REQUEST,
        may_be_undone=True,
        items=(
            wire.UndoItem(
                step=Step.PROVISION_SECRETS,
                item=f"secret/{_SECRET}",
                fate=wire.UndoFate.REMOVED,
                reason="made by this request",
                references={"secretId": _SECRET, "version": 1},
            ),
        ),
    ),
    wire.WorkflowRequest(
        id=_REQUEST,
        workflow=WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING,
        state=RequestState.RUNNING,
        phase=1,
        attempt=1,
        team="payments",
        application_id=_APPLICATION,
        application_environment_id=_APPENV,
        requested_by="ada",
        reason="",
        created_at=_AT,
        deadline_at=_AT + timedelta(minutes=30),
        first_step_at=_AT + timedelta(seconds=1),
        planned_steps=APPLICATION_ENVIRONMENT_PROVISIONING.steps,
        steps=(
            wire.StepView(
                step=Step.MATERIALIZE_REPOSITORIES,
                attempt=1,
                state=StepState.SUCCEEDED,
                retries=0,
                started_at=_AT + timedelta(seconds=1),
                ended_at=_AT + timedelta(seconds=2),
                result=StepResult(),
            ),
        ),
        attempts=(
            wire.AttemptView(
                attempt=1,
                run_id="7b0f4c9e-2d58-4a86-9a44-0b6b8f0d3f21",
                phase=1,
                fence=1,
                claimed_at=_AT + timedelta(seconds=1),
            ),
        ),
    ),
    wire.Event(
        sequence=4711,
        id=_EVENT,
        type=DomainEvent.APPLICATION_CREATED,
        occurred_at=_AT,
        team="payments",
        subject=f"application/{_APPLICATION}",
        request_id=_REQUEST,
        actor="ada",
        data={"slug": "shop"},
    ),
    wire.PlatformStanding(draining=False),
)
_BY_MODEL: Final = {type(each): each for each in EXAMPLES}


def example_of(annotation: Any) -> Any:
    """The example of a message as JSON, of a page one with it; nothing for what has none."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next(filter(None, map(example_of, get_args(annotation))), None)
    item = annotation.__pydantic_generic_metadata__["args"] if _is_page(annotation) else ()
    example = _BY_MODEL.get(item[0] if item else annotation)
    if example is None:
        return None
    shown = example.model_dump(mode="json")
    return {"items": [shown], "nextCursor": None} if item else shown


def _is_page(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, wire.Page)
