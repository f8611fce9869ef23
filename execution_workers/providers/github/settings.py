"""What the workers are told of GitHub; needed only where that is chosen."""

from __future__ import annotations

from enum import StrEnum
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

OrganisationLogin = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9](-?[A-Za-z0-9]){0,38}$"),
    Form("the login of an organisation: 1 to 39 letters and digits, with single hyphens between"),
]
Number = Annotated[int, Field(ge=1)]


class GitHubProtectionChoice(StrEnum):
    """How a default branch is protected."""

    BRANCH = "branch"
    RULESET = "ruleset"


class GitHubSettings(ServiceSettings):
    """Where it is and who the platform is there: a GitHub App, or the owner of a token."""

    github_url: HttpUrl = "https://github.com"
    """Where GitHub is: github.com, or an Enterprise Server's address. The API's follows from it."""
    github_ca_file: AuthoritiesFile | None = None
    """The authorities that vouch for its certificate, as PEM; the well-known ones without it."""
    github_organisation: OrganisationLogin | None = None
    """The organisation that has the repositories of all teams; without it each team's are in the
    organisation that is named like the team, which one installation of an App cannot do."""
    github_app_id: Number | None = None
    """The App's id. Needed with `github_app_key_file`."""
    github_app_installation_id: Number | None = None
    """The id of the App's installation in the organisation. Needed with `github_app_key_file`."""
    github_app_key_file: SecretFilePath | None = None
    """The App's private key, as PEM. This or `github_token_file` is needed when `git_forge` is
    `github`."""
    github_token_file: SecretFilePath | None = None
    """A fine-grained access token, where the platform is no App."""
    github_protection: GitHubProtectionChoice = GitHubProtectionChoice.BRANCH
    """How default branches are protected: by the branch's own protection, or by a ruleset of the
    repository."""
    github_pull_requests: bool = False
    """Where the platform cannot be let past protections: its commits to a protected branch come by
    pull requests, which the team merges."""

    @property
    def github_is_token(self) -> bool:
        """Whether the platform is the owner of a token there, and no App."""
        return self.github_app_key_file is None and self.github_token_file is not None

    @property
    def github_needs(self) -> Needs:
        """What the forge needs of whoever the platform is there."""
        app = ("github_app_id", "github_app_installation_id", "github_app_key_file")
        return Needs("the forge github", ("github_token_file",) if self.github_is_token else app)
