"""Files with secrets: private, whole, and read without their line end."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from local_stack.passfiles import ensure_passfile, passfile_path
from local_stack.secret_files import read_token, write_secret


def test_a_secret_is_private_and_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "token"
    write_secret(file, b"first")
    write_secret(file, b"second\n")
    assert file.read_bytes() == b"second\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(file.parent.iterdir()) == [file]


def test_a_failed_write_leaves_the_old_one_and_no_draft(tmp_path: Path) -> None:
    target = tmp_path / "token"
    target.mkdir()
    with pytest.raises(OSError, match="token"):
        write_secret(target, b"secret")
    assert list(tmp_path.iterdir()) == [target]


def test_a_token_is_read_without_its_line_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n", encoding="utf-8")
    assert read_token(tmp_path / "token") == "abc"
    (tmp_path / "empty").write_text("\n", encoding="utf-8")
    with pytest.raises(ValueError, match="empty"):
        read_token(tmp_path / "empty")


def test_a_passfile_keeps_its_password_when_the_port_moves(tmp_path: Path) -> None:
    first = ensure_passfile(tmp_path, "ledger", 1111)
    assert first.path == passfile_path(tmp_path, "ledger")
    assert first.path.read_text(encoding="utf-8") == f"127.0.0.1:1111:*:ledger:{first.password}\n"
    second = ensure_passfile(tmp_path, "ledger", 2222)
    assert second == first
    assert second.path.read_text(encoding="utf-8") == f"127.0.0.1:2222:*:ledger:{first.password}\n"
