"""Every command is run by a test against a real part of the platform, besides stand-ins."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from typer.core import TyperGroup
from typer.main import get_command

from idp_cli.command_tree import commands_of
from idp_cli.main import app

TESTS = Path(__file__).parents[2]
AGAINST_THE_PLATFORM = (
    *(TESTS / "integration" / "idp_cli" / "commands").glob("*.py"),
    *(TESTS / "integration" / "idp_cli").glob("test_lifecycle.py"),
    *(TESTS / "e2e").glob("*.py"),
)
LONGEST_COMMAND = 3
"""`team member add`, in words."""


def test_every_command_is_run_against_the_platform() -> None:
    run = {words for path in AGAINST_THE_PLATFORM for words in command_lines_in(path)}
    commands = [words for words, _command in commands_of(cast("TyperGroup", get_command(app)))]
    assert [words for words in commands if words not in run] == []


def command_lines_in(path: Path) -> Iterator[str]:
    """What the literal words of each call, tuple and list begin with, in up to three words."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield from beginnings(literals(node.args))
        elif isinstance(node, ast.Tuple | ast.List):
            yield from beginnings(literals(node.elts))


def literals(expressions: list[ast.expr]) -> list[str]:
    """The first run of literal words, after what is none."""
    words: list[str] = []
    for each in expressions:
        found = each.value if isinstance(each, ast.Starred) else each
        parts = found.elts if isinstance(found, ast.Tuple) else [found]
        literal = [
            part.value
            for part in parts
            if isinstance(part, ast.Constant) and isinstance(part.value, str)
        ]
        words += literal
        if words and len(literal) < len(parts):
            break
    return words


def beginnings(words: list[str]) -> Iterator[str]:
    for count in range(1, LONGEST_COMMAND + 1):
        yield " ".join(words[:count])
