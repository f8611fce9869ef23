"""What comes to an application environment that is in use: how its request treats what is there."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from idp_kernel.wire.worker import UNDO_SUFFIX
from tests.integration.execution_workers.catalogue import (
    PROTECTION,
    REPOSITORY,
    Effect,
    assert_effect,
    assert_problem,
)
from tests.integration.execution_workers.driver import AppEnv, Run, World

OF_THE_ENVIRONMENT = (REPOSITORY, PROTECTION)


@pytest.fixture
def appenv() -> AppEnv:
    return AppEnv()


def do_in_use(run: Run, effect: Effect) -> httpx.Response:
    body = {**effect.body(run.appenv), "isInUse": True}
    return run.post(effect.path, body, run.key(effect.step))


def undo_in_use(run: Run, effect: Effect) -> None:
    """Which leaves it, and says nothing of it."""
    body = {**effect.body(run.appenv), "isInUse": True}
    answer = run.post(effect.path + UNDO_SUFFIX, body, run.key(effect.step, undo=True))
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"items": [], "events": []}


def test_once_it_is_undone_the_first_request_takes_repository_and_protection(
    world: World, appenv: AppEnv, tmp_path: Path
) -> None:
    first, adding = world.new_run(appenv), world.new_run(appenv)
    for effect in OF_THE_ENVIRONMENT:
        assert_effect(effect.do(first), "created")
        assert_effect(do_in_use(adding, effect), "adopted")
    for effect in reversed(OF_THE_ENVIRONMENT):
        undo_in_use(adding, effect)
    assert PROTECTION.times_done(world, appenv, tmp_path) == 1
    for effect in reversed(OF_THE_ENVIRONMENT):
        assert_effect(effect.undo(first), "undone")
    assert REPOSITORY.times_done(world, appenv, tmp_path) == 0


def test_a_protection_that_it_mended_stays(world: World, appenv: AppEnv, tmp_path: Path) -> None:
    assert_effect(REPOSITORY.do(world.new_run(appenv)), "created")
    adding = world.new_run(appenv)
    assert_effect(do_in_use(adding, PROTECTION), "created")
    undo_in_use(adding, PROTECTION)
    assert PROTECTION.times_done(world, appenv, tmp_path) == 1


def test_a_repository_that_is_gone_is_not_made_anew(
    world: World, appenv: AppEnv, tmp_path: Path
) -> None:
    answer = do_in_use(world.new_run(appenv), REPOSITORY)
    assert_problem(answer, 502, "repository_missing")
    assert REPOSITORY.times_done(world, appenv, tmp_path) == 0
