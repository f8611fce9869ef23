"""Every documented place is one that a run passes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from idp_dagster.failpoints import AFTER_CLAIM, FAILPOINTS
from idp_kernel.failpoints import FAILPOINTS_DIR_VARIABLE
from idp_kernel.wire.engine import (
    AppEnvDecommissioningDesiredState,
    ApplicationDecommissioningDesiredState,
    CompensationDesiredState,
)
from tests.unit.idp_dagster.fakes import (
    FakeControlPlane,
    FakeWorkers,
    application_end_state,
    claim,
    compensation_state,
    decommissioning_state,
    onboarding_state,
    revocation_state,
    rotation_state,
)
from tests.unit.idp_dagster.test_appenv_decommissioning import carry_out as decommission
from tests.unit.idp_dagster.test_appenv_provisioning import carry_out as provision
from tests.unit.idp_dagster.test_application_decommissioning import carry_out as end_application
from tests.unit.idp_dagster.test_compensation import carry_out as undo
from tests.unit.idp_dagster.test_onboarding import carry_out as onboard
from tests.unit.idp_dagster.test_secret_revocation import carry_out as revoke
from tests.unit.idp_dagster.test_secret_rotation import next_phase, retire, rotate


def one_step_to_undo() -> CompensationDesiredState:
    """An undo that calls once, so that its place is passed once."""
    wanted = compensation_state()
    return wanted.model_copy(update={"steps": wanted.steps[-1:]})


def without_secrets() -> AppEnvDecommissioningDesiredState:
    """What has secrets to end passes the places of a revocation, which are passed already."""
    return decommissioning_state().model_copy(update={"secrets": ()})


def without_those() -> ApplicationDecommissioningDesiredState:
    """The same of an application, whose last look then calls once."""
    return application_end_state().model_copy(update={"ended_secrets": ()})


def test_a_run_stands_still_at_each_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    in_steps = [place for place in FAILPOINTS if place != AFTER_CLAIM]
    for place in in_steps:
        (tmp_path / place).touch()
    monkeypatch.setenv(FAILPOINTS_DIR_VARIABLE, str(tmp_path))
    hit: list[str] = []
    done = threading.Event()

    def let_go() -> None:
        while not done.wait(0.01):
            for file in tmp_path.glob("workflow-engine.*.hit"):
                hit.append(file.name.removesuffix(".hit"))
                file.unlink()

    watcher = threading.Thread(target=let_go)
    watcher.start()
    try:
        rotating = FakeControlPlane(claim(wanted=rotation_state()))
        for job in (
            onboard(FakeControlPlane(claim(wanted=onboarding_state())), FakeWorkers()),
            provision(FakeControlPlane(), FakeWorkers()),
            rotate(rotating, FakeWorkers()),
            retire(next_phase(rotating), FakeWorkers()),
            revoke(FakeControlPlane(claim(wanted=revocation_state())), FakeWorkers()),
            decommission(FakeControlPlane(claim(wanted=without_secrets())), FakeWorkers()),
            end_application(FakeControlPlane(claim(wanted=without_those())), FakeWorkers()),
            undo(FakeControlPlane(claim(wanted=one_step_to_undo())), FakeWorkers()),
        ):
            assert job.success
    finally:
        done.set()
        watcher.join()
    assert sorted(hit) == sorted(in_steps)
