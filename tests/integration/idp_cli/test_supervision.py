"""The real supervisor with stand-ins: order, restarts, giving up, and that nothing stays."""

from __future__ import annotations

import os
import signal
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from idp_cli.supervision import watch as watching
from idp_cli.supervision.home import Home, RunRecord
from idp_cli.supervision.leftovers import leftovers
from idp_cli.supervision.narration import Narrator
from idp_cli.supervision.programs import Group
from idp_cli.supervision.remote import SupervisorRemote
from idp_cli.supervision.watch import Watch
from idp_kernel.errors import Conflict, Unavailable
from tests.fixtures.full_disk import FULL
from tests.integration.idp_cli.conftest import NewStage, Stage, one_shot, server


def eventually(look: Callable[[], bool], within_seconds: float = 30) -> None:
    give_up_at = time.monotonic() + within_seconds
    while not look():
        assert time.monotonic() < give_up_at, "it did not come about in time"
        time.sleep(0.05)


def is_alive(process: psutil.Process) -> bool:
    """Whether it may still do anything; one that nobody has waited for yet may not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def children_of(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def test_programs_come_up_after_those_they_need_and_stop_in_reverse(new_stage: NewStage) -> None:
    store = server("store", Group.STORES)
    set_up = one_shot("set-up", after=("store",))
    service = server("service", after=("set-up",))
    stage = new_stage([service, set_up, store])
    stage.platform.start()
    assert said_in_order(stage.said, "✓ store", "✓ set-up", "✓ service")
    processes = [psutil.Process(stage.pid(name)) for name in ("store", "service")]
    processes += [child for each in processes for child in each.children()]
    assert len(processes) == 4
    stage.platform.stop()
    assert said_in_order(stage.said, "services stopped", "stores stopped", "no process is left")
    assert ended_at(stage, "service") < ended_at(stage, "store")
    assert not any(is_alive(each) for each in processes)


def test_a_socket_that_nobody_listens_on_yet_is_waited_for(
    new_stage: NewStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor binds its socket a moment before it listens."""
    deaf = socket.socket(socket.AF_UNIX)

    def bind_and_record(home: Home, record: RunRecord) -> None:
        deaf.bind(str(home.socket))
        write_record(home, record)

    write_record = Home.write_record
    monkeypatch.setattr(Home, "write_record", bind_and_record)
    stage = new_stage([server("service")])
    with deaf:
        stage.platform.start()
    assert "✓ service" in stage.said


def test_programs_see_nothing_but_their_settings(
    new_stage: NewStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDP_TOKEN", "somebody's")
    stage = new_stage([server("service")])
    stage.platform.start()
    environment = psutil.Process(stage.pid("service")).environ()
    assert "IDP_TOKEN" not in environment
    assert {name for name in environment if not name.startswith("SUPERVISOR_")} <= {
        "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "PYTHONUNBUFFERED",
    }  # fmt: skip


def test_files_are_closed_to_others(new_stage: NewStage) -> None:
    stage = new_stage([server("service")])
    stage.platform.start()
    home = stage.home
    for path in (home.configuration, home.socket, home.log_of("service")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_a_set_up_that_fails_ends_the_start_with_its_log(new_stage: NewStage) -> None:
    stage = new_stage([server("store", Group.STORES), one_shot("set-up", "break")])
    with pytest.raises(Unavailable, match="set-up failed"):
        stage.platform.start()
    assert "the stand-in cannot find its stage" in stage.said


def test_a_killed_program_is_back_and_both_are_said(new_stage: NewStage) -> None:
    program = server("service")
    stage = new_stage([program])
    stage.platform.start()
    watch = Watch(stage.home, [program], stage.remote, narrator_of(stage))
    victim = stage.pid("service")
    os.kill(victim, signal.SIGKILL)

    def is_back() -> bool:
        watch.look()
        return "is back" in stage.said

    eventually(is_back)
    assert said_in_order(stage.said, "ended unexpectedly", "is back")
    assert stage.pid("service") != victim


def test_a_program_is_given_up_with_its_log_and_tried_again(
    new_stage: NewStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("idp_cli.supervision.configuration.BACKOFF_RETRIES", 0)
    # Killed before it counts as started, it is not started again.
    monkeypatch.setattr("idp_cli.supervision.configuration.STEADY_AFTER_SECONDS", 3600)
    monkeypatch.setattr(watching, "GIVEN_UP_PAUSE_SECONDS", 0.2)
    lasting, failing = server("lasting"), server("failing")
    stage = new_stage([lasting, failing])
    stage.platform.start()
    watch = Watch(stage.home, [lasting, failing], stage.remote, narrator_of(stage))
    os.kill(stage.pid("failing"), signal.SIGKILL)

    def is_given_up() -> bool:
        watch.look()
        return "failing was given up" in stage.said

    eventually(is_given_up)
    assert stage.remote.processes()["lasting"].state.is_alive

    def is_back() -> bool:
        watch.look()
        return "is back" in stage.said

    eventually(is_back)


def test_a_stubborn_program_is_killed_with_its_children(new_stage: NewStage) -> None:
    stage = new_stage([server("stubborn", behaviour="stubborn", stop_seconds=1)])
    stage.platform.start()
    (child,) = children_of(stage.pid("stubborn"))
    stage.platform.stop()
    eventually(lambda: not is_alive(child), within_seconds=5)


def test_what_a_careless_program_leaves_is_found_and_said(new_stage: NewStage) -> None:
    stage = new_stage([server("careless", behaviour="careless")])
    stage.platform.start()
    (child,) = children_of(stage.pid("careless"))
    stage.platform.stop()
    assert not is_alive(child)
    assert f"process {child.pid}" in stage.said


def test_a_killed_supervisor_is_noticed_and_nothing_stays(new_stage: NewStage) -> None:
    program = server("service")
    stage = new_stage([program])
    stage.platform.start()
    child_and_all = [psutil.Process(stage.pid("service")), *children_of(stage.pid("service"))]
    record = stage.home.record()
    assert record is not None
    os.kill(record.supervisor_pid, signal.SIGKILL)
    with pytest.raises(Unavailable):
        stage.platform.watch()
    # The kernel ends the program itself; its child is what the platform has to find.
    eventually(lambda: not is_alive(child_and_all[0]), within_seconds=5)
    stage.platform.stop()
    assert not any(is_alive(each) for each in child_and_all)
    assert list(leftovers(stage.home)) == []


@pytest.mark.endurance
def test_a_full_disk_under_the_logs_ends_nothing(new_stage: NewStage) -> None:
    stage = new_stage([server("service")])
    logs = [stage.home.supervisor_log, stage.home.log_of("service")]
    for log in (*logs, stage.home.logs / "supervisord.err"):
        log.symlink_to(FULL)
    stage.platform.start()
    record = stage.home.record()
    assert record is not None
    killed = stage.pid("service")
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: stage.remote.processes()["service"].pid not in (None, killed))
    for log in logs:
        log.unlink()
    os.kill(record.supervisor_pid, signal.SIGUSR2)  # opens its logs anew
    eventually(lambda: "bytes were lost here: [Errno 28]" in text_of(logs[0]))
    os.kill(stage.pid("service"), signal.SIGKILL)
    eventually(lambda: "exited: service" in text_of(logs[0]))


def test_a_second_platform_in_the_same_home_is_refused(new_stage: NewStage) -> None:
    stage = new_stage([server("service")])
    stage.platform.start()
    with pytest.raises(Conflict, match=str(os.getpid())), Home.at(stage.home.root).locked():
        pass
    assert stage.home.is_locked()


def test_an_interrupt_while_stopping_kills_at_once(
    new_stage: NewStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = new_stage([server("stubborn", behaviour="stubborn", stop_seconds=60)])
    stage.platform.start()
    victims = [psutil.Process(stage.pid("stubborn")), *children_of(stage.pid("stubborn"))]
    stop_group = SupervisorRemote.stop_group

    def interrupted(remote: SupervisorRemote, group: str) -> None:
        stop_group(remote, group)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(SupervisorRemote, "stop_group", interrupted)
    stage.platform.stop()
    assert not any(is_alive(each) for each in victims)
    assert "had to be killed" in stage.said


def text_of(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def narrator_of(stage: Stage) -> Narrator:
    return stage.platform._narrator


def said_in_order(said: str, *parts: str) -> bool:
    places = [said.find(part) for part in parts]
    return -1 not in places and places == sorted(places)


def ended_at(stage: Stage, name: str) -> float:
    return float(stage.home.log_of(name).read_text().split("ended at ")[1])
