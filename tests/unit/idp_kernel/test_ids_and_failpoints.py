"""Identifiers and failpoints."""

from __future__ import annotations

import os
import re
import threading
import uuid
from pathlib import Path

import pytest

from idp_kernel.failpoints import FAILPOINTS_DIR_VARIABLE, Guard, failpoint, is_off
from idp_kernel.ids import ID_PATTERN, new_id


def test_ids_are_version_7_and_unique() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert all(uuid.UUID(each).version == 7 and re.match(ID_PATTERN, each) for each in ids)


def test_later_ids_sort_later(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([1_800_000_000_000_000_000, 1_800_000_000_001_000_000])
    monkeypatch.setattr("idp_kernel.ids.time.time_ns", lambda: next(moments))
    first, second = new_id(), new_id()
    assert first < second


def test_an_unarmed_failpoint_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failpoint("nobody.armed")
    monkeypatch.setenv(FAILPOINTS_DIR_VARIABLE, str(tmp_path))
    failpoint("nobody.armed")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("guard", Guard)
def test_a_guard_is_taken_away_only_where_failpoints_are(
    guard: Guard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{guard}.off").touch()
    monkeypatch.chdir(tmp_path)
    assert not is_off(guard)
    monkeypatch.setenv(FAILPOINTS_DIR_VARIABLE, "")
    assert not is_off(guard), "no folder is not the folder at hand"
    monkeypatch.setenv(FAILPOINTS_DIR_VARIABLE, str(tmp_path))
    assert [each for each in Guard if is_off(each)] == [guard]
    (tmp_path / f"{guard}.off").unlink()
    assert not is_off(guard)


def test_an_armed_failpoint_holds_one_passer_until_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FAILPOINTS_DIR_VARIABLE, str(tmp_path))
    (tmp_path / "here").touch()
    held = threading.Thread(target=failpoint, args=("here",))
    held.start()
    while not (tmp_path / "here.hit").exists():
        assert held.is_alive()
    assert (tmp_path / "here.hit").read_text() == str(os.getpid())
    failpoint("here")
    assert held.is_alive()
    (tmp_path / "here.hit").unlink()
    held.join(10)
    assert not held.is_alive()
    assert list(tmp_path.iterdir()) == []
