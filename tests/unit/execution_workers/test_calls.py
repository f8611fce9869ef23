"""What a token and an idempotency key must agree on."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from execution_workers.calls import (
    Call,
    attributes_of,
    require_own_team,
    require_team_paths,
    verified_call,
)
from idp_kernel.errors import InvalidInput, NotAllowed
from idp_kernel.ids import new_id
from idp_kernel.tokens import RunClaims
from idp_kernel.wire.worker import AppEnvSubject, ApplicationSubject
from idp_kernel.workflows import Step

STEP = Step.PROVISION_SECRETS
DEADLINE = datetime(2026, 11, 24, 12, tzinfo=UTC)


def claims() -> RunClaims:
    return RunClaims(
        iss="x", sub="run:x", aud=["execution-workers"], iat=0, exp=1, jti="x",
        request_id="request", run_id="run", attempt=1, generation=3, fence=9,
        team_id=new_id(), team="payments", deadline=int(DEADLINE.timestamp()),
    )  # fmt: skip


def test_the_call_is_of_the_tokens_request_generation_and_fence() -> None:
    call = verified_call(claims(), f"request/3/{STEP}", (STEP,), undo=False)
    assert (call.request_id, call.generation, call.fence, call.step) == ("request", 3, 9, STEP)
    assert call.deadline == DEADLINE


@pytest.mark.parametrize("undo", [True, False])
def test_an_undo_has_a_key_of_its_own(undo: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    suffix = "" if undo else "/undo"
    with pytest.raises(InvalidInput) as refused:
        verified_call(claims(), f"request/3/{STEP}{suffix}", (STEP,), undo=undo)
    assert refused.value.code == "idempotency_key_mismatch"


def test_a_token_for_an_undo_does_nothing() -> None:
    for_undo = claims().model_copy(update={"is_for_undo": True})
    with pytest.raises(NotAllowed) as refused:
        verified_call(for_undo, f"request/3/{STEP}", (STEP,), undo=False)
    assert refused.value.code == "token_for_undo"
    assert verified_call(for_undo, f"request/3/{STEP}/undo", (STEP,), undo=True).step is STEP


def test_a_missing_key_is_told_with_the_right_one() -> None:
    with pytest.raises(InvalidInput, match=f"request/3/{STEP}") as refused:
        verified_call(claims(), None, (STEP,), undo=False)
    assert refused.value.code == "idempotency_key_missing"


@pytest.mark.parametrize(("team", "owner"), [("other", "payments"), ("payments", "other")])
def test_only_the_tokens_own_team(team: str, owner: str) -> None:
    call = Call("request", 1, STEP, 1, new_id(), "payments", DEADLINE)
    subject = AppEnvSubject(
        application_environment_id=new_id(), team=team, application="shop", environment="dev"
    )
    with pytest.raises(NotAllowed, match="other") as refused:
        require_own_team(call, subject, owner)
    assert refused.value.code == "foreign_team"


def test_an_address_of_several_steps_takes_the_key_of_each() -> None:
    steps = (Step.CREATE_CODE_REPOSITORY, Step.MATERIALIZE_REPOSITORIES)
    for step in steps:
        assert verified_call(claims(), f"request/3/{step}", steps, undo=False).step is step
    with pytest.raises(InvalidInput, match="create_code_repository or request/3/materialize"):
        verified_call(claims(), f"request/3/{STEP}", steps, undo=False)


@pytest.mark.parametrize(
    "path", ["teams/other/x", "teams/payments", "teams/payments/../other", "x/teams/payments/y", ""]
)
def test_a_place_outside_of_the_teams(path: str) -> None:
    require_team_paths("payments", ["teams/payments/appenv/x/app-key"])
    with pytest.raises(NotAllowed) as refused:
        require_team_paths("payments", [path])
    assert refused.value.code == "foreign_team"


def test_a_span_says_whose_effects_and_which_secrets() -> None:
    call = Call("request", 1, STEP, 1, new_id(), "payments", DEADLINE)
    appenv = AppEnvSubject(
        application_environment_id=new_id(), team="payments", application="shop", environment="dev"
    )
    application = ApplicationSubject(application_id=new_id(), team="payments", application="shop")
    of_secret = attributes_of(call, appenv, item="credential/the-secret")
    assert of_secret["idp.secret_id"] == "the-secret"
    assert of_secret["idp.application_environment_id"] == appenv.application_environment_id
    of_repository = attributes_of(call, application, item="repository/the-repository")
    assert of_repository["idp.application_id"] == application.application_id
    assert "idp.secret_id" not in of_repository
