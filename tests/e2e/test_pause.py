"""Processes that are stopped past their lease and wake again: the request has ended well meanwhile,
or ends well then, and every effect was done once.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from idp_kernel.workflows import Step
from tests.e2e.oracle import assert_provisioned_once
from tests.e2e.platform import Platform, Subject, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.endurance]

SLOW = [Step.MATERIALIZE_REPOSITORIES, Step.PROVISION_SECRETS, Step.CREATE_SECRET_BINDINGS]


def stopped_at(platform: Platform, place: str) -> int:
    """The process that stood at the failpoint, stopped; it stands there no more once it wakes."""
    hit = platform.failpoints / f"{place}.hit"
    eventually(hit.exists, what=f"failpoint {place} hit")
    process_id = int(hit.read_text())
    os.kill(process_id, signal.SIGSTOP)
    hit.unlink()
    return process_id


def has_ended_its_work(platform: Platform, request_id: str) -> bool:
    """Whether a run of the request's that lost its claim has said that it stops."""
    log = (platform.home / "logs" / "worker.log").read_text()
    return any("run_closed" in line and request_id in line for line in log.splitlines())


@pytest.mark.parametrize("place", ["before_call", "after_call"])
@pytest.mark.parametrize("step", SLOW)
def test_a_run_that_wakes_after_its_successor_starts_no_effect(
    platform: Platform, subject: Subject, tmp_path: Path, step: Step, place: str
) -> None:
    platform.arm(f"workflow-engine.{step}.{place}")
    request_id = platform.provision(subject)["requestId"]
    sleeper = stopped_at(platform, f"workflow-engine.{step}.{place}")
    try:
        request = platform.ended(request_id)
    finally:
        os.kill(sleeper, signal.SIGCONT)
    assert [each["ending"] for each in request["attempts"]] == ["lost", "succeeded"]
    eventually(
        lambda: has_ended_its_work(platform, request_id), what="the run that woke has stopped"
    )
    assert_provisioned_once(platform, subject, platform.request(request_id), tmp_path)


@pytest.mark.parametrize("step", SLOW)
def test_what_the_workers_had_done_before_they_slept_is_adopted_by_the_next_run(
    platform: Platform, subject: Subject, tmp_path: Path, step: Step
) -> None:
    place = f"execution-workers.{step}.after_provider"
    platform.arm(place)
    request_id = platform.provision(subject)["requestId"]
    sleeper = stopped_at(platform, place)
    try:
        platform.kill("worker")
        eventually(
            lambda: platform.request(request_id)["attempt"] > 1, what="the next attempt is offered"
        )
    finally:
        os.kill(sleeper, signal.SIGCONT)
    request = platform.ended(request_id)
    assert request["attempts"][-1]["ending"] == "succeeded"
    assert_provisioned_once(platform, subject, request, tmp_path)
