"""kill -9, one test a victim: the request ends well within a minute, every effect done once."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from idp_kernel.workflows import APPLICATION_ENVIRONMENT_PROVISIONING, Step
from tests.e2e.oracle import assert_provisioned_once
from tests.e2e.platform import Platform, Subject, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.endurance]

STEPS = APPLICATION_ENVIRONMENT_PROVISIONING.steps


def _still_provisions(
    platform: Platform, subject: Subject, request_id: str, folder: Path
) -> dict[str, Any]:
    request = platform.ended(request_id)
    assert_provisioned_once(platform, subject, request, folder)
    platform.await_ready()
    return request


@pytest.mark.parametrize("step", STEPS)
def test_celery_worker_in_the_middle_of_a_step(
    platform: Platform, subject: Subject, tmp_path: Path, step: Step
) -> None:
    place = f"workflow-engine.{step}.after_call"
    platform.arm(place)
    accepted = platform.provision(subject)
    platform.kill_at(place)
    request = _still_provisions(platform, subject, accepted["requestId"], tmp_path)
    endings = {attempt["ending"] for attempt in request["attempts"]}
    assert "lost" not in endings, "its parent tells of it, so that nobody waits for the lease's end"


def test_celery_workers_parent(platform: Platform, subject: Subject, tmp_path: Path) -> None:
    hit = platform.arm("workflow-engine.provision_secrets.before_call")
    accepted = platform.provision(subject)
    eventually(hit.exists, what="the run is in the middle of a step")
    platform.kill("worker")
    hit.unlink()
    _still_provisions(platform, subject, accepted["requestId"], tmp_path)


def test_celery_workers_that_wait_for_work(
    platform: Platform, subject: Subject, tmp_path: Path
) -> None:
    """One of them has the lock of what they all read."""
    parent = psutil.Process(platform.pid_of("worker"))
    for child in parent.children():
        child.kill()
    parent.wait(30)
    _still_provisions(platform, subject, platform.provision(subject)["requestId"], tmp_path)


@pytest.mark.parametrize(
    "step", [Step.MATERIALIZE_REPOSITORIES, Step.PROVISION_SECRETS, Step.CREATE_SECRET_BINDINGS]
)
def test_execution_workers_after_the_provider_and_before_the_ledger(
    platform: Platform, subject: Subject, tmp_path: Path, step: Step
) -> None:
    place = f"execution-workers.{step}.after_provider"
    platform.arm(place)
    accepted = platform.provision(subject)
    platform.kill_at(place)
    _still_provisions(platform, subject, accepted["requestId"], tmp_path)


def test_daemon_right_after_the_command(
    platform: Platform, subject: Subject, tmp_path: Path
) -> None:
    daemon = platform.pid_of("daemon")
    accepted = platform.provision(subject)
    os.kill(daemon, signal.SIGKILL)
    _still_provisions(platform, subject, accepted["requestId"], tmp_path)


@pytest.mark.parametrize("place", ["before_commit", "after_commit"])
def test_control_plane_during_finalize(
    platform: Platform, subject: Subject, tmp_path: Path, place: str
) -> None:
    platform.arm(f"control-plane-api.finalize.{place}")
    accepted = platform.provision(subject)
    platform.kill_at(f"control-plane-api.finalize.{place}")
    _still_provisions(platform, subject, accepted["requestId"], tmp_path)


def test_postgresql_in_the_middle_of_a_run(
    platform: Platform, subject: Subject, tmp_path: Path
) -> None:
    hit = platform.arm("workflow-engine.create_secret_bindings.before_call")
    accepted = platform.provision(subject)
    eventually(hit.exists, what="the run is in the middle of a step")
    platform.kill("postgres")
    hit.unlink()
    _still_provisions(platform, subject, accepted["requestId"], tmp_path)
