"""What the platform has of the things that a file declares, asked once each."""

from __future__ import annotations

from functools import cache
from typing import TypeVar

from idp_cli.api import (
    APPLICATION,
    APPLICATION_ENVIRONMENT,
    APPLICATIONS,
    ENVIRONMENT,
    ENVIRONMENTS_OF_APPLICATION,
    MEMBERS,
    SECRET,
    TEAM,
    TEAM_LIMITS,
    TEAM_POLICY,
    Api,
)
from idp_kernel.errors import NotFound
from idp_kernel.wire.api import (
    Application,
    ApplicationEnvironment,
    Environment,
    Member,
    Secret,
    Team,
    TeamLimits,
    TeamPolicy,
)
from idp_kernel.wire.base import WireModel
from idp_kernel.wire.engine import TeamRole

Thing = TypeVar("Thing", bound=WireModel)


class Present:
    """As it is now; a new one has to be made to look again. What may not be seen is not there."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._tags: dict[str, str | None] = {}
        self.team = cache(self._team)
        self.roles = cache(self._roles)
        self.policy = cache(self._policy)
        self.limits = cache(self._limits)
        self.environment = cache(self._environment)
        self.application = cache(self._application)
        self.application_environment = cache(self._application_environment)
        self.secret = cache(self._secret)
        self._environments_of = cache(self._application_environment_ids)

    def tag(self, path: str) -> str | None:
        """The entity tag of what was there when it was looked at."""
        return self._tags.get(path)

    def _team(self, slug: str) -> Team | None:
        return self._look(TEAM.format(team=slug), Team)

    def _roles(self, slug: str) -> dict[str, TeamRole]:
        """By the name of the member."""
        members = self._api.all(MEMBERS.format(team=slug), Member)
        return {member.principal: member.role for member in members}

    def _policy(self, slug: str) -> TeamPolicy | None:
        return self._look(TEAM_POLICY.format(team=slug), TeamPolicy)

    def _limits(self, slug: str) -> TeamLimits | None:
        return self._look(TEAM_LIMITS.format(team=slug), TeamLimits)

    def _environment(self, slug: str) -> Environment | None:
        return self._look(ENVIRONMENT.format(environment=slug), Environment)

    def _application(self, team: str, slug: str) -> Application | None:
        query = {"team": team, "slug": slug}
        found = next(iter(self._api.all(APPLICATIONS, Application, query)), None)
        if found is None:
            return None
        return self._look(APPLICATION.format(application_id=found.id), Application)

    def _application_environment(
        self, application_id: str, environment: str
    ) -> ApplicationEnvironment | None:
        found = self._environments_of(application_id).get(environment)
        if found is None:
            return None
        path = APPLICATION_ENVIRONMENT.format(application_environment_id=found)
        return self._look(path, ApplicationEnvironment)

    def _secret(self, secret_id: str) -> Secret | None:
        return self._look(SECRET.format(secret_id=secret_id), Secret)

    def _application_environment_ids(self, application_id: str) -> dict[str, str]:
        """By the environment's slug."""
        path = ENVIRONMENTS_OF_APPLICATION.format(application_id=application_id)
        found = self._api.all(path, ApplicationEnvironment)
        return {each.environment: each.id for each in found}

    def _look(self, path: str, kind: type[Thing]) -> Thing | None:
        try:
            found, self._tags[path] = self._api.look(path, kind)
        except NotFound:
            return None
        return found
