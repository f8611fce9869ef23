"""A forge of each kind as its port and its people see it, and what is asked of each alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from execution_workers.credentials import SecretFile
from execution_workers.ports import Action, Attempt, BindingMove, Deed, GitForge
from execution_workers.providers.forges.forge import HostedForge
from execution_workers.providers.forges.pull_requests import PullRequestRules
from execution_workers.providers.gitea.client import GiteaClient
from execution_workers.providers.gitea.forge import GiteaHost
from execution_workers.providers.github.client import GitHubClient
from execution_workers.providers.github.client import GitHubServer as GitHub
from execution_workers.providers.github.credentials import (
    App,
    Credential,
    MintedToken,
    OwnersToken,
)
from execution_workers.providers.github.forge import GitHubHost
from execution_workers.providers.github.settings import GitHubProtectionChoice
from execution_workers.providers.local_forge.client import ForgeClient
from execution_workers.providers.local_forge.forge import LocalForge
from idp_kernel.clock import Clock, SystemClock
from idp_kernel.downstream import GITEA, GITHUB
from idp_kernel.ids import new_id
from idp_kernel.services import ServiceName
from idp_kernel.tokens import write_private_file
from idp_kernel.wire.worker import (
    AppEnvSubject,
    ApplicationSubject,
    RepositoryKind,
    RepositoryWanted,
    SecretBindingWanted,
    SeedRepositories,
    appenv_repository_name,
)
from tests.fixtures.vendors.gitea import GiteaServer
from tests.fixtures.vendors.gitea import Organisation as GiteaOrganisation
from tests.fixtures.vendors.gitea import Repository as GiteaRepository
from tests.fixtures.vendors.github import APP_ID, INSTALLATION_ID, GitHubServer
from tests.fixtures.vendors.pulls import Pull
from tests.fixtures.vendors.stand_in import StandIn
from tests.integration.execution_workers.behaviour.faults import provider_calls
from tests.integration.execution_workers.driver import Forge

INSTALLATION = "behaviour"
TIMEOUT_SECONDS = 3.0
"""For a call to a stand-in, so that one without an answer ends soon."""


def attempt(request_id: str | None = None, generation: int = 1) -> Attempt:
    """On behalf of a request, a new one unless told, that no newer run overtakes."""
    return Attempt(INSTALLATION, request_id or new_id(), lambda: None, generation)


@dataclass(frozen=True)
class Thing:
    """An application environment and its application, which no other test has."""

    team: str = field(default_factory=lambda: f"team-x{new_id()[-12:]}")
    environment_id: str = field(default_factory=new_id)
    application_id: str = field(default_factory=new_id)
    repository_id: str = field(default_factory=new_id)
    code_repository_id: str = field(default_factory=new_id)
    binding_id: str = field(default_factory=new_id)
    secret_id: str = field(default_factory=new_id)

    @property
    def subject(self) -> AppEnvSubject:
        return AppEnvSubject(
            application_environment_id=self.environment_id,
            team=self.team,
            application="shop",
            environment="dev",
        )

    @property
    def application(self) -> ApplicationSubject:
        return ApplicationSubject(
            application_id=self.application_id, team=self.team, application="shop"
        )

    @property
    def repository(self) -> RepositoryWanted:
        return RepositoryWanted(
            repository_id=self.repository_id,
            owner=self.team,
            name=appenv_repository_name(self.environment_id),
            description="The shop in dev",
        )

    @property
    def code_repository(self) -> RepositoryWanted:
        return RepositoryWanted(
            repository_id=self.code_repository_id,
            kind=RepositoryKind.CODE,
            owner=self.team,
            name=f"shop-{self.application_id[-12:]}",
        )

    def binding(self, version: int = 1) -> SecretBindingWanted:
        return SecretBindingWanted(
            binding_id=self.binding_id,
            secret_id=self.secret_id,
            name="app-key",
            store_path=f"teams/{self.team}/appenv/{self.environment_id}/app-key",
            version=version,
        )

    @property
    def move(self) -> BindingMove:
        return BindingMove(
            subject=self.subject,
            repository=self.repository,
            binding=self.binding(2),
            neighbours=(self.binding(2),),
            replaces_version=1,
            asked={},
        )


class People(Protocol):
    """The forge beside its port: what its people do and see there."""

    def is_there(self, wanted: RepositoryWanted) -> bool: ...

    def is_protected(self, wanted: RepositoryWanted) -> bool: ...

    def revisions(self, wanted: RepositoryWanted, *paths: str) -> list[str]:
        """Of main, newest first; those that changed one of the paths, if some are given."""
        ...

    def merge_file(self, wanted: RepositoryWanted, path: str, content: str) -> str:
        """A person's change gets onto main; its revision."""
        ...

    def make_repository(self, wanted: RepositoryWanted) -> None:
        """One that the platform did not make."""
        ...

    def protect(self, wanted: RepositoryWanted) -> None:
        """As the platform did not."""
        ...


DeedT_co = TypeVar("DeedT_co", bound=Deed, covariant=True)


@dataclass(frozen=True)
class Kind(Generic[DeedT_co]):
    """One kind of effect on a forge; of an `Action` where it has an undo."""

    name: str
    make: Callable[[GitForge, Thing], DeedT_co]
    needs: tuple[Kind[Deed], ...] = ()
    """What other requests have done before."""
    times_done: Callable[[People, Thing], int] = lambda _people, _thing: 0
    """How often it is there now."""

    def prepare(self, forge: GitForge, thing: Thing) -> None:
        for need in self.needs:
            need.make(forge, thing).do(attempt())


SEED_FILE = ".idp/ownership.yaml"
MANIFEST = "manifests/external-secrets/app-key.yaml"


def _commits(people: People, wanted: RepositoryWanted, path: str) -> int:
    return len(people.revisions(wanted, path)) if people.is_there(wanted) else 0


REPOSITORY = Kind(
    "repository",
    lambda forge, thing: forge.repository(thing.subject, thing.repository),
    times_done=lambda people, thing: _commits(people, thing.repository, SEED_FILE),
)
CODE_REPOSITORY = Kind(
    "code repository",
    lambda forge, thing: forge.repository(thing.application, thing.code_repository),
    times_done=lambda people, thing: int(people.is_there(thing.code_repository)),
)
SEED = Kind(
    "seed",
    lambda forge, thing: forge.seed(
        SeedRepositories(subject=thing.application, repositories=(thing.code_repository,)),
        thing.code_repository,
    ),
    needs=(CODE_REPOSITORY,),
    times_done=lambda people, thing: _commits(people, thing.code_repository, SEED_FILE),
)
PROTECTION = Kind(
    "protection",
    lambda forge, thing: forge.protection(thing.subject, thing.repository, 1),
    needs=(REPOSITORY,),
    times_done=lambda people, thing: int(people.is_protected(thing.repository)),
)
BINDINGS = Kind(
    "bindings",
    lambda forge, thing: forge.secret_bindings(thing.subject, thing.repository, [thing.binding()]),
    needs=(REPOSITORY, PROTECTION),
    times_done=lambda people, thing: _commits(people, thing.repository, MANIFEST),
)
MOVED_BINDING = Kind(
    "moved binding",
    lambda forge, thing: forge.moved_binding(thing.move),
    needs=(REPOSITORY, PROTECTION, BINDINGS),
    times_done=lambda people, thing: _commits(people, thing.repository, MANIFEST) - 1,
)
UNDOABLE: tuple[Kind[Action], ...] = (REPOSITORY, CODE_REPOSITORY, SEED, PROTECTION, BINDINGS)
KINDS: tuple[Kind[Deed], ...] = (*UNDOABLE, MOVED_BINDING)


@dataclass
class Bench:
    """A forge under test."""

    name: str
    forge: HostedForge
    people: People
    server: StandIn | None = None
    """The stand-in, where there is one."""

    @property
    def stand_in(self) -> StandIn:
        assert self.server is not None
        return self.server

    @property
    def vendors_people(self) -> StandInPeople:
        assert isinstance(self.people, StandInPeople)
        return self.people


@dataclass
class LocalPeople:
    """People at the real `local-forge`, with the bot's token: nobody else has one here."""

    forge: Forge
    folder: Path

    def is_there(self, wanted: RepositoryWanted) -> bool:
        return self.forge.repository(wanted.owner, wanted.name) is not None

    def is_protected(self, wanted: RepositoryWanted) -> bool:
        found = self.forge.repository(wanted.owner, wanted.name)
        return found is not None and bool(found["protections"])

    def revisions(self, wanted: RepositoryWanted, *paths: str) -> list[str]:
        clone = self.forge.clone(wanted.owner, wanted.name, self.folder)
        return self.forge.git("log", "--format=%H", "--", *paths, cwd=clone).split()

    def merge_file(self, wanted: RepositoryWanted, path: str, content: str) -> str:
        return self.forge.push_file(wanted.owner, wanted.name, self.folder, path, content)

    def make_repository(self, wanted: RepositoryWanted) -> None:
        body = {"owner": wanted.owner, "name": wanted.name, "marker": _foreign_marker()}
        answer = self.forge.request("POST", "/api/v1/repositories", body)
        assert answer.status_code == 201, answer.text

    def protect(self, wanted: RepositoryWanted) -> None:
        path = f"/api/v1/repositories/{wanted.owner}/{wanted.name}/protection/main"
        body = {"branch": "main", "marker": _foreign_marker()}
        assert self.forge.request("PUT", path, body).status_code == 200


def _foreign_marker() -> dict[str, Any]:
    return {"installationId": INSTALLATION, "entityId": new_id(), "requestId": new_id()}


@contextmanager
def local_bench(forge: Forge, token: Path, folder: Path) -> Iterator[Bench]:
    client = ForgeClient(
        forge.url,
        SecretFile(token),
        provider_calls(ServiceName.LOCAL_FORGE),
        timeout_seconds=10,
        git_timeout_seconds=20,
    )
    with closing(client):
        yield Bench("local", LocalForge(client, INSTALLATION), LocalPeople(forge, folder))


@dataclass
class StandInPeople:
    """The administrator of a stand-in, who sees and may everything; one organisation a team."""

    server: GiteaServer | GitHubServer
    folder: Path

    def is_there(self, wanted: RepositoryWanted) -> bool:
        return (wanted.owner, wanted.name) in self.server.repositories

    def is_protected(self, wanted: RepositoryWanted) -> bool:
        found = self.server.repositories[wanted.owner, wanted.name]
        rules = found.rules if isinstance(found, GiteaRepository) else found.protections
        return "main" in rules

    def revisions(self, wanted: RepositoryWanted, *paths: str) -> list[str]:
        if not self.server.git.has_branch(wanted.owner, wanted.name):
            return []
        return self.server.git.revisions(wanted.owner, wanted.name, *paths)

    def merge_file(self, wanted: RepositoryWanted, path: str, content: str) -> str:
        return self.server.git.push_file(wanted.owner, wanted.name, self.folder, path, content)

    def make_repository(self, wanted: RepositoryWanted) -> None:
        self.server.add_repository(wanted.owner, wanted.name, "Somebody's")

    def protect(self, wanted: RepositoryWanted) -> None:
        self.server.add_protection(wanted.owner, wanted.name, "main")

    def protect_from_all_but(self, wanted: RepositoryWanted, user: str) -> None:
        rule = self.server.add_protection(wanted.owner, wanted.name, "main")
        if isinstance(self.server, GiteaServer):
            rule.update(
                enable_push=True, enable_push_whitelist=True, push_whitelist_usernames=[user]
            )
        else:
            passing = {"users": [{"login": user}], "teams": [], "apps": []}
            rule["required_pull_request_reviews"] = {"bypass_pull_request_allowances": passing}

    def unprotect(self, wanted: RepositoryWanted) -> None:
        found = self.server.repositories[wanted.owner, wanted.name]
        rules = found.rules if isinstance(found, GiteaRepository) else found.protections
        del rules["main"]
        self.server.git.unprotect(wanted.owner, wanted.name, "main")

    def merge(
        self, wanted: RepositoryWanted, *, squashed: bool = False, removing: bool = True
    ) -> None:
        """The newest pull request; its branch goes unless the forge leaves it there."""
        pulls = self.server.pulls[wanted.owner, wanted.name]
        pulls.merge(self.folder, squashed=squashed, removing=removing)

    def update_branch(self, wanted: RepositoryWanted) -> None:
        """Of the newest pull request."""
        branch = self.pull_requests(wanted)[0].branch
        self.server.git.update(wanted.owner, wanted.name, self.folder, branch)

    def has_branch(self, wanted: RepositoryWanted, branch: str) -> bool:
        return self.server.git.has_branch(wanted.owner, wanted.name, branch)

    def push_branch(self, wanted: RepositoryWanted, branch: str) -> None:
        """A person's own."""
        place = wanted.owner, wanted.name
        self.server.git.push_file(*place, self.folder, "aside.md", "Aside\n", branch=branch)

    def amend_merge(self, wanted: RepositoryWanted, path: str, content: str | None) -> None:
        """The newest merge brought this file as well; None, not any more."""
        place = wanted.owner, wanted.name
        self.server.git.amend(*place, self.folder, path, content)

    def remove_file(self, wanted: RepositoryWanted, path: str) -> None:
        """A person's change that takes a file out of main."""
        self.server.git.push_file(wanted.owner, wanted.name, self.folder, path, None)

    def pull_requests(self, wanted: RepositoryWanted) -> list[Pull]:
        """The newest first."""
        return self.server.pulls[wanted.owner, wanted.name].all

    def description(self, wanted: RepositoryWanted) -> str:
        return self.server.repositories[wanted.owner, wanted.name].description

    def hand_over(self, wanted: RepositoryWanted, default_branch: str) -> None:
        """One that people work on, marked for the platform by hand."""
        mark = f"[idp:{INSTALLATION}/{wanted.repository_id}]"
        made = self.server.add_repository(wanted.owner, wanted.name, f"Old shop {mark}")
        made.default_branch = default_branch
        self.server.git.push_file(
            wanted.owner, wanted.name, self.folder, "a", "b\n", branch=default_branch
        )


class OpenOrganisations(dict[str, GiteaOrganisation]):
    """Every team has an organisation, with a team in it of the same name."""

    def get(self, owner: str, default: Any = None) -> GiteaOrganisation:
        return self.setdefault(owner, GiteaOrganisation(teams={owner}))

    def __missing__(self, owner: str) -> GiteaOrganisation:
        return self.get(owner)


@contextmanager
def gitea_bench(
    folder: Path,
    organisation: str | None = None,
    *,
    pull_requests: PullRequestRules | None = None,
) -> Iterator[Bench]:
    (folder / "clones").mkdir(parents=True)
    with GiteaServer(folder / "git") as server:
        server.organisations = OpenOrganisations()
        write_private_file(folder / "gitea.token", server.token)
        client = GiteaClient(
            server.url,
            SecretFile(folder / "gitea.token"),
            provider_calls(GITEA),
            timeout_seconds=TIMEOUT_SECONDS,
            git_timeout_seconds=20,
        )
        with closing(client):
            forge = HostedForge(
                lambda: GiteaHost(client, organisation, pull_requests=pull_requests), INSTALLATION
            )
            yield Bench("gitea", forge, StandInPeople(server, folder / "clones"), server)


@contextmanager
def github_bench(
    folder: Path,
    organisation: str | None = None,
    *,
    is_app: bool = True,
    protection: GitHubProtectionChoice = GitHubProtectionChoice.BRANCH,
    pull_requests: PullRequestRules | None = None,
    clock: Clock | None = None,
    concurrency: int = 8,
) -> Iterator[Bench]:
    """With an App, or with somebody's fine-grained token."""
    (folder / "clones").mkdir(parents=True)
    with GitHubServer(folder / "git") as server:
        write_private_file(folder / "app.pem", server.key_pem)
        write_private_file(folder / "github.token", server.owners_token)
        github = GitHub(
            server.url,
            provider_calls(GITHUB, concurrency=concurrency),
            timeout_seconds=TIMEOUT_SECONDS,
            git_timeout_seconds=20,
        )
        key, time = SecretFile(folder / "app.pem"), clock or SystemClock()
        app = App(github.rest, github.prefix, APP_ID, INSTALLATION_ID, key, time)
        token = OwnersToken(SecretFile(folder / "github.token"))

        def host(credential: Credential) -> GitHubHost:
            return GitHubHost(
                GitHubClient(github, credential),
                organisation,
                protection=protection,
                pull_requests=pull_requests,
            )

        for_looks = MintedToken(app) if is_app else token
        with closing(github):
            forge = HostedForge(
                lambda: host(MintedToken(app) if is_app else token),
                INSTALLATION,
                looking=lambda: host(for_looks),
            )
            yield Bench("github", forge, StandInPeople(server, folder / "clones"), server)
