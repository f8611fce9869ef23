"""What `idp request list` shows."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from idp_cli.commands.requests import REQUEST_COLUMNS
from idp_cli.output import Output, OutputFormat
from idp_kernel.ids import new_id
from idp_kernel.wire.api import WorkflowRequest
from idp_kernel.workflows import WORKFLOWS, RequestState, WorkflowName


def request(workflow: WorkflowName) -> WorkflowRequest:
    now = datetime.now(UTC)
    return WorkflowRequest(
        id=new_id(),
        workflow=workflow,
        state=RequestState.SUCCEEDED,
        phase=1,
        attempt=12,
        team="demo-89383b",
        application_id=new_id(),
        application_environment_id=new_id(),
        requested_by="service:idp-dagster",
        reason="",
        created_at=now - timedelta(days=300),
        deadline_at=now,
        planned_steps=WORKFLOWS[workflow].steps,
    )


def told(asked: WorkflowRequest, width: int) -> list[str]:
    """The lines of the table below its header."""
    file = io.StringIO()
    console = Console(file=file, width=width)
    Output(console, OutputFormat.TABLE).items([asked], REQUEST_COLUMNS)
    return file.getvalue().splitlines()[1:]


@pytest.mark.parametrize("workflow", WorkflowName)
def test_a_request_with_its_ids_fits_into_120_columns(workflow: WorkflowName) -> None:
    asked = request(workflow)
    (line,) = told(asked, 120)
    words = line.split()
    assert words[0] == asked.id
    assert words[2:] == ["succeeded", "300d", "demo-89383b", asked.application_environment_id]


def test_a_longer_name_leaves_the_ids_whole() -> None:
    changes = {"team": "a-team-with-quite-a-long-name"}
    first, *_ = told(request(WorkflowName.SECRET_ROTATION).model_copy(update=changes), 120)
    words = first.split()
    assert len(words[0]) == len(words[-1]) == 36


def test_a_narrow_terminal_shows_what_a_request_is_called_and_how_it_stands() -> None:
    asked = request(WorkflowName.SECRET_ROTATION)
    line, note = told(asked, 80)
    assert {asked.id, "rotation", "succeeded", "300d", "demo-89383b"} == set(line.split())
    assert "SUBJECT" in note
