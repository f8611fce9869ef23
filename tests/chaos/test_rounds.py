"""A cell counts only when its failpoint was hit and the victim lived until it was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from control_plane import failpoints as api
from execution_workers import failpoints as workers
from idp_dagster import failpoints as engine
from idp_kernel.workflows import Step
from tests.chaos.cells import Boundary, Cell, Victim, Way, boundaries
from tests.chaos.rounds import _Standing, why_missed

AT = {each.failpoint: each for each in boundaries() if each.way is Way.PROVISIONING}
OWN = [
    (engine.after_call(Step.PROVISION_SECRETS), Victim.WORKER_CHILD),
    (workers.after_provider(Step.PROVISION_SECRETS), Victim.EXECUTION_WORKERS),
    (api.FINALIZE_BEFORE_COMMIT, Victim.CONTROL_PLANE_API),
]


def at(place: str) -> Boundary:
    return AT[place]


@pytest.mark.parametrize(("place", "victim"), OWN)
def test_who_stands_there_is_the_one_that_was_killed(place: str, victim: Victim) -> None:
    cell = Cell(at(place), victim)
    assert why_missed(cell, held={place: 7}, killed=[6, 7]) is None
    assert "another process" in str(why_missed(cell, held={place: 7}, killed=[8]))


@pytest.mark.parametrize(("place", "owner"), OWN)
def test_another_one_dies_while_a_request_stands_there(place: str, owner: Victim) -> None:
    for victim in set(Victim) - {owner}:
        cell = Cell(at(place), victim)
        assert why_missed(cell, held={place: 7}, killed=[8]) is None
        assert "nobody came" in str(why_missed(cell, held={}, killed=[8]))
        assert "not there" in str(why_missed(cell, held={place: 7}, killed=[]))


def test_who_stood_there_and_has_died_since_stands_there_no_more(tmp_path: Path) -> None:
    standing = _Standing(tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for place, pid in (("alive", os.getpid()), ("dead", ended.pid)):
        standing.arm(place)
        (tmp_path / f"{place}.hit").write_text(str(pid))
    standing.arm("never")
    standing.await_hits(["alive", "dead"])
    assert standing.pids() == {"alive": os.getpid()}
    assert not (tmp_path / "never").exists(), "nobody is held there any more"
    standing.let_go()
    assert list(tmp_path.glob("*.hit")) == []
