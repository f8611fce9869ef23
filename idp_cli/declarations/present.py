"""What the platform has of the things that a file declares, asked once each."""

from __future__ import annotations

from functools import cache

from idp_cli.api import (
    APPLICATIONS,
    ENVIRONMENT,
    ENVIRONMENTS_OF_APPLICATION,
    MEMBERS,
    TEAM,
    Api,
)
from idp_kernel.errors import NotFound
from idp_kernel.wire.api import Application, ApplicationEnvironment, Environment, Member, Team
from idp_kernel.wire.engine import TeamRole


class Present:
    """As it is now; a new one has to be made to look again. What may not be seen is not there."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.team = cache(self._team)
        self.roles = cache(self._roles)
        self.environment = cache(self._environment)
        self.application = cache(self._application)
        self.application_environments = cache(self._application_environments)

    def _team(self, slug: str) -> Team | None:
        try:
            return self._api.get(TEAM.format(team=slug), Team)
        except NotFound:
            return None

    def _roles(self, slug: str) -> dict[str, TeamRole]:
        """By the name of the member."""
        members = self._api.all(MEMBERS.format(team=slug), Member)
        return {member.principal: member.role for member in members}

    def _environment(self, slug: str) -> Environment | None:
        try:
            return self._api.get(ENVIRONMENT.format(environment=slug), Environment)
        except NotFound:
            return None

    def _application(self, team: str, slug: str) -> Application | None:
        query = {"team": team, "slug": slug}
        return next(iter(self._api.all(APPLICATIONS, Application, query)), None)

    def _application_environments(self, application_id: str) -> dict[str, ApplicationEnvironment]:
        """By the environment's slug."""
        path = ENVIRONMENTS_OF_APPLICATION.format(application_id=application_id)
        found = self._api.all(path, ApplicationEnvironment)
        return {each.environment: each for each in found}
