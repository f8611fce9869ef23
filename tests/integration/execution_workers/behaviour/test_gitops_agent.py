"""What every `GitOpsAgent` tells of a repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from execution_workers.credentials import SecretFile
from execution_workers.gitops import GitOpsVerification, ready_condition
from execution_workers.manifests import binding_manifest, binding_path
from execution_workers.ports import GitOpsAgent
from execution_workers.providers.argocd.client import ArgoCd
from execution_workers.providers.flux.client import Flux
from execution_workers.providers.local_agent.client import LocalAgent
from execution_workers.providers.repository_urls import OwnerAtForge
from execution_workers.settings import ExecutionWorkersSettings, GitForgeChoice
from idp_kernel.clock import SystemClock
from idp_kernel.errors import ProviderRejected, Unavailable
from idp_kernel.ids import new_id
from idp_kernel.services import LOOPBACK
from idp_kernel.tokens import write_private_file
from idp_kernel.wire.agent import Reconciliation
from idp_kernel.wire.worker import (
    AppEnvSubject,
    GitOpsState,
    GitOpsVerdict,
    RepositoryWanted,
    SecretBindingWanted,
    VerifyGitOps,
    appenv_repository_name,
)
from tests.fixtures.stack import free_port
from tests.fixtures.vendors import argocd, flux
from tests.fixtures.vendors.argocd import ArgoCdServer
from tests.fixtures.vendors.cluster import external_secret
from tests.fixtures.vendors.flux import FluxCluster
from tests.integration.execution_workers.behaviour.faults import provider_calls
from tests.integration.execution_workers.driver import Forge, eventually

INSTALLATION = "ours"
FORGE = "https://git.example.test"
BROKEN = "apiVersion: v1\nkind: NoSuchKind\nmetadata: {name: broken}\n"


@dataclass(frozen=True)
class Subject:
    """An application environment's repository that no other test has."""

    subject: AppEnvSubject
    repository: RepositoryWanted
    binding: SecretBindingWanted

    @property
    def place(self) -> tuple[str, str]:
        return self.repository.owner, self.repository.name

    def at(self, version: int) -> SecretBindingWanted:
        return self.binding.model_copy(update={"version": version})

    def wanted(self, revision: str, version: int = 1) -> VerifyGitOps:
        return VerifyGitOps(
            subject=self.subject,
            repository=self.repository,
            revision=revision,
            bindings=(self.at(version),),
        )


@pytest.fixture
def subject() -> Subject:
    appenv, team = new_id(), f"team-x{new_id()[-12:]}"
    return Subject(
        AppEnvSubject(
            application_environment_id=appenv, team=team, application="shop", environment="dev"
        ),
        RepositoryWanted(repository_id=new_id(), owner=team, name=appenv_repository_name(appenv)),
        SecretBindingWanted(
            binding_id=new_id(), secret_id=new_id(), name="app-key",
            store_path=f"teams/{team}/appenv/{appenv}/app-key", version=1,
        ),
    )  # fmt: skip


class Place(Protocol):
    """An agent with what it reconciles."""

    @property
    def agent(self) -> GitOpsAgent: ...

    def applied(self, subject: Subject, version: int) -> str:
        """A commit that binds the secret at the version, reconciled and healthy; its revision."""
        ...

    def refused(self, subject: Subject) -> str:
        """A commit after it, with a manifest that cannot be applied; what is wrong with it."""
        ...

    def with_token(self, token: str) -> AbstractContextManager[GitOpsAgent]:
        """The same agent, asked with another token."""
        ...


@dataclass
class Local:
    forge: Forge
    url: str
    folder: Path
    agent: GitOpsAgent

    def applied(self, subject: Subject, version: int) -> str:
        owner, name = subject.place
        if self.forge.repository(owner, name) is None:
            marker = {"installationId": INSTALLATION, "entityId": new_id(), "requestId": new_id()}
            body = {"owner": owner, "name": name, "marker": marker}
            assert self.forge.request("POST", "/api/v1/repositories", body).status_code == 201
        content = binding_manifest(subject.subject, subject.at(version), INSTALLATION).decode()
        revision = self._push(subject, binding_path(subject.binding), content)
        self._seen(subject, revision)
        return revision

    def refused(self, subject: Subject) -> str:
        self._seen(subject, self._push(subject, "manifests/broken.yaml", BROKEN))
        return "NoSuchKind"

    def with_token(self, token: str) -> AbstractContextManager[GitOpsAgent]:
        return closing(local_agent(self.url, self.folder, token))

    def _push(self, subject: Subject, path: str, content: str) -> str:
        return self.forge.push_file(*subject.place, self.folder, path, content)

    def _seen(self, subject: Subject, revision: str) -> None:
        def is_seen() -> bool:
            found = self.agent.reconciliation(*subject.place)
            if found is None or found.observed_revision != revision:
                return False
            return ready_condition(found).status != "Unknown"

        eventually(is_seen, what=f"the agent has seen {revision}")


@dataclass
class AtArgoCd:
    server: ArgoCdServer
    folder: Path
    agent: ArgoCd
    commits: int = 0

    def applied(self, subject: Subject, version: int) -> str:
        name = subject.repository.name
        if name not in self.server.applications:
            self.server.add(name, f"{FORGE}/{'/'.join(subject.place)}.git")
        revision = self._commit()
        self.server.says(name, revision)
        self.server.brings(name, secret_of(subject, version))
        return revision

    def refused(self, subject: Subject) -> str:
        self.server.says(
            subject.repository.name,
            self._commit(),
            sync="OutOfSync",
            phase="Failed",
            message="one or more objects failed to apply",
            refused=({"kind": "NoSuchKind", "name": "broken", "namespace": "shop-dev",
                      "status": "SyncFailed", "message": "no matches for kind"},),
        )  # fmt: skip
        return "NoSuchKind shop-dev/broken: no matches for kind"

    def with_token(self, token: str) -> AbstractContextManager[GitOpsAgent]:
        return closing(argo_cd(self.server.url, self.folder, token))

    def _commit(self) -> str:
        self.commits += 1
        return f"{self.commits:040x}"


@dataclass
class AtFlux:
    cluster: FluxCluster
    folder: Path
    agent: Flux
    commits: int = 0
    applied_last: dict[str, str] = field(default_factory=dict)

    def applied(self, subject: Subject, version: int) -> str:
        name = subject.repository.name
        if name not in self.cluster.kustomizations:
            self.cluster.add_source(name, f"ssh://git@git.example.test/{'/'.join(subject.place)}")
            self.cluster.add(name, name)
        revision = self.applied_last[name] = self._commit()
        self.cluster.says(name, revision, secrets=(secret_of(subject, version),))
        return revision

    def refused(self, subject: Subject) -> str:
        name = subject.repository.name
        self.cluster.says(
            name,
            self.applied_last[name],
            attempted=self._commit(),
            ready="False",
            reason="BuildFailed",
            message='no matches for kind "NoSuchKind"',
            secrets=(secret_of(subject, 1),),
        )
        return "NoSuchKind"

    def with_token(self, token: str) -> AbstractContextManager[GitOpsAgent]:
        return closing(flux_agent(self.cluster.url, self.folder, token))

    def _commit(self) -> str:
        self.commits += 1
        return f"{self.commits:040x}"


def secret_of(subject: Subject, version: int, **state: Any) -> dict[str, Any]:
    return external_secret(subject.binding.name, subject.binding.store_path, version, **state)


def token_file(folder: Path, token: str) -> SecretFile:
    path = folder / f"{new_id()}.token"
    write_private_file(path, token)
    return SecretFile(path)


def local_agent(url: str, folder: Path, token: str) -> LocalAgent:
    provider = provider_calls("local-gitops-agent")
    return LocalAgent(url, token_file(folder, token), provider, timeout_seconds=5)


def itself(team: str) -> str:
    """The owner at a forge where each team has an organisation of its own."""
    return team


def argo_cd(
    url: str,
    folder: Path,
    token: str,
    project: str | None = None,
    owner_at_forge: OwnerAtForge = itself,
) -> ArgoCd:
    return ArgoCd(
        url,
        token_file(folder, token),
        provider_calls("argocd"),
        project=project,
        owner_at_forge=owner_at_forge,
        timeout_seconds=3,
    )


def flux_agent(
    url: str,
    folder: Path,
    token: str,
    namespace: str | None = None,
    owner_at_forge: OwnerAtForge = itself,
) -> Flux:
    return Flux(
        url,
        token_file(folder, token),
        provider_calls("flux"),
        namespace=namespace,
        owner_at_forge=owner_at_forge,
        timeout_seconds=3,
    )


@pytest.fixture(params=["local", "argocd", "flux"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "local":
        forge: Forge = request.getfixturevalue("forge")
        url: str = request.getfixturevalue("agent_url")
        home: Path = request.getfixturevalue("home")
        token = (home / "gitops-agent-reader.token").read_text()
        with closing(local_agent(url, tmp_path, token)) as agent:
            yield Local(forge, url, tmp_path, agent)
    elif request.param == "argocd":
        with (
            ArgoCdServer() as server,
            closing(argo_cd(server.url, tmp_path, argocd.TOKEN)) as argo,
        ):
            yield AtArgoCd(server, tmp_path, argo)
    else:
        with (
            FluxCluster() as cluster,
            closing(flux_agent(cluster.url, tmp_path, flux.TOKEN)) as reader,
        ):
            yield AtFlux(cluster, tmp_path, reader)


class NoForge:
    """No commit follows another, as far as it knows."""

    def __getattr__(self, name: str) -> Callable[..., bool]:
        assert name == "is_followed_by"
        return lambda *_: False


def verdict(place: Place, wanted: VerifyGitOps) -> GitOpsVerdict:
    forge: Any = NoForge()
    return GitOpsVerification(place.agent, forge, SystemClock(), settle_seconds=0).verify(wanted)


def told(place: Place, subject: Subject) -> Reconciliation:
    found = place.agent.reconciliation(*subject.place)
    assert found is not None
    return found


def test_a_repository_that_it_does_not_know(place: Place, subject: Subject) -> None:
    assert place.agent.reconciliation(*subject.place) is None
    found = verdict(place, subject.wanted("0" * 40))
    assert (found.state, found.observed_revision) == (GitOpsState.PROGRESSING, None)


def test_what_is_applied_and_healthy(place: Place, subject: Subject) -> None:
    revision = place.applied(subject, 1)
    found = told(place, subject)
    assert found.observed_revision == revision
    assert ready_condition(found).status == "True"
    (secret,) = found.applied_secrets
    assert (secret.name, secret.remote_key, secret.version) == (
        "app-key", subject.binding.store_path, 1,
    )  # fmt: skip
    assert verdict(place, subject.wanted(revision)).state is GitOpsState.RECONCILED


def test_asking_again_changes_nothing(place: Place, subject: Subject) -> None:
    revision = place.applied(subject, 1)
    for _ in range(3):
        assert verdict(place, subject.wanted(revision)).state is GitOpsState.RECONCILED


def test_a_version_that_moves(place: Place, subject: Subject) -> None:
    first = place.applied(subject, 1)
    second = place.applied(subject, 2)
    assert first != second
    assert verdict(place, subject.wanted(second, 2)).state is GitOpsState.RECONCILED
    elder = verdict(place, subject.wanted(second, 1))
    assert elder.state is GitOpsState.PROGRESSING
    assert "app-key at version 1" in elder.message


def test_a_commit_that_it_has_not_seen(place: Place, subject: Subject) -> None:
    place.applied(subject, 1)
    found = verdict(place, subject.wanted("f" * 40))
    assert found.state is GitOpsState.PROGRESSING
    assert "has not seen" in found.message


def test_a_manifest_that_cannot_be_applied_is_named(place: Place, subject: Subject) -> None:
    place.applied(subject, 1)
    wrong = place.refused(subject)
    found = told(place, subject)
    assert ready_condition(found).status == "False"
    assert found.observed_revision is not None
    degraded = verdict(place, subject.wanted(found.observed_revision))
    assert degraded.state is GitOpsState.DEGRADED
    assert wrong in degraded.message


def test_a_neighbours_repository_says_nothing_of_ours(place: Place, subject: Subject) -> None:
    place.applied(subject, 1)
    owner, name = subject.place
    assert place.agent.reconciliation(f"{owner}-2", name) is None
    assert place.agent.reconciliation(owner, f"{name}-2") is None


def test_an_organisation_that_has_the_repositories_of_all_teams(
    subject: Subject, tmp_path: Path
) -> None:
    """The settings of the team's forge say whose the address is; the answer names the team."""
    team, name = subject.place
    settings = ExecutionWorkersSettings(
        database_url="postgresql+psycopg://ledger@127.0.0.1/idp",
        installation_id=INSTALLATION,
        forge_token_file=tmp_path / "forge.token",
        git_forge=GitForgeChoice.LOCAL,
        git_forge_of_teams={team: GitForgeChoice.GITEA, "others": GitForgeChoice.GITHUB},
        gitea_organisation="acme",
    )
    owner = settings.owner_at_forge
    assert (owner(team), owner("others"), owner("nobody")) == ("acme", "others", "nobody")
    with ArgoCdServer() as server, FluxCluster() as cluster:
        server.add(name, f"{FORGE}/acme/{name}.git")
        cluster.add_source(name, f"{FORGE}/acme/{name}")
        cluster.add(name, name)
        argo = argo_cd(server.url, tmp_path, argocd.TOKEN, owner_at_forge=owner)
        reader = flux_agent(cluster.url, tmp_path, flux.TOKEN, owner_at_forge=owner)
        with closing(argo), closing(reader):
            for agent in (argo, reader):
                found = agent.reconciliation(team, name)
                assert found is not None
                assert (found.owner, found.name) == (team, name)
                assert agent.reconciliation("others", name) is None


def test_a_token_that_it_does_not_take_is_told(place: Place, subject: Subject) -> None:
    with (
        place.with_token("another-token-that-nobody-knows") as agent,
        pytest.raises(ProviderRejected, match="token") as refused,
    ):
        agent.reconciliation(*subject.place)
    assert refused.value.code.endswith("_denied")
    assert "another-token" not in refused.value.message


@pytest.mark.parametrize("make", [local_agent, argo_cd, flux_agent])
def test_an_agent_that_is_away_is_asked_again(
    make: Callable[[str, Path, str], LocalAgent | ArgoCd | Flux], tmp_path: Path, subject: Subject
) -> None:
    nowhere = f"http://{LOOPBACK}:{free_port()}"
    with closing(make(nowhere, tmp_path, "token")) as agent, pytest.raises(Unavailable):
        agent.reconciliation(*subject.place)
