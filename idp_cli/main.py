"""`idp`: assembles the commands, reads options and environment once, and ends with an exit code."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, NoReturn

import stamina.instrumentation
import typer
from pydantic import ValidationError
from typer.core import TyperGroup
from typer.main import get_command

from idp_cli.command_line import format_in, with_global_options_first
from idp_cli.commands import (
    admins,
    application_environments,
    applications,
    apply,
    bindings,
    completion,
    demo,
    environments,
    events,
    integrations,
    platform,
    repositories,
    requests,
    secrets,
    teams,
    tokens,
)
from idp_cli.completion import COMPLETION_VARIABLE, suggestions
from idp_cli.exits import EXIT_CODES_HELP, ExitCode, exit_code_of, show_error
from idp_cli.help_texts import complete_help
from idp_cli.invocation import Invocation
from idp_cli.output import OutputFormat, new_console, standard_output
from idp_cli.supervision.home import Home
from idp_cli.usage import NoArgsIsHelpError, UsageError, wrong_usage
from idp_kernel.errors import InvalidInput, PlatformError

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
    platform.drain, platform.resume, apply.apply, events.events, tokens.whoami,
    completion.completion,
):  # fmt: skip
    app.command()(_command)
for _name, _group in (
    ("team", teams.app),
    ("token", tokens.app),
    ("admin", admins.app),
    ("environment", environments.app),
    ("app", applications.app),
    ("env", application_environments.app),
    ("secret", secrets.app),
    ("binding", bindings.app),
    ("repository", repositories.app),
    ("integration", integrations.app),
    ("request", requests.app),
):
    app.add_typer(_group, name=_name)


@cache
def whole_program() -> TyperGroup:
    """All commands, explained; to put them together takes longer than most of them take."""
    program = get_command(app)
    assert isinstance(program, TyperGroup)  # noqa: S101 - it has more than one command
    complete_help(program)
    return program


def main() -> NoReturn:
    """The entry point; ends the process with one of `ExitCode`."""
    # A try that got no answer is repeated in silence; the last one speaks.
    stamina.instrumentation.set_on_retry_hooks([])
    program, arguments = whole_program(), sys.argv[1:]
    if shell := os.environ.get(COMPLETION_VARIABLE):
        for line in suggestions(program, arguments, shell):
            sys.stdout.write(f"{line}\n")
        sys.exit(ExitCode.OK)
    try:
        sys.exit(_run(program, arguments))
    except NoArgsIsHelpError:
        sys.exit(ExitCode.USAGE)  # the help is the answer
    except typer.Abort:
        sys.exit(ExitCode.INTERRUPTED)  # somebody left a question without an answer
    except UsageError as error:
        _end(wrong_usage(error, program, arguments), arguments)
    except PlatformError as error:
        _end(error, arguments)
    except ValidationError as error:
        _end(_as_invalid_input(error), arguments)


def _run(program: TyperGroup, arguments: list[str]) -> int:
    """The exit code; commands that have nothing to say of it answer nothing."""
    understood = with_global_options_first(arguments)
    return program.main(args=understood, prog_name="idp", standalone_mode=False) or ExitCode.OK


def _end(error: PlatformError, arguments: list[str]) -> NoReturn:
    show_error(error, format_in(arguments), new_console(sys.stderr))
    sys.exit(exit_code_of(error))


def _as_invalid_input(error: ValidationError) -> InvalidInput:
    """What a person typed does not fit the message it was meant for."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return InvalidInput(f"{field}: {first['msg']}, which {first['input']!r} does not.")


if __name__ == "__main__":
    main()
