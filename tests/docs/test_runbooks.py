"""Every alert has its page, and the commands there are commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from observability.alerts import ALERTS
from tests.docs.accepting import idp_command
from tests.docs.pages import ROOT, RUNBOOKS, TYPED, blocks
from tests.docs.shell import commands_of

OF_EVERY_PAGE = pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
READ_ONLY = {"idp", "curl", "tail"}
"""Programs of blocks, which one may type at any time."""
CHANGES_NOTHING = {"doctor", "events", "list", "status"}
"""The last words of `idp` commands that only look."""


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    named = {ROOT / alert.runbook: alert.name for alert in ALERTS}
    titles = {page: page.read_text(encoding="utf-8").partition("\n")[0] for page in RUNBOOKS}
    assert titles == {page: f"# {name}" for page, name in named.items()}


@OF_EVERY_PAGE
def test_a_page_says_where_to_look_and_what_to_do(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Look", "Act"]
    look, _, act = text.partition("\n## Act\n")
    assert blocks(page, *TYPED)
    assert "```" not in act, "blocks are typed by the tests, and only look"
    assert "```sh" in look
    assert re.search(r"^- ", act, re.MULTILINE)


@OF_EVERY_PAGE
def test_what_is_typed_only_looks(page: Path) -> None:
    for command in commands_of(page):
        program, *arguments = shlex.split(command.text.partition("|")[0])
        assert program in READ_ONLY, command
        if program == "idp":
            assert idp_command(arguments) in CHANGES_NOTHING, command
