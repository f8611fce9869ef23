"""`docs/cli.md`, made from the commands themselves: `python -m idp_cli.reference > docs/cli.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from idp_cli.command_tree import groups_and_commands_of
from idp_cli.completion import Shell
from idp_cli.examples import examples_of
from idp_cli.exits import MEANINGS
from idp_cli.help_texts import unwrapped, value_name
from idp_cli.main import app
from idp_cli.output import OutputFormat
from idp_kernel.settings_reference import GENERATED_NOTE

_HEAD = f"""\
{GENERATED_NOTE}

# The command line `idp`

`idp COMMAND --help` says the same. Examples stand with each command. Every refusal says its code
and what to type next.
"""

_OUTPUT = """\
## Output

Answers go to stdout, everything else to stderr. `--output {formats}` chooses the form: a table for
people, one document for programs. The documents have the fields of the API. What comes as a stream
(`idp events`) is a JSON document a line, or a YAML document each. An error is a document on stderr
then, with `code`, `detail` and `next`. Lists follow the API's pages to their end; `--limit` ends
them earlier.
"""

_COMPLETION = """\
## Completion

`idp completion SHELL` prints the script for {shells}; its first lines say how that shell loads it.
It completes commands, options and the names of what your token may see: teams, applications,
environments, secrets. A platform that does not answer within two seconds gives none.
"""


def reference_text() -> str:
    """The whole page."""
    program = get_command(app)
    assert isinstance(program, TyperGroup)  # noqa: S101 - it has more than one command
    parts = [
        _HEAD,
        _contents(program),
        _global_options(program),
        _OUTPUT.format(formats="|".join(OutputFormat)),
        _exit_codes(),
        _COMPLETION.format(shells=", ".join(Shell)),
        *_commands(program),
    ]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _contents(program: TyperGroup) -> str:
    lines = ["## Commands", ""]
    for words, command in groups_and_commands_of(program):
        indent, told = "  " * words.count(" "), _first_sentence(command.help)
        if isinstance(command, TyperGroup):
            lines.append(f"{indent}- `idp {words}`: {told}")
        else:
            anchor = f"idp-{words.replace(' ', '-')}"
            lines.append(f"{indent}- [`idp {words}`](#{anchor}): {told}")
    return "\n".join(lines)


def _global_options(program: TyperGroup) -> str:
    lines = ["## Options of every command", "", "They may stand anywhere on the line.", ""]
    return "\n".join([*lines, *_options(program)])


def _exit_codes() -> str:
    lines = ["## Exit codes", "", "| Code | Meaning |", "|---|---|"]
    return "\n".join([*lines, *(f"| {code.value} | {told} |" for code, told in MEANINGS.items())])


def _commands(program: TyperGroup) -> Iterator[str]:
    for words, command in groups_and_commands_of(program):
        if isinstance(command, TyperCommand):
            yield _command(words, command)


def _command(words: str, command: TyperCommand) -> str:
    arguments = [each for each in command.params if isinstance(each, TyperArgument)]
    options = [*_options(command)]
    words_of_usage = ["idp", words, *map(_argument_usage, arguments)]
    usage = " ".join([*words_of_usage, *(["[OPTIONS]"] if options else [])])
    examples = "\n".join(f"$ idp {example}" for example in examples_of(words))
    lines = [f"## idp {words}", "", unwrapped(command.help), "", "```text", usage, "```", ""]
    if arguments:
        lines += ["| Argument | |", "|---|---|"]
        lines += [f"| `{each.display_name_raw}` | {_cell(each.help or '')} |" for each in arguments]
        lines.append("")
    lines += [*options, ""] if options else []
    return "\n".join([*lines, "For example:", "", "```console", examples, "```"])


def _options(command: TyperCommand | TyperGroup) -> Iterator[str]:
    options = [each for each in command.params if isinstance(each, TyperOption) and not each.hidden]
    if not options:
        return
    yield "| Option | |"
    yield "|---|---|"
    for option in options:
        names = ", ".join(f"`{name}`" for name in option.opts)
        value = f" `{value_name(option)}`" if value_name(option) else ""
        yield f"| {names}{value} | {_cell(_explained(option))} |"


def _explained(option: TyperOption) -> str:
    told = [option.help or ""]
    if option.type_descriptor.is_choice and option.metavar is None:
        told.append(f"One of {', '.join(str(each) for each in _choices(option))}.")
    if option.default not in (None, False, "", (), []) and not callable(option.default):
        told.append(f"Default: {_value(option.default)}.")
    if option.envvar is not None:
        told.append(f"Also `{option.envvar}`.")
    if option.required:
        told.append("Required.")
    return " ".join(part for part in told if part)


def _choices(option: TyperOption) -> Iterable[object]:
    return [getattr(each, "value", each) for each in option.type_descriptor.choices or ()]


def _value(value: object) -> str:
    return f"`{getattr(value, 'value', value)}`"


def _argument_usage(argument: TyperArgument) -> str:
    name = argument.display_name_raw + ("…" if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _first_sentence(text: str | None) -> str:
    return unwrapped(text).split("\n\n")[0]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference_text())
