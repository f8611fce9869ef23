"""`idp app`: applications and the team each belongs to."""

from __future__ import annotations

import re
from typing import Annotated, NoReturn

import typer

from idp_cli.advice import about_application, refusals_about
from idp_cli.agreement import agree
from idp_cli.api import (
    APPLICATION,
    APPLICATION_MOVE,
    APPLICATIONS,
    ENVIRONMENTS_OF_APPLICATION,
    ONBOARDING,
    REQUESTS,
    Api,
    path_segment,
)
from idp_cli.arguments import (
    After,
    ApplicationName,
    Before,
    Limit,
    NamePrefix,
    StateFilter,
    TeamFilter,
    TeamOption,
    TeamSlug,
    Yes,
    moment_of,
    query_of,
)
from idp_cli.commands.requests import finish, follow, is_well, say_how_it_stands, show_accepted
from idp_cli.declared_secrets import SECRET_HELP, SECRET_METAVAR, parse_secrets
from idp_cli.exits import ExitCode
from idp_cli.invocation import Invocation, invocation_of
from idp_cli.output import Columns, program_word
from idp_cli.step_view import ended_or_to_be_approved
from idp_kernel.errors import Conflict, InvalidInput, NotFound
from idp_kernel.ids import ID_PATTERN
from idp_kernel.wire.api import (
    Application,
    ApplicationEnvironment,
    ApproveApplication,
    DeclareEnvironment,
    Decommission,
    DescribeApplication,
    RegisterApplication,
    RejectApplication,
    RepositorySummary,
    RequestAccepted,
    WorkflowRequest,
)
from idp_kernel.workflows import RequestState

app = typer.Typer(no_args_is_help=True, help="Applications.")

APPLICATION_COLUMNS = Columns[Application](
    {
        "APP": lambda application: application.slug,
        "TEAM": lambda application: application.team,
        "STATE": lambda application: application.state,
        "ID": lambda application: application.id,
        "CREATED": lambda application: application.created_at,
        "REQUEST UNDER WAY": lambda application: application.active_request_id,
    },
    spare=("CREATED", "REQUEST UNDER WAY"),
)
REPOSITORY_COLUMNS = Columns[RepositorySummary](
    {
        "REPOSITORY": lambda repository: repository.name,
        "KIND": lambda repository: repository.kind,
        "STATE": lambda repository: repository.state,
        "URL": lambda repository: repository.url,
    }
)


@app.command()
def register(
    context: typer.Context,
    team: TeamSlug,
    application: Annotated[str, typer.Argument(help="Its slug.", metavar="APP")],
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    environment: Annotated[
        list[str] | None,
        typer.Option(help="An environment to declare for it; can be given several times."),
    ] = None,
    provision: Annotated[
        list[str] | None,
        typer.Option(
            help="An environment to declare and provision right after; can be given several times."
        ),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(metavar=SECRET_METAVAR, help=f"For these environments. {SECRET_HELP}"),
    ] = None,
    *,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Show each step until it, and all it provisions, has ended."),
    ] = False,
) -> None:
    """Register an application of a team and onboard it: repositories, protection, environments.

    It belongs to that team for ever.
    """
    invocation = invocation_of(context)
    body = RegisterApplication(
        team=team,
        slug=application,
        description=description,
        environments=_declared(environment or [], provision or [], secret or []),
    )
    with refusals_about({"team": team}):
        accepted = invocation.api.command(APPLICATIONS, RequestAccepted, body)
    _tell(invocation, accepted, watch=watch)


@app.command()
def onboard(
    context: typer.Context,
    application: ApplicationName,
    team: TeamOption = None,
    *,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Show each step until it, and all it provisions, has ended."),
    ] = False,
) -> None:
    """Onboard an application that is Approved: one whose onboarding failed, or was cancelled.

    Of one that is Proposed it waits for the approval.
    """
    invocation = invocation_of(context)
    found = find_application(invocation.api, application, team)
    path = ONBOARDING.format(application_id=found.id)
    with refusals_about(about_application(found)):
        accepted = invocation.api.command(path, RequestAccepted)
    _tell(invocation, accepted, watch=watch)


@app.command("list")
def list_(
    context: typer.Context,
    team: TeamFilter = None,
    state: StateFilter = None,
    prefix: NamePrefix = None,
    after: After = None,
    before: Before = None,
    limit: Limit = None,
) -> None:
    """List the applications you may see."""
    invocation = invocation_of(context)
    query = query_of(
        team=team,
        state=state,
        namePrefix=prefix,
        createdAfter=moment_of(after),
        createdBefore=moment_of(before),
    )
    found = list(invocation.api.all(APPLICATIONS, Application, query, limit=limit))
    invocation.output.items(found, APPLICATION_COLUMNS)


@app.command()
def show(context: typer.Context, application: ApplicationName, team: TeamOption = None) -> None:
    """Show an application."""
    _show(context, find_application(invocation_of(context).api, application, team))


@app.command()
def describe(
    context: typer.Context,
    application: ApplicationName,
    description: Annotated[str, typer.Option(help="What it is for.")],
    team: TeamOption = None,
) -> None:
    """Change what an application says it is for; its slug and its team stay."""
    invocation = invocation_of(context)
    found = find_application(invocation.api, application, team)
    path = APPLICATION.format(application_id=found.id)
    body = DescribeApplication(description=description)
    with refusals_about(about_application(found)):
        described = invocation.api.put(path, Application, body)
    _show(context, described)


@app.command()
def approve(
    context: typer.Context,
    application: ApplicationName,
    team: TeamOption = None,
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit.")] = "",
) -> None:
    """Approve an application that somebody else has proposed; its onboarding begins at once."""
    _decide(context, application, team, "approve", ApproveApplication(reason=reason))


@app.command()
def reject(
    context: typer.Context,
    application: ApplicationName,
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit, and with the request.")],
    team: TeamOption = None,
) -> None:
    """Reject an application that somebody else has proposed. Nothing of it was made; its slug stays
    taken.
    """
    _decide(context, application, team, "reject", RejectApplication(reason=reason))


@app.command()
def deprecate(
    context: typer.Context, application: ApplicationName, team: TeamOption = None
) -> None:
    """Say that an application goes; it gets no further environment."""
    _move(context, application, team, "deprecate")


@app.command()
def decommission(
    context: typer.Context,
    application: ApplicationName,
    team: TeamOption = None,
    reason: Annotated[str, typer.Option(help="Why; it stands in the audit.")] = "",
    *,
    yes: Yes = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show each step until the end.")] = False,
) -> None:
    """End a deprecated application for good, after its environments. Irreversible."""
    invocation = invocation_of(context)
    found = find_application(invocation.api, application, team)
    name = f"{found.team}/{found.slug}"
    agree(
        invocation,
        f"Decommission {name} for good? Its code and deployment repositories are archived: they "
        "are read still, and never changed again. Nothing brings it back.",
        whether=f"to decommission {name}, which nothing takes back",
        code="irreversible",
        is_agreed=yes,
    )
    path = APPLICATION_MOVE.format(application_id=found.id, move="decommission")
    with refusals_about(about_application(found)):
        accepted = invocation.api.command(path, RequestAccepted, Decommission(reason=reason))
    if watch:
        finish(invocation, follow(invocation, accepted.request_id))
    show_accepted(invocation, accepted)


def find_application(api: Api, name: str, team: str | None) -> Application:
    """The application a person means by a slug or id.

    Raises `NotFound` when there is none they may see, `Conflict` when several have that slug.
    """
    if re.fullmatch(ID_PATTERN, name):
        return api.get(APPLICATION.format(application_id=path_segment(name)), Application)
    query = {"slug": name, **({"team": team} if team else {})}
    found = list(api.all(APPLICATIONS, Application, query))
    if not found:
        where = f" in team {team}" if team else ""
        raise NotFound(f"There is no application {name}{where} that your token may see.")
    if len(found) > 1:
        teams = ", ".join(sorted(each.team for each in found))
        raise Conflict(f"Several teams have an application {name}: {teams}. Say which: --team.")
    return found[0]


def application_id(api: Api, name: str | None, team: str | None) -> str | None:
    """The id of the application that a list is narrowed to, if it is; raises as above."""
    return None if name is None else find_application(api, name, team).id


def provisioning_requests(api: Api, application_id: str) -> list[WorkflowRequest]:
    """What onboarding asked for at its end: each environment's latest request, without steps."""
    path = ENVIRONMENTS_OF_APPLICATION.format(application_id=application_id)
    found = []
    for environment in api.all(path, ApplicationEnvironment):
        query = {"applicationEnvironmentId": environment.id}
        newest = next(iter(api.all(REQUESTS, WorkflowRequest, query)), None)
        found += [newest] if newest is not None else []
    return found


def _move(context: typer.Context, application: str, team: str | None, move: str) -> None:
    invocation = invocation_of(context)
    found = find_application(invocation.api, application, team)
    path = APPLICATION_MOVE.format(application_id=found.id, move=move)
    with refusals_about(about_application(found)):
        moved = invocation.api.command(path, Application)
    _show(context, moved)


def _decide(
    context: typer.Context,
    application: str,
    team: str | None,
    decision: str,
    body: ApproveApplication | RejectApplication,
) -> None:
    invocation = invocation_of(context)
    found = find_application(invocation.api, application, team)
    path = APPLICATION_MOVE.format(application_id=found.id, move=decision)
    with refusals_about(about_application(found)):
        decided = invocation.api.command(path, Application, body)
    _show(context, decided)
    if decided.active_request_id is not None:
        watch = f"{program_word()} request watch {decided.active_request_id}"
        invocation.output.hint(f"Next: {watch}")


def _declared(
    environments: list[str], provisioned: list[str], secrets: list[str]
) -> tuple[DeclareEnvironment, ...]:
    """An environment that is named both ways is provisioned."""
    if secrets and not environments and not provisioned:
        raise InvalidInput("A --secret needs an environment: --environment or --provision.")
    rest = {"secrets": parse_secrets(secrets)} if secrets else {}
    return tuple(
        DeclareEnvironment.model_validate(
            {"environment": name, "provision": name in provisioned, **rest}
        )
        for name in dict.fromkeys([*environments, *provisioned])
    )


def _tell(invocation: Invocation, accepted: RequestAccepted, *, watch: bool) -> None:
    if watch:
        _follow_all(invocation, accepted)
    show_accepted(invocation, accepted)


def _follow_all(invocation: Invocation, accepted: RequestAccepted) -> NoReturn:
    """Onboarding, as far as nobody has to approve it, then what it provisions; JSON has the latter
    in `provisioning`.
    """
    onboarding = follow(invocation, accepted.request_id, is_over=ended_or_to_be_approved)
    provisioning: list[WorkflowRequest] = []
    if onboarding.state == RequestState.SUCCEEDED:
        asked = provisioning_requests(invocation.api, accepted.application_id)
        provisioning = [follow(invocation, request.id) for request in asked]
    if invocation.output.is_for_programs:
        ended = [request.model_dump(mode="json") for request in provisioning]
        invocation.output.document({**onboarding.model_dump(mode="json"), "provisioning": ended})
    else:
        for request in (onboarding, *provisioning):
            say_how_it_stands(invocation, request)
    succeeded = all(is_well(request) for request in (onboarding, *provisioning))
    raise typer.Exit(ExitCode.OK if succeeded else ExitCode.REQUEST_FAILED)


def _show(context: typer.Context, application: Application) -> None:
    output = invocation_of(context).output
    facts = (
        ("app", application.slug),
        ("team", application.team),
        ("state", application.state),
        ("description", application.description),
        ("request under way", application.active_request_id),
        ("id", application.id),
        ("created", application.created_at),
    )
    output.item(application, facts)
    if application.repositories and not output.is_for_programs:
        output.console.print()
        output.columns(application.repositories, REPOSITORY_COLUMNS)
