"""`idp repository`: the repositories of applications, and what developers do at the local forge
beside git itself.
"""

from __future__ import annotations

from typing import Annotated

import typer

from idp_cli.api import REPOSITORIES_OF_APPLICATION, REPOSITORY, path_segment
from idp_cli.arguments import ApplicationName, Limit, StateFilter, TeamOption, query_of
from idp_cli.commands.applications import find_application
from idp_cli.invocation import invocation_of
from idp_cli.output import Columns
from idp_kernel.errors import InvalidInput
from idp_kernel.services import ServiceName
from idp_kernel.wire.api import Repository
from idp_kernel.wire.forge import MERGES, MergeBranch, Merged
from idp_kernel.wire.worker import RepositoryKind

app = typer.Typer(no_args_is_help=True, help="Repositories of applications.")

_SHORT_KINDS: dict[RepositoryKind, str] = {
    RepositoryKind.CODE: "code",
    RepositoryKind.DEPLOYMENT: "deployment",
    RepositoryKind.APPLICATION_ENVIRONMENT: "environment",
}
"""So that the longest name and an id fit into 120 columns."""

REPOSITORY_COLUMNS = Columns[Repository](
    {
        "REPOSITORY": lambda each: f"{each.owner}/{each.name}",
        "KIND": lambda each: _SHORT_KINDS[each.kind],
        "STATE": lambda each: each.state,
        "ID": lambda each: each.id,
    },
    spare=("ID",),
)


@app.command("list")
def list_(
    context: typer.Context,
    application: ApplicationName,
    team: TeamOption = None,
    kind: Annotated[RepositoryKind | None, typer.Option(help="Of this kind only.")] = None,
    state: StateFilter = None,
    limit: Limit = None,
) -> None:
    """List an application's repositories, those of its environments too."""
    invocation = invocation_of(context)
    found = find_application(invocation.api, application, team)
    path = REPOSITORIES_OF_APPLICATION.format(application_id=found.id)
    query = query_of(kind=kind, state=state)
    repositories = list(invocation.api.all(path, Repository, query, limit=limit))
    invocation.output.items(repositories, REPOSITORY_COLUMNS)


@app.command()
def show(
    context: typer.Context,
    repository_id: Annotated[str, typer.Argument(help="Its id.", metavar="REPOSITORY")],
) -> None:
    """Show a repository."""
    invocation = invocation_of(context)
    path = REPOSITORY.format(repository_id=path_segment(repository_id))
    found = invocation.api.get(path, Repository)
    facts = (
        ("repository", f"{found.owner}/{found.name}"),
        ("kind", found.kind.replace("_", " ")),
        ("team", found.team),
        ("app", found.application),
        ("environment", found.environment),
        ("state", found.state),
        ("url", found.url),
        ("id", found.id),
    )
    invocation.output.item(found, facts)


@app.command()
def merge(
    context: typer.Context,
    repository: Annotated[str, typer.Argument(help="Owner and name.", metavar="OWNER/NAME")],
    branch: Annotated[
        str,
        typer.Argument(help="The branch to merge into the default branch.", metavar="BRANCH"),
    ],
) -> None:
    """Merge a colleague's branch at the local forge; your own needs somebody else."""
    invocation = invocation_of(context)
    owner, _, name = repository.partition("/")
    if not owner or not name:
        raise InvalidInput(f"{repository!r} is not OWNER/NAME, such as payments/appenv-0193….")
    path = MERGES.format(owner=path_segment(owner), name=path_segment(name))
    forge = invocation.client(invocation.forge_url, ServiceName.LOCAL_FORGE)
    merged = forge.call("POST", path, Merged, body=MergeBranch(branch=branch))
    facts = (
        ("revision", merged.revision),
        ("merged by", merged.merged_by),
        ("authored by", ", ".join(merged.authored_by)),
    )
    invocation.output.item(merged, facts)
