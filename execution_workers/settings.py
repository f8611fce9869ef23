"""Everything execution-workers can be told from outside, read once in `main`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode, SettingsConfigDict

from execution_workers.providers.argocd.settings import ARGOCD_NEEDS, ArgoCdSettings
from execution_workers.providers.flux.settings import FLUX_NEEDS, FluxSettings
from execution_workers.providers.gitea.settings import GITEA_NEEDS, GiteaSettings
from execution_workers.providers.github.settings import GitHubSettings
from execution_workers.providers.harbor.settings import HarborSettings
from execution_workers.providers.limits import Limits
from execution_workers.providers.openbao.settings import OpenBaoSettings
from idp_kernel.downstream import TARGETS
from idp_kernel.ids import Slug
from idp_kernel.retention import LEDGER_KEPT_FOR, LONGEST_PULL_REQUEST
from idp_kernel.services import DEFAULT_PORTS, LOOPBACK
from idp_kernel.settings import (
    DatabaseUrl,
    Form,
    Host,
    HttpUrl,
    Needs,
    Port,
    Seconds,
    SecretFilePath,
    ServiceSettings,
    SettingsPrefix,
    TraceOriginSettings,
    json_object,
)

InstallationId = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"),
    Form("1 to 63 letters, digits, ., _ and -, a letter or digit first and last"),
]
"""Fit for a Kubernetes label, since manifests carry it."""


def _known_targets(rates: dict[str, float]) -> dict[str, float]:
    if unknown := sorted(rates.keys() - TARGETS):
        raise ValueError(f"no such target: {', '.join(unknown)}")
    return rates


Rate = Annotated[float, Field(gt=0, le=10_000)]
RateOfTarget = Annotated[
    dict[str, Rate], NoDecode, BeforeValidator(json_object), AfterValidator(_known_targets)
]
RATE_OF_TARGET = Form('a JSON object of numbers above 0 by target, such as `{"openbao": 10}`')


class GitForgeChoice(StrEnum):
    """Which forge stands behind the port `GitForge`."""

    LOCAL = "local"
    GITEA = "gitea"
    """Gitea or Forgejo."""
    GITHUB = "github"


class SecretStoreChoice(StrEnum):
    """Which store stands behind the port `SecretStore`."""

    OPENBAO = "openbao"


class GitOpsAgentChoice(StrEnum):
    """Which agent stands behind the port `GitOpsAgent`."""

    LOCAL = "local"
    ARGOCD = "argocd"
    FLUX = "flux"


LOCAL_AGENT_NEEDS = Needs("the GitOps agent local", ("gitops_agent_token_file",))

ChoiceT = TypeVar("ChoiceT", bound=StrEnum)
OfTeams = Annotated[dict[Slug, ChoiceT], NoDecode, BeforeValidator(json_object)]


def _of_teams(choices: type[StrEnum]) -> Form:
    named = ", ".join(each.value for each in choices)
    return Form(f'a JSON object of {named} by team, such as `{{"payments": "{min(choices)}"}}`')


class LedgerSettings(ServiceSettings):
    """What the bootstrap needs; shares the service's variables."""

    model_config = SettingsConfigDict(env_prefix=SettingsPrefix.EXECUTION_WORKERS)

    database_url: DatabaseUrl
    """Where the ledger of effects is kept, as a role of its own."""


class ExecutionWorkersSettings(
    LedgerSettings,
    ArgoCdSettings,
    FluxSettings,
    GiteaSettings,
    GitHubSettings,
    HarborSettings,
    OpenBaoSettings,
    TraceOriginSettings,
):
    """What the server needs."""

    model_config = SettingsConfigDict(env_prefix=SettingsPrefix.EXECUTION_WORKERS)

    host: Host = LOOPBACK
    """The address it listens on."""
    port: Port = DEFAULT_PORTS.execution_workers
    """The port it listens on."""
    installation_id: InstallationId
    """Stands in the marker of everything created: never changes, and no two platforms that
    share a provider have the same."""
    control_plane_url: HttpUrl = f"http://{LOOPBACK}:{DEFAULT_PORTS.control_plane_api}"
    """Publishes the keys that run tokens are verified with."""

    git_forge: GitForgeChoice = GitForgeChoice.LOCAL
    """Which forge has the repositories."""
    git_forge_of_teams: Annotated[OfTeams[GitForgeChoice], _of_teams(GitForgeChoice)] = {}
    """The same for single teams, by slug. A team that has repositories already keeps its forge:
    nothing moves them."""
    forge_url: HttpUrl = f"http://{LOOPBACK}:{DEFAULT_PORTS.local_forge}"
    """Where the forge is."""
    forge_token_file: SecretFilePath
    """The token of the platform's own bot at the forge."""
    pull_request_days: Annotated[int, Field(ge=1, le=LONGEST_PULL_REQUEST.days)] = 7
    """How long a pull request of the platform's may be open before the step that waits for it
    fails."""
    secret_store: SecretStoreChoice = SecretStoreChoice.OPENBAO
    """Which store has the secrets' values."""
    postgres_issuer_url: DatabaseUrl | None = None
    """Where database logins are made, as a role that may. Without it a secret of the issuer
    `postgres` is refused."""
    postgres_consumer_url: DatabaseUrl | None = None
    """How consumers reach that database, where it is not as the issuer does; without a user."""
    gitops_agent: GitOpsAgentChoice = GitOpsAgentChoice.LOCAL
    """Which agent reconciles the repositories."""
    gitops_agent_of_teams: Annotated[OfTeams[GitOpsAgentChoice], _of_teams(GitOpsAgentChoice)] = {}
    """The same for single teams, by slug. It has to read the team's forge."""
    gitops_agent_url: HttpUrl = f"http://{LOOPBACK}:{DEFAULT_PORTS.local_gitops_agent}"
    """Where the agent `local` is."""
    gitops_agent_token_file: SecretFilePath | None = None
    """The token that reads the conditions of the agent `local`, which needs it."""

    call_timeout_seconds: Seconds = 10
    """For one HTTP call to a provider."""
    git_timeout_seconds: Seconds = 30
    """For one git process."""
    provider_concurrency: Annotated[int, Field(ge=1, le=100)] = 8
    """Calls in flight to one provider, from one process."""
    provider_calls_per_second: Rate = Limits.calls_per_second
    """Calls to one provider, from one process; more wait their turn."""
    provider_calls_per_second_of: Annotated[RateOfTarget, RATE_OF_TARGET] = {}
    """The same for single providers, by the name that `target` has in metrics."""
    provider_burst: Annotated[int, Field(ge=1, le=1000)] = Limits.burst
    """Calls to one provider that may begin at once after a rest."""
    provider_longest_pause_seconds: Annotated[float, Field(gt=0, le=24 * 3600)] = (
        Limits.longest_pause_seconds
    )
    """A provider that asks for a longer pause (`Retry-After`) is called again after this."""
    provider_circuit_failures: Annotated[int, Field(ge=1, le=1000)] = Limits.circuit_failures
    """Calls in a row without an answer, or with an error of the provider's own, after which it is
    called no more for a while."""
    provider_circuit_cool_down_seconds: Seconds = Limits.circuit_cool_down_seconds
    """How long; then one call tries, and doubles the time when it fails."""
    provider_circuit_longest_cool_down_seconds: Annotated[float, Field(gt=0, le=3600)] = (
        Limits.circuit_longest_cool_down_seconds
    )
    """How long at most."""
    max_calls: Annotated[int, Field(ge=1, le=30)] = 16
    """Calls this process works on at once, each with a database connection; more are refused
    for a moment. Below the threads that serve requests, so that `/fences` finds one."""
    item_wait_seconds: Seconds = 30
    """How long a call waits for another one that works on the same item."""
    drain_wait_seconds: Seconds = 30
    """How long `/fences` waits for calls in flight."""
    housekeeping_seconds: Seconds = 60
    """How often requests that are too old are looked for in the ledger and forgotten."""
    keep_ledger_days: Annotated[int, Field(ge=LEDGER_KEPT_FOR.days)] = LEDGER_KEPT_FOR.days
    """How long after its last claim a request's effects are kept; no shorter than it may be
    retried or undone."""
    settle_seconds: Annotated[float, Field(ge=0, le=600)] = 1
    """How long the GitOps agent must have called our revision healthy."""

    def needs(self) -> Iterator[Needs]:
        of_forges = {
            GitForgeChoice.GITEA: GITEA_NEEDS,
            GitForgeChoice.GITHUB: self.github_needs,
        }
        of_agents = {
            GitOpsAgentChoice.LOCAL: LOCAL_AGENT_NEEDS,
            GitOpsAgentChoice.ARGOCD: ARGOCD_NEEDS,
            GitOpsAgentChoice.FLUX: FLUX_NEEDS,
        }
        forges = {self.git_forge, *self.git_forge_of_teams.values()}
        agents = {self.gitops_agent, *self.gitops_agent_of_teams.values()}
        yield from (needs for forge, needs in of_forges.items() if forge in forges)
        yield self.openbao_login_needs
        yield from (needs for agent, needs in of_agents.items() if agent in agents)

    @property
    def keep_ledger_for(self) -> timedelta:
        return timedelta(days=self.keep_ledger_days)

    def owner_at_forge(self, team: str) -> str:
        """Who has the team's repositories at its forge: the organisation of all teams, where the
        settings name one for that forge, else the one that is named like the team.
        """
        organisations = {
            GitForgeChoice.GITEA: self.gitea_organisation,
            GitForgeChoice.GITHUB: self.github_organisation,
        }
        forge = self.git_forge_of_teams.get(team, self.git_forge)
        return organisations.get(forge) or team

    def limits_of(self, target: str) -> Limits:
        """How that provider is called."""
        return Limits(
            calls_per_second=self.provider_calls_per_second_of.get(
                target, self.provider_calls_per_second
            ),
            burst=self.provider_burst,
            circuit_failures=self.provider_circuit_failures,
            circuit_cool_down_seconds=self.provider_circuit_cool_down_seconds,
            circuit_longest_cool_down_seconds=self.provider_circuit_longest_cool_down_seconds,
            longest_pause_seconds=self.provider_longest_pause_seconds,
        )
