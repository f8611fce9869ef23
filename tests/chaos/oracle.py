"""What the providers' own records say of an application and its environment: the forge's
repositories and reflogs, the store's versions, the database's roles, the agent's conditions.

Nothing is asked of the platform's tables; which request ended how is what its API told.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from execution_workers.providers.forges.git import ENTITY_TRAILER, REQUEST_TRAILER
from idp_kernel.services import DEFAULT_PORTS
from idp_kernel.wire.agent import RECONCILIATION
from idp_kernel.wire.forge import REPOSITORY
from idp_kernel.wire.worker import appenv_repository_name
from tests.chaos.cells import Way
from tests.chaos.results import Finding, Kind
from tests.chaos.traffic import Application, Asked, Environment, Traffic
from tests.e2e.logins import BoundSecret, group_of, roles
from tests.e2e.platform import eventually

_FORMAT = (
    f"%H%x1f%s%x1f%(trailers:key={REQUEST_TRAILER},valueonly,separator=%x2C)"
    f"%x1f%(trailers:key={ENTITY_TRAILER},valueonly,separator=%x2C)"
)
AGENT_SEES_WITHIN_SECONDS = 30
COMMITS_OF_WAY = {
    Way.PROVISIONING: 2,
    Way.ROTATION: 1,
    Way.EMERGENCY: 1,
    Way.REVOCATION: 1,
}
"""On an environment's main branch, by a request that succeeded."""


@dataclass(frozen=True)
class Commit:
    """One on the main branch, as the platform marks its own."""

    revision: str
    subject: str
    request_id: str
    entity: str


@dataclass(frozen=True)
class Repository:
    """A bare repository where the forge keeps it."""

    path: Path

    @property
    def is_there(self) -> bool:
        return self.path.is_dir()

    def commits(self) -> list[Commit]:
        """Of main, newest first; none where it has none yet."""
        if not self._has_main():
            return []
        lines = self._git("log", "--first-parent", f"--format={_FORMAT}", "refs/heads/main")
        return [Commit(*line.split("\x1f")) for line in lines.splitlines()]

    def moves(self) -> list[str]:
        """What main was moved to, newest first: its reflog; nothing where there is no main yet, as
        in what a cancelled onboarding has created and not seeded.
        """
        if not self._has_main():
            return []
        return self._git("reflog", "show", "--format=%H", "refs/heads/main").split()

    def _has_main(self) -> bool:
        return bool(self._git("for-each-ref", "refs/heads/main"))

    def _git(self, *arguments: str) -> str:
        ran = subprocess.run(
            ["git", *arguments],
            cwd=self.path, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return ran.stdout


def repeated(commits: Sequence[Commit]) -> Iterator[str]:
    """Commits that one request made for one thing more than once."""
    counted = Counter((each.request_id, each.entity, each.subject) for each in commits)
    for (request_id, entity, subject), times in counted.items():
        if times > 1 and request_id:
            yield f"{times} commits “{subject}” of request {request_id} for {entity}"


def rewound(commits: Sequence[Commit], moves: Sequence[str]) -> Iterator[str]:
    """Commits that were main once and are in its history no more."""
    for revision in set(moves) - {each.revision for each in commits}:
        yield f"commit {revision[:10]} was on main and is there no more"


def findings_of_versions(versions: int, expected: int, what: str) -> Iterator[Finding]:
    """Of how many versions a secret has."""
    if versions > expected:
        yield Finding(Kind.DUPLICATED, f"{what} has {versions} versions instead of {expected}")
    if versions < expected:
        yield Finding(Kind.LOST, f"{what} has {versions} versions instead of {expected}")


def findings_of_roles(standing: dict[str, bool], username: str | None, what: str) -> list[Finding]:
    """Of a secret's login roles: those that may log in are just the one bound; none once ended."""
    open_ones = {name for name, may_log_in in standing.items() if may_log_in}
    wanted = set() if username is None else {username}
    found = [
        Finding(Kind.LOST, f"{what}: role {name} cannot log in") for name in wanted - open_ones
    ]
    found += [
        Finding(Kind.DUPLICATED, f"{what}: role {name} may log in, too")
        for name in open_ones - wanted
    ]
    if len(standing) > 2:
        found.append(Finding(Kind.DUPLICATED, f"{what} has {len(standing)} login roles"))
    return found


class Oracle:
    """Asks the providers of one platform."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._platform = traffic.platform

    def check(self, asked: Sequence[Asked]) -> list[Finding]:
        """What is wrong with all that these requests were about; every one of them has ended."""
        found = [
            Finding(
                Kind.LOST,
                f"{each} ended {each.state}: {(each.shown.get('error') or {}).get('message')}",
            )
            for each in asked
            if each.state != "succeeded" and not (each.is_cancelled and each.state == "cancelled")
        ]
        applications = {each.application.slug: each.application for each in asked}
        for told in self._traffic.each(self._check, applications.values()):
            found += told
        return found

    def snapshot(self, environment_id: str) -> tuple[object, ...]:
        """All that the providers have of an environment, to be compared with a later one."""
        repository = self._repository(appenv_repository_name(environment_id))
        revisions = [each.revision for each in repository.commits()] if repository.is_there else []
        shown = self._platform.ok("GET", f"/v1/application-environments/{environment_id}")
        secrets = [
            (
                each["name"],
                sorted(self._versions(environment_id, each["name"]) or {}),
                self._metadata(environment_id, each["name"]) is not None,
                roles(self._platform, group_of(each["id"])),
            )
            for each in shown["secrets"]
        ]
        return repository.is_there, tuple(revisions), str(secrets)

    # ------------------------------------------------------------ the parties

    def _check(self, application: Application) -> list[Finding]:
        history = [
            each
            for each in self._traffic.asked
            if each.application.slug == application.slug and each.state is not None
        ]
        succeeded = [each.way for each in history if each.state == "succeeded"]
        environment = next((each.environment for each in history if each.environment), None)
        if any(each.is_cancelled for each in history):
            return [*self._check_what_was_called_off(application, environment)]
        found = list(self._check_repositories(application, succeeded))
        if environment is not None:
            found += self._check_environment(environment, history)
        return found

    def _check_repositories(
        self, application: Application, succeeded: Sequence[Way]
    ) -> Iterator[Finding]:
        is_undone = Way.UNDO_ONBOARDING in succeeded
        for name in (application.slug, f"{application.slug}-deploy"):
            repository = self._repository(name)
            if is_undone and repository.is_there:
                yield Finding(Kind.LOST, f"{name} is there, though its onboarding was undone")
            if repository.is_there:
                yield from self._of_history(repository, name)
            is_wanted = Way.ONBOARDING in succeeded and not is_undone
            if is_wanted and not (repository.is_there and repository.commits()):
                yield Finding(Kind.LOST, f"{name} is not there, or has no commit")
            elif Way.APPLICATION_DECOMMISSIONING in succeeded and not self._is_archived(name):
                yield Finding(Kind.LOST, f"{name} is not archived, though its application ended")

    def _is_archived(self, name: str) -> bool:
        token = (self._platform.home / "keys" / "forge-bot.token").read_text().strip()
        answer = self._platform.client.get(
            self._platform.url(
                DEFAULT_PORTS.local_forge, REPOSITORY.format(owner=self._traffic.team, name=name)
            ),
            headers={"Authorization": f"Bearer {token}"},
        )
        assert answer.status_code == 200, answer.text
        return bool(answer.json()["archived"])

    def _check_what_was_called_off(
        self, application: Application, environment: Environment | None
    ) -> Iterator[Finding]:
        """Whatever is there is there once; how much is, nobody can tell."""
        names = [application.slug, f"{application.slug}-deploy"]
        if environment is not None:
            names.append(appenv_repository_name(environment.id))
        for name in names:
            repository = self._repository(name)
            if repository.is_there:
                yield from self._of_history(repository, name)

    def _of_history(self, repository: Repository, name: str) -> Iterator[Finding]:
        commits = repository.commits()
        for what in repeated(commits):
            yield Finding(Kind.DUPLICATED, f"{name}: {what}")
        for what in rewound(commits, repository.moves()):
            yield Finding(Kind.LOST, f"{name}: {what}")

    def _check_environment(
        self, environment: Environment, history: Sequence[Asked]
    ) -> Iterator[Finding]:
        name = appenv_repository_name(environment.id)
        repository = self._repository(name)
        done = [each for each in history if each.state == "succeeded"]
        ways = [each.way for each in done]
        if Way.UNDO_PROVISIONING in ways:
            undone = next(each for each in done if each.way is Way.UNDO_PROVISIONING)
            told = str(undone.shown.get("leftBehind") or "")
            yield from self._check_nothing_left(environment, repository, told)
            return
        if repository.is_there:
            yield from self._of_history(repository, name)
        if Way.PROVISIONING not in ways:
            return
        if not repository.is_there:
            yield Finding(Kind.LOST, f"{name} is not there")
            return
        made = Counter(each.request_id for each in repository.commits())
        for each in done:
            expected = COMMITS_OF_WAY.get(each.way, 0)
            if expected > made[each.request_id]:
                yield Finding(
                    Kind.LOST, f"{name} has {made[each.request_id]} commits of {each} of {expected}"
                )
        is_retired = Way.DECOMMISSIONING in ways
        rotations = {Way.ROTATION, Way.EMERGENCY}
        for secret, secret_id in environment.secrets.items():
            mine = [each for each in history if each.secret == secret and each.way in rotations]
            expected = 1 + sum(each.state == "succeeded" for each in mine)
            is_over = is_retired or (secret in environment.revoked)
            bound = BoundSecret(self._platform, self._traffic.team, environment.id, secret)
            if any(each.state != "succeeded" for each in mine):
                expected = max(expected, len(self._versions(environment.id, secret) or {}))
            try:
                yield from self._check_secret(bound, secret_id, expected, is_over=is_over)
            except subprocess.CalledProcessError as error:
                lived = ", ".join(f"{each} {each.state}" for each in history)
                yield Finding(
                    Kind.LOST, f"{name} does not bind {secret}: {error.stderr.strip()}; {lived}"
                )
        yield from self._check_agent(environment, repository, is_retired=is_retired)

    def _check_secret(
        self, bound: BoundSecret, secret_id: str, expected: int, *, is_over: bool
    ) -> Iterator[Finding]:
        what = f"{bound.name} of {bound.appenv_id}"
        versions = self._versions(bound.appenv_id, bound.name)
        if versions is None:
            yield Finding(Kind.LOST, f"{what} is not in the store")
            return
        yield from findings_of_versions(len(versions), expected, what)
        live = sorted(number for number, is_live in versions.items() if is_live)
        standing = roles(self._platform, group_of(secret_id))
        if is_over:
            if live:
                yield Finding(Kind.LOST, f"{what} has ended, but version {live} can be read")
            yield from findings_of_roles(standing, None, what)
            return
        pinned = bound.pinned_version
        if live != [pinned]:
            yield Finding(
                Kind.LOST if pinned not in live else Kind.DUPLICATED,
                f"{what}: its binding pins {pinned}, and {live} can be read",
            )
        elif bound.name == "db":
            yield from findings_of_roles(standing, bound.values()["username"], what)

    def _check_nothing_left(
        self, environment: Environment, repository: Repository, told: str
    ) -> Iterator[Finding]:
        """Nothing but what the undo tells that it left: a login on which data of somebody hangs."""
        if repository.is_there:
            yield Finding(Kind.LOST, f"{repository.path.name} is there, though it was undone")
        for secret, secret_id in environment.secrets.items():
            if f"secret/{secret_id}" in told:
                continue
            if self._metadata(environment.id, secret) is not None:
                yield Finding(Kind.LOST, f"{secret} of {environment.id} is in the store, undone")
            yield from findings_of_roles(
                roles(self._platform, group_of(secret_id)), None, f"{secret} of {environment.id}"
            )

    def _check_agent(
        self, environment: Environment, repository: Repository, *, is_retired: bool
    ) -> Iterator[Finding]:
        name = appenv_repository_name(environment.id)
        try:
            eventually(
                lambda: self._agent_is_right(name, repository, is_retired=is_retired),
                within_seconds=AGENT_SEES_WITHIN_SECONDS,
                what="the agent has what the repository has",
            )
        except AssertionError as late:
            yield Finding(Kind.LOST, f"{name}: {late}")

    def _agent_is_right(self, name: str, repository: Repository, *, is_retired: bool) -> bool:
        token = (self._platform.home / "keys" / "gitops-agent-reader.token").read_text().strip()
        path = RECONCILIATION.format(owner=self._traffic.team, name=name)
        answer = self._platform.client.get(
            self._platform.url(DEFAULT_PORTS.local_gitops_agent, path),
            headers={"Authorization": f"Bearer {token}"},
        )
        if is_retired:
            return answer.status_code == 404
        head = repository.commits()[0].revision
        return answer.status_code == 200 and answer.json()["observedRevision"] == head

    def _repository(self, name: str) -> Repository:
        folder = self._platform.home / "forge" / "repositories" / self._traffic.team
        return Repository(folder / f"{name}.git")

    def _versions(self, environment_id: str, secret: str) -> dict[int, bool] | None:
        """Each with whether it can be read; none where the store knows no such secret."""
        metadata = self._metadata(environment_id, secret)
        if metadata is None:
            return None
        return {
            int(number): not each["destroyed"] and not each["deletion_time"]
            for number, each in metadata["versions"].items()
        }

    def _metadata(
        self, environment_id: str, secret: str
    ) -> dict[str, dict[str, dict[str, str]]] | None:
        path = f"kv/metadata/teams/{self._traffic.team}/appenv/{environment_id}/{secret}"
        answer = self._platform.openbao(path, self._platform.openbao_root_token)
        assert answer.status_code in (200, 404), answer.text
        found: dict[str, dict[str, dict[str, str]]] | None = (
            answer.json()["data"] if answer.status_code == 200 else None
        )
        return found
