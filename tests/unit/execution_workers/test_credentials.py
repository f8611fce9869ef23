"""Private files: read anew each time, refused when others can read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from execution_workers.credentials import SecretFile
from idp_kernel.errors import ProviderRejected


def written(path: Path, content: str, mode: int = 0o600) -> SecretFile:
    path.write_text(content, encoding="utf-8")
    path.chmod(mode)
    return SecretFile(path)


def test_a_replaced_credential_counts_at_once(tmp_path: Path) -> None:
    file = written(tmp_path / "token", "first\n")
    assert file.read() == "first"
    written(tmp_path / "token", "second\n")
    assert file.read() == "second"


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ProviderRejected, match="0600") as refused:
        written(tmp_path / "token", "hush", mode).read()
    assert refused.value.code == "credential_unreadable"
    assert "hush" not in str(refused.value)


def test_an_empty_or_missing_file_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(ProviderRejected, match="empty"):
        written(tmp_path / "token", " \n").read()
    with pytest.raises(ProviderRejected, match="nothing-here"):
        SecretFile(tmp_path / "nothing-here").read()


@pytest.mark.parametrize("content", ["hush\u00e9", "hu\nsh", "hu\x1bsh", "\ufeffhush"])
def test_a_token_that_no_header_can_carry_is_refused_without_it(
    tmp_path: Path, content: str
) -> None:
    with pytest.raises(ProviderRejected, match="printable ASCII") as refused:
        written(tmp_path / "token", content).read()
    assert refused.value.code == "credential_unreadable"
    assert "hu" not in str(refused.value).replace(str(tmp_path), "")


def test_a_document_has_lines_and_all_letters(tmp_path: Path) -> None:
    document = '{\n  "password": "h\u00e9"\n}'
    assert written(tmp_path / "file", f"{document}\n").read_document() == document
