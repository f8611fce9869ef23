"""Settings choose implementations; every choice has exactly one."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from execution_workers.main import create_app
from execution_workers.providers.forges.forge import HostedForge
from execution_workers.providers.limits import LimitMetrics
from execution_workers.providers.registry import (
    CREDENTIAL_ISSUERS,
    GIT_FORGES,
    GITOPS_AGENTS,
    SECRET_STORES,
    Surroundings,
)
from execution_workers.settings import (
    ExecutionWorkersSettings,
    GitForgeChoice,
    GitOpsAgentChoice,
    SecretStoreChoice,
)
from idp_kernel.clock import SystemClock
from idp_kernel.retention import LONGEST_PULL_REQUEST
from idp_kernel.settings import unmet_needs
from idp_kernel.telemetry.metrics import downstream_errors
from idp_kernel.wire.worker import CredentialIssuerName

REQUIRED: dict[str, Any] = {
    "database_url": "postgresql+psycopg://ledger@127.0.0.1/idp",
    "installation_id": "here",
    "forge_token_file": Path("/keys/forge-bot.token"),
}


AGENT = {"gitops_agent_token_file": Path("/keys/gitops-agent-reader.token")}


def test_every_choice_has_an_implementation() -> None:
    assert set(GIT_FORGES) == set(GitForgeChoice)
    assert set(SECRET_STORES) == set(SecretStoreChoice)
    assert set(GITOPS_AGENTS) == set(GitOpsAgentChoice)
    assert set(CREDENTIAL_ISSUERS) == set(CredentialIssuerName)


def test_the_embedded_default_needs_only_credentials_and_a_name() -> None:
    settings = ExecutionWorkersSettings(**REQUIRED)
    assert (settings.port, settings.git_forge) == (8082, GitForgeChoice.LOCAL)


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_what_has_no_safe_default_is_required(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        ExecutionWorkersSettings(**{key: REQUIRED[key] for key in REQUIRED if key != name})


@pytest.mark.parametrize("url", ["mysql://x/y", "postgresql://", "postgresql://host", "x"])
@pytest.mark.parametrize("name", ["postgres_issuer_url", "postgres_consumer_url"])
def test_an_issuers_database_has_a_host_and_a_name(name: str, url: str) -> None:
    with pytest.raises(ValidationError, match=name):
        ExecutionWorkersSettings(**{**REQUIRED, name: url})


def test_no_pull_request_is_open_for_longer_than_its_effects_are_known() -> None:
    longest = LONGEST_PULL_REQUEST.days
    assert ExecutionWorkersSettings(**REQUIRED, pull_request_days=longest)
    with pytest.raises(ValidationError, match="pull_request_days"):
        ExecutionWorkersSettings(**REQUIRED, pull_request_days=longest + 1)


@pytest.mark.parametrize("installation", ["", "-x", "x y", "x" * 64, "x/"])
def test_an_installation_id_fits_into_a_label(installation: str) -> None:
    with pytest.raises(ValidationError, match="installation_id"):
        ExecutionWorkersSettings(**{**REQUIRED, "installation_id": installation})


def test_the_environment_is_read_with_its_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDP_EXECUTION_WORKERS_SETTLE_SECONDS", "2.5")
    monkeypatch.setenv("IDP_EXECUTION_WORKERS_GIT_FORGE", "local")
    assert ExecutionWorkersSettings(**REQUIRED).settle_seconds == 2.5
    monkeypatch.setenv("IDP_EXECUTION_WORKERS_GIT_FORGE", "cvs")
    with pytest.raises(ValidationError, match="git_forge"):
        ExecutionWorkersSettings(**REQUIRED)


def surroundings(**settings: Any) -> Surroundings:
    registry = CollectorRegistry()
    return Surroundings(
        ExecutionWorkersSettings(**{**REQUIRED, **settings}),
        SystemClock(),
        downstream_errors(registry),
        LimitMetrics(registry),
        ExitStack(),
    )


GITEA: dict[str, Any] = {
    "gitea_url": "https://git.example.test",
    "gitea_token_file": Path("/keys/gitea.token"),
}


GITHUB: dict[str, Any] = {
    "github_app_id": 7,
    "github_app_installation_id": 8,
    "github_app_key_file": Path("/keys/github.pem"),
}


@pytest.mark.parametrize("missing", GITHUB)
def test_github_without_what_it_needs_is_refused_by_the_settings_name(
    missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {name: value for name, value in GITHUB.items() if name != missing}
    with pytest.raises(SystemExit):
        GIT_FORGES[GitForgeChoice.GITHUB](surroundings(**given))
    said = capsys.readouterr().err
    assert said.startswith(f"IDP_EXECUTION_WORKERS_{missing.upper()}: the forge github needs it")


@pytest.mark.parametrize("given", [GITHUB, {"github_token_file": Path("/keys/github.token")}])
def test_github_with_an_app_or_a_token(given: dict[str, Any]) -> None:
    found = surroundings(**given)
    with found.resources:
        assert isinstance(GIT_FORGES[GitForgeChoice.GITHUB](found), HostedForge)


@pytest.mark.parametrize("missing", GITEA)
def test_gitea_without_what_it_needs_is_refused_by_the_settings_name(
    missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {name: value for name, value in GITEA.items() if name != missing}
    with pytest.raises(SystemExit):
        GIT_FORGES[GitForgeChoice.GITEA](surroundings(**given))
    said = capsys.readouterr().err
    assert said.startswith(f"IDP_EXECUTION_WORKERS_{missing.upper()}: the forge gitea needs it")


def test_gitea_with_all_it_needs() -> None:
    found = surroundings(**GITEA)
    with found.resources:
        assert isinstance(GIT_FORGES[GitForgeChoice.GITEA](found), HostedForge)


@pytest.mark.parametrize(
    ("chosen", "given", "named"),
    [
        ("the GitOps agent local", {}, "GITOPS_AGENT_TOKEN_FILE"),
        ("the GitOps agent argocd", {"gitops_agent": "argocd"}, "ARGOCD_URL"),
        (
            "the GitOps agent argocd",
            {"gitops_agent": "argocd", "argocd_url": "https://argocd.example.test"},
            "ARGOCD_TOKEN_FILE",
        ),
        ("the GitOps agent flux", {"gitops_agent": "flux"}, "FLUX_KUBERNETES_URL"),
        (
            "the GitOps agent flux",
            {"gitops_agent": "flux", "flux_kubernetes_url": "https://10.0.0.1"},
            "FLUX_TOKEN_FILE",
        ),
        ("the login approle", {**AGENT, "openbao_approle_file": None}, "OPENBAO_APPROLE_FILE"),
        ("the login kubernetes", {**AGENT, "openbao_login": "kubernetes"},
         "OPENBAO_LOGIN_TOKEN_FILE"),
        ("the login jwt", {**AGENT, "openbao_login": "jwt", "openbao_login_token_file": "/x"},
         "OPENBAO_LOGIN_ROLE"),
    ],
)  # fmt: skip
def test_a_choice_without_its_settings_is_refused_by_their_names(
    chosen: str, given: dict[str, Any], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    login = {"openbao_approle_file": Path("/keys/openbao-workers.json")}
    settings = ExecutionWorkersSettings(**{**REQUIRED, **login, **given})
    with pytest.raises(SystemExit) as ended:
        create_app(settings)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert f"IDP_EXECUTION_WORKERS_{named}: {chosen} needs it" in told
    assert told.count("\n") == 1
    assert told.strip() in unmet_needs(settings), "it is told before anything starts, too"


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, []),
        ({"git_forge": "gitea", **GITEA}, []),
        ({"git_forge": "gitea"}, ["gitea_url", "gitea_token_file"]),
        ({"git_forge_of_teams": {"payments": "gitea"}}, ["gitea_url", "gitea_token_file"]),
        ({"git_forge": "github", **GITHUB}, []),
        ({"git_forge": "github", "github_token_file": Path("/keys/github.token")}, []),
        ({"git_forge": "github"}, [*GITHUB]),
        ({"git_forge": "github", "github_app_key_file": Path("/keys/github.pem")},
         ["github_app_id", "github_app_installation_id"]),
        ({"gitops_agent": "argocd", "gitops_agent_token_file": None},
         ["argocd_url", "argocd_token_file"]),
        ({"gitops_agent_of_teams": {"payments": "flux"}},
         ["flux_kubernetes_url", "flux_token_file"]),
        ({"openbao_login": "jwt"}, ["openbao_login_token_file", "openbao_login_role"]),
    ],
)  # fmt: skip
def test_all_that_the_choices_need_is_told_at_once(
    given: dict[str, Any], missing: list[str]
) -> None:
    login = {"openbao_approle_file": Path("/keys/openbao-workers.json")}
    settings = ExecutionWorkersSettings(**{**REQUIRED, **AGENT, **login, **given})
    told = [line.partition(":")[0] for line in unmet_needs(settings)]
    assert told == [f"IDP_EXECUTION_WORKERS_{name.upper()}" for name in missing]
