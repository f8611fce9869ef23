"""Two requests on one secret cross: each boundary, held, and nobody's pinned login is refused."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from execution_workers.failpoints import (
    CREDENTIAL_WRITTEN,
    LOGIN_DISABLED,
    PINS_SEEN,
    ROTATION_MARKED,
    after_provider,
)
from idp_kernel.workflows import Step
from local_stack.postgres_setup import connect_as_superuser
from tests.fixtures.stack import PostgresServer
from tests.integration.execution_workers.catalogue import (
    BINDINGS,
    DATABASE_SECRET,
    MANIFEST,
    assert_effect,
    assert_problem,
)
from tests.integration.execution_workers.driver import AppEnv, World, eventually, in_background
from tests.integration.execution_workers.rotating import (
    Rotation,
    assert_tidy,
    pinned_login_works,
    pinned_version,
    provisioned,
)

pytestmark = pytest.mark.endurance


@pytest.fixture
def database(world: World) -> AppEnv:
    """An application environment with a database login, bound at version 1."""
    return provisioned(world, AppEnv(issuer="postgres"))


def rotation(world: World, appenv: AppEnv, *, emergency: bool = False) -> Rotation:
    return Rotation(world.new_run(appenv), emergency)


def moved(world: World, appenv: AppEnv) -> Rotation:
    """A rotation whose retirement comes next."""
    one = rotation(world, appenv)
    one.issue()
    one.update()
    return one


def end_holders(postgres: PostgresServer, world: World) -> None:
    """Ends the ledger connections of the calls that work on something."""
    with closing(connect_as_superuser(postgres.address, "postgres")) as server:
        ended = server.execute(
            "SELECT pg_terminate_backend(l.pid, 5000) FROM pg_locks l"
            " JOIN pg_database d ON d.oid = l.database WHERE l.locktype = 'advisory'"
            " AND l.granted AND l.mode = 'ExclusiveLock' AND d.datname = %s",
            (make_url(world.database_url).database,),
        ).fetchall()
    assert ended


@pytest.mark.parametrize(
    "place", [PINS_SEEN, LOGIN_DISABLED, after_provider(Step.RETIRE_OLD_CREDENTIAL)]
)
def test_a_retirement_keeps_the_next_rotation_waiting(
    world: World, database: AppEnv, tmp_path: Path, place: str
) -> None:
    one, later = moved(world, database), rotation(world, database)
    hit = world.workers.arm(place)
    with in_background(one.ask_to_retire) as held:
        eventually(hit.exists, what=f"{place} reached")
        with in_background(later.ask_to_issue) as waiting:
            eventually(lambda: world.lock_waiters() >= 1, what="the next rotation waits")
            assert not waiting.done()
            hit.unlink()
            assert_effect(held.result(), "created")
            assert_effect(waiting.result(), "created")
    later.issue("replayed")
    assert later.verify()["works"]
    later.update()
    assert pinned_login_works(world, database, tmp_path)
    later.retire()
    assert_tidy(world, database, 3)


@pytest.mark.parametrize(
    "place",
    [ROTATION_MARKED, CREDENTIAL_WRITTEN, after_provider(Step.ISSUE_NEW_CREDENTIAL)],
)
def test_an_issue_keeps_a_retirement_waiting(world: World, database: AppEnv, place: str) -> None:
    one, later = moved(world, database), rotation(world, database)
    hit = world.workers.arm(place)
    with in_background(later.ask_to_issue) as held:
        eventually(hit.exists, what=f"{place} reached")
        with in_background(one.ask_to_retire) as waiting:
            eventually(lambda: world.lock_waiters() >= 1, what="the retirement waits")
            hit.unlink()
            assert_effect(held.result(), "created")
            assert_problem(waiting.result(), 502, "login_replaced")
    later.issue("replayed")
    assert later.verify()["works"], "what has just been issued is not retired"


def test_a_move_keeps_the_next_rotation_waiting(
    world: World, database: AppEnv, tmp_path: Path
) -> None:
    one, later = rotation(world, database), rotation(world, database)
    one.issue()
    hit = world.workers.arm(after_provider(Step.UPDATE_SECRET_BINDINGS))
    with in_background(one.ask_to_update) as held:
        eventually(hit.exists, what="the binding is moved")
        with in_background(later.ask_to_issue) as waiting:
            eventually(lambda: world.lock_waiters() >= 1, what="the next rotation waits")
            hit.unlink()
            assert_effect(held.result(), "created")
            assert_effect(waiting.result(), "created")
    later.issue("replayed")
    assert (later.version, later.replaces) == (3, 2)
    assert pinned_login_works(world, database, tmp_path)


def test_provisioning_keeps_a_rotation_waiting(world: World, database: AppEnv) -> None:
    again, later = world.new_run(database), rotation(world, database)
    hit = world.workers.arm(after_provider(Step.PROVISION_SECRETS))
    with in_background(lambda: DATABASE_SECRET.do(again)) as held:
        eventually(hit.exists, what="provisioning holds the secret")
        with in_background(later.ask_to_issue) as waiting:
            eventually(lambda: world.lock_waiters() >= 1, what="the rotation waits")
            hit.unlink()
            assert_effect(held.result(), "adopted")
            assert_effect(waiting.result(), "created")


def test_binding_an_environment_keeps_a_move_waiting(
    world: World, database: AppEnv, tmp_path: Path
) -> None:
    one, again = rotation(world, database), world.new_run(database)
    one.issue()
    hit = world.workers.arm(after_provider(Step.CREATE_SECRET_BINDINGS))
    with in_background(lambda: BINDINGS.do(again)) as held:
        eventually(hit.exists, what="binding holds the secret")
        with in_background(one.ask_to_update) as waiting:
            eventually(lambda: world.lock_waiters() >= 1, what="the move waits")
            hit.unlink()
            assert_effect(held.result(), "adopted")
            assert_effect(waiting.result(), "created")
    assert pinned_version(world, database, tmp_path) == 2


def test_a_late_retirement_that_lost_its_lock_disables_nobody(
    world: World, database: AppEnv, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Its connection died with its run; meanwhile another request did a whole rotation."""
    one, later = moved(world, database), rotation(world, database)
    hit = world.workers.arm(PINS_SEEN)
    with in_background(one.ask_to_retire) as held:
        eventually(hit.exists, what="the retirement has looked at the pins")
        end_holders(postgres_server, world)
        later.issue()
        assert later.verify()["works"]
        later.update()
        hit.unlink()
        assert held.result().status_code in (502, 503), held.result().text
    assert pinned_version(world, database, tmp_path) == 3
    assert pinned_login_works(world, database, tmp_path)
    later.retire()
    assert_tidy(world, database, 3)


def test_a_late_issue_does_not_take_a_later_ones_login(
    world: World, database: AppEnv, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """The emergency has the login that the late one's version was written for."""
    one, later = rotation(world, database), rotation(world, database, emergency=True)
    hit = world.workers.arm(CREDENTIAL_WRITTEN)
    with in_background(one.ask_to_issue) as held:
        eventually(hit.exists, what="the version is written")
        end_holders(postgres_server, world)
        later.issue()
        assert later.version == 3
        later.update()
        hit.unlink()
        assert held.result().status_code in (502, 503), held.result().text
    assert pinned_login_works(world, database, tmp_path)


def test_a_late_move_does_not_pin_what_is_gone(
    world: World, database: AppEnv, tmp_path: Path
) -> None:
    one = rotation(world, database)
    one.issue()
    later = rotation(world, database, emergency=True)
    later.issue()
    later.update()
    later.retire()
    assert_problem(one.ask_to_update(), 502, "credential_missing")
    assert pinned_version(world, database, tmp_path) == later.version
    assert pinned_login_works(world, database, tmp_path)


@pytest.mark.parametrize("pinned", [1, 9])
def test_a_pin_that_somebody_merged_meanwhile_is_not_overwritten(
    world: World, database: AppEnv, tmp_path: Path, pinned: int
) -> None:
    moved(world, database).retire()
    one = rotation(world, database)
    one.issue()
    assert (one.version, one.replaces) == (3, 2)
    repository = database.team, database.repository_name, tmp_path
    content = (world.forge.clone(*repository) / MANIFEST).read_text()
    other = content.replace("version: '2'", f"version: '{pinned}'")
    world.forge.push_file(*repository, MANIFEST, other)
    answer = one.ask_to_update()
    assert_problem(answer, 502, "binding_moved")
    for told in (f"pins version {pinned}", "version 2", MANIFEST, "new rotation"):
        assert told in answer.json()["detail"]
    assert pinned_version(world, database, tmp_path) == pinned


def test_the_remedy_of_a_missing_binding_can_be_followed(
    world: World, database: AppEnv, tmp_path: Path
) -> None:
    one = rotation(world, database)
    one.issue()
    clone = world.forge.clone(database.team, database.repository_name, tmp_path)
    world.forge.git("rm", "--quiet", MANIFEST, cwd=clone)
    world.forge.git("commit", "--quiet", "-m", "Away with it", cwd=clone)
    world.forge.git("push", "--quiet", "origin", "HEAD:refs/heads/main", cwd=clone)
    for answer in (one.ask_to_update(), rotation(world, database).ask_to_issue()):
        assert_problem(answer, 502, "binding_missing")
        detail = answer.json()["detail"]
        assert MANIFEST in detail
        assert "Revert the commit that removed" in detail
        assert "rovision" not in detail
    world.forge.git("revert", "--no-edit", "HEAD", cwd=clone)
    world.forge.git("push", "--quiet", "origin", "HEAD:refs/heads/main", cwd=clone)
    one.update()


def test_an_emergency_waits_for_no_session(world: World, database: AppEnv) -> None:
    """Somebody holds the old login open; that it ends is what the emergency is for."""
    one = rotation(world, database, emergency=True)
    one.issue()
    one.update()
    with world.applications.log_in(world.store.content(database.secret_path, 1)) as session:
        verdict = eventually(
            lambda: found if (found := one.consumers())["state"] != "pending" else None,
            what="the binding is applied",
        )
        assert verdict["state"] == "confirmed"
        assert verdict["events"] == ["gitops_consumers_confirmed"]
        assert (verdict["sessionsOnNew"], verdict["sessionsOnOld"]) == (0, 1)
        assert session.execute("SELECT 1").fetchone() == (1,)
