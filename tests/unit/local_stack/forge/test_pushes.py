"""What a push may do, and the record of who pushed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from local_stack.forge.pushes import (
    BOT,
    PUSHES_FILE,
    PushRecord,
    RefUpdate,
    record_pushes,
    recorded_pushes,
    refusal,
)

A, B, NONE = "a" * 40, "b" * 40, "0" * 40
MAIN = "refs/heads/main"


def said(update: RefUpdate, caller: str, *, fast_forward: bool = True) -> str | None:
    return refusal(update, caller, {"main"}, lambda _: fast_forward)


@pytest.mark.parametrize("caller", ["ann", BOT])
@pytest.mark.parametrize(
    "update",
    [
        RefUpdate(NONE, A, "refs/heads/feature"),
        RefUpdate(A, B, "refs/heads/feature"),
        RefUpdate(A, NONE, "refs/heads/feature"),
        RefUpdate(A, B, "refs/heads/main2"),
        RefUpdate(NONE, A, "refs/tags/main"),
    ],
)
def test_what_is_not_protected_moves_freely(update: RefUpdate, caller: str) -> None:
    assert said(update, caller, fast_forward=False) is None


@pytest.mark.parametrize(
    "update",
    [RefUpdate(NONE, A, MAIN), RefUpdate(A, B, MAIN), RefUpdate(NONE, A, "refs/heads/MAIN")],
)
def test_people_are_told_what_to_do_instead_of_pushing_to_a_protected_branch(
    update: RefUpdate,
) -> None:
    message = said(update, "ann") or ""
    assert "git push origin HEAD:refs/heads/my-change" in message
    assert "idp repository merge" in message


def test_the_bot_moves_a_protected_branch_forward_only() -> None:
    assert said(RefUpdate(NONE, A, MAIN), BOT) is None
    assert said(RefUpdate(A, B, MAIN), BOT) is None
    assert "only moves forward" in (said(RefUpdate(A, B, MAIN), BOT, fast_forward=False) or "")


@pytest.mark.parametrize("caller", ["ann", BOT])
def test_nobody_deletes_a_protected_branch(caller: str) -> None:
    assert "cannot be deleted" in (said(RefUpdate(A, NONE, MAIN), caller) or "")


@pytest.mark.parametrize("ref", ["refs/notes/x", "HEAD", "refs/heads", "refs/pull/1/head"])
def test_other_refs_are_refused(ref: str) -> None:
    assert "is refused" in (said(RefUpdate(NONE, A, ref), BOT) or "")


def test_pushes_are_read_back_by_branch(tmp_path: Path) -> None:
    record_pushes(tmp_path, [PushRecord("x", "ann", A), PushRecord("y", "bob", A)])
    record_pushes(tmp_path, [PushRecord("x", "bob", B)])
    assert recorded_pushes(tmp_path, "x") == [PushRecord("x", "ann", A), PushRecord("x", "bob", B)]
    assert recorded_pushes(tmp_path, "z") == []


def test_a_deletion_ends_the_record_of_its_branch_only(tmp_path: Path) -> None:
    record_pushes(tmp_path, [PushRecord("x", "ann", A), PushRecord("y", "ann", A)])
    record_pushes(tmp_path, [PushRecord("x", "ann", NONE), PushRecord("x", "bob", B)])
    assert recorded_pushes(tmp_path, "x") == [PushRecord("x", "bob", B)]
    assert recorded_pushes(tmp_path, "y") == [PushRecord("y", "ann", A)]


def test_a_torn_line_spoils_no_other(tmp_path: Path) -> None:
    record_pushes(tmp_path, [PushRecord("x", "ann", A)])
    file = tmp_path / PUSHES_FILE
    os.truncate(file, file.stat().st_size - 5)
    record_pushes(tmp_path, [PushRecord("x", "bob", B)])
    assert recorded_pushes(tmp_path, "x") == [PushRecord("x", "bob", B)]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
