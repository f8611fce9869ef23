"""What several commands take: how it is called, explained and completed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from idp_cli.moments import PAST_FORM, parse_past
from idp_cli.secret_addresses import ADDRESS_FORM
from idp_cli.suggestions import (
    application_environment_ids,
    application_slugs,
    environment_slugs,
    request_ids,
    secret_addresses,
    team_slugs,
)

Yes = Annotated[
    bool, typer.Option("--yes", "-y", help="Do not ask; needed where nobody can answer.")
]
TeamSlug = Annotated[
    str, typer.Argument(help="The team's slug.", metavar="TEAM", autocompletion=team_slugs)
]
TeamFilter = Annotated[
    str | None, typer.Option("--team", help="Of this team only.", autocompletion=team_slugs)
]
TeamOption = Annotated[
    str | None,
    typer.Option(
        "--team",
        help="The team, where two have an application of that name.",
        autocompletion=team_slugs,
    ),
]
EnvironmentSlug = Annotated[
    str,
    typer.Argument(
        help="The environment's slug.", metavar="ENVIRONMENT", autocompletion=environment_slugs
    ),
]
EnvironmentFilter = Annotated[
    str | None,
    typer.Option(
        "--environment", help="In this environment only.", autocompletion=environment_slugs
    ),
]
ApplicationName = Annotated[
    str,
    typer.Argument(
        help="The application's slug or id.", metavar="APP", autocompletion=application_slugs
    ),
]
ApplicationFilter = Annotated[
    str | None,
    typer.Option(
        "--app", help="Of this application only, by slug or id.", autocompletion=application_slugs
    ),
]
ApplicationEnvironmentId = Annotated[
    str, typer.Argument(help="Its id.", metavar="ID", autocompletion=application_environment_ids)
]
SecretName = Annotated[
    str,
    typer.Argument(
        help=f"Its id, or {ADDRESS_FORM}.", metavar="SECRET", autocompletion=secret_addresses
    ),
]
RequestId = Annotated[
    str,
    typer.Argument(help="The request's id.", metavar="REQUEST", autocompletion=request_ids),
]
StateFilter = Annotated[str | None, typer.Option("--state", help="In this state only.")]
NamePrefix = Annotated[
    str | None, typer.Option("--prefix", help="Whose name begins so only.", metavar="TEXT")
]
After = Annotated[
    str | None, typer.Option("--after", help=f"Since then only: {PAST_FORM}.", metavar="TIME")
]
Before = Annotated[
    str | None, typer.Option("--before", help=f"Until then only: {PAST_FORM}.", metavar="TIME")
]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many; all of them if left out.")]

Query = dict[str, str | int]


def query_of(**given: str | None) -> Query:
    """What was given of a list's filters, each by the name the API knows it by."""
    return {name: value for name, value in given.items() if value}


def moment_of(text: str | None) -> str | None:
    """A moment of the past as the API reads it; raises `InvalidInput`."""
    return None if text is None else parse_past(text, datetime.now(UTC)).isoformat()
