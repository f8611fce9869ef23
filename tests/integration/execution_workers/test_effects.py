"""One suite over every effect: done once, adopted, refused, taken back, survived.

Each behaviour is asked of the provider itself, not of the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from execution_workers.failpoints import (
    REPOSITORY_CREATED,
    SECRET_MARKED,
    SECRET_WRITTEN,
    TEAM_LET_IN,
    after_provider,
    after_undo,
)
from tests.integration.execution_workers.catalogue import (
    BINDINGS,
    CREDENTIAL,
    DATABASE_BINDINGS,
    DATABASE_CREDENTIAL,
    DATABASE_MOVED_BINDING,
    DATABASE_RETIREMENT,
    DATABASE_SECRET,
    EFFECTS,
    MOVED_BINDING,
    REPOSITORY,
    RETIREMENT,
    SECRET,
    Effect,
    assert_effect,
    assert_problem,
)
from tests.integration.execution_workers.driver import Json, Run, for_long, killed_at

OFTEN = (SECRET, BINDINGS)
"""One in the store and one in a repository; the others are asked everything in the long run."""


def _each(effects: Iterable[Effect]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "effect",
        [effect if effect in OFTEN else for_long(effect) for effect in effects],
        ids=lambda effect: effect.name,
    )


every_effect = _each(EFFECTS)
every_undoable = _each(effect for effect in EFFECTS if effect.has_undo)
every_adoptable = _each(effect for effect in EFFECTS if effect.is_adopted)


@pytest.mark.parametrize("effect", EFFECTS, ids=lambda effect: effect.name)
def test_is_done_once_and_told_again_to_a_repeat_of_the_same(
    effect: Effect, run: Run, tmp_path: Path
) -> None:
    effect.prepare(run)
    first = assert_effect(effect.do(run), "created")
    assert first["events"] == [effect.event]
    assert_same(first, assert_effect(effect.do(run), "replayed"))
    if effect.ends:
        later = assert_effect(effect.do(run.with_(fence=2)), "adopted")
        assert later["events"] == first["events"], "the request did it"
    else:
        assert_same(first, assert_effect(effect.do(run.with_(fence=2)), "replayed"))
    other = effect.body(run.appenv)
    other["subject"] = {**other["subject"], "application": "other-shop"}
    assert_problem(
        run.with_(fence=2).post(effect.path, other, run.key(effect.step)),
        422,
        "idempotency_key_reused",
    )
    assert effect.times_done(run.world, run.appenv, tmp_path) == 1


def assert_same(first: Json, again: Json) -> None:
    assert again["items"][0]["references"] == first["items"][0]["references"]
    assert again["events"] == first["events"]


@every_effect
def test_concurrent_repeats_act_once(effect: Effect, run: Run, tmp_path: Path) -> None:
    effect.prepare(run)
    with ThreadPoolExecutor(6) as executor:
        answers = list(executor.map(effect.do, [run] * 6))
    effects = sorted(answer.json()["items"][0]["effect"] for answer in answers)
    assert effects == ["created"] + ["replayed"] * 5
    assert effect.times_done(run.world, run.appenv, tmp_path) == 1


@every_adoptable
def test_a_later_request_adopts_and_so_undo_keeps_it(
    effect: Effect, run: Run, tmp_path: Path
) -> None:
    effect.prepare(run)
    first = assert_effect(effect.do(run), "created")
    later = run.world.new_run(run.appenv)
    answer = assert_effect(effect.do(later), "adopted")
    assert answer["items"][0]["references"] == first["items"][0]["references"]
    assert answer["items"][0]["createdBy"] == first["items"][0]["createdBy"] == run.request_id
    assert answer["events"] == ([effect.adopted_event] if effect.adopted_event else [])
    assert effect.times_done(run.world, run.appenv, tmp_path) == 1
    assert_effect(effect.undo(run), "kept")
    assert_effect(effect.undo(later), "kept")
    assert effect.times_done(run.world, run.appenv, tmp_path) == 1


@every_effect
def test_what_is_foreign_is_refused_and_left(effect: Effect, run: Run, tmp_path: Path) -> None:
    effect.prepare(run)
    effect.plant_foreign(run.world, run.appenv, tmp_path)
    before = effect.times_done(run.world, run.appenv, tmp_path)
    assert_problem(effect.do(run), 502, "foreign_owner")
    if effect.has_undo:
        assert_effect(effect.undo(run.with_(fence=2)), "kept")
    assert effect.times_done(run.world, run.appenv, tmp_path) == before


@every_undoable
def test_undo_takes_it_back_until_a_new_generation_does_it_again(
    effect: Effect, run: Run, tmp_path: Path
) -> None:
    effect.prepare(run)
    assert_effect(effect.do(run), "created")
    undoing = run.with_(fence=2)
    assert_effect(effect.undo(undoing), "undone")
    assert effect.times_done(run.world, run.appenv, tmp_path) == 0
    assert_effect(effect.undo(undoing), "absent")
    assert_problem(effect.do(undoing), 409, "undone")
    assert_effect(effect.do(run.with_(generation=2, fence=3)), "created")
    assert effect.times_done(run.world, run.appenv, tmp_path) > 0


@every_undoable
def test_undo_in_the_next_generation_takes_back_the_former(
    effect: Effect, run: Run, tmp_path: Path
) -> None:
    effect.prepare(run)
    assert_effect(effect.do(run), "created")
    assert_effect(effect.undo(run.with_(generation=2, fence=2)), "undone")
    assert effect.times_done(run.world, run.appenv, tmp_path) == 0


@every_effect
def test_killed_between_provider_and_ledger_it_is_adopted(
    effect: Effect, run: Run, tmp_path: Path
) -> None:
    effect.prepare(run)
    killed_at(run.world, after_provider(effect.step), lambda: effect.do(run))
    answer = assert_effect(effect.do(run.with_(fence=2)), "adopted")
    assert answer["events"] == [effect.event], "the request did it, so the request tells it"
    assert effect.times_done(run.world, run.appenv, tmp_path) == 1
    if effect.has_undo:
        assert_effect(effect.undo(run.with_(fence=3)), "undone")


@pytest.mark.parametrize(
    "effect",
    [effect if effect is SECRET else for_long(effect) for effect in EFFECTS if effect.has_undo],
    ids=lambda effect: effect.name,
)
def test_killed_in_an_undo_it_is_finished_by_a_repeat(
    effect: Effect, run: Run, tmp_path: Path
) -> None:
    effect.prepare(run)
    assert_effect(effect.do(run), "created")
    killed_at(run.world, after_undo(effect.step), lambda: effect.undo(run))
    assert_effect(effect.undo(run), "absent")
    assert_problem(effect.do(run), 409, "undone")
    assert_effect(effect.do(run.with_(generation=2, fence=2)), "created")


def test_a_repository_without_its_seed_is_completed(run: Run, tmp_path: Path) -> None:
    killed_at(run.world, REPOSITORY_CREATED, lambda: REPOSITORY.do(run))
    repository = run.world.forge.repository(run.appenv.team, run.appenv.repository_name)
    assert repository is not None
    assert repository["headRevision"] is None
    answer = assert_effect(REPOSITORY.do(run), "adopted")
    assert answer["events"] == ["git_repository_created"]
    assert REPOSITORY.times_done(run.world, run.appenv, tmp_path) == 1


@pytest.mark.parametrize("place", [TEAM_LET_IN, SECRET_MARKED, SECRET_WRITTEN])
def test_a_first_login_that_was_killed_anywhere_is_completed(
    place: str, run: Run, tmp_path: Path
) -> None:
    effect = DATABASE_SECRET
    killed_at(run.world, place, lambda: effect.do(run))
    answer = effect.do(run.with_(fence=2)).json()
    assert answer["events"] == [effect.event]
    assert effect.times_done(run.world, run.appenv, tmp_path) == 1
    content = run.world.store.content(run.appenv.secret_path)
    assert run.world.applications.lets_in(content)
    assert_effect(effect.undo(run.with_(fence=3)), "undone")
    assert not run.world.applications.lets_in(content)
    assert run.world.applications.roles(run.appenv.secret_id) == {}


def test_a_marked_secret_without_a_value_is_completed(run: Run, tmp_path: Path) -> None:
    killed_at(run.world, SECRET_MARKED, lambda: SECRET.do(run))
    assert SECRET.times_done(run.world, run.appenv, tmp_path) == 0
    later = run.world.new_run(run.appenv)
    assert_effect(SECRET.do(later), "created")
    assert SECRET.times_done(run.world, run.appenv, tmp_path) == 1
    assert_effect(SECRET.undo(run), "kept")
    assert_effect(SECRET.undo(later), "undone")


@pytest.mark.parametrize(
    ("secret", "bindings", "rotation"),
    [
        (SECRET, BINDINGS, (CREDENTIAL, MOVED_BINDING, RETIREMENT)),
        (
            DATABASE_SECRET,
            DATABASE_BINDINGS,
            (DATABASE_CREDENTIAL, DATABASE_MOVED_BINDING, DATABASE_RETIREMENT),
        ),
    ],
    ids=["openbao", "postgres"],
)
def test_a_secret_that_was_rotated_is_kept_and_then_adopted_as_it_is(
    secret: Effect, bindings: Effect, rotation: tuple[Effect, ...], run: Run
) -> None:
    for effect in (REPOSITORY, secret, bindings):
        assert_effect(effect.do(run), "created")
    rotating = run.world.new_run(run.appenv)
    for effect in rotation:
        assert_effect(effect.do(rotating), "created")
    kept = assert_effect(secret.undo(run.with_(fence=2)), "kept")
    assert kept["items"][0]["references"]["storePath"].endswith(run.appenv.secret_path)
    adopted = assert_effect(secret.do(run.world.new_run(run.appenv)), "adopted")
    assert adopted["items"][0]["references"] == kept["items"][0]["references"]
    assert adopted["items"][0]["references"]["version"] == 2
