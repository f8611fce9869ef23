"""Registry credentials: each is a robot account of one team's project, and robots take turns.

Harbor keeps one secret for each robot, and setting it ends the one before at once: so a new
credential never has the robot of one in use. Two robots take turns; a third stands in after a
rotation that failed on its way, when both may be in use. Which one a credential is says its user
name. A robot's description says which version of the secret it has, so that repeating a step finds
what a killed one has done: the description is written last.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence

from execution_workers.failpoints import (
    LOGIN_DISABLED,
    PROJECT_CREATED,
    ROBOT_CREATED,
    ROBOT_SECRET_SET,
)
from execution_workers.ports import (
    Attempt,
    Ended,
    Permission,
    Properties,
    Sessions,
    foreign_owner,
)
from execution_workers.providers.harbor.client import (
    HarborClient,
    Project,
    Robot,
    description_of,
    encoded_login,
)
from execution_workers.providers.harbor.errors import NO_FREE_ROBOT, ROBOT_REPLACED
from execution_workers.providers.harbor.permissions import permissions_of
from idp_kernel.clock import Clock
from idp_kernel.failpoints import failpoint
from idp_kernel.wire.worker import DOCKER_CONFIG

SECRET_BYTES = 32
WHAT_HARBOR_ASKS_FOR = "aA1"
"""A secret has a lower case and an upper case letter and a digit."""
REGISTRY, PROJECT, USERNAME, PASSWORD = "registry", "project", "username", "password"
PLACES = "abc"


class HarborIssuer:
    """The port `CredentialIssuer` on Harbor."""

    def __init__(self, client: HarborClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def permissions(self) -> Sequence[Permission]:
        return permissions_of(self._client)

    @property
    def takes_values_of_people(self) -> bool:
        """False: what it did not make lets nobody in."""
        return False

    def draft(
        self,
        secret_id: str,
        in_use: Mapping[int, Properties],
        *,
        team: str,
        emergency: bool = False,  # noqa: ARG002 - nobody has a session with a robot
    ) -> Properties:
        registry, name = self._client.registry, self._free_place(secret_id, in_use)
        password = secrets.token_urlsafe(SECRET_BYTES) + WHAT_HARBOR_ASKS_FOR
        login = {"auth": encoded_login(name, password)}
        return {
            REGISTRY: registry,
            PROJECT: team,
            USERNAME: name,
            PASSWORD: password,
            DOCKER_CONFIG: json.dumps({"auths": {registry: login}}),
        }

    def install(
        self,
        secret_id: str,
        properties: Properties,
        version: int,
        attempt: Attempt,
        *,
        team: str,
        emergency: bool = False,  # noqa: ARG002 - the secret before it ends at once
    ) -> None:
        name = self._own_name(secret_id, properties)
        self._require_own_project(properties, team)
        standing = self._own_robots(secret_id, attempt).get(name)
        if standing is not None and standing.version == version and not standing.is_disabled:
            return
        if standing is not None and (standing.version or 0) > version:
            raise self._replaced("set robot secret", standing)
        robot = standing or self._created(secret_id, name, team, attempt)
        if robot.version is not None:
            attempt.check_fence()
            self._client.describe_robot(robot, team, attempt.marker(secret_id), None)
        attempt.check_fence()
        self._client.set_secret(robot, properties[PASSWORD])
        failpoint(ROBOT_SECRET_SET)
        attempt.check_fence()
        self._client.describe_robot(robot, team, attempt.marker(secret_id), version)

    def verify(self, properties: Properties, *, team: str) -> str | None:
        if properties.get(PROJECT) != team:
            return f"its project is not {team}, its team's"
        granted = self._client.granted(
            properties.get(USERNAME, ""), properties.get(PASSWORD, ""), team
        )
        if granted is None:
            return "Harbor refuses the login"
        missing = sorted(set(self._client.needed_actions) - granted)
        return f"it may not {' and '.join(missing)} images of {team}" if missing else None

    def problem_with(self, secret_id: str, version: int) -> str | None:
        robots = self._client.robots(_begin(secret_id)).values()
        robot = next((each for each in robots if each.version == version), None)
        if robot is None:
            return "Harbor has no robot with its secret"
        if robot.is_disabled:
            return f"the robot {robot.name} is disabled"
        is_over = 0 <= robot.expires_at <= self._clock.now().timestamp()
        return f"the robot {robot.name} has expired" if is_over else None

    def sessions(self, secret_id: str, properties: Properties) -> Sessions | None:  # noqa: ARG002
        """Nobody knows who would pull next: Harbor's log tells who has."""
        return None

    def retire_others(
        self,
        secret_id: str,
        properties: Properties,
        version: int,
        attempt: Attempt,
        *,
        team: str,
    ) -> int:
        self._require_own_project(properties, team)
        robots = self._own_robots(secret_id, attempt).values()
        others = [robot for robot in robots if robot.name != properties.get(USERNAME)]
        for robot in others:
            if robot.version is not None and robot.version > version:
                raise self._replaced("retire elder robots", robot)
        for robot in others:
            if robot.version is not None or not robot.is_disabled:
                self._disable(secret_id, robot, team, attempt)
        return 0

    def end(self, secret_id: str, attempt: Attempt) -> Ended:
        """A robot that is gone lets nobody in, and nobody has a session with one."""
        robots = self._own_robots(secret_id, attempt).values()
        let_in = sum(not robot.is_disabled for robot in robots)
        self.remove(secret_id, attempt)
        return Ended(logins=let_in, sessions=0)

    def logins_let_in(self, secret_id: str) -> Sequence[str]:
        robots = self._client.robots(_begin(secret_id)).values()
        return [robot.name for robot in robots if not robot.is_disabled]

    def remove(self, secret_id: str, attempt: Attempt) -> bool:
        """The robots; the project has the team's images and stays."""
        for robot in self._own_robots(secret_id, attempt).values():
            attempt.check_fence()
            self._client.delete_robot(robot)
        return True

    def _free_place(self, secret_id: str, in_use: Mapping[int, Properties]) -> str:
        """One that lets nobody in, else that of the eldest credential that no binding pins."""
        robots = self._client.robots(_begin(secret_id))
        named = {each.get(USERNAME, "") for each in in_use.values()}
        taken = named | {each.name for each in robots.values() if each.version in in_use}
        names = [f"{self._client.robot_prefix}{_begin(secret_id)}{each}" for each in PLACES]
        free = [name for name in names if name not in taken]
        if not free:
            raise NO_FREE_ROBOT.of(self._client.provider, "make a robot", "bindings pin them all")
        return min(free, key=lambda name: _version_of(robots.get(name)))

    def _created(self, secret_id: str, name: str, project: str, attempt: Attempt) -> Robot:
        self._ensure_project(project, attempt)
        attempt.check_fence()
        self._client.create_robot(name, project, attempt.marker(secret_id))
        failpoint(ROBOT_CREATED)
        return self._own_robots(secret_id, attempt)[name]

    def _ensure_project(self, name: str, attempt: Attempt) -> None:
        """The team's, made when it is not there. One that is there must have the platform's label,
        or be empty and private, as a killed attempt leaves it.
        """
        found = self._client.project(name)
        if found is None:
            attempt.check_fence()
            self._client.create_project(name)
            failpoint(PROJECT_CREATED)
            found = self._client.project(name)
        if found is None:
            raise foreign_owner(self._client.provider, f"a project {name} that cannot be seen")
        self._ensure_label(found, attempt)

    def _ensure_label(self, project: Project, attempt: Attempt) -> None:
        label = label_name(attempt.installation_id)
        if self._client.has_label(project, label):
            return
        if project.is_public or project.repositories:
            what = f"a project {project.name} without the label {label}"
            raise foreign_owner(self._client.provider, what)
        attempt.check_fence()
        marker = attempt.marker(project.name)
        self._client.create_label(project, label, description_of(marker, None))

    def _disable(self, secret_id: str, robot: Robot, project: str, attempt: Attempt) -> None:
        """Its secret becomes one that nobody knows, so that enabling it by hand brings nothing
        back.
        """
        attempt.check_fence()
        self._client.set_secret(robot, "")
        failpoint(LOGIN_DISABLED)
        attempt.check_fence()
        self._client.describe_robot(robot, project, attempt.marker(secret_id), None)

    def _own_robots(self, secret_id: str, attempt: Attempt) -> Mapping[str, Robot]:
        robots = self._client.robots(_begin(secret_id))
        marker = attempt.marker(secret_id)
        for robot in robots.values():
            if not robot.marker.is_of_same_entity(marker):
                raise foreign_owner(self._client.provider, f"a robot {robot.name}")
        return robots

    def _own_name(self, secret_id: str, properties: Properties) -> str:
        """The robot of a credential; none but the secret's own is ever changed."""
        name = properties.get(USERNAME, "")
        if name.removeprefix(self._client.robot_prefix)[:-1] != _begin(secret_id):
            what = "a version whose user name the platform did not choose,"
            raise foreign_owner(self._client.provider, what)
        return name

    def _require_own_project(self, properties: Properties, team: str) -> None:
        """Who may write the team's secrets in the store may write any project into a version."""
        if properties.get(PROJECT) != team:
            raise foreign_owner(
                self._client.provider, f"a version whose project is not its team's, {team},"
            )

    def _replaced(self, operation: str, robot: Robot) -> Exception:
        found = f"the robot {robot.name} has the secret of version {robot.version} by now"
        return ROBOT_REPLACED.of(self._client.provider, operation, found)


def label_name(installation_id: str) -> str:
    """The label that lets an installation make robots for a project."""
    return f"idp-{installation_id}"


def _begin(secret_id: str) -> str:
    return f"idp-{secret_id.replace('-', '')}-"


def _version_of(robot: Robot | None) -> int:
    return (robot and robot.version) or 0
