"""`idp`: assembles the commands, reads options and environment once, and ends with an exit code."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import stamina.instrumentation
import typer
from pydantic import ValidationError

from idp_cli.commands import (
    application_environments,
    applications,
    demo,
    environments,
    events,
    platform,
    repositories,
    requests,
    secrets,
    teams,
    tokens,
)
from idp_cli.commands.secret_login import EXEC_OPTION
from idp_cli.exits import EXIT_CODES_HELP, exit_code_of, show_error
from idp_cli.invocation import Invocation
from idp_cli.output import OutputFormat, new_console, standard_output
from idp_cli.supervision.home import Home
from idp_kernel.errors import InvalidInput, PlatformError

GLOBAL_OPTIONS = ("--home", "--api-url", "--forge-url", "--token-file", "--output")
"""Options of every command; they may stand anywhere on the line."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="The internal developer platform: run it, and ask it for environments.",
    epilog=EXIT_CODES_HELP,
)


@app.callback()
def set_up(
    context: typer.Context,
    home: Annotated[
        Path, typer.Option(envvar="IDP_HOME", help="The folder of the platform on this machine.")
    ] = Path(".idp"),
    api_url: Annotated[
        str | None,
        typer.Option(envvar="IDP_API_URL", help="The control plane; the one on this machine."),
    ] = None,
    forge_url: Annotated[
        str | None,
        typer.Option(envvar="IDP_FORGE_URL", help="The forge; the one on this machine."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            envvar="IDP_TOKEN_FILE",
            help="A file with your token. IDP_TOKEN may hold the token itself; without either "
            "the first admin's token of this machine's platform is used, on this machine only.",
        ),
    ] = None,
    output: Annotated[
        OutputFormat, typer.Option(envvar="IDP_OUTPUT", help="For people or for pipelines.")
    ] = OutputFormat.TABLE,
    token: Annotated[str | None, typer.Option(envvar="IDP_TOKEN", hidden=True)] = None,
) -> None:
    """The internal developer platform: run it, and ask it for environments."""
    invocation = Invocation(
        home=Home.at(home),
        output=standard_output(output),
        api_url_given=api_url,
        forge_url_given=forge_url,
        token_given=token,
        token_file=token_file,
    )
    context.obj = invocation
    context.call_on_close(invocation.opened.close)


for _command in (
    platform.up, demo.demo, platform.down, platform.status, platform.doctor,
    platform.drain, platform.resume, tokens.whoami, events.events,
):  # fmt: skip
    app.command()(_command)
for _name, _group in (
    ("team", teams.app),
    ("token", tokens.app),
    ("environment", environments.app),
    ("app", applications.app),
    ("env", application_environments.app),
    ("secret", secrets.app),
    ("request", requests.app),
    ("repository", repositories.app),
):
    app.add_typer(_group, name=_name)


def main() -> None:
    """The entry point; ends the process with one of `ExitCode`."""
    # A try that got no answer is repeated in silence; the last one speaks.
    stamina.instrumentation.set_on_retry_hooks([])
    arguments = with_global_options_first(sys.argv[1:])
    try:
        app(args=arguments, prog_name="idp")
    except PlatformError as error:
        _end(error, arguments)
    except ValidationError as error:
        _end(_as_invalid_input(error), arguments)


def with_global_options_first(arguments: list[str]) -> list[str]:
    """The same command line with `GLOBAL_OPTIONS` moved to its front, up to a `--`, or to
    `--exec`, after which everything belongs to the command that it runs.
    """
    moved: list[str] = []
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*moved, *kept, argument, *rest]
        if argument == EXEC_OPTION:
            command = list(rest)
            return [*moved, *kept, argument, *([] if command[:1] == ["--"] else ["--"]), *command]
        if argument in GLOBAL_OPTIONS:
            moved += [argument, *[value for value in (next(rest, None),) if value is not None]]
        elif argument.startswith(tuple(f"{option}=" for option in GLOBAL_OPTIONS)):
            moved.append(argument)
        else:
            kept.append(argument)
    return [*moved, *kept]


def _end(error: PlatformError, arguments: list[str]) -> None:
    show_error(error, _format_in(arguments), new_console(sys.stderr))
    sys.exit(exit_code_of(error))


def _format_in(arguments: list[str]) -> OutputFormat:
    """Known even when the command line itself is what is wrong; an option beats the variable."""
    asked = os.environ.get("IDP_OUTPUT")
    for option, value in pairwise([*arguments, ""]):
        if option == "--output":
            asked = value
        elif option.startswith("--output="):
            asked = option.removeprefix("--output=")
    return OutputFormat.JSON if asked == OutputFormat.JSON else OutputFormat.TABLE


def _as_invalid_input(error: ValidationError) -> InvalidInput:
    """What a person typed does not fit the message it was meant for."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return InvalidInput(f"{field}: {first['msg']}, which {first['input']!r} does not.")


if __name__ == "__main__":
    main()
