"""OpenBao's configuration names paths safely and holds no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_stack.openbao import _ensure_seal_key, configuration_text


def test_paths_are_quoted(tmp_path: Path) -> None:
    odd = tmp_path / 'a "quoted" ümlaut'
    text = configuration_text(odd, odd / "key", port=1, cluster_port=2)
    assert '\\"quoted\\" ümlaut/raft"' in text
    assert 'address         = "127.0.0.1:1"' in text


def test_data_without_its_key_is_never_given_another(tmp_path: Path) -> None:
    (tmp_path / "raft").mkdir()
    key = tmp_path / "keys" / "openbao-seal.key"
    assert _ensure_seal_key(key, tmp_path) == key
    made = key.read_bytes()
    assert len(bytes.fromhex(made.decode())) == 32
    (tmp_path / "raft" / "vault.db").touch()
    assert _ensure_seal_key(key, tmp_path).read_bytes() == made
    key.unlink()
    with pytest.raises(SystemExit, match="bring the file back"):
        _ensure_seal_key(key, tmp_path)
