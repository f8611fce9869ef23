"""Many rotations in a row while processes are killed: nobody's login is ever refused."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.e2e.logins import BoundSecret, Reader, group_of, reading, roles
from tests.e2e.platform import Platform, Subject, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.endurance, pytest.mark.timeout(3600)]

ROTATIONS = int(os.environ.get("IDP_TEST_ROTATIONS", "5"))
KILL_EVERY_SECONDS = 5.0
VICTIMS = (
    "control-plane-api", "daemon", "code-server", "worker", "execution-workers", "postgres",
    "openbao", "local-forge", "local-gitops-agent", "exporter", "local-consumer", "webserver",
)  # fmt: skip


@contextmanager
def killing(platform: Platform, seed: int) -> Iterator[list[str]]:
    """Kills a random program every few seconds while the block lasts; answers which. Behind the
    block everything is up again.
    """
    chosen, killed, stop = random.Random(seed), [], threading.Event()  # noqa: S311 - a repeatable choice

    def kill() -> None:
        while not stop.wait(KILL_EVERY_SECONDS):
            running = {name: pid for name, pid in platform.pids().items() if pid is not None}
            victim = chosen.choice(VICTIMS)
            if victim in running:  # one that was killed just now may be on its way up
                os.kill(running[victim], signal.SIGKILL)
                killed.append(victim)

    thread = threading.Thread(target=kill, name="killer", daemon=True)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join(30)
        platform.await_ready()


def test_rotations_under_kills_refuse_no_login(platform: Platform, subject: Subject) -> None:
    appenv = platform.provisioned(subject, {"name": "db", "issuer": "postgres"})
    (secret,) = appenv["secrets"]
    platform.set_grace(secret["id"], 1)
    bound = BoundSecret(platform, subject.team, appenv["id"], "db")
    with reading(bound) as reader, killing(platform, seed=7) as killed:
        for _ in range(ROTATIONS):
            _rotate_through(platform, secret["id"])
    _tell(reader, killed)
    assert reader.refusals == []
    assert reader.outcomes["let in"] > ROTATIONS
    assert len(killed) > ROTATIONS / 5
    now = bound.pinned_version
    assert now > ROTATIONS
    assert bound.live_versions() == [now]
    username = bound.values()["username"]
    standing = roles(platform, group_of(secret["id"]))
    assert standing == {name: name == username for name in standing}
    assert len(standing) == 2


def _rotate_through(platform: Platform, secret_id: str) -> None:
    """One rotation to its end, whatever is down when it is asked for."""
    accepted = eventually(
        lambda: _accepted(platform, secret_id), within_seconds=120, what="the API takes the command"
    )
    request = platform.ended(accepted["requestId"], within_seconds=300)
    assert request["state"] == "succeeded", request


def _accepted(platform: Platform, secret_id: str) -> dict[str, Any] | None:
    """The answer; none while the API or its database is down. A repeat acts once: same key."""
    key = f"rotation-of-version-{secret_id}-{time.monotonic_ns()}"
    for _ in range(2):
        try:
            answer = platform.api("POST", f"/v1/secrets/{secret_id}/rotation", {}, key=key)
        except httpx.TransportError:
            continue
        if answer.status_code == 202:
            accepted: dict[str, Any] = answer.json()
            return accepted
        if answer.status_code == 409:
            return {"requestId": answer.json()["workflowRequestId"]}
    return None


def _tell(reader: Reader, killed: list[str]) -> None:
    print(  # noqa: T201 - what the test is run for
        f"\n{ROTATIONS} rotations, {len(killed)} kills ({', '.join(sorted(set(killed)))}): "
        + ", ".join(f"{number} logins {what}" for what, number in sorted(reader.outcomes.items()))
    )
