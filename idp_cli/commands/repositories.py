"""`idp repository`: what developers do at the local forge beside git itself."""

from __future__ import annotations

from typing import Annotated

import typer

from idp_cli.api import path_segment
from idp_cli.invocation import invocation_of
from idp_kernel.errors import InvalidInput
from idp_kernel.services import ServiceName
from idp_kernel.wire.forge import MERGES, MergeBranch, Merged

app = typer.Typer(no_args_is_help=True, help="Repositories at the local forge.")


@app.command()
def merge(
    context: typer.Context,
    repository: Annotated[str, typer.Argument(help="Owner and name.", metavar="OWNER/NAME")],
    branch: Annotated[str, typer.Argument(help="The branch to merge into the default branch.")],
) -> None:
    """Merge a colleague's branch; your own needs somebody else."""
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
