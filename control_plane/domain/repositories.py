"""Repositories and the GitOps integration that makes one of them the truth of an application."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from control_plane.domain.moves import Move, MoveTable

REQUIRED_APPROVALS = 1
"""Of another member, before a branch of a repository is merged."""


class RepositoryState(StrEnum):
    DECLARED = "Declared"
    PROVISIONING = "Provisioning"
    ACTIVE = "Active"
    ARCHIVED = "Archived"


_REPOSITORY_MOVES = (
    Move("provision", (RepositoryState.DECLARED,), RepositoryState.PROVISIONING),
    Move("give_up_provisioning", (RepositoryState.PROVISIONING,), RepositoryState.DECLARED),
    Move("activate", (RepositoryState.PROVISIONING,), RepositoryState.ACTIVE),
    Move("undo", (RepositoryState.ACTIVE,), RepositoryState.DECLARED),
    Move("archive", (RepositoryState.ACTIVE,), RepositoryState.ARCHIVED),
    # With its application, before it was made.
    Move("reject", (RepositoryState.DECLARED,), RepositoryState.ARCHIVED),
)

CODE_REPOSITORY_MOVES = MoveTable("Code repository", RepositoryState.DECLARED, _REPOSITORY_MOVES)
DEPLOYMENT_REPOSITORY_MOVES = MoveTable(
    "Deployment repository", RepositoryState.DECLARED, _REPOSITORY_MOVES
)
APPENV_REPOSITORY_MOVES = MoveTable(
    "Application environment's repository", RepositoryState.DECLARED, _REPOSITORY_MOVES
)


class ApplicationRepositoryKind(StrEnum):
    """What a repository of an application is for."""

    CODE = "code"
    DEPLOYMENT = "deployment"


APPLICATION_REPOSITORY_MOVES: dict[ApplicationRepositoryKind, MoveTable[RepositoryState]] = {
    ApplicationRepositoryKind.CODE: CODE_REPOSITORY_MOVES,
    ApplicationRepositoryKind.DEPLOYMENT: DEPLOYMENT_REPOSITORY_MOVES,
}


class GitOpsIntegrationState(StrEnum):
    DECLARED = "Declared"
    CONNECTING = "Connecting"
    ACTIVE = "Active"
    SUSPENDED = "Suspended"
    REMOVED = "Removed"


GITOPS_INTEGRATION_MOVES = MoveTable(
    "GitOps integration",
    GitOpsIntegrationState.DECLARED,
    (
        Move("connect", (GitOpsIntegrationState.DECLARED,), GitOpsIntegrationState.CONNECTING),
        Move(
            "give_up_connecting",
            (GitOpsIntegrationState.CONNECTING,),
            GitOpsIntegrationState.DECLARED,
        ),
        Move("activate", (GitOpsIntegrationState.CONNECTING,), GitOpsIntegrationState.ACTIVE),
        Move("undo", (GitOpsIntegrationState.ACTIVE,), GitOpsIntegrationState.DECLARED),
        Move("suspend", (GitOpsIntegrationState.ACTIVE,), GitOpsIntegrationState.SUSPENDED),
        Move("resume", (GitOpsIntegrationState.SUSPENDED,), GitOpsIntegrationState.ACTIVE),
        Move("remove", (GitOpsIntegrationState.SUSPENDED,), GitOpsIntegrationState.REMOVED),
        # With its application, before it was made.
        Move("reject", (GitOpsIntegrationState.DECLARED,), GitOpsIntegrationState.REMOVED),
    ),
)


@dataclass(frozen=True)
class ApplicationRepository:
    """Where an application's code is, or what is deployed of it."""

    id: str
    application_id: str
    kind: ApplicationRepositoryKind
    owner: str
    """The team's slug at the forge."""
    name: str
    url: str | None
    state: RepositoryState

    def moved(self, action: str) -> ApplicationRepository:
        moves = APPLICATION_REPOSITORY_MOVES[self.kind]
        return replace(self, state=moves.apply(action, self.state, subject=self.name))


@dataclass(frozen=True)
class GitOpsIntegration:
    """Links an application to the deployment repository that says what shall run."""

    id: str
    application_id: str
    repository_id: str
    state: GitOpsIntegrationState

    def moved(self, action: str) -> GitOpsIntegration:
        subject = f"of application {self.application_id}"
        state = GITOPS_INTEGRATION_MOVES.apply(action, self.state, subject=subject)
        return replace(self, state=state)


@dataclass(frozen=True)
class AppEnvRepository:
    """Where the manifests and bindings of one application environment live."""

    id: str
    application_environment_id: str
    owner: str
    """The team's slug at the forge."""
    name: str
    url: str | None
    state: RepositoryState

    def moved(self, action: str) -> AppEnvRepository:
        state = APPENV_REPOSITORY_MOVES.apply(action, self.state, subject=self.name)
        return replace(self, state=state)
