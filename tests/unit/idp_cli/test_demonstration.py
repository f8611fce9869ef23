"""What `idp demo` says at its end, against a platform that keeps everything in memory."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from idp_cli import demonstration, step_view
from idp_cli.demonstration import Demonstration
from idp_cli.output import Output, OutputFormat, new_console
from idp_cli.supervision.keys import AGENT_READER_TOKEN
from idp_kernel.wire.api import RegisterApplication, RotateSecret, SetRotationPolicy
from idp_kernel.workflows import WORKFLOWS, WorkflowName
from tests.fixtures.stand_in_platform import StandInPlatform
from tests.unit.idp_cli.invocations import invocation_on

ENDED = ["succeeded", "succeeded", "succeeded", "succeeded"]


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_view, "LOOK_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(demonstration, "GRACE_SECONDS", 0)
    monkeypatch.setattr(demonstration, "CONSUMER_WITHIN_SECONDS", 0.05)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose platform has made the token of who may look."""
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / AGENT_READER_TOKEN).write_text("a-reader")
    return tmp_path


def perform(
    platform: StandInPlatform,
    output_format: OutputFormat,
    home: Path,
    *,
    token_file: Path | None = None,
    api_url: str | None = None,
) -> tuple[bool, str]:
    file = io.StringIO()
    invocation = invocation_on(
        platform,
        home,
        Output(new_console(file), output_format),
        api_url=api_url,
        token_file=token_file,
    )
    with invocation.opened:
        is_good = Demonstration(invocation).perform(stays=True)
    return is_good, file.getvalue()


@pytest.mark.parametrize(
    ("platform", "states", "complaints"),
    [
        (StandInPlatform(), ENDED, []),
        (
            StandInPlatform(fails=WorkflowName.SECRET_ROTATION),
            ["succeeded", "succeeded", "failed"],
            ["SecretRotation failed"],
        ),
        (
            StandInPlatform(fails=WorkflowName.APPLICATION_ONBOARDING),
            ["failed"],
            ["ApplicationOnboarding failed"],
        ),
        (
            StandInPlatform(environment_state="Declared"),
            ENDED,
            ["the environment is Declared, not Active"],
        ),
        (StandInPlatform(refused=3), ENDED, ["the consumer of db had 3 of its logins refused"]),
    ],
    ids=["all is well", "no rotation", "no onboarding", "not as it should be", "refused logins"],
)
def test_a_pipeline_reads_how_it_ended(
    platform: StandInPlatform, states: list[str], complaints: list[str], home: Path
) -> None:
    is_good, said = perform(platform, OutputFormat.JSON, home)
    document = json.loads(said)
    assert is_good is (complaints == [])
    assert [request["state"] for request in document["requests"]] == states
    assert document["complaints"] == complaints


def test_the_three_workflows_are_asked_for_as_the_story_says(home: Path) -> None:
    platform = StandInPlatform()
    _, said = perform(platform, OutputFormat.JSON, home)
    document = json.loads(said)
    assert [request["workflow"] for request in document["requests"]] == [
        "ApplicationOnboarding",
        "ApplicationEnvironmentProvisioning",
        "SecretRotation",
        "SecretRotation",
    ]
    assert document["consumer"] == {
        **document["consumer"], "name": "db", "version": 2, "refused": 0,
    }  # fmt: skip
    registered, policy, first, second = (body for body in platform.bodies)
    assert isinstance(registered, RegisterApplication)
    (declared,) = registered.environments
    assert declared.provision
    assert {secret.name: secret.issuer for secret in declared.secrets} == {
        "app-key": "openbao",
        "payment-gateway": "openbao",
        "db": "postgres",
    }
    assert policy == SetRotationPolicy(grace_seconds=0)
    assert isinstance(first, RotateSecret)
    assert isinstance(second, RotateSecret)
    assert (first.emergency, second.emergency) == (False, True)


def test_an_old_credential_that_stays_is_no_good_end(home: Path) -> None:
    platform = StandInPlatform()
    platform.destroyed = 0
    is_good, said = perform(platform, OutputFormat.JSON, home)
    assert not is_good
    assert json.loads(said)["complaints"] == [
        "2 versions of db are live, not 1",
        "2 versions of app-key are live, not 1",
    ]


PERFORMED = (
    WorkflowName.APPLICATION_ONBOARDING,
    WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING,
    WorkflowName.SECRET_ROTATION,
)


def test_people_see_every_step_and_the_proof(home: Path) -> None:
    is_good, said = perform(StandInPlatform(), OutputFormat.TABLE, home)
    assert is_good
    lines = [" ".join(line.split()) for line in said.splitlines()]
    for workflow in PERFORMED:
        for step in WORKFLOWS[workflow].steps:
            assert any(line.startswith(f"✓ {step} succeeded ") for line in lines), step
    assert "consumer of db version 1 → 2, 40 logins, 0 refused" in lines
    told = "versions destroyed 1, live 1"
    assert f"old db {told}; sessions ended 3, login now idp_x_b" in lines
    assert f"old app-key {told}" in lines
    versions = {line for line in lines if line.startswith("secret ")}
    assert versions == {
        "secret app-key version 1 → 2",
        "secret db version 1 → 2",
        "secret payment-gateway version 1",
    }
    for kind, name in (("code", "shop"), ("deployment", "shop-deploy")):
        assert any(
            re.fullmatch(rf"{kind} repository http://.*/{name}\.git", each) for each in lines
        )


def test_another_machine_s_consumer_is_not_asked_about(home: Path) -> None:
    platform = StandInPlatform(refused=3)
    is_good, said = perform(platform, OutputFormat.TABLE, home, api_url="http://idp.example.test")
    assert is_good
    assert "consumer of db" not in said


def test_what_to_type_next_can_be_typed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("PATH", str(home))
    monkeypatch.setattr(sys, "argv", [str(home / "bin" / "idp")])
    failing = StandInPlatform(fails=WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING)
    _, failed = perform(failing, OutputFormat.TABLE, home)
    assert f"next  bin/idp request retry {max(failing.requests)} --watch" in failed
    platform = StandInPlatform()
    _, succeeded = perform(platform, OutputFormat.TABLE, home)
    (appenv,) = platform.appenvs.values()
    assert f"  bin/idp env show {appenv.id}" in succeeded
    assert f"  bin/idp secret show {appenv.team}/shop/dev/db" in succeeded


def test_the_command_that_clones_can_be_typed(home: Path) -> None:
    token_file = home / "it's a folder" / "my token"
    token_file.parent.mkdir()
    token_file.write_text("idp_pat_mine")
    _, said = perform(StandInPlatform(), OutputFormat.TABLE, home, token_file=token_file)
    (command,) = re.findall(
        r"^ *(git .*) clone http://127.0.0.1:1/demo-\w+/appenv-[-\w]+.git$", said, re.MULTILINE
    )
    asked = subprocess.run(
        ["sh", "-c", f"{command} credential fill"],
        input="url=http://127.0.0.1:1\n\n", capture_output=True, text=True, timeout=10, check=True,
    )  # fmt: skip
    assert "password=idp_pat_mine" in asked.stdout.splitlines()


def test_no_command_reads_a_token_that_is_in_no_file(home: Path) -> None:
    _, said = perform(StandInPlatform(), OutputFormat.TABLE, home)
    assert "env show" in said
    assert "clone" not in said
