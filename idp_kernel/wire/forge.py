"""The REST API of `local-forge`, beside git over smart HTTP at `/{owner}/{name}.git`.

Callers: the bot (execution-workers) and the GitOps agent with a static token of their own, people
with the bearer token the control plane gave them (basic authentication's password for git).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from idp_kernel.ids import Slug
from idp_kernel.wire.base import Timestamp, WireModel

REPOSITORIES = "/api/v1/repositories"
REPOSITORY = "/api/v1/repositories/{owner}/{name}"
ARCHIVE = "/api/v1/repositories/{owner}/{name}/archive"
"""`PUT` makes it read-only for everybody, the bot too; nothing here takes that back."""
PROTECTION = "/api/v1/repositories/{owner}/{name}/protection/{branch}"
CALLER = "/api/v1/caller"
MERGES = "/api/v1/repositories/{owner}/{name}/merges"

RepositoryName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,99}$")]


def _git_accepts(name: str) -> str:
    """The rest of git's rules for names of refs (git-check-ref-format)."""
    parts = name.split("/")
    if ".." in name or any(
        not part or part.startswith(".") or part.endswith((".", ".lock")) for part in parts
    ):
        raise ValueError("is no name git accepts for a branch")
    return name


BranchName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$"), AfterValidator(_git_accepts)
]


class OwnershipMarker(WireModel):
    """Who made a thing: decides adoption (installation, entity) and undo (request)."""

    installation_id: str
    entity_id: str
    request_id: str


class CreateForgeRepository(WireModel):
    """Creates a bare repository without commits. The same owner and name again is `409`."""

    owner: Slug
    name: RepositoryName
    description: Annotated[str, Field(max_length=200)] = ""
    default_branch: BranchName = "main"
    marker: OwnershipMarker


class BranchProtection(WireModel):
    """On a protected branch only the bot pushes, nobody forces, nobody deletes; everybody else
    comes by a merge that somebody other than the author of the branch does.
    """

    branch: BranchName
    required_approvals: Annotated[int, Field(ge=0, le=6)] = 1
    marker: OwnershipMarker


class ForgeRepository(WireModel):
    owner: str
    name: str
    description: str
    default_branch: str
    clone_url: str
    head_revision: str | None = None
    """Of the default branch."""
    marker: OwnershipMarker
    protections: tuple[BranchProtection, ...] = ()
    archived: bool = False
    """Everybody who sees it still reads it; nobody pushes, merges or changes a protection."""
    created_at: Timestamp


class ForgeRepositories(WireModel):
    items: tuple[ForgeRepository, ...]


class ForgeCaller(WireModel):
    """Whom the forge takes the caller for."""

    name: str
    administers: bool
    """Whether it creates, protects and deletes repositories and pushes past protections."""


class MergeBranch(WireModel):
    """Merges `branch` into the default branch on behalf of the caller."""

    branch: BranchName


class Merged(WireModel):
    revision: str
    merged_by: str
    authored_by: tuple[str, ...]
    """Who pushed the branch."""
