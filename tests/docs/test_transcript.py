"""The rules by which a page and a shell are compared."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, Block, anchors
from tests.docs.shell import perform, shell
from tests.docs.transcript import Command, Meanings, commands

ONE = "01a21042-bdd9-79ea-9b56-d948db4e0756"
OTHER = "01a21042-e87a-7c9a-8790-8f7c60bab0f1"
REAL = "01a2aaaa-bdd9-79ea-9b56-d948db4e0000"


def block(language: str, text: str) -> Block:
    return Block(DOCS / "page.md", 1, language, text)


def test_a_console_block_is_commands_and_what_they_print() -> None:
    first, second, third = commands(
        block("console", "$ one \\\n>   more\nprinted\n  so\n$ false\n$ echo $?\n1\n")
    )
    assert (first.text, first.expected) == ("one \\\n  more", "printed\n  so")
    assert (second.text, second.must_succeed) == ("false", False)
    assert (third.text, third.expected, third.must_succeed) == ("echo $?", "1", True)


def test_a_script_is_its_lines() -> None:
    found = commands(block("sh", "# why\none \\\n  more\n\ncat >x <<'END'\ny: 1\nEND\ntwo\n"))
    assert [each.text for each in found] == ["one \\\n  more", "cat >x <<'END'\ny: 1\nEND", "two"]
    assert {each.expected for each in found} == {None}


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("a  b", "  a b  \n"),
        ("took 0.4 s", "took 12.1 s"),
        ("at 2026-11-25 02:20:09Z", "at 2031-01-01 00:00:00Z"),
        ("a…z", "a anything z"),
        ("a\n…\nz", "a\nb\nc\nz"),
        ("a\n…\nz", "a\nz"),
        ("a\n\nz", "a\nz"),
        (f"{ONE} {ONE}", f"{REAL} {REAL}"),
        (f"commit {'a' * 40}", f"commit {'b' * 40}"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8090/v1"),
    ],
)
def test_what_may_differ(shown: str, printed: str) -> None:
    assert Meanings(10).learn(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("a", "b"),
        ("a", "a\nb"),
        ("a\nb", "a"),
        ("took 0.4 s", "took long"),
        (f"{ONE} {ONE}", f"{REAL} {OTHER}"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
        ("a.c", "abc"),
    ],
)
def test_what_may_not(shown: str, printed: str) -> None:
    assert not Meanings(10).learn(shown, printed)


def test_an_id_of_the_page_is_one_of_this_run_from_then_on() -> None:
    meanings = Meanings(0)
    assert meanings.learn(f"request {ONE}", f"request {REAL}")
    assert meanings.in_this_run(f"idp request show {ONE}") == f"idp request show {REAL}"
    assert not meanings.learn(f"request {ONE}", f"request {OTHER}")


def test_a_shell_keeps_what_a_command_leaves(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"]}
    with shell(tmp_path, environment, tmp_path) as bash:
        for text, expected in (
            ("mkdir within && cd within && export NAME=value", ""),
            ('echo "$NAME" "${PWD##*/}"', "value within"),
            ("cat; echo no input", "no input"),
        ):
            perform(Command("here", text, expected), bash, Meanings(0))
        perform(Command("here", "(exit 3)", None, must_succeed=False), bash, Meanings(0))
        perform(Command("here", "echo $?", "3"), bash, Meanings(0))
        with pytest.raises(AssertionError, match="exit status 4"):
            perform(Command("here", "(exit 4)", None), bash, Meanings(0))
        with pytest.raises(AssertionError, match="the page shows"):
            perform(Command("here", "echo this", "that"), bash, Meanings(0))


def test_anchors_are_those_of_github(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# What `idp up` does, and why\n\n## Twice\n\n## Twice\n")
    assert anchors(page) == {"what-idp-up-does-and-why", "twice", "twice-1"}
