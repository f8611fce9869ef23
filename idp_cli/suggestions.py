"""Names that the platform knows, for a shell that completes a command line.

A shell waits for them at each Tab: the platform is asked once, for one page, and has two seconds.
What goes wrong gives no suggestion, and no word of complaint either: it would stand in the middle
of what is being typed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import typer

from idp_cli.api import (
    APPLICATION_ENVIRONMENTS,
    APPLICATIONS,
    ENVIRONMENTS,
    PLATFORM_ADMINS,
    REQUESTS,
    SECRETS,
    TEAMS,
    TOKENS,
)
from idp_cli.invocation import Invocation
from idp_cli.output import OutputFormat, standard_output
from idp_cli.secret_addresses import address_of
from idp_cli.supervision.home import Home
from idp_kernel.errors import PlatformError
from idp_kernel.services import ServiceName
from idp_kernel.wire.api import (
    Application,
    ApplicationEnvironment,
    Environment,
    Page,
    PlatformAdmin,
    Secret,
    Team,
    Token,
    WorkflowRequest,
)
from idp_kernel.wire.base import WireModel

ANSWERS_WITHIN_SECONDS = 2.0
MOST_SUGGESTED = 200
"""The largest page there is."""

Item = TypeVar("Item", bound=WireModel)
Suggestion = tuple[str, str]
"""What may be typed, and what it is."""


def team_slugs(context: typer.Context, incomplete: str) -> list[Suggestion]:
    return _suggested(context, incomplete, TEAMS, Team, lambda team: (team.slug, team.display_name))


def environment_slugs(context: typer.Context, incomplete: str) -> list[Suggestion]:
    return _suggested(
        context, incomplete, ENVIRONMENTS, Environment, lambda each: (each.slug, each.state)
    )


def application_slugs(context: typer.Context, incomplete: str) -> list[Suggestion]:
    """Those of the team that the command line names, if it does."""
    return _suggested(
        context,
        incomplete,
        APPLICATIONS,
        Application,
        lambda each: (each.slug, f"{each.state}, of team {each.team}"),
        _team_in(context),
    )


def application_environment_ids(context: typer.Context, incomplete: str) -> list[Suggestion]:
    return _suggested(
        context,
        incomplete,
        APPLICATION_ENVIRONMENTS,
        ApplicationEnvironment,
        lambda each: (each.id, f"{each.team}/{each.application}/{each.environment}, {each.state}"),
        _team_in(context),
    )


def secret_addresses(context: typer.Context, incomplete: str) -> list[Suggestion]:
    team, slash, _rest = incomplete.partition("/")
    return _suggested(
        context,
        incomplete,
        SECRETS,
        Secret,
        lambda each: (address_of(each), f"{each.state}, {each.issuer}"),
        {"team": team} if slash else {},
    )


def request_ids(context: typer.Context, incomplete: str) -> list[Suggestion]:
    return _suggested(
        context,
        incomplete,
        REQUESTS,
        WorkflowRequest,
        lambda each: (each.id, f"{each.workflow}, {each.state}"),
    )


def token_ids(context: typer.Context, incomplete: str) -> list[Suggestion]:
    return _suggested(
        context, incomplete, TOKENS, Token, lambda each: (each.id, f"of {each.principal}")
    )


def platform_admins(context: typer.Context, incomplete: str) -> list[Suggestion]:
    return _suggested(
        context,
        incomplete,
        PLATFORM_ADMINS,
        PlatformAdmin,
        lambda each: (each.principal, "a platform admin"),
    )


def _suggested(
    context: typer.Context,
    incomplete: str,
    path: str,
    item: type[Item],
    suggest: Callable[[Item], Suggestion],
    query: dict[str, str] | None = None,
) -> list[Suggestion]:
    try:
        found = [suggest(each) for each in _first_page(context, path, item, query or {})]
    except (PlatformError, OSError):
        return []  # a shell has no place for it; typed out, the command says it
    unique = dict(each for each in found if each[0].startswith(incomplete))
    return sorted(unique.items())


def _first_page(
    context: typer.Context, path: str, item: type[Item], query: dict[str, str]
) -> Iterable[Item]:
    invocation = _invocation(context)
    with invocation.opened:
        client = invocation.client(
            invocation.api_url,
            ServiceName.CONTROL_PLANE_API,
            timeout_seconds=ANSWERS_WITHIN_SECONDS,
        )
        page = client.call(
            "GET",
            path,
            Page[item],  # type: ignore[valid-type] # known at run time
            query={**query, "limit": MOST_SUGGESTED},
        )
        return tuple(page.items)


def _invocation(context: typer.Context) -> Invocation:
    """What the options before the word that is completed say; no command was begun yet."""
    given = context.find_root().params
    token_file = given.get("token_file")
    return Invocation(
        home=Home.at(Path(given.get("home") or ".idp")),
        output=standard_output(OutputFormat.TABLE),
        api_url_given=given.get("api_url"),
        forge_url_given=None,
        token_given=given.get("token"),
        token_file=None if token_file is None else Path(token_file),
    )


def _team_in(context: typer.Context) -> dict[str, str]:
    team = context.params.get("team")
    return {"team": team} if team else {}
