"""A secret is revoked; asked of forge, agent, store, database and the consumer themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from idp_kernel.wire.worker import appenv_repository_name
from idp_kernel.workflows import SECRET_REVOCATION, Step
from tests.e2e import dagster_ui
from tests.e2e.logins import is_let_in
from tests.e2e.oracle import clone, events_of
from tests.e2e.platform import Platform, Subject, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.system]

DATABASE = {"name": "db", "issuer": "postgres"}
REASON = {"reason": "Nobody uses it any more."}


def secrets_of(platform: Platform, subject: Subject) -> dict[str, Any]:
    """The secrets of a new environment, by name."""
    appenv = platform.provisioned(subject, {"name": "app-key"}, DATABASE)
    return {each["name"]: each for each in appenv["secrets"]}


def revoke(platform: Platform, secret_id: str) -> str:
    """The id of the revocation that was asked for."""
    return str(platform.ok("POST", f"/v1/secrets/{secret_id}/revoke", REASON)["requestId"])


def versions(platform: Platform, path: str) -> list[bool]:
    """Of each version of a secret, whether it is destroyed."""
    found = platform.openbao(f"kv/metadata/{path}", platform.openbao_root_token)
    assert found.status_code == 200, found.text
    return [each["destroyed"] for each in found.json()["data"]["versions"].values()]


def content(platform: Platform, path: str) -> Any:
    found = platform.openbao(f"kv/data/{path}", platform.openbao_root_token)
    assert found.status_code == 200, found.text
    return found.json()["data"]["data"]


def applied(platform: Platform, subject: Subject, appenv_id: str) -> set[str]:
    """What the agent brings to the environment."""
    shown = platform.reconciliation(subject.team, appenv_repository_name(appenv_id))
    return {each["name"] for each in shown["appliedSecrets"]}


def assert_revoked(platform: Platform, subject: Subject, secret_id: str, login: Any) -> None:
    shown = platform.secret(secret_id)
    assert shown["state"] == "Revoked"
    assert [each["state"] for each in shown["bindings"]] == ["Revoked"]
    assert all(versions(platform, shown["storePath"]))
    assert not is_let_in(login)
    assert shown["name"] not in applied(platform, subject, shown["applicationEnvironmentId"])


def test_a_login_ends_with_all_that_brought_it(platform: Platform, subject: Subject) -> None:
    secrets = secrets_of(platform, subject)
    secret = platform.secret(secrets["db"]["id"])
    login = content(platform, secret["storePath"])
    assert is_let_in(login)
    assert applied(platform, subject, secret["applicationEnvironmentId"]) == {"app-key", "db"}

    request = platform.ended(revoke(platform, secret["id"]))

    assert request["state"] == "succeeded", request
    assert_revoked(platform, subject, secret["id"], login)
    assert events_of(platform, request["id"]) == [
        "secret_revocation_started",
        "git_secret_bindings_removed",
        "credential_issuer_credentials_ended",
        "workflow_secret_revocation_completed",
    ]
    neighbour = platform.secret(secrets["app-key"]["id"])
    assert (neighbour["state"], versions(platform, neighbour["storePath"])) == ("Active", [False])
    undo = platform.api("POST", f"/v1/workflow-requests/{request['id']}/undo", {})
    assert (undo.status_code, undo.json()["code"]) == (409, "not_undoable")


def test_the_checks_find_nothing_wrong_with_what_is_left(
    platform: Platform, subject: Subject
) -> None:
    secrets = secrets_of(platform, subject)
    request = platform.ended(revoke(platform, secrets["app-key"]["id"]))
    appenv_id = request["applicationEnvironmentId"]
    run_id = dagster_ui.launch(platform, {}, "application_environment_checks")
    run = dagster_ui.ended_run(platform, run_id)
    assert run["status"] == "SUCCESS", dagster_ui.messages(run)
    for check in ("bindings_present", "gitops_reconciled"):
        found = dagster_ui.latest_check(platform, "application_environments", check, appenv_id)
        assert found["passed"], found


def test_a_revocation_is_launched_from_the_launchpad(platform: Platform, subject: Subject) -> None:
    secret_id = secrets_of(platform, subject)["app-key"]["id"]
    config = {"secret_id": secret_id, "reason": "asked for by phone"}
    job = SECRET_REVOCATION.phase(1).job_name
    run = dagster_ui.ended_run(platform, dagster_ui.launch(platform, config, job))
    assert run["status"] == "SUCCESS", dagster_ui.messages(run)
    assert platform.secret(secret_id)["state"] == "Revoked"
    refused = dagster_ui.ended_run(platform, dagster_ui.launch(platform, config, job))
    assert refused["status"] == "FAILURE"
    assert "Revoked" in dagster_ui.messages(refused)


@pytest.mark.endurance
@pytest.mark.parametrize(
    "step", [Step.REMOVE_SECRET_BINDINGS, Step.END_CREDENTIALS, Step.FINALIZE_SECRET_REVOCATION]
)
def test_killed_in_any_step_it_goes_on_in_its_next_attempt(
    platform: Platform, subject: Subject, step: Step
) -> None:
    secret = platform.secret(secrets_of(platform, subject)["db"]["id"])
    login = content(platform, secret["storePath"])
    place = f"workflow-engine.{step}.after_call"
    platform.arm(place)
    request_id = revoke(platform, secret["id"])
    platform.kill_at(place)
    request = platform.ended(request_id)
    assert request["state"] == "succeeded", request
    assert_revoked(platform, subject, secret["id"], login)


@pytest.mark.endurance
def test_an_agent_that_applies_nothing_keeps_no_login_alive(
    platform: Platform, subject: Subject, tmp_path: Path
) -> None:
    """The team's own manifest is not valid, so the agent stays at what it has."""
    secret = platform.secret(secrets_of(platform, subject)["db"]["id"])
    login = content(platform, secret["storePath"])
    bot = (platform.home / "keys" / "forge-bot.token").read_text().strip()
    folder = clone(platform, subject, secret["applicationEnvironmentId"], tmp_path, bot)

    def push(*change: str) -> None:
        for command in (
            ["pull", "--rebase", "origin", "main"],
            list(change),
            ["commit", "-m", "Odd"],
            ["push", "origin", "HEAD:main"],
        ):
            ran = platform.git(*command, token=bot, cwd=folder)
            assert ran.returncode == 0, ran.stdout + ran.stderr

    odd = folder / "manifests" / "odd.yaml"
    odd.write_text("apiVersion: example.test/v1\nkind: Spaceship\nmetadata:\n  name: odd\n")
    push("add", "manifests/odd.yaml")

    request_id = revoke(platform, secret["id"])

    eventually(lambda: not is_let_in(login), what="the login has ended")
    assert platform.request(request_id)["state"] in ("running", "waiting")
    assert platform.secret(secret["id"])["state"] == "Suspended"
    push("rm", "manifests/odd.yaml")
    request = platform.ended(request_id, within_seconds=240)
    assert request["state"] == "succeeded", request
    assert_revoked(platform, subject, secret["id"], login)
