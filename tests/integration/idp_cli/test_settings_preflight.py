"""`idp up` says which settings a program would refuse, before it starts or makes anything."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from idp_cli.supervision.embedded import Embedded
from idp_cli.supervision.embedded_run import running_platform
from idp_cli.supervision.home import Home
from idp_cli.supervision.narration import Narrator
from idp_cli.supervision.preflight import Finding, settings_findings
from idp_kernel.errors import Conflict
from idp_kernel.services import DEFAULT_PORTS

WRONG = "githb"


def test_all_that_programs_would_refuse_is_told_at_once_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDP_EXECUTION_WORKERS_GIT_FORGE", WRONG)
    monkeypatch.setenv("IDP_ENGINE_WORKER_SLOTS", WRONG)
    monkeypatch.setenv("IDP_EXECUTION_WORKERS_GITEA_TOKEN_FILE", str(tmp_path / "nothing"))
    said, home = io.StringIO(), Home.at(tmp_path / "home")
    with (
        pytest.raises(Conflict, match="Nothing was started") as refused,
        running_platform(home, 0, Narrator(Console(file=said, width=500))),
    ):
        pytest.fail("it was started")
    assert refused.value.code == "preflight_failed"
    told = [line for line in said.getvalue().splitlines() if "settings: " in line]
    assert [line.partition("settings: ")[2].partition(" (")[0] for line in told] == [
        "IDP_EXECUTION_WORKERS_GIT_FORGE: it must be one of local, gitea, github",
        "IDP_EXECUTION_WORKERS_GITEA_TOKEN_FILE: the file that it names cannot be read",
        "IDP_ENGINE_WORKER_SLOTS: it must be a whole number from 1 to 1024",
    ]
    assert WRONG not in said.getvalue(), "no value is shown: it could be a secret"
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_made_later_are_not_missed_and_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home.at(tmp_path)
    programs = Embedded(home, DEFAULT_PORTS, installation_id="x").programs()
    assert list(settings_findings(home, programs)) == [
        Finding("settings", True, "settings accepted")
    ]
    variable = "IDP_EXECUTION_WORKERS_GITEA_TOKEN_FILE"
    monkeypatch.setenv(variable, str(tmp_path.parent / "nothing"))
    (missing,) = settings_findings(home, programs)
    assert not missing.is_good
    assert missing.found.startswith(f"{variable}: the file that it names cannot be read")


def test_what_a_chosen_provider_needs_is_told_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDP_EXECUTION_WORKERS_GIT_FORGE", "gitea")
    monkeypatch.setenv("IDP_EXECUTION_WORKERS_GITOPS_AGENT_OF_TEAMS", '{"payments": "flux"}')
    home = Home.at(tmp_path)
    programs = Embedded(home, DEFAULT_PORTS, installation_id="x").programs()
    found = [each.found.partition(" and ")[0] for each in settings_findings(home, programs)]
    assert found == [
        "IDP_EXECUTION_WORKERS_GITEA_URL: the forge gitea needs it",
        "IDP_EXECUTION_WORKERS_GITEA_TOKEN_FILE: the forge gitea needs it",
        "IDP_EXECUTION_WORKERS_FLUX_KUBERNETES_URL: the GitOps agent flux needs it",
        "IDP_EXECUTION_WORKERS_FLUX_TOKEN_FILE: the GitOps agent flux needs it",
    ]


def test_people_and_workers_are_told_the_same_namespace_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDP_EXECUTION_WORKERS_OPENBAO_NAMESPACE", "platform")
    home = Home.at(tmp_path)
    programs = Embedded(home, DEFAULT_PORTS, installation_id="x").programs()
    (found,) = settings_findings(home, programs)
    assert found.found == (
        "IDP_CONTROL_PLANE_SECRET_STORE_NAMESPACE: it must be the same as "
        "IDP_EXECUTION_WORKERS_OPENBAO_NAMESPACE"
    )
    monkeypatch.setenv("IDP_CONTROL_PLANE_SECRET_STORE_NAMESPACE", "platform")
    (found,) = settings_findings(home, programs)
    assert found.is_good
