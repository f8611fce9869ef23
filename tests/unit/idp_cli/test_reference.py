"""The reference page is what the commands are."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from typer.core import TyperGroup
from typer.main import get_command

from idp_cli import reference
from idp_cli.command_tree import commands_of
from idp_cli.main import app
from idp_cli.reference import reference_text

PAGE = Path(reference.__file__).parents[1] / "docs" / "cli.md"


def test_the_page_is_up_to_date() -> None:
    told = "make it anew: .venv/bin/python -m idp_cli.reference > docs/cli.md"
    assert PAGE.read_text(encoding="utf-8") == reference_text(), told


def test_every_command_has_a_section_and_is_explained() -> None:
    text = reference_text()
    for words, command in commands_of(cast("TyperGroup", get_command(app))):
        assert f"\n## idp {words}\n" in text
        assert command.help, words
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{words}: {parameter.name}"


def test_exit_codes_are_those_of_the_program() -> None:
    assert "| 3 | the platform does not answer |" in reference_text()
