"""Every command of the documents is typed by a test; one that needs what is not here stands in a
block that is marked `shown`, and its program accepts it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.accepting import complaint, complaint_of_words
from tests.docs.pages import (
    DOCS,
    FENCE,
    HOW_DO_I,
    OPERATIONS,
    OTHERS,
    README,
    ROOT,
    RUNBOOKS,
    SHOWN,
    TRACING,
    TUTORIAL,
    TYPED,
    all_pages,
    blocks,
    prose,
)
from tests.docs.transcript import Command, commands

PAGES = all_pages()
COMMAND_LINE = DOCS / "cli.md"
"""Lists every command with its usage; its own tests run the examples there."""
PROGRAMS = frozenset(
    {
        "apt-get", "bao", "cat", "cd", "curl", "docker", "export", "git", "grep", "idp", "kill",
        "kubectl", "make", "python", "python3", "rm", "sed", "sh", "source", "tail", "tar", "vault",
    }
)  # fmt: skip
"""What commands begin with; those of typed blocks are in it, too."""
SHOWN_COMMANDS = [
    each for page in PAGES for block in blocks(page, SHOWN) for each in commands(block)
]


def program_of(line: str) -> str:
    """The first word, without its folder."""
    words = line.removeprefix("$ ").split()
    return Path(words[0]).name if words else ""


def test_every_fence_says_what_is_in_it() -> None:
    for page in PAGES:
        found = blocks(page, *TYPED, SHOWN, *OTHERS)
        fences = FENCE.findall(page.read_text(encoding="utf-8"))
        assert len(fences) == 2 * len(found), f"{page.relative_to(ROOT)}: {fences[::2]}"


def test_every_page_with_commands_is_gone_through() -> None:
    """`tests/docs/test_commands` types them, and `tests/e2e/test_runbooks` what runbooks say."""
    with_commands = {page for page in PAGES if blocks(page, *TYPED)} - {COMMAND_LINE}
    assert with_commands == {README, TUTORIAL, OPERATIONS, TRACING, *HOW_DO_I, *RUNBOOKS}
    assert {*HOW_DO_I} == {*(DOCS / "how-do-i").glob("*.md")}, "each is listed in the index"


def test_no_command_stands_in_another_block() -> None:
    found = [
        f"{block.place}: {line}"
        for page in PAGES
        if page != COMMAND_LINE
        for block in blocks(page, *OTHERS)
        for line in block.text.splitlines()
        if program_of(line) in PROGRAMS
    ]
    assert found == []


def test_no_command_stands_in_a_table() -> None:
    """To be typed as it is, that is; a program's bare name may stand anywhere."""
    found = [
        f"{page.relative_to(ROOT)}: {cell}"
        for page in PAGES
        if page != COMMAND_LINE
        for row in re.findall(r"^\|(.+)\|$", prose(page), re.MULTILINE)
        for cell in re.findall(r"(?:^|\|) *`([^`|]+)` *(?=\||$)", row)
        if " " in cell and program_of(cell) in PROGRAMS
    ]
    assert found == []


@pytest.mark.parametrize("command", SHOWN_COMMANDS, ids=lambda each: f"{each.place} {each.text}")
def test_what_is_shown_is_accepted(command: Command) -> None:
    assert complaint(command.text) is None


@pytest.mark.parametrize(
    "command",
    [
        "make choas",
        "make chaos LIMITS=60",
        "idp env provison shop staging",
        "idp env provision shop staging --secrets app-key",
        "idp env provision",
        "python -m observability.severe",
        "python -m observability.serve --webhook https://example.com",
        "bao secret enable kv",
        "bao policy wirte idp-workers idp-workers.hcl",
        "terraform apply",
    ],
)
def test_what_no_program_accepts_is_told(command: str) -> None:
    assert complaint(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_the_running_text_are_commands(page: Path) -> None:
    """Their arguments may be left out; what is there is right."""
    spans = (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page)))
    wrong = {span: told for span in spans if (told := complaint_of_words(span))}
    assert wrong == {}


@pytest.mark.parametrize(
    "span", ["idp secrets list", "idp up --ports 3", "make tset", "python -m control_plane.mian"]
)
def test_words_that_are_no_command_are_told(span: str) -> None:
    assert complaint_of_words(span)
