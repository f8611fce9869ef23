"""What `idp demo` says at its end, against a control plane of canned messages."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from idp_cli.demonstration import Demonstration
from idp_cli.invocation import Invocation
from idp_cli.output import Output, OutputFormat, new_console
from idp_cli.supervision.home import Home
from idp_kernel.http.client import ServiceClient
from idp_kernel.ids import new_id
from idp_kernel.wire.api import (
    Application,
    ApplicationEnvironment,
    Environment,
    Page,
    RequestAccepted,
    SecretSummary,
    StepView,
    Team,
    WorkflowRequest,
)
from idp_kernel.wire.base import WireModel
from idp_kernel.wire.engine import StepResult
from idp_kernel.wire.worker import EffectKind, ItemEffect
from idp_kernel.workflows import (
    APPLICATION_ENVIRONMENT_PROVISIONING,
    RequestState,
    Step,
    StepState,
    WorkflowName,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID = new_id()
REVISION = "c0ffee"


@dataclass(frozen=True, kw_only=True)
class InvocationOn(Invocation):
    """An invocation whose calls are answered by `transport`."""

    transport: httpx.MockTransport

    def client_with(self, token: str, url: str, party: str) -> ServiceClient:
        client = ServiceClient(
            url, party=party, authorization=lambda: token, transport=self.transport
        )
        self.opened.callback(client.close)
        return client


class ControlPlane:
    """Takes the demo's commands; the request ends as it is told."""

    def __init__(self, state: RequestState, appenv_state: str = "Active") -> None:
        self._state = state
        self._appenv_state = appenv_state

    def __call__(self, http: httpx.Request) -> httpx.Response:
        answer = self._answer(http.method, http.url.path)
        return httpx.Response(200, content=answer.model_dump_json())

    def _answer(self, method: str, path: str) -> WireModel:
        if "/application-environments/" in path:
            return self._appenv()
        if "/workflow-requests/" in path:
            return self._request()
        if path.endswith("/environments") and "/applications/" in path:
            return RequestAccepted(
                request_id=ID,
                workflow=WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING,
                state=RequestState.PENDING,
                application_environment_id=ID,
            )
        if method == "GET":
            dev = Environment(id=ID, slug="dev", description="", state="Active", created_at=NOW)
            return Page[Environment](items=(dev,))
        if path.startswith("/v1/teams"):
            return Team(id=ID, slug="demo", display_name="", state="Active", created_at=NOW)
        return Application(
            id=ID, team="demo", slug="shop", description="", state="Active", created_at=NOW
        )

    def _request(self) -> WorkflowRequest:
        revision = ItemEffect(
            item="bindings/1", effect=EffectKind.CREATED, references={"revision": REVISION}
        )
        return WorkflowRequest(
            id=ID,
            workflow=WorkflowName.APPLICATION_ENVIRONMENT_PROVISIONING,
            state=self._state,
            phase=1,
            attempt=1,
            team="demo",
            application_id=ID,
            application_environment_id=ID,
            requested_by="somebody",
            reason="",
            created_at=NOW,
            deadline_at=NOW + timedelta(minutes=30),
            ended_at=NOW + timedelta(seconds=4),
            planned_steps=APPLICATION_ENVIRONMENT_PROVISIONING.steps,
            steps=(
                StepView(
                    step=Step.CREATE_SECRET_BINDINGS,
                    attempt=1,
                    state=StepState.SUCCEEDED,
                    retries=0,
                    started_at=NOW,
                    result=StepResult(items=(revision,)),
                ),
            ),
        )

    def _appenv(self) -> ApplicationEnvironment:
        return ApplicationEnvironment(
            id=ID,
            application_id=ID,
            team="demo",
            application="shop",
            environment="dev",
            state=self._appenv_state,
            repository_name="appenv-1",
            repository_url="http://127.0.0.1:1/demo/appenv-1.git",
            revision=REVISION,
            secrets=tuple(
                SecretSummary.model_validate(
                    {
                        "id": ID,
                        "name": name,
                        "purpose": "runtime",
                        "sensitivity": "medium",
                        "state": "Active",
                        "storePath": name,
                        "version": 1,
                        "bindingId": ID,
                        "bindingState": "Active",
                    }
                )
                for name in ("app-key", "payment-gateway")
            ),
            created_at=NOW,
        )


def perform(
    control_plane: ControlPlane,
    output_format: OutputFormat,
    home: Path,
    token_file: Path | None = None,
) -> tuple[bool, str]:
    file = io.StringIO()
    invocation = InvocationOn(
        home=Home.at(home),
        output=Output(new_console(file), output_format),
        api_url_given="http://control-plane",
        forge_url_given=None,
        token_given="a-token",
        token_file=token_file,
        transport=httpx.MockTransport(control_plane),
    )
    with invocation.opened:
        is_good = Demonstration(invocation).perform(stays=True)
    return is_good, file.getvalue()


@pytest.mark.parametrize(
    ("control_plane", "complaints"),
    [
        (ControlPlane(RequestState.SUCCEEDED), []),
        (ControlPlane(RequestState.FAILED), ["the request failed"]),
        (
            ControlPlane(RequestState.SUCCEEDED, appenv_state="Declared"),
            ["the environment is Declared, not Active"],
        ),
    ],
    ids=["all is well", "failed", "not as it should be"],
)
def test_a_pipeline_reads_how_it_ended(
    control_plane: ControlPlane, complaints: list[str], tmp_path: Path
) -> None:
    is_good, said = perform(control_plane, OutputFormat.JSON, tmp_path)
    document = json.loads(said)
    assert is_good is (complaints == [])
    assert document["id"] == ID
    assert document["complaints"] == complaints


def test_what_to_type_next_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin" / "idp")])
    _, failed = perform(ControlPlane(RequestState.FAILED), OutputFormat.TABLE, tmp_path)
    assert f"next  bin/idp request retry {ID} --watch" in failed
    _, succeeded = perform(ControlPlane(RequestState.SUCCEEDED), OutputFormat.TABLE, tmp_path)
    assert f"  bin/idp env show {ID}" in succeeded


def test_the_command_that_clones_can_be_typed(tmp_path: Path) -> None:
    token_file = tmp_path / "it's a folder" / "my token"
    token_file.parent.mkdir()
    token_file.write_text("idp_pat_mine")
    _, said = perform(
        ControlPlane(RequestState.SUCCEEDED), OutputFormat.TABLE, tmp_path, token_file
    )
    (command,) = re.findall(
        r"^ *(git .*) clone http://127.0.0.1:1/demo/appenv-1.git$", said, re.MULTILINE
    )
    asked = subprocess.run(
        ["sh", "-c", f"{command} credential fill"],
        input="url=http://127.0.0.1:1\n\n", capture_output=True, text=True, timeout=10, check=True,
    )  # fmt: skip
    assert "password=idp_pat_mine" in asked.stdout.splitlines()


def test_no_command_reads_a_token_that_is_in_no_file(tmp_path: Path) -> None:
    _, said = perform(ControlPlane(RequestState.SUCCEEDED), OutputFormat.TABLE, tmp_path)
    assert "env show" in said
    assert "clone" not in said
