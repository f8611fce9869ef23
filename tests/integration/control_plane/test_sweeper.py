"""When the sweeper looks by itself, and when it waits to be told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from control_plane.adapters import sweeper as sweeper_module
from control_plane.adapters.sweeper import Sweeper
from tests.fixtures.stack import PostgresServer
from tests.integration.control_plane.conftest import (
    Keys,
    Platform,
    eventually,
    new_database,
    running_platform,
    settings_for,
)
from tests.integration.control_plane.serving import serving
from tests.integration.control_plane.test_statements import counting

LONG_SECONDS = 600.0
"""Far longer than a test lasts."""
PAST_DEADLINE_SECONDS = 30 * 60 + 1


def _sweeper(platform: Platform) -> Sweeper:
    services = platform.services
    return Sweeper(
        engine=platform.engine,
        begin=services.begin,
        policy=services.attempts,
        rotations_at_once=services.rotations_at_once,
        interval_seconds=0.01,
    )


@pytest.fixture
def sweeper(lone_platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweeper]:
    """One at work that has found nothing open."""
    monkeypatch.setattr(sweeper_module, "QUIET_SECONDS", LONG_SECONDS)
    statements: list[str] = []
    made = _sweeper(lone_platform)
    with counting(lone_platform.engine, statements):
        made.start()
        eventually(lambda: any("workflow_requests" in each for each in statements))
    yield made
    made.stop()


def test_a_quiet_sweeper_is_told_of_a_request_and_goes_on_by_itself(
    lone_platform: Platform, sweeper: Sweeper
) -> None:
    request_id = lone_platform.provision(lone_platform.new_subject())
    sweeper.hear_of_request(request_id)
    lone_platform.clock.advance(PAST_DEADLINE_SECONDS)
    eventually(lambda: lone_platform.request(request_id)["state"] == "timed_out")


def test_a_stop_just_before_a_round_is_heeded_after_it(
    lone_platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper_module, "QUIET_SECONDS", LONG_SECONDS)
    made = _sweeper(lone_platform)
    begin_round = made._changed.clear

    def stop_first() -> None:
        made._stopped.set()
        made._changed.set()
        begin_round()

    monkeypatch.setattr(made._changed, "clear", stop_first)
    made.start()
    eventually(lambda: not made._thread.is_alive())


def test_a_quiet_sweeper_looks_from_time_to_time_though_nobody_tells_it(
    lone_platform: Platform, sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper_module, "QUIET_SECONDS", 0.1)
    sweeper.hear_of_request("")
    request_id = lone_platform.provision(lone_platform.new_subject())
    lone_platform.clock.advance(PAST_DEADLINE_SECONDS)
    eventually(lambda: lone_platform.request(request_id)["state"] == "timed_out")


def test_a_server_tells_its_sweeper_of_each_request(
    postgres_server: PostgresServer, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper_module, "QUIET_SECONDS", LONG_SECONDS)
    database, statements = new_database(postgres_server), list[str]()
    with (
        running_platform(database, keys) as platform,
        counting(Engine, statements),
        serving(settings_for(database, keys), platform.clock),
    ):
        eventually(lambda: any("workflow_requests" in each for each in statements))
        request_id = platform.provision(platform.new_subject())
        platform.clock.advance(PAST_DEADLINE_SECONDS)
        eventually(lambda: platform.request(request_id)["state"] == "timed_out")
