"""Which implementation each setting chooses: one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

from prometheus_client import Counter

from execution_workers.credentials import SecretFile
from execution_workers.ports import CredentialIssuer, GitForge, GitOpsAgent, Permitted, SecretStore
from execution_workers.providers.argocd.client import ArgoCd
from execution_workers.providers.argocd.settings import ARGOCD_NEEDS
from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.flux.client import Flux
from execution_workers.providers.flux.settings import FLUX_NEEDS
from execution_workers.providers.forges.forge import HostedForge
from execution_workers.providers.forges.pull_requests import PullRequestRules
from execution_workers.providers.gitea.client import GiteaClient
from execution_workers.providers.gitea.forge import GiteaHost
from execution_workers.providers.gitea.settings import GITEA_NEEDS
from execution_workers.providers.github.client import GitHubClient, GitHubServer
from execution_workers.providers.github.credentials import (
    App,
    Credential,
    MintedToken,
    OwnersToken,
)
from execution_workers.providers.github.forge import GitHubHost
from execution_workers.providers.harbor.client import HarborClient
from execution_workers.providers.harbor.issuer import HarborIssuer
from execution_workers.providers.limits import LimitMetrics
from execution_workers.providers.local_agent.client import LocalAgent
from execution_workers.providers.local_forge.client import ForgeClient
from execution_workers.providers.local_forge.forge import LocalForge
from execution_workers.providers.of_teams import AgentOfTeams, ForgeOfTeams
from execution_workers.providers.openbao.client import OpenBaoClient
from execution_workers.providers.openbao.issuer import GeneratedValues
from execution_workers.providers.openbao.logins import AppRoleLogin, StoreLogin, TokenLogin
from execution_workers.providers.openbao.settings import StoreLoginChoice
from execution_workers.providers.openbao.store import OpenBaoStore
from execution_workers.providers.postgres.client import PostgresClient
from execution_workers.providers.postgres.issuer import PostgresIssuer
from execution_workers.settings import (
    LOCAL_AGENT_NEEDS,
    ExecutionWorkersSettings,
    GitForgeChoice,
    GitOpsAgentChoice,
    SecretStoreChoice,
)
from idp_kernel.clock import Clock
from idp_kernel.downstream import ARGOCD, FLUX, GITEA, GITHUB, HARBOR, OPENBAO, POSTGRES
from idp_kernel.services import ServiceName
from idp_kernel.settings import required
from idp_kernel.wire.worker import CredentialIssuerName

Choice = TypeVar("Choice", bound=StrEnum)
Party = TypeVar("Party")


@dataclass(frozen=True)
class Surroundings:
    """What a provider is put together from."""

    settings: ExecutionWorkersSettings
    clock: Clock
    downstream_errors: Counter
    limit_metrics: LimitMetrics
    resources: ExitStack
    """Closed when the service ends."""
    _calls: dict[str, ProviderCalls] = field(default_factory=dict)

    def calls(self, provider: str) -> ProviderCalls:
        """The same for whoever calls that provider: its limits hold for all of them together."""
        if provider not in self._calls:
            self._calls[provider] = self._new_calls(provider)
        return self._calls[provider]

    def _new_calls(self, provider: str) -> ProviderCalls:
        settings = self.settings
        return ProviderCalls(
            provider,
            concurrency=settings.provider_concurrency,
            wait_seconds=settings.call_timeout_seconds,
            errors=self.downstream_errors,
            limits=settings.limits_of(provider),
            metrics=self.limit_metrics,
        )


def _local_forge(surroundings: Surroundings) -> GitForge:
    settings = surroundings.settings
    client = ForgeClient(
        settings.forge_url,
        SecretFile(settings.forge_token_file),
        surroundings.calls(ServiceName.LOCAL_FORGE),
        timeout_seconds=settings.call_timeout_seconds,
        git_timeout_seconds=settings.git_timeout_seconds,
    )
    client = surroundings.resources.enter_context(closing(client))
    return LocalForge(client, settings.installation_id)


def _gitea(surroundings: Surroundings) -> GitForge:
    settings = surroundings.settings
    client = GiteaClient(
        required(settings.gitea_url, settings, "gitea_url", GITEA_NEEDS),
        SecretFile(required(settings.gitea_token_file, settings, "gitea_token_file", GITEA_NEEDS)),
        surroundings.calls(GITEA),
        ca_file=settings.gitea_ca_file,
        timeout_seconds=settings.call_timeout_seconds,
        git_timeout_seconds=settings.git_timeout_seconds,
    )
    client = surroundings.resources.enter_context(closing(client))
    return HostedForge(
        lambda: GiteaHost(
            client,
            settings.gitea_organisation,
            pull_requests=_pull_requests(surroundings) if settings.gitea_pull_requests else None,
        ),
        settings.installation_id,
    )


def _pull_requests(surroundings: Surroundings) -> PullRequestRules:
    return PullRequestRules(
        surroundings.clock, timedelta(days=surroundings.settings.pull_request_days)
    )


def _github(surroundings: Surroundings) -> GitForge:
    settings = surroundings.settings
    server = GitHubServer(
        settings.github_url,
        surroundings.calls(GITHUB),
        timeout_seconds=settings.call_timeout_seconds,
        git_timeout_seconds=settings.git_timeout_seconds,
        ca_file=settings.github_ca_file,
    )
    surroundings.resources.enter_context(closing(server))
    credential = _github_credential(surroundings, server)
    for_looks = credential()

    def host(shown: Credential) -> GitHubHost:
        return GitHubHost(
            GitHubClient(server, shown),
            settings.github_organisation,
            protection=settings.github_protection,
            pull_requests=_pull_requests(surroundings) if settings.github_pull_requests else None,
        )

    return HostedForge(
        lambda: host(credential()), settings.installation_id, looking=lambda: host(for_looks)
    )


def _github_credential(
    surroundings: Surroundings, server: GitHubServer
) -> Callable[[], Credential]:
    """An App's, where there is one; else its owner's token."""
    settings, needs = surroundings.settings, surroundings.settings.github_needs
    if settings.github_is_token:
        file = required(settings.github_token_file, settings, "github_token_file", needs)
        token = OwnersToken(SecretFile(file))
        return lambda: token
    app = App(
        server.rest,
        server.prefix,
        required(settings.github_app_id, settings, "github_app_id", needs),
        required(
            settings.github_app_installation_id, settings, "github_app_installation_id", needs
        ),
        SecretFile(required(settings.github_app_key_file, settings, "github_app_key_file", needs)),
        surroundings.clock,
    )
    return lambda: MintedToken(app)


def _openbao(surroundings: Surroundings) -> SecretStore:
    settings = surroundings.settings
    client = OpenBaoClient(
        settings.openbao_url,
        _store_login(settings),
        surroundings.calls(OPENBAO),
        surroundings.clock,
        timeout_seconds=settings.call_timeout_seconds,
        namespace=settings.openbao_namespace,
        ca_file=settings.openbao_ca_file,
    )
    client = surroundings.resources.enter_context(closing(client))
    return OpenBaoStore(client, settings.openbao_retired_versions)


def _store_login(settings: ExecutionWorkersSettings) -> StoreLogin:
    method = settings.openbao_login
    mount, needs = settings.openbao_login_mount or method, settings.openbao_login_needs
    if method is StoreLoginChoice.APPROLE:
        file = required(settings.openbao_approle_file, settings, "openbao_approle_file", needs)
        return AppRoleLogin(SecretFile(file), mount)
    file = required(settings.openbao_login_token_file, settings, "openbao_login_token_file", needs)
    role = required(settings.openbao_login_role, settings, "openbao_login_role", needs)
    return TokenLogin(SecretFile(file), role, mount)


def _generated_values(_surroundings: Surroundings) -> CredentialIssuer:
    return GeneratedValues()


def _postgres(surroundings: Surroundings) -> CredentialIssuer:
    settings = surroundings.settings
    return PostgresIssuer(
        PostgresClient(
            settings.postgres_issuer_url,
            settings.postgres_consumer_url,
            surroundings.calls(POSTGRES),
            timeout_seconds=settings.call_timeout_seconds,
        )
    )


def _harbor(surroundings: Surroundings) -> CredentialIssuer:
    settings = surroundings.settings
    credentials = settings.harbor_credentials_file
    client = HarborClient(
        settings.harbor_url,
        None if credentials is None else SecretFile(credentials),
        surroundings.calls(HARBOR),
        registry=settings.harbor_registry,
        robot_prefix=settings.harbor_robot_prefix,
        robots_push=settings.harbor_robots_push,
        timeout_seconds=settings.call_timeout_seconds,
        ca_file=settings.harbor_ca_file,
    )
    return HarborIssuer(surroundings.resources.enter_context(closing(client)), surroundings.clock)


def _local_agent(surroundings: Surroundings) -> GitOpsAgent:
    settings = surroundings.settings
    agent = LocalAgent(
        settings.gitops_agent_url,
        SecretFile(
            required(
                settings.gitops_agent_token_file,
                settings,
                "gitops_agent_token_file",
                LOCAL_AGENT_NEEDS,
            )
        ),
        surroundings.calls(ServiceName.LOCAL_GITOPS_AGENT),
        timeout_seconds=settings.call_timeout_seconds,
    )
    return surroundings.resources.enter_context(closing(agent))


def _argocd(surroundings: Surroundings) -> GitOpsAgent:
    settings = surroundings.settings
    agent = ArgoCd(
        required(settings.argocd_url, settings, "argocd_url", ARGOCD_NEEDS),
        SecretFile(
            required(settings.argocd_token_file, settings, "argocd_token_file", ARGOCD_NEEDS)
        ),
        surroundings.calls(ARGOCD),
        project=settings.argocd_project,
        owner_at_forge=settings.owner_at_forge,
        timeout_seconds=settings.call_timeout_seconds,
        ca_file=settings.argocd_ca_file,
    )
    return surroundings.resources.enter_context(closing(agent))


def _flux(surroundings: Surroundings) -> GitOpsAgent:
    settings = surroundings.settings
    agent = Flux(
        required(settings.flux_kubernetes_url, settings, "flux_kubernetes_url", FLUX_NEEDS),
        SecretFile(required(settings.flux_token_file, settings, "flux_token_file", FLUX_NEEDS)),
        surroundings.calls(FLUX),
        namespace=settings.flux_namespace,
        owner_at_forge=settings.owner_at_forge,
        timeout_seconds=settings.call_timeout_seconds,
        ca_file=settings.flux_ca_file,
    )
    return surroundings.resources.enter_context(closing(agent))


GIT_FORGES: dict[GitForgeChoice, Callable[[Surroundings], GitForge]] = {
    GitForgeChoice.LOCAL: _local_forge,
    GitForgeChoice.GITEA: _gitea,
    GitForgeChoice.GITHUB: _github,
}
SECRET_STORES: dict[SecretStoreChoice, Callable[[Surroundings], SecretStore]] = {
    SecretStoreChoice.OPENBAO: _openbao,
}
CREDENTIAL_ISSUERS: dict[CredentialIssuerName, Callable[[Surroundings], CredentialIssuer]] = {
    CredentialIssuerName.OPENBAO: _generated_values,
    CredentialIssuerName.POSTGRES: _postgres,
    CredentialIssuerName.HARBOR: _harbor,
}
"""Each secret says which it has."""
GITOPS_AGENTS: dict[GitOpsAgentChoice, Callable[[Surroundings], GitOpsAgent]] = {
    GitOpsAgentChoice.LOCAL: _local_agent,
    GitOpsAgentChoice.ARGOCD: _argocd,
    GitOpsAgentChoice.FLUX: _flux,
}


def provider_names() -> list[str]:
    """Every implementation of every port, by the name that the settings choose it with."""
    return sorted({choice.value for makers in _ALL for choice in makers})


def parties_named(name: str, surroundings: Surroundings) -> list[Permitted]:
    """What is behind that name, for each port one; none when there is no such name."""
    return [
        make(surroundings) for makers in _ALL for choice, make in makers.items() if choice == name
    ]


_ALL: tuple[Mapping[Any, Callable[[Surroundings], Permitted]], ...] = (
    GIT_FORGES,
    SECRET_STORES,
    CREDENTIAL_ISSUERS,
    GITOPS_AGENTS,
)


def git_forge(surroundings: Surroundings) -> GitForge:
    """Each team's own, as the settings choose."""
    settings = surroundings.settings
    default, of_teams = _chosen(
        GIT_FORGES, settings.git_forge, settings.git_forge_of_teams, surroundings
    )
    return ForgeOfTeams(default, of_teams) if of_teams else default


def secret_store(surroundings: Surroundings) -> SecretStore:
    """The one that all teams have, each in a place of its own there."""
    return SECRET_STORES[surroundings.settings.secret_store](surroundings)


def gitops_agent(surroundings: Surroundings) -> GitOpsAgent:
    """As `git_forge`."""
    settings = surroundings.settings
    default, of_teams = _chosen(
        GITOPS_AGENTS, settings.gitops_agent, settings.gitops_agent_of_teams, surroundings
    )
    return AgentOfTeams(default, of_teams) if of_teams else default


def _chosen(
    makers: Mapping[Choice, Callable[[Surroundings], Party]],
    default: Choice,
    of_teams: Mapping[str, Choice],
    surroundings: Surroundings,
) -> tuple[Party, Mapping[str, Party]]:
    """The default party and those of single teams, each made once and only if somebody has it."""
    made = {
        choice: makers[choice](surroundings)
        for choice in dict.fromkeys([default, *of_teams.values()])
    }
    return made[default], {team: made[choice] for team, choice in of_teams.items()}
