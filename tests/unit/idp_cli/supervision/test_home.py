from __future__ import annotations

import fcntl
import os
import stat
import threading
from pathlib import Path

import pytest

from idp_cli.supervision import home as home_module
from idp_cli.supervision.home import SOCKET_PATH_LIMIT, Home, RunRecord
from idp_kernel.errors import Conflict, InvalidInput


def test_folders_are_for_their_owner_only(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "idp")
    home.prepare()
    for folder in (home.root, home.keys, home.logs, home.run, home.dagster):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_long_path_puts_the_socket_into_a_private_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    home = Home.at(tmp_path / ("x" * 60) / ("y" * 60))
    home.prepare()
    assert home.socket.parent.parent == tmp_path
    assert stat.S_IMODE(home.socket.parent.stat().st_mode) == 0o700
    assert Home.at(tmp_path / "idp").run in Home.at(tmp_path / "idp").socket.parents
    assert len(os.fsencode(Home.at(Path("/srv/idp")).socket)) <= SOCKET_PATH_LIMIT
    home.socket.touch()
    home.leave()
    assert home.socket.exists(), "a platform has it in use"
    home.socket.unlink()
    home.leave()
    home.leave()
    assert [each.name for each in tmp_path.iterdir()] == ["x" * 60]


def test_somebody_elses_socket_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    home = Home.at(tmp_path / ("x" * 120))
    home.socket.parent.mkdir(mode=0o755)
    with pytest.raises(Conflict, match="private folder"):
        home.prepare()


@pytest.mark.parametrize("name", ['quo"te', "per%cent", "semi;colon", "ha#sh", "new\nline"])
def test_a_path_the_supervisor_cannot_carry_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot carry"):
        Home.at(tmp_path / name).prepare()


def test_one_platform_at_a_time(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "idp")
    home.prepare()
    assert not home.is_locked()
    with home.locked():
        home.write_record(
            RunRecord(up_pid=4711, supervisor_pid=4712, supervisor_created=1.5, port_offset=10)
        )
        assert home.is_locked()
        with pytest.raises(Conflict, match="process 4711"), home.locked():
            pass
    assert not home.is_locked()


def test_who_only_looks_keeps_nobody_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_module, "LOOK_TIMEOUT_SECONDS", 30)
    home = Home.at(tmp_path / "idp")
    home.prepare()
    with home.locked():
        pass
    looking = home.lock_file.open()
    fcntl.flock(looking, fcntl.LOCK_SH)
    assert not home.is_locked(), "two may look at once"
    threading.Timer(0.1, looking.close).start()
    with home.locked():
        assert looking.closed


def test_the_record_is_gone_after_an_orderly_stop(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "idp")
    assert home.record() is None
    home.prepare()
    record = RunRecord(up_pid=1, supervisor_pid=2, supervisor_created=1.5, port_offset=0)
    home.write_record(record)
    assert home.record() == record
    home.forget_record()
    assert home.record() is None


def test_the_installation_keeps_its_name(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "idp")
    home.prepare()
    assert home.installation_id() == home.installation_id()
    other = Home.at(tmp_path / "other")
    other.prepare()
    assert other.installation_id() != home.installation_id()


@pytest.mark.parametrize("inside", ["", "below"])
def test_a_file_is_no_home(tmp_path: Path, inside: str) -> None:
    file = tmp_path / "file"
    file.touch()
    home = Home.at(file / inside)
    for use in (home.record, home.is_locked, home.prepare):
        with pytest.raises(InvalidInput, match=str(home.root)) as refused:
            use()
        assert refused.value.code == "home_unusable"
