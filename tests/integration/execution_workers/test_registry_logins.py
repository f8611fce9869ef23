"""Registry logins over a Harbor: no instant without one that works, whatever is killed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from execution_workers.failpoints import (
    CREDENTIAL_WRITTEN,
    LOGIN_DISABLED,
    LOGIN_RETIRED,
    PROJECT_CREATED,
    ROBOT_CREATED,
    ROBOT_SECRET_SET,
    ROTATION_MARKED,
    SECRET_WRITTEN,
    after_provider,
)
from idp_kernel.workflows import Step
from tests.integration.execution_workers.catalogue import (
    MANIFEST,
    SECRET,
    assert_effect,
    assert_problem,
)
from tests.integration.execution_workers.driver import AppEnv, World, eventually, killed_at
from tests.integration.execution_workers.rotating import Rotation, assert_tidy, provisioned

pytestmark = pytest.mark.endurance

OF_ISSUE = (
    ROTATION_MARKED,
    CREDENTIAL_WRITTEN,
    ROBOT_SECRET_SET,
    after_provider(Step.ISSUE_NEW_CREDENTIAL),
)
OF_UPDATE = (after_provider(Step.UPDATE_SECRET_BINDINGS),)
OF_RETIREMENT = (LOGIN_DISABLED, LOGIN_RETIRED, after_provider(Step.RETIRE_OLD_CREDENTIAL))


@dataclass
class Reader:
    """Pulls all the time with what the store has at the version it was told last."""

    world: World
    appenv: AppEnv
    version: int
    pulls: int = 0
    refused: int = 0

    def pull(self) -> None:
        content = self.world.store.content(self.appenv.secret_path, self.version)
        self.refused += not self.world.lets_in(content)
        self.pulls += 1

    def pulls_again(self) -> None:
        """Returns when it has pulled once more from now on."""
        before = self.pulls
        eventually(lambda: self.pulls > before + 1, what="pulled again")


@contextmanager
def reading(world: World, appenv: AppEnv, *, version: int) -> Iterator[Reader]:
    reader, stop = Reader(world, appenv, version), threading.Event()

    def pull_all_the_time() -> None:
        while not stop.is_set():
            reader.pull()

    with ThreadPoolExecutor(1) as executor:
        pulling = executor.submit(pull_all_the_time)
        try:
            yield reader
        finally:
            stop.set()
        pulling.result()


def ask_to_issue(one: Rotation) -> httpx.Response:
    answer = one.ask_to_issue()
    one.issued = answer.json()["items"][0]["references"]
    return answer


@pytest.mark.endurance
def test_killed_at_every_place_of_a_rotation_a_reader_is_never_refused(world: World) -> None:
    appenv = provisioned(world, AppEnv(issuer="harbor"))
    steps: tuple[tuple[tuple[str, ...], Callable[[Rotation], httpx.Response]], ...] = (
        (OF_ISSUE, ask_to_issue),
        (OF_UPDATE, Rotation.ask_to_update),
        (OF_RETIREMENT, Rotation.ask_to_retire),
    )
    Rotation(world.new_run(appenv)).complete()
    one = Rotation(world.new_run(appenv))
    with reading(world, appenv, version=2) as reader:
        for places, ask in steps:
            for place in places:
                killed_at(world, place, lambda: ask(one), reader.pulls_again)  # noqa: B023 - ended here
                one = one.again()
            assert ask(one).status_code == 200
            if ask is Rotation.ask_to_update:
                reader.version = 3
            reader.pulls_again()
    assert_tidy(world, appenv, 3)
    assert reader.refused == 0
    assert sorted(world.harbor.robots_of(appenv.secret_id)) == ["a", "b"], "two take turns"


@pytest.mark.parametrize(
    "place", [SECRET_WRITTEN, PROJECT_CREATED, ROBOT_CREATED, ROBOT_SECRET_SET]
)
def test_a_first_login_that_was_killed_on_its_way_is_finished(world: World, place: str) -> None:
    appenv = AppEnv(issuer="harbor")
    killed_at(world, place, lambda: SECRET.do(world.new_run(appenv)))
    assert_effect(SECRET.do(world.new_run(appenv)), "adopted")
    assert world.lets_in(world.store.content(appenv.secret_path, 1))
    assert len(world.harbor.robots_of(appenv.secret_id)) == 1
    (label,) = world.harbor.projects[appenv.team].labels
    assert label["name"] == "idp-test-installation"


def test_a_failed_rotation_leaves_the_credential_that_a_cluster_may_have(world: World) -> None:
    """Its bindings pin the new version, and nobody has seen the agent apply that."""
    appenv = provisioned(world, AppEnv(issuer="harbor"))
    first = world.store.content(appenv.secret_path, 1)
    failed = Rotation(world.new_run(appenv))
    failed.issue()
    failed.update()
    second = world.store.content(appenv.secret_path, 2)
    later = Rotation(world.new_run(appenv))
    later.issue()
    assert world.lets_in(first)
    assert world.lets_in(second)
    later.update()
    later.retire()
    assert_tidy(world, appenv, 3)
    assert not world.lets_in(first)
    assert not world.lets_in(second)


def test_an_undo_takes_the_robots_and_leaves_the_project(world: World) -> None:
    appenv = AppEnv(issuer="harbor")
    run = world.new_run(appenv)
    assert_effect(SECRET.do(run), "created")
    assert world.harbor.robots_of(appenv.secret_id)
    for effect in ("undone", "absent"):
        assert_effect(SECRET.undo(run), effect)
    assert world.harbor.robots_of(appenv.secret_id) == {}
    assert appenv.team in world.harbor.projects


def test_a_project_that_is_not_the_platforms_is_left_alone(world: World) -> None:
    appenv = AppEnv(issuer="harbor")
    project = world.harbor.add_project(appenv.team, repositories=3)
    assert_problem(SECRET.do(world.new_run(appenv)), 502, "foreign_owner")
    assert world.harbor.robots_of(appenv.secret_id) == {}
    project.labels.append({"id": 1, "name": "idp-test-installation"})
    assert_effect(SECRET.do(world.new_run(appenv)), "adopted")
    assert world.lets_in(world.store.content(appenv.secret_path, 1))


def test_the_binding_makes_a_pull_secret(world: World, tmp_path: Path) -> None:
    appenv = provisioned(world, AppEnv(issuer="harbor"))
    clone = world.forge.clone(appenv.team, appenv.repository_name, tmp_path)
    spec = yaml.safe_load((clone / MANIFEST).read_text())["spec"]
    assert spec["target"]["template"] == {"type": "kubernetes.io/dockerconfigjson"}
    keys = {each["secretKey"]: each["remoteRef"]["property"] for each in spec["data"]}
    assert keys[".dockerconfigjson"] == "dockerconfigjson"
    content = world.store.content(appenv.secret_path, 1)
    assert set(keys.values()) <= set(content)
