"""What the workers are told of Gitea or Forgejo; all of it is needed only where that is chosen."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from idp_kernel.settings import (
    AuthoritiesFile,
    Form,
    HttpUrl,
    Needs,
    SecretFilePath,
    ServiceSettings,
)

OrganisationName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,38}$"),
    Form("the name of an organisation: 1 to 39 letters, digits, ., _ and -"),
]

GITEA_NEEDS = Needs("the forge gitea", ("gitea_url", "gitea_token_file"))


class GiteaSettings(ServiceSettings):
    """Where it is and who the platform is there."""

    gitea_url: HttpUrl | None = None
    """Where Gitea or Forgejo is, without `/api/v1`. Needed when `git_forge` is `gitea`."""
    gitea_token_file: SecretFilePath | None = None
    """An access token of the platform's account there, with the scopes `write:organization`,
    `write:repository` and `read:user`. Needed when `git_forge` is `gitea`."""
    gitea_ca_file: AuthoritiesFile | None = None
    """The authorities that vouch for its certificate, as PEM; the well-known ones without it."""
    gitea_organisation: OrganisationName | None = None
    """The organisation that has the repositories of all teams; without it each team's are in the
    organisation that is named like the team."""
    gitea_pull_requests: bool = False
    """As `github_pull_requests`."""
