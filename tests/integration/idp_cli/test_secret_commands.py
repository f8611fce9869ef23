"""`idp app register` and `idp secret` as a shell sees them, against a stand-in of the platform."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from idp_cli.exits import ExitCode
from idp_kernel.wire.api import (
    ProvisionEnvironment,
    ReportCompromised,
    RevokeSecret,
    RotationWindow,
    SetRotationPolicy,
)
from idp_kernel.workflows import RequestState, WorkflowName
from tests.fixtures.stand_in_platform import StandInPlatform
from tests.integration.idp_cli.conftest import Idp

DB = "payments/shop/dev/db"


@pytest.fixture
def shop(idp: Idp) -> str:
    """An application that is onboarded, in `dev` with a key and a database login."""
    secrets = ("--secret", "app-key", "--secret", "db:postgres:high")
    return idp("app", "register", "payments", "shop", "--provision", "dev", *secrets, "--watch")


def read_json(idp: Idp, *arguments: str, code: int = ExitCode.OK) -> Any:
    return json.loads(idp(*arguments, "--output", "json", code=code))


# ------------------------------------------------------------------------------------ onboarding


def test_registering_names_the_request_and_how_to_watch_it(
    idp: Idp, platform: StandInPlatform
) -> None:
    said = idp("app", "register", "payments", "shop")
    (request,) = platform.requests
    assert "ApplicationOnboarding" in said
    assert f"Next: idp request watch {request}" in said


def test_watching_an_onboarding_goes_on_to_what_it_provisions(
    shop: str, platform: StandInPlatform, idp: Idp
) -> None:
    assert "finalize_application_onboarding " in shop
    assert "finalize_application_environment_provisioning " in shop
    (appenv,) = platform.appenvs
    assert f"Next: idp env show {appenv}" in shop
    shown = idp("app", "show", "shop")
    assert "deployment" in shown
    assert "shop-deploy.git" in shown
    assert "db" in idp("env", "show", appenv)


def test_a_pipeline_gets_the_onboarding_and_what_it_provisions(idp: Idp) -> None:
    ended = read_json(
        idp, "app", "register", "payments", "shop", "--environment", "qa", "--provision", "dev",
        "--watch",
    )  # fmt: skip
    assert ended["state"] == "succeeded"
    (provisioning,) = ended["provisioning"]
    assert provisioning["workflow"] == "ApplicationEnvironmentProvisioning"
    assert provisioning["state"] == "succeeded"


@pytest.mark.parametrize(
    "platform", [StandInPlatform(fails=WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING)]
)
def test_a_failed_provisioning_fails_the_watched_registration(idp: Idp) -> None:
    said = idp(
        "app", "register", "payments", "shop", "--provision", "dev", "--watch",
        code=ExitCode.REQUEST_FAILED,
    )  # fmt: skip
    assert "code  provider_rejected" in said


@pytest.mark.parametrize("platform", [StandInPlatform(fails=WorkflowName.APPLICATION_ONBOARDING)])
def test_an_onboarding_that_failed_is_begun_again(idp: Idp, platform: StandInPlatform) -> None:
    register = ("app", "register", "payments", "shop", "--provision", "dev", "--watch")
    idp(*register, code=ExitCode.REQUEST_FAILED)
    (application,) = platform.applications
    refused = idp("env", "provision", "shop", "dev", code=ExitCode.FAILED)
    assert f"`idp app onboard {application} --watch`" in refused
    platform.fails = None
    said = idp("app", "onboard", application, "--watch")
    assert "finalize_application_onboarding " in said
    assert "finalize_application_environment_provisioning " in said
    refused = idp("app", "onboard", "shop", "--team", "payments", code=ExitCode.FAILED)
    assert "It is Active" in refused


@pytest.mark.parametrize("platform", [StandInPlatform(fails=WorkflowName.APPLICATION_ONBOARDING)])
def test_an_onboarding_that_is_begun_again_is_not_waited_for(
    idp: Idp, platform: StandInPlatform
) -> None:
    idp("app", "register", "payments", "shop", "--watch", code=ExitCode.REQUEST_FAILED)
    accepted = read_json(idp, "app", "onboard", "shop")
    assert accepted["workflow"] == "ApplicationOnboarding"
    assert accepted["requestId"] == max(platform.requests)


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("options", "names"),
    [((), None), (("--secret", "db:postgres"), ["db"])],
    ids=["what it has declared", "what is named"],
)
def test_an_environment_gets_what_it_declared_unless_secrets_are_named(
    idp: Idp, platform: StandInPlatform, options: tuple[str, ...], names: list[str] | None
) -> None:
    idp("env", "provision", "shop", "dev", *options)
    sent = platform.bodies[-1]
    assert isinstance(sent, ProvisionEnvironment)
    found = None if sent.secrets is None else [secret.name for secret in sent.secrets]
    assert found == names


def test_secrets_without_an_environment_are_refused(idp: Idp, platform: StandInPlatform) -> None:
    said = idp("app", "register", "payments", "shop", "--secret", "db", code=ExitCode.FAILED)
    assert "--provision" in said
    assert not platform.requests


# --------------------------------------------------------------------------------------- queries


@pytest.mark.usefixtures("shop")
def test_a_secret_is_found_by_id_and_by_address(idp: Idp, platform: StandInPlatform) -> None:
    by_address = read_json(idp, "secret", "show", DB)
    assert read_json(idp, "secret", "show", by_address["id"]) == by_address
    said = idp("secret", "show", DB)
    assert "postgres" in said
    assert "90d" in said
    assert platform.secrets[by_address["id"]].bindings[0].id in said


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("payments/shop/dev/other", "not_found"),
        ("db", "invalid_input"),
        ("a//b/c", "invalid_input"),
    ],
)
def test_what_names_no_secret_is_told(idp: Idp, typed: str, code: str) -> None:
    assert f"code  {code}" in idp("secret", "show", typed, code=ExitCode.FAILED)


@pytest.mark.usefixtures("shop")
def test_lists_are_narrowed(idp: Idp, platform: StandInPlatform) -> None:
    assert DB in idp("secret", "list", "--team", "payments", "--app", "shop")
    assert "none" in idp("secret", "list", "--team", "others")
    assert "none" in idp("secret", "list", "--due")
    secret = next(each for each in platform.secrets.values() if each.name == "db")
    due = secret.model_copy(update={"next_rotation_at": datetime.now(UTC) - timedelta(hours=1)})
    platform.secrets[secret.id] = due
    said = idp("secret", "list", "--due")
    assert DB in said
    assert "app-key" not in said


@pytest.mark.usefixtures("shop")
def test_bindings_say_which_version_they_pin(idp: Idp) -> None:
    (binding,) = read_json(idp, "secret", "bindings", DB)
    assert (binding["environment"], binding["version"]) == ("dev", 1)
    assert binding["id"] in idp("secret", "bindings", DB)


# -------------------------------------------------------------------------------------- rotation


@pytest.mark.usefixtures("shop")
def test_a_long_grace_period_is_not_sat_out(idp: Idp, platform: StandInPlatform) -> None:
    said = idp("secret", "rotate", DB, "--watch", "--reason", "It is time")
    request = platform.requests[max(platform.requests)]
    assert request.state == RequestState.WAITING
    assert "retire_old_credential" in said
    assert "The new credential is in use. The old one works until " in said
    assert f"next  idp request watch {request.id}" in said
    listed = idp("request", "list").splitlines()[1].split()
    assert (listed[0], listed[1], listed[-1]) == (request.id, "rotation", request.secret_id)
    (listed,) = read_json(idp, "request", "list", "--secret", DB)
    assert listed["id"] == request.id
    shown = idp("request", "show", request.id)
    assert str(request.secret_id) in shown
    assert shown.count(" waiting until ") == 2


@pytest.mark.usefixtures("shop")
def test_a_rotation_in_grace_has_two_ways_out(idp: Idp, platform: StandInPlatform) -> None:
    idp("secret", "rotate", DB, "--watch")
    refused = idp("secret", "rotate", DB, code=ExitCode.FAILED)
    assert f"idp request watch {max(platform.requests)}" in refused
    (secret,) = (each.id for each in platform.secrets.values() if each.name == "db")
    assert f"idp secret rotate {secret} --emergency" in refused
    assert "SecretRotation" in idp("secret", "rotate", DB, "--emergency", "--watch")
    assert read_json(idp, "secret", "show", DB)["version"] == 2


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(("grace", "option"), [("0s", "--watch"), ("1s", "--until-end")])
def test_both_phases_are_followed(idp: Idp, grace: str, option: str) -> None:
    idp("secret", "policy", DB, "--grace", grace)
    said = idp("secret", "rotate", DB, option)
    assert said.index("confirm_consumers") < said.index("retire_old_credential")
    assert "finalize_secret_rotation" in said
    assert "idp secret show" in said
    assert read_json(idp, "secret", "show", DB)["version"] == 2


@pytest.mark.usefixtures("shop")
def test_a_watched_emergency_is_over_when_the_old_credential_has_ended(
    idp: Idp, platform: StandInPlatform
) -> None:
    platform.puts_off = timedelta(seconds=0.6)
    said = idp("secret", "rotate", DB, "--emergency", "--watch")
    assert platform.requests[max(platform.requests)].state == RequestState.SUCCEEDED
    assert "works until" not in said


@pytest.mark.usefixtures("shop")
def test_why_a_rotation_failed_has_advice_that_can_be_typed(
    idp: Idp, platform: StandInPlatform
) -> None:
    platform.fails = WorkflowName.SECRET_ROTATION
    platform.failure_code = "binding_missing"
    said = idp("secret", "rotate", DB, "--watch", code=ExitCode.REQUEST_FAILED)
    request = platform.requests[max(platform.requests)]
    assert "Put the binding back in its repository" in said
    assert f"`idp request retry {request.id} --watch`" in said


@pytest.mark.usefixtures("shop")
def test_what_has_no_second_attempt_has_another_way(idp: Idp, platform: StandInPlatform) -> None:
    onboarding = min(platform.requests)
    refused = idp("request", "retry", onboarding, code=ExitCode.FAILED)
    assert f"`idp request show {onboarding}`" in refused
    assert "provision" not in refused.split("next")[1]
    platform.fails = WorkflowName.SECRET_ROTATION
    idp("secret", "rotate", DB, "--watch", code=ExitCode.REQUEST_FAILED)
    rotation = platform.requests[max(platform.requests)]
    refused = idp("request", "retry", rotation.id, code=ExitCode.FAILED)
    assert f"`idp secret rotate {rotation.secret_id} --watch`" in refused


@pytest.mark.usefixtures("shop")
def test_what_a_request_leaves_behind_is_told(idp: Idp, platform: StandInPlatform) -> None:
    platform.left_behind = "The login idp_x_a [old] still works."
    told = "The login idp_x_a [old] still works."
    assert f"left  {told}" in idp("secret", "rotate", DB, "--emergency", "--watch")
    request = max(platform.requests)
    assert f"left  {told}" in idp("request", "watch", request)
    assert f"left behind       {told}" in idp("request", "show", request)


@pytest.mark.usefixtures("shop")
def test_a_policy_is_shown_and_changed_in_parts(idp: Idp, platform: StandInPlatform) -> None:
    assert "any time" in idp("secret", "policy", DB)
    said = idp(
        "secret", "policy", DB, "--interval", "30d", "--window", "mon-fri 22-6 Europe/Madrid"
    )
    assert "mon-fri 22-06 Europe/Madrid" in said
    changed = read_json(idp, "secret", "policy", DB, "--expires-at", "2027-01-31")
    assert changed["intervalSeconds"] == 30 * 24 * 3600
    assert changed["graceSeconds"] == 3600
    assert changed["expiresAt"] == "2027-01-31T00:00:00Z"
    sent = platform.bodies[-1]
    assert isinstance(sent, SetRotationPolicy)
    assert isinstance(sent.window, RotationWindow)
    cleared = read_json(idp, "secret", "policy", DB, "--window", "any", "--expires-at", "never")
    assert (cleared["window"], cleared["expiresAt"]) == (None, None)
    assert read_json(idp, "secret", "policy", DB, "--default")["intervalSeconds"] == 90 * 24 * 3600
    assert platform.bodies[-1] == SetRotationPolicy()


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize(
    ("options", "fits"),
    [
        (("--grace", "soon"), "--grace: 'soon' is no duration; what fits: "),
        (("--interval", "3x"), "such as 90d"),
        (("--window", "mon-fri"), "mon-fri 22-06 Europe/Madrid"),
        (("--expires-at", "tomorrow"), "2027-01-31"),
        (("--default", "--grace", "1h"), "leave the other options out"),
        (("--grace", "90d"), "--grace: 90d does not fit; it takes at most 7d"),
        (("--interval", "5s"), "--interval: 5s does not fit; it takes at least 1m"),
    ],
)
def test_what_is_no_policy_is_told_with_what_fits(
    idp: Idp, platform: StandInPlatform, options: tuple[str, ...], fits: str
) -> None:
    came = len(platform.bodies)
    assert fits in idp("secret", "policy", DB, *options, code=ExitCode.FAILED)
    assert len(platform.bodies) == came


@pytest.mark.usefixtures("shop")
def test_a_secret_is_reported_suspended_and_resumed(idp: Idp, platform: StandInPlatform) -> None:
    said = idp("secret", "compromised", DB, "--reason", "In a chat")
    assert platform.bodies[-1] == ReportCompromised(reason="In a chat")
    assert "Next: idp secret show" in said
    assert "Suspended" in idp("secret", "suspend", DB)
    assert "Next: idp secret resume" in idp("secret", "compromised", DB, "--reason", "Again")
    assert "Active" in idp("secret", "resume", DB)


# ------------------------------------------------------------------------------------- the end


@pytest.mark.usefixtures("shop")
def test_nobody_is_asked_for_what_nothing_takes_back(idp: Idp, platform: StandInPlatform) -> None:
    said = idp("secret", "revoke", DB, "--reason", "Not used", code=ExitCode.FAILED)
    assert f"to revoke {DB}, which nothing takes back" in said
    assert "irreversible" in said
    assert "--yes" in said
    assert {secret.state for secret in platform.secrets.values()} == {"Active"}


@pytest.mark.usefixtures("shop")
def test_a_secret_is_revoked_and_archived(idp: Idp, platform: StandInPlatform) -> None:
    said = idp("secret", "revoke", DB, "--reason", "Not used", "--yes", "--watch")
    assert RevokeSecret(reason="Not used") in platform.bodies
    assert "SecretRevocation" in said
    assert "finalize_secret_revocation" in said
    assert "Revoked" in idp("secret", "show", DB)
    assert "Archived" in idp("secret", "archive", DB)


@pytest.mark.usefixtures("shop")
def test_a_revocation_needs_a_reason(idp: Idp) -> None:
    assert "--reason" in idp("secret", "revoke", DB, "--yes", code=ExitCode.USAGE)
