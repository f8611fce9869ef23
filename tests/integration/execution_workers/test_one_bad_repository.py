"""One repository that cannot be read is told of, and stops no check of the others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from idp_kernel.wire.worker import (
    CHECK_BINDINGS_PRESENT,
    CHECK_GITOPS_RECONCILED,
    CHECK_REPOSITORY_PROTECTED,
)
from tests.integration.execution_workers.catalogue import (
    BINDINGS,
    MANIFEST,
    PROTECTION,
    assert_effect,
    assert_problem,
)
from tests.integration.execution_workers.driver import AppEnv, Json, World, eventually
from tests.integration.execution_workers.rotating import Rotation, provisioned

pytestmark = pytest.mark.endurance


@pytest.fixture
def two(world: World) -> tuple[AppEnv, AppEnv]:
    """Two application environments as provisioning leaves them."""
    both = provisioned(world, AppEnv()), provisioned(world, AppEnv())
    for appenv in both:
        assert_effect(PROTECTION.do(world.new_run(appenv)), "created")
    return both


def expected(appenv: AppEnv, revision: str = "0" * 40) -> Json:
    return {
        "subject": appenv.subject,
        "repository": appenv.repository,
        "requiredApprovals": 1,
        "revision": revision,
        "bindings": [appenv.binding()],
    }


def look(world: World, path: str, items: list[Json]) -> list[Json]:
    answer = world.new_run(AppEnv()).check(path, items)
    assert answer.status_code == 200, answer.text
    findings: list[Json] = answer.json()["items"]
    return findings


def put_submodule(world: World, appenv: AppEnv, folder: Path, path: str) -> None:
    """A submodule of a team's where the platform has something."""
    clone = world.forge.clone(appenv.team, appenv.repository_name, folder)
    world.forge.git("rm", "--quiet", "-r", path, cwd=clone)
    entry = f"160000,{'1' * 40},{path}"
    world.forge.git("update-index", "--add", "--cacheinfo", entry, cwd=clone)
    world.forge.git("commit", "--quiet", "-m", "A submodule", cwd=clone)
    world.forge.git("push", "--quiet", "origin", "HEAD:refs/heads/main", cwd=clone)


def test_a_submodule_at_a_manifests_path_stops_no_other_check(
    world: World, two: tuple[AppEnv, AppEnv], tmp_path: Path
) -> None:
    bad, good = two
    put_submodule(world, bad, tmp_path, MANIFEST)
    one, other = look(world, CHECK_BINDINGS_PRESENT, [expected(bad), expected(good)])
    assert (one["passed"], other["passed"]) == (False, True)
    assert MANIFEST in one["found"]
    assert_problem(Rotation(world.new_run(bad)).ask_to_issue(), 502, "binding_missing")


@pytest.mark.parametrize("path", [MANIFEST, str(Path(MANIFEST).parent)])
def test_a_submodule_is_not_silently_replaced(world: World, tmp_path: Path, path: str) -> None:
    appenv = provisioned(world, AppEnv())
    put_submodule(world, appenv, tmp_path, path)
    answer = BINDINGS.do(world.new_run(appenv))
    assert_problem(answer, 502, "foreign_owner")
    assert f"submodule in the way at {path}" in answer.json()["detail"]


def test_a_damaged_repository_is_a_finding_of_its_own(
    world: World, two: tuple[AppEnv, AppEnv], home: Path
) -> None:
    bad, good = two
    # The agent has to know them, or nobody asks the forge whose commit follows whose.
    items = [expected(bad), expected(good)]
    eventually(
        lambda: all("Ready is True" in each["found"] for each in _agents(world, items)),
        what="both are applied",
    )
    (at_forge,) = (home / "forge").rglob(f"*{bad.repository_name}*.git")
    shutil.rmtree(at_forge / "objects")
    (at_forge / "objects").mkdir()
    one, other = look(world, CHECK_BINDINGS_PRESENT, items)
    assert (one["passed"], other["passed"]) == (False, True)
    assert f"{bad.team}/{bad.repository_name} cannot be read" in one["found"]
    assert [each["passed"] for each in look(world, CHECK_GITOPS_RECONCILED, items)] == [False] * 2
    assert [each["passed"] for each in look(world, CHECK_REPOSITORY_PROTECTED, items)] == [True] * 2


def _agents(world: World, items: list[Json]) -> list[Json]:
    return look(world, CHECK_GITOPS_RECONCILED, items)
