"""The forge's REST routes (`idp_kernel.wire.forge`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response

from idp_kernel.errors import InvalidInput
from idp_kernel.ids import Slug
from idp_kernel.services import LOOPBACK
from idp_kernel.wire.forge import (
    ARCHIVE,
    CALLER,
    MERGES,
    PROTECTION,
    REPOSITORIES,
    REPOSITORY,
    BranchName,
    BranchProtection,
    CreateForgeRepository,
    ForgeCaller,
    ForgeRepositories,
    ForgeRepository,
    MergeBranch,
    Merged,
    RepositoryName,
)
from local_stack.forge.authentication import Authentication
from local_stack.forge.callers import (
    Bot,
    Caller,
    may_see,
    require_bot,
    require_merge,
    require_sight,
)
from local_stack.forge.merges import merge_branch
from local_stack.forge.repositories import (
    Repositories,
    Repository,
    no_such_protection,
    require_not_archived,
)
from local_stack.git import Git
from local_stack.listings import Known, WaitSeconds, listed_when_new, version_of

MOST_APPROVALS = 1
"""A merge has one approval here: that of the person who does it."""


def rest_routes(
    *, repositories: Repositories, authentication: Authentication, git: Git, port: int
) -> APIRouter:
    """All REST routes of the forge."""
    router = APIRouter()
    caller = Depends(_authenticated(authentication))
    _add_caller_route(router, caller)
    _add_repository_routes(router, repositories, caller, port)
    _add_archive_route(router, repositories, caller, port)
    _add_protection_routes(router, repositories, caller)
    _add_merge_route(router, repositories, caller, git)
    return router


def _authenticated(authentication: Authentication) -> Callable[[str | None], Caller]:
    def authenticated(authorization: Annotated[str | None, Header()] = None) -> Caller:
        return authentication.caller(authorization)

    return authenticated


def _add_caller_route(router: APIRouter, authenticated: Any) -> None:
    @router.get(CALLER)
    def get_caller(caller: Caller = authenticated) -> ForgeCaller:
        return ForgeCaller(name=caller.name, administers=isinstance(caller, Bot))


def _add_repository_routes(
    router: APIRouter, repositories: Repositories, authenticated: Any, port: int
) -> None:
    @router.post(REPOSITORIES, status_code=201)
    def create_repository(
        wanted: CreateForgeRepository, caller: Caller = authenticated
    ) -> ForgeRepository:
        require_bot(caller, "create repositories")
        return _shown(repositories.create(wanted), port)

    @router.get(REPOSITORIES)
    async def list_repositories(
        request: Request,
        response: Response,
        caller: Caller = authenticated,
        known: Known = "",
        wait_seconds: WaitSeconds = 0,
    ) -> ForgeRepositories:
        def look() -> ForgeRepositories:
            seen = [each for each in repositories.all() if may_see(caller, each.owner)]
            return ForgeRepositories(items=tuple(_shown(each, port) for each in seen))

        return await listed_when_new(
            look, request, response, known=known, wait_seconds=wait_seconds, version_of=version_of
        )

    @router.get(REPOSITORY)
    def get_repository(
        owner: Slug, name: RepositoryName, caller: Caller = authenticated
    ) -> ForgeRepository:
        require_sight(caller, owner, name)
        return _shown(repositories.get(owner, name), port)

    @router.delete(REPOSITORY, status_code=204)
    def delete_repository(
        owner: Slug, name: RepositoryName, caller: Caller = authenticated
    ) -> Response:
        require_sight(caller, owner, name)
        require_bot(caller, "delete repositories")
        repositories.delete(owner, name)
        return Response(status_code=204)


def _add_archive_route(
    router: APIRouter, repositories: Repositories, authenticated: Any, port: int
) -> None:
    @router.put(ARCHIVE)
    def archive_repository(
        owner: Slug, name: RepositoryName, caller: Caller = authenticated
    ) -> ForgeRepository:
        require_sight(caller, owner, name)
        require_bot(caller, "archive repositories")
        return _shown(repositories.archive(owner, name), port)


def _add_protection_routes(
    router: APIRouter, repositories: Repositories, authenticated: Any
) -> None:
    route = PROTECTION.replace("{branch}", "{branch:path}")

    @router.put(route)
    def protect_branch(
        owner: Slug,
        name: RepositoryName,
        branch: BranchName,
        protection: BranchProtection,
        caller: Caller = authenticated,
    ) -> BranchProtection:
        require_sight(caller, owner, name)
        require_bot(caller, "protect branches")
        _require_possible(protection, branch)
        return repositories.protect(owner, name, protection)

    @router.get(route)
    def get_protection(
        owner: Slug, name: RepositoryName, branch: BranchName, caller: Caller = authenticated
    ) -> BranchProtection:
        require_sight(caller, owner, name)
        for protection in repositories.get(owner, name).protections:
            if protection.branch == branch:
                return protection
        raise no_such_protection(branch)

    @router.delete(route, status_code=204)
    def unprotect_branch(
        owner: Slug, name: RepositoryName, branch: BranchName, caller: Caller = authenticated
    ) -> Response:
        require_sight(caller, owner, name)
        require_bot(caller, "remove protections")
        repositories.unprotect(owner, name, branch)
        return Response(status_code=204)


def _add_merge_route(
    router: APIRouter, repositories: Repositories, authenticated: Any, git: Git
) -> None:
    @router.post(MERGES)
    def merge(
        owner: Slug, name: RepositoryName, wanted: MergeBranch, caller: Caller = authenticated
    ) -> Merged:
        merger = require_merge(caller, owner, name)
        repository = repositories.get(owner, name)
        require_not_archived(repository)
        return merge_branch(git, repository, wanted.branch, merger)


def _require_possible(protection: BranchProtection, branch: str) -> None:
    if protection.branch != branch:
        raise InvalidInput(
            f"The address names the branch {branch}, the body {protection.branch}.",
            code="branch_mismatch",
        )
    if protection.required_approvals > MOST_APPROVALS:
        raise InvalidInput(
            f"This forge knows one approval, that of whoever merges; {branch} asks for "
            f"{protection.required_approvals}.",
            code="too_many_approvals",
        )


def _shown(repository: Repository, port: int) -> ForgeRepository:
    return ForgeRepository(
        owner=repository.owner,
        name=repository.name,
        description=repository.description,
        default_branch=repository.default_branch,
        clone_url=f"http://{LOOPBACK}:{port}/{repository.owner}/{repository.name}.git",
        head_revision=repository.head_revision(repository.default_branch),
        marker=repository.marker,
        protections=repository.protections,
        archived=repository.archived,
        created_at=repository.created_at,
    )
