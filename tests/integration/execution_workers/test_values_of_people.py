"""Rotation to a value that a person set: taken as it is, and never replaced by a random one."""

from __future__ import annotations

from pathlib import Path

import pytest

from execution_workers.failpoints import CREDENTIAL_WRITTEN, ROTATION_MARKED, after_provider
from idp_kernel.wire.worker import CredentialIssuerName
from idp_kernel.workflows import Step
from tests.integration.execution_workers.catalogue import (
    BINDINGS,
    REPOSITORY,
    SECRET,
    assert_effect,
    assert_problem,
)
from tests.integration.execution_workers.driver import AppEnv, World, for_long, killed_at
from tests.integration.execution_workers.rotating import (
    Rotation,
    assert_tidy,
    pinned_version,
    provisioned,
)

pytestmark = pytest.mark.endurance


@pytest.fixture
def appenv(world: World) -> AppEnv:
    """With a generated value, bound at version 1."""
    return provisioned(world, AppEnv(issuer=CredentialIssuerName.OPENBAO))


def rotation(world: World, appenv: AppEnv, *, emergency: bool = False) -> Rotation:
    return Rotation(world.new_run(appenv), emergency)


def set_by_hand(world: World, appenv: AppEnv, version: int, **more: object) -> str:
    """That version, as a person writes it; its value."""
    value = f"a person's {version}"
    body = {"options": {"cas": version - 1}, "data": {**more, "value": value}}
    assert world.store.request("POST", f"kv/data/{appenv.secret_path}", body).is_success
    return value


def live(world: World, appenv: AppEnv) -> list[int]:
    return world.store.live_versions(appenv.secret_path)


def assert_refused(world: World, appenv: AppEnv, *, emergency: bool = False) -> None:
    """Neither validated nor issued, and nothing changes."""
    before = world.store.metadata(appenv.secret_path)
    one = rotation(world, appenv, emergency=emergency)
    for answer in (one.ask_to_validate(), one.ask_to_issue()):
        assert_problem(answer, 502, "value_set_by_person")
        assert f"idp secret login {appenv.secret_id}" in answer.text
    assert world.store.metadata(appenv.secret_path) == before


@pytest.mark.parametrize("emergency", [False, for_long(True)])
def test_a_value_that_a_person_set_comes_into_use_and_no_random_one_follows(
    world: World,
    appenv: AppEnv,
    emergency: bool,  # noqa: FBT001 - a parameter of pytest
    tmp_path: Path,
) -> None:
    value = set_by_hand(world, appenv, 2)
    one = rotation(world, appenv, emergency=emergency)
    (secret, _) = one.validate()["items"]
    assert secret["found"] == "its version 2 is the new credential, written by a person"
    one.complete(issued="adopted")
    assert (one.version, one.replaces) == (2, 1)
    assert pinned_version(world, appenv, tmp_path) == 2
    assert world.store.value(appenv.secret_path) == value
    assert_tidy(world, appenv, 2)
    assert_refused(world, appenv)
    assert_refused(world, appenv, emergency=True)
    set_by_hand(world, appenv, 3)
    later = rotation(world, appenv, emergency=emergency).complete(issued="adopted")
    assert (later.version, later.replaces) == (3, 2)
    assert_tidy(world, appenv, 3)


def test_a_copy_of_a_version_with_another_value_is_a_persons(world: World, appenv: AppEnv) -> None:
    """As the store's own UI begins a new version."""
    set_by_hand(world, appenv, 2, **world.store.content(appenv.secret_path))
    one = rotation(world, appenv).complete(issued="adopted")
    assert (one.version, one.replaces) == (2, 1)
    assert_refused(world, appenv)


def test_an_undo_of_the_provisioning_keeps_what_a_person_has_set(world: World) -> None:
    run = world.new_run(AppEnv(issuer=CredentialIssuerName.OPENBAO))
    assert_effect(SECRET.do(run), "created")
    value = set_by_hand(world, run.appenv, 2)
    answer = assert_effect(SECRET.undo(run), "kept")
    assert answer["items"][0]["references"]["storePath"] == run.appenv.secret_path
    assert world.store.value(run.appenv.secret_path) == value
    again = assert_effect(SECRET.do(world.new_run(run.appenv)), "adopted")
    assert again["items"][0]["references"]["version"] == 2, "the next provisioning takes it"


@pytest.mark.parametrize(
    "place", [ROTATION_MARKED, for_long(after_provider(Step.ISSUE_NEW_CREDENTIAL))]
)
def test_a_repeat_takes_the_same_version_and_leaves_a_newer_one_to_the_next(
    world: World, appenv: AppEnv, place: str
) -> None:
    set_by_hand(world, appenv, 2)
    one = rotation(world, appenv)
    killed_at(world, place, one.ask_to_issue)
    newest = set_by_hand(world, appenv, 3)
    one = one.again().complete(issued="adopted")
    assert (one.version, one.replaces) == (2, 1)
    assert live(world, appenv) == [2, 3]
    later = rotation(world, appenv).complete(issued="adopted")
    assert (later.version, later.replaces) == (3, 2)
    assert_tidy(world, appenv, 3)
    assert world.store.value(appenv.secret_path) == newest


@pytest.mark.parametrize(("place", "taken"), [(ROTATION_MARKED, 2), (CREDENTIAL_WRITTEN, 3)])
def test_what_a_person_sets_beside_a_generated_value_outlasts_it(
    world: World, appenv: AppEnv, place: str, taken: int
) -> None:
    """It is the new one unless that was written before, and of the next rotation in any case."""
    one = rotation(world, appenv)
    killed_at(world, place, one.ask_to_issue)
    value = set_by_hand(world, appenv, taken)
    one = one.again().complete(issued="adopted")
    assert (one.version, one.replaces) == (2, 1)
    assert live(world, appenv) == [*range(2, taken + 1)]
    if taken == 3:
        later = rotation(world, appenv).complete(issued="adopted")
        assert (later.version, later.replaces) == (3, 2)
    assert_tidy(world, appenv, taken)
    assert world.store.value(appenv.secret_path) == value


def test_what_a_person_sets_in_the_grace_is_not_ended(world: World, appenv: AppEnv) -> None:
    one = rotation(world, appenv)
    one.issue()
    one.update()
    set_by_hand(world, appenv, 3)
    assert one.retire()["destroyedVersions"] == 1
    assert live(world, appenv) == [2, 3]


def test_nobody_knows_who_set_what_cannot_be_read(world: World, appenv: AppEnv) -> None:
    path = f"kv/destroy/{appenv.secret_path}"
    assert world.store.request("PUT", path, {"versions": [1]}).is_success
    assert_refused(world, appenv)
    set_by_hand(world, appenv, 2)
    rotation(world, appenv).complete(issued="adopted", retired="adopted")
    assert_tidy(world, appenv, 2)


@pytest.mark.endurance
def test_bindings_that_disagree_are_brought_to_a_persons_version(
    world: World, appenv: AppEnv, tmp_path: Path
) -> None:
    """A rotation died between two repositories; another finishes with what it took."""
    elsewhere = AppEnv(team=appenv.team, secret_id=appenv.secret_id, store_path=appenv.secret_path)
    run = world.new_run(elsewhere)
    assert_effect(REPOSITORY.do(run), "created")
    assert_effect(BINDINGS.do(run), "created")
    both = appenv.rotated()["bindings"] + elsewhere.rotated()["bindings"]
    set_by_hand(world, appenv, 2)
    one = Rotation(world.new_run(appenv), bindings=both)
    one.issue("adopted")
    one.bindings = both[:1]
    one.update()
    emergency = Rotation(world.new_run(appenv), emergency=True, bindings=both)
    assert_problem(emergency.ask_to_issue(), 502, "value_set_by_person")
    later = Rotation(world.new_run(appenv), bindings=both)
    later.issue("adopted")
    assert (later.version, later.replaces) == (2, 1)
    assert later.ask_to_update().status_code == 200
    assert pinned_version(world, elsewhere, tmp_path) == 2
    later.retire()
    assert_tidy(world, appenv, 2)
