"""One suite over every effect: done once, adopted, refused, taken back, survived.

Each behaviour is asked of the provider itself, not of the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from execution_workers.failpoints import (
    REPOSITORY_CREATED,
    SECRET_MARKED,
    after_provider,
    after_undo,
)
from tests.integration.execution_workers.catalogue import (
    EFFECTS,
    REPOSITORY,
    SECRET,
    Effect,
    assert_effect,
    assert_problem,
)
from tests.integration.execution_workers.driver import Run, World, eventually, in_background

every_effect = pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.name)


@every_effect
def test_is_done_and_told(effect: Effect, run: Run, tmp_path: Path) -> None:
    effect.prepare(run)
    answer = assert_effect(effect.do(run), "created")
    assert answer["events"] == [effect.event]
    assert effect.times_done(run.world, run.appenv, tmp_path) == 1


@every_effect
def test_a_repeat_replays_the_first_answer(effect: Effect, run: Run, tmp_path: Path) -> None:
    effect.prepare(run)
    first = assert_effect(effect.do(run), "created")
    again = assert_effect(effect.do(run.with_(fence=2)), "replayed")
    assert again["items"][0]["references"] == first["items"][0]["references"]
    assert again["events"] == first["events"]
    assert effect.times_done(run.world, run.appenv, tmp_path) == 1


@every_effect
def test_concurrent_repeats_act_once(effect: Effect, run: Run, tmp_path: Path) -> None:
    effect.prepare(run)
    with ThreadPoolExecutor(6) as executor:
        answers = list(executor.map(effect.do, [run] * 6))
    effects = sorted(answer.json()["items"][0]["effect"] for answer in answers)
    assert effects == ["created"] + ["replayed"] * 5
    assert effect.times_done(run.world, run.appenv, tmp_path) == 1


@every_effect
def test_a_later_request_adopts(effect: Effect, run: Run, tmp_path: Path) -> None:
    effect.prepare(run)
    first = assert_effect(effect.do(run), "created")
    answer = assert_effect(effect.do(run.world.new_run(run.appenv)), "adopted")
    assert answer["items"][0]["references"] == first["items"][0]["references"]
    assert answer["events"] == ([effect.adopted_event] if effect.adopted_event else [])
    assert effect.times_done(run.world, run.appenv, tmp_path) == 1


@every_effect
def test_what_is_foreign_is_refused_and_left(effect: Effect, run: Run, tmp_path: Path) -> None:
    effect.prepare(run)
    effect.plant_foreign(run.world, run.appenv, tmp_path)
    before = effect.times_done(run.world, run.appenv, tmp_path)
    assert_problem(effect.do(run), 502, "foreign_owner")
    assert_effect(effect.undo(run.with_(fence=2)), "kept")
    assert effect.times_done(run.world, run.appenv, tmp_path) == before


@every_effect
def test_undo_takes_it_back_and_may_be_repeated(effect: Effect, run: Run, tmp_path: Path) -> None:
    effect.prepare(run)
    assert_effect(effect.do(run), "created")
    undoing = run.with_(fence=2)
    assert_effect(effect.undo(undoing), "undone")
    assert effect.times_done(run.world, run.appenv, tmp_path) == 0
    assert_effect(effect.undo(undoing), "absent")


@every_effect
def test_after_an_undo_only_a_new_generation_does_it_again(
    effect: Effect, run: Run, tmp_path: Path
) -> None:
    effect.prepare(run)
    assert_effect(effect.do(run), "created")
    assert_effect(effect.undo(run), "undone")
    assert_problem(effect.do(run), 409, "undone")
    assert_effect(effect.do(run.with_(generation=2, fence=2)), "created")
    assert effect.times_done(run.world, run.appenv, tmp_path) > 0


@every_effect
def test_undo_in_the_next_generation_takes_back_the_former(
    effect: Effect, run: Run, tmp_path: Path
) -> None:
    effect.prepare(run)
    assert_effect(effect.do(run), "created")
    assert_effect(effect.undo(run.with_(generation=2, fence=2)), "undone")
    assert effect.times_done(run.world, run.appenv, tmp_path) == 0


@every_effect
def test_undo_keeps_what_a_later_request_adopted(effect: Effect, run: Run, tmp_path: Path) -> None:
    effect.prepare(run)
    assert_effect(effect.do(run), "created")
    later = run.world.new_run(run.appenv)
    assert_effect(effect.do(later), "adopted")
    assert_effect(effect.undo(run), "kept")
    assert_effect(effect.undo(later), "kept")
    assert effect.times_done(run.world, run.appenv, tmp_path) == 1


@every_effect
def test_the_same_key_with_another_body_is_refused(effect: Effect, run: Run) -> None:
    effect.prepare(run)
    assert_effect(effect.do(run), "created")
    other = effect.body(run.appenv)
    other["subject"] = {**other["subject"], "application": "other-shop"}
    assert_problem(
        run.post(effect.path, other, run.key(effect.step)), 422, "idempotency_key_reused"
    )


@pytest.fixture
def restarted(world: World) -> Iterator[Callable[[], None]]:
    """Kills the workers where they stand and starts them again; up again in any case."""

    def kill_and_start() -> None:
        world.workers.kill()
        world.workers.start()

    yield kill_and_start
    assert world.workers.process is not None
    if world.workers.process.poll() is not None:
        world.workers.start()


def _killed_at(
    place: str, call: Callable[[Run], httpx.Response], run: Run, restarted: Callable[[], None]
) -> None:
    """The call, ended by kill -9 at the failpoint."""
    hit = run.world.workers.arm(place)
    with in_background(lambda: call(run)) as call_without_answer:
        eventually(hit.exists, what=f"{place} reached")
        restarted()
    hit.unlink()
    assert isinstance(call_without_answer.exception(), httpx.TransportError)


@every_effect
def test_killed_between_provider_and_ledger_it_is_adopted(
    effect: Effect, run: Run, tmp_path: Path, restarted: Callable[[], None]
) -> None:
    effect.prepare(run)
    _killed_at(after_provider(effect.step), effect.do, run, restarted)
    answer = assert_effect(effect.do(run.with_(fence=2)), "adopted")
    assert answer["events"] == [effect.event], "the request did it, so the request tells it"
    assert effect.times_done(run.world, run.appenv, tmp_path) == 1
    assert_effect(effect.undo(run.with_(fence=3)), "undone")


@every_effect
def test_killed_in_an_undo_it_is_finished_by_a_repeat(
    effect: Effect, run: Run, tmp_path: Path, restarted: Callable[[], None]
) -> None:
    effect.prepare(run)
    assert_effect(effect.do(run), "created")
    _killed_at(after_undo(effect.step), effect.undo, run, restarted)
    assert_effect(effect.undo(run), "absent")
    assert_problem(effect.do(run), 409, "undone")
    assert_effect(effect.do(run.with_(generation=2, fence=2)), "created")


def test_a_repository_without_its_seed_is_completed(
    run: Run, tmp_path: Path, restarted: Callable[[], None]
) -> None:
    _killed_at(REPOSITORY_CREATED, REPOSITORY.do, run, restarted)
    repository = run.world.forge.repository(run.appenv.team, run.appenv.repository_name)
    assert repository is not None
    assert repository["headRevision"] is None
    answer = assert_effect(REPOSITORY.do(run), "adopted")
    assert answer["events"] == ["git_repository_created"]
    assert REPOSITORY.times_done(run.world, run.appenv, tmp_path) == 1


def test_a_marked_secret_without_a_value_is_completed(
    run: Run, tmp_path: Path, restarted: Callable[[], None]
) -> None:
    _killed_at(SECRET_MARKED, SECRET.do, run, restarted)
    assert SECRET.times_done(run.world, run.appenv, tmp_path) == 0
    later = run.world.new_run(run.appenv)
    assert_effect(SECRET.do(later), "created")
    assert SECRET.times_done(run.world, run.appenv, tmp_path) == 1
    assert_effect(SECRET.undo(run), "kept")
    assert_effect(SECRET.undo(later), "undone")
