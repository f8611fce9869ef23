"""Rotation: no instant without a working credential, whatever fails or dies on the way."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import httpx
import psycopg
import pytest
from psycopg import sql
from sqlalchemy import create_engine, text

from execution_workers.failpoints import (
    CREDENTIAL_INSTALLED,
    CREDENTIAL_WRITTEN,
    LOGIN_DISABLED,
    LOGIN_RETIRED,
    ROBOT_SECRET_SET,
    ROTATION_MARKED,
    SECRET_REMOVED_AT_ISSUER,
    SECRET_WRITTEN,
    after_provider,
)
from idp_kernel.ids import new_id
from idp_kernel.workflows import Step
from tests.fixtures.hostile_yaml import BOMB
from tests.integration.execution_workers.catalogue import (
    DATABASE_BINDINGS,
    DATABASE_SECRET,
    MANIFEST,
    REPOSITORY,
    SECRET,
    assert_effect,
    assert_problem,
)
from tests.integration.execution_workers.driver import (
    AppEnv,
    Json,
    Run,
    World,
    eventually,
    for_long,
    in_background,
    killed_at,
)
from tests.integration.execution_workers.rotating import (
    Rotation,
    assert_tidy,
    pinned_login_works,
    pinned_version,
    provisioned,
)

ISSUERS = ["openbao", "postgres", "harbor"]
every_issuer = pytest.mark.parametrize("issuer", ISSUERS)
OF_ISSUE = (ROTATION_MARKED, CREDENTIAL_WRITTEN, after_provider(Step.ISSUE_NEW_CREDENTIAL))
OF_UPDATE = (after_provider(Step.UPDATE_SECRET_BINDINGS),)
OF_RETIREMENT = (LOGIN_DISABLED, LOGIN_RETIRED, after_provider(Step.RETIRE_OLD_CREDENTIAL))
KILLED_OFTEN = {("postgres", CREDENTIAL_WRITTEN), ("postgres", LOGIN_DISABLED)}
"""Where a rotation is most delicate; the other places in the long run."""


def _often_or_for_long(issuer: str, places: Iterable[str]) -> list[object]:
    each_place = [(issuer, place) for place in places]
    return [each if each in KILLED_OFTEN else for_long(*each) for each in each_place]


@pytest.fixture
def database(world: World) -> AppEnv:
    """An application environment with a database login, bound at version 1."""
    return provisioned(world, AppEnv(issuer="postgres"))


def rotation(world: World, appenv: AppEnv, *, emergency: bool = False) -> Rotation:
    return Rotation(world.new_run(appenv), emergency)


@every_issuer
def test_a_new_credential_works_beside_the_old_one_until_that_is_retired(
    world: World, issuer: str, tmp_path: Path
) -> None:
    appenv = provisioned(world, AppEnv(issuer=issuer))
    old = world.store.content(appenv.secret_path)
    one = rotation(world, appenv)
    assert [each["passed"] for each in one.validate()["items"]] == [True, True]
    one.issue()
    assert (one.version, one.replaces) == (2, 1)
    verdict = one.verify()
    assert verdict["works"], verdict
    assert verdict["events"] == ["credential_issuer_credential_verified"]
    assert pinned_version(world, appenv, tmp_path) == 1, "issuing moves nothing"
    one.update()
    assert pinned_version(world, appenv, tmp_path) == 2
    new = world.store.content(appenv.secret_path, 2)
    assert world.lets_in(old)
    assert world.lets_in(new)
    if issuer != "openbao":
        assert one.issued["role"] == new["username"] != old["username"]
    references = one.retire()
    assert (references["version"], references["destroyedVersions"]) == (2, 1)
    assert_tidy(world, appenv, 2)
    if issuer != "openbao":
        assert not world.lets_in(old)


@pytest.mark.endurance
@every_issuer
def test_many_rotations_leave_one_version_and_two_logins(world: World, issuer: str) -> None:
    appenv = provisioned(world, AppEnv(issuer=issuer))
    for version in range(2, 6):
        assert rotation(world, appenv).complete().version == version
        assert_tidy(world, appenv, version)


def test_a_user_who_reads_the_binding_is_never_refused(
    world: World, database: AppEnv, tmp_path: Path
) -> None:
    """Logs in all the time through rotations, with what the store has at the pinned version."""
    pinned, stop, refused, logins = [1], threading.Event(), [0], [0]

    def log_in_all_the_time() -> None:
        while not stop.is_set():
            content = world.store.content(database.secret_path, pinned[0])
            logins[0] += 1
            refused[0] += not world.applications.lets_in(content)

    with ThreadPoolExecutor(1) as users:
        using = users.submit(log_in_all_the_time)
        try:
            for _ in range(4):
                one = rotation(world, database)
                one.issue()
                one.update()
                pinned[0], before = one.version, logins[0]
                eventually(lambda at=before: logins[0] > at + 1, what="the new one in use")  # type: ignore[misc]
                one.retire()
        finally:
            stop.set()
        using.result()
    assert refused == [0]
    assert logins[0] > 8


@pytest.mark.parametrize(
    ("issuer", "place"),
    [
        *_often_or_for_long("postgres", (*OF_ISSUE, *OF_UPDATE, *OF_RETIREMENT)),
        *_often_or_for_long("openbao", (*OF_ISSUE, LOGIN_RETIRED)),
        *_often_or_for_long("harbor", (*OF_ISSUE, ROBOT_SECRET_SET, *OF_RETIREMENT)),
    ],
)
def test_killed_between_any_two_calls_it_is_finished_by_a_repeat(
    world: World, issuer: str, place: str, tmp_path: Path
) -> None:
    appenv = provisioned(world, AppEnv(issuer=issuer))
    rotation(world, appenv).complete()
    one = rotation(world, appenv)
    steps: list[tuple[tuple[str, ...], Callable[[Rotation], httpx.Response]]] = [
        ((*OF_ISSUE, ROBOT_SECRET_SET), Rotation.ask_to_issue),
        (OF_UPDATE, Rotation.ask_to_update),
        (OF_RETIREMENT, Rotation.ask_to_retire),
    ]

    def users_get_in() -> None:
        assert pinned_login_works(world, appenv, tmp_path)

    for places, ask in steps:
        if place in places:
            killed_at(world, place, lambda: ask(one), users_get_in)  # noqa: B023 - ended here
            users_get_in()
            one = one.again()
        answer = ask(one)
        assert answer.status_code == 200, answer.text
        if ask is Rotation.ask_to_issue:
            one.issued = answer.json()["items"][0]["references"]
            assert (one.version, one.replaces) == (3, 2)
            assert world.store.live_versions(appenv.secret_path) == [2, 3], "written once"
        users_get_in()
    assert one.verify()["works"]
    assert_tidy(world, appenv, 3)


@pytest.mark.parametrize(
    ("issuer", "fails_after"),
    [
        ("postgres", "update"),
        *(for_long("postgres", place) for place in ("marker", "value", "issue")),
        *(for_long("openbao", place) for place in ("value", "update")),
        *(for_long("harbor", place) for place in ("value", "issue", "update")),
    ],
)
def test_after_a_failed_rotation_the_next_succeeds_and_nothing_is_left_over(
    world: World,
    issuer: str,
    fails_after: str,
    tmp_path: Path,
) -> None:
    appenv = provisioned(world, AppEnv(issuer=issuer))
    one = rotation(world, appenv)
    places = {"marker": ROTATION_MARKED, "value": CREDENTIAL_WRITTEN}
    if fails_after in places:
        killed_at(world, places[fails_after], one.ask_to_issue)
        one = one.again()
    else:
        one.issue()
    if fails_after == "update":
        one.update()
    assert pinned_login_works(world, appenv, tmp_path)
    later = rotation(world, appenv).complete()
    assert_tidy(world, appenv, later.version)
    assert pinned_version(world, appenv, tmp_path) == later.version


def test_a_first_login_that_was_killed_before_it_works_is_finished(
    world: World, tmp_path: Path
) -> None:
    appenv = AppEnv(issuer="postgres")
    run = world.new_run(appenv)
    killed_at(world, SECRET_WRITTEN, lambda: DATABASE_SECRET.do(run))
    content = world.store.content(appenv.secret_path, 1)
    assert not world.applications.lets_in(content)
    assert_effect(DATABASE_SECRET.do(world.new_run(appenv)), "adopted")
    assert world.applications.lets_in(content)


def test_an_undo_of_a_first_login_that_was_killed_is_finished(world: World) -> None:
    appenv = AppEnv(issuer="postgres")
    run = world.new_run(appenv)
    assert_effect(DATABASE_SECRET.do(run), "created")
    killed_at(world, SECRET_REMOVED_AT_ISSUER, lambda: DATABASE_SECRET.undo(run))
    assert world.applications.roles(appenv.secret_id) == {}
    assert_effect(DATABASE_SECRET.undo(run), "undone")
    assert world.store.metadata(appenv.secret_path) is None


def test_a_login_acts_as_its_group_and_keeps_its_data_through_rotations(
    world: World, database: AppEnv
) -> None:
    with world.applications.log_in(world.store.content(database.secret_path)) as session:
        session.execute("CREATE TABLE notes (line text)")
        session.execute("INSERT INTO notes VALUES ('kept')")
    rotation(world, database).complete()
    with world.applications.log_in(world.store.content(database.secret_path)) as session:
        assert session.execute("SELECT line FROM notes").fetchall() == [("kept",)]
        session.execute("ALTER TABLE notes ADD COLUMN more text")
        assert session.execute("SELECT current_user <> session_user").fetchone() == (True,)


def test_a_login_sees_nothing_of_another(world: World, database: AppEnv) -> None:
    other = provisioned(world, AppEnv(issuer="postgres"))
    with world.applications.log_in(world.store.content(other.secret_path)) as session:
        session.execute("CREATE TABLE private (line text)")
        schema = session.execute("SELECT current_schema()").fetchone()
    assert schema is not None
    with world.applications.log_in(world.store.content(database.secret_path)) as session:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(sql.SQL("SELECT * FROM {}.private").format(sql.Identifier(schema[0])))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute("CREATE TABLE public.mine (line text)")


def test_a_login_with_data_is_kept_by_the_undo(world: World) -> None:
    appenv = AppEnv(issuer="postgres")
    run = world.new_run(appenv)
    assert_effect(DATABASE_SECRET.do(run), "created")
    content = world.store.content(appenv.secret_path)
    with world.applications.log_in(content) as session:
        session.execute("CREATE TABLE notes (line text)")
    assert_effect(DATABASE_SECRET.undo(run), "kept")
    assert world.applications.lets_in(content)


def test_sessions_end_with_the_old_login(world: World, database: AppEnv) -> None:
    with world.applications.log_in(world.store.content(database.secret_path)) as session:
        one = rotation(world, database)
        one.issue()
        one.update()
        assert session.execute("SELECT 1").fetchone() == (1,)
        assert one.retire()["endedSessions"] == 1
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")


def test_an_elder_login_in_use_is_not_overwritten_but_in_an_emergency(
    world: World, database: AppEnv, tmp_path: Path
) -> None:
    first = world.store.content(database.secret_path, 1)
    one = rotation(world, database)
    one.issue()
    one.update()
    with world.applications.log_in(first) as session:
        later = rotation(world, database)
        assert_problem(later.ask_to_issue(), 502, "elder_credential_in_use")
        (finding, _) = later.validate()["items"]
        assert not finding["passed"]
        assert f"1 sessions are logged in as {first['username']}" in finding["found"]
        assert "End those sessions" in finding["found"]
        assert "rotate as an emergency" in finding["found"]
        assert world.store.live_versions(database.secret_path) == [1, 2], "nothing was written"
        assert session.execute("SELECT 1").fetchone() == (1,)
        emergency = rotation(world, database, emergency=True)
        emergency.issue()
        assert (emergency.version, emergency.replaces) == (3, 2)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")
    assert not world.applications.lets_in(first), "its login has the new password at once"
    assert pinned_login_works(world, database, tmp_path)
    emergency.update()
    emergency.retire()
    assert_tidy(world, database, 3)


@pytest.mark.endurance
def test_an_emergency_killed_before_it_ended_the_elder_sessions_ends_them(
    world: World, database: AppEnv
) -> None:
    first = world.store.content(database.secret_path, 1)
    one = rotation(world, database)
    one.issue()
    one.update()
    with world.applications.log_in(first) as session:
        emergency = rotation(world, database, emergency=True)
        killed_at(world, CREDENTIAL_INSTALLED, emergency.ask_to_issue)
        assert session.execute("SELECT 1").fetchone() == (1,)
        emergency.again().issue("adopted")
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")


@pytest.mark.endurance
@pytest.mark.parametrize("issuer", ["postgres", "harbor"])
def test_a_persons_newer_version_is_not_taken_for_ours(
    world: World, issuer: str, tmp_path: Path
) -> None:
    appenv = provisioned(world, AppEnv(issuer=issuer))
    one = rotation(world, appenv)
    killed_at(world, CREDENTIAL_WRITTEN, one.ask_to_issue)
    body = {"options": {"cas": 2}, "data": {"value": "a person's", "username": "nobody"}}
    assert world.store.request("POST", f"kv/data/{appenv.secret_path}", body).is_success
    one = one.again()
    one.issue("adopted")
    assert (one.version, one.replaces) == (2, 1)
    assert one.verify()["works"]
    one.update()
    later = rotation(world, appenv)
    later.issue()
    assert (later.version, later.replaces) == (4, 2), "neither the person's nor the elder's"
    later.update()
    assert later.retire()["destroyedVersions"] == 3
    assert_tidy(world, appenv, 4)


def test_a_binding_that_was_moved_back_stops_the_retirement(
    world: World, database: AppEnv, tmp_path: Path
) -> None:
    first = world.store.content(database.secret_path, 1)
    one = rotation(world, database)
    one.issue()
    one.update()
    repository = database.team, database.repository_name, tmp_path
    clone = world.forge.clone(*repository)
    content = (clone / MANIFEST).read_text().replace("version: '2'", "version: '1'")
    world.forge.push_file(*repository, MANIFEST, content)
    assert_problem(one.ask_to_retire(), 502, "binding_moved")
    assert world.applications.lets_in(first)
    assert world.store.live_versions(database.secret_path) == [1, 2]


def test_a_new_login_that_works_no_more_stops_the_retirement(
    world: World, database: AppEnv
) -> None:
    first = world.store.content(database.secret_path, 1)
    one = rotation(world, database)
    one.issue()
    one.update()
    world.applications.execute("ALTER ROLE {} PASSWORD 'by hand'", one.issued["role"])
    assert_problem(one.ask_to_retire(), 502, "credential_broken")
    assert world.applications.lets_in(first)
    assert world.store.live_versions(database.secret_path) == [1, 2]


@pytest.mark.parametrize("content", [None, BOMB, "kind: ExternalSecret\n"])
def test_without_its_binding_a_secret_is_not_rotated(
    world: World, database: AppEnv, tmp_path: Path, content: str | None
) -> None:
    repository = database.team, database.repository_name, tmp_path
    if content is None:
        clone = world.forge.clone(*repository)
        world.forge.git("rm", "--quiet", MANIFEST, cwd=clone)
        world.forge.git("commit", "--quiet", "-m", "Away with it", cwd=clone)
        world.forge.git("push", "--quiet", "origin", "HEAD:refs/heads/main", cwd=clone)
    else:
        world.forge.push_file(*repository, MANIFEST, content)
    one = rotation(world, database)
    (_, binding) = one.validate()["items"]
    assert (binding["id"], binding["passed"]) == (database.binding_id, False)
    assert MANIFEST in binding["found"]
    assert_problem(one.ask_to_issue(), 502, "binding_missing")
    assert world.store.live_versions(database.secret_path) == [1]


def test_a_version_that_was_destroyed_by_hand_is_replaced(
    world: World, database: AppEnv, tmp_path: Path
) -> None:
    """Its users have it still, so their login stays until they have the new one."""
    old = world.store.content(database.secret_path)
    destroy = {"versions": [1]}
    path = f"kv/destroy/{database.secret_path}"
    assert world.store.request("PUT", path, destroy).is_success
    one = rotation(world, database)
    one.issue()
    one.update()
    assert world.applications.lets_in(old)
    one.retire("adopted")
    assert not world.applications.lets_in(old)
    assert_tidy(world, database, one.version)


def test_a_credential_that_does_not_work_is_told(world: World, database: AppEnv) -> None:
    one = rotation(world, database)
    one.issue()
    content = world.store.content(database.secret_path, 2)
    body = {"options": {"cas": 2}, "data": {**content, "password": "another"}}
    assert world.store.request("POST", f"kv/data/{database.secret_path}", body).is_success
    verdict = one.verify(version=3)
    assert (verdict["works"], verdict["events"]) == (False, [])
    assert "refuses" in verdict["message"]
    assert not one.verify(version=9)["works"]


@pytest.mark.endurance
def test_two_rotations_in_one_repository_at_once_both_succeed(
    world: World, database: AppEnv, tmp_path: Path
) -> None:
    others = [
        AppEnv(
            id=database.id,
            repository_id=database.repository_id,
            team=database.team,
            secret_name=f"key-{number}",
        )
        for number in range(3)
    ]
    for other in others:
        run = world.new_run(other)
        assert_effect(SECRET.do(run), "created")
    bindings = [each.binding() for each in (database, *others)]
    run = world.new_run(database)
    body = {"subject": database.subject, "repository": database.repository, "bindings": bindings}
    run.post("/appenv/secret-bindings", body, run.key(Step.CREATE_SECRET_BINDINGS))
    rotations = [rotation(world, each) for each in (database, *others)]
    with ThreadPoolExecutor(4) as executor:
        list(executor.map(Rotation.complete, rotations))
    for each in (database, *others):
        assert_tidy(world, each, 2)


def test_rotations_that_end_confirm_their_consumers(world: World, database: AppEnv) -> None:
    one = rotation(world, database)
    one.issue()
    one.update()
    old = world.store.content(database.secret_path, 1)
    with world.applications.log_in(old):
        verdict = eventually(
            lambda: _if_applied(one.consumers()), what="the agent has the new version"
        )
        assert verdict["state"] == "pending"
        assert (verdict["sessionsOnNew"], verdict["sessionsOnOld"]) == (0, 1)
        with world.applications.log_in(world.store.content(database.secret_path, 2)):
            verdict = one.consumers()
        assert verdict["state"] == "confirmed"
        assert verdict["events"] == ["gitops_consumers_confirmed"]
    eventually(lambda: one.consumers()["sessionsOnOld"] == 0, what="the old session is gone")
    assert one.consumers()["state"] == "confirmed"


@pytest.mark.endurance
@pytest.mark.parametrize("killed", [False, True])
def test_a_phase_is_repeated_while_sessions_of_the_old_login_are_open(
    world: World,
    database: AppEnv,
    killed: bool,  # noqa: FBT001 - a parameter of pytest
) -> None:
    """Pools hold their connections longer than a run waits; that is no reason to end for good."""
    one = rotation(world, database)
    with world.applications.log_in(world.store.content(database.secret_path, 1)) as session:
        one.issue()
        if killed:
            place = after_provider(Step.UPDATE_SECRET_BINDINGS)
            killed_at(world, place, one.ask_to_update)
        else:
            one.update()
            assert_waits_for_its_consumers(one)
        one = one.again()
        assert_phase_repeats(one, issued="replayed", moved="adopted" if killed else "replayed")
        one = Rotation(one.run.with_(generation=2, fence=3))
        assert_phase_repeats(one, issued="adopted", moved="adopted")
        assert (one.version, one.replaces) == (2, 1)
        assert world.store.live_versions(database.secret_path) == [1, 2]
        assert session.execute("SELECT 1").fetchone() == (1,)
        with world.applications.log_in(world.store.content(database.secret_path, 2)):
            assert one.consumers()["state"] == "confirmed"
    one.retire()
    assert_tidy(world, database, 2)


def assert_phase_repeats(one: Rotation, *, issued: str, moved: str) -> None:
    """Every step before the grace, for a request whose bindings have moved."""
    findings = one.validate()["items"]
    assert all(each["passed"] for each in findings), findings
    one.issue(issued)
    assert one.verify()["works"]
    one.update(moved)
    assert_waits_for_its_consumers(one)


def assert_waits_for_its_consumers(one: Rotation) -> None:
    verdict = eventually(lambda: _if_applied(one.consumers()), what="the agent has it")
    assert (verdict["state"], verdict["sessionsOnOld"]) == ("pending", 1)


def _if_applied(verdict: Json) -> Json | None:
    return verdict if "binding is applied" in verdict["message"] else None


def test_nobody_knows_who_reads_a_generated_value(world: World) -> None:
    appenv = provisioned(world, AppEnv())
    one = rotation(world, appenv)
    one.issue()
    one.update()
    verdict = eventually(lambda: _if_applied(one.consumers()), what="the agent has it")
    assert verdict["state"] == "unknown"
    assert verdict["events"] == []
    assert "sessionsOnNew" not in verdict or verdict["sessionsOnNew"] is None


def test_values_of_rotations_are_in_the_store_and_nowhere_else(
    world: World, database: AppEnv
) -> None:
    one = rotation(world, database)
    answers = [one.ask_to_issue(), one.ask_to_issue()]
    one.issue("replayed")
    answers += [one.ask_to_update()]
    secret = str(world.store.content(database.secret_path, 2)["password"])
    answers += [one.ask_to_retire()]
    engine = create_engine(world.database_url)
    with engine.connect() as connection:
        ledger = str(connection.execute(text("SELECT * FROM ledger.effects")).all())
    engine.dispose()
    places = [*(answer.text for answer in answers), world.workers.log.read_text(), ledger]
    encodings = (
        secret, secret.encode().hex(), base64.b64encode(secret.encode()).decode(), quote(secret),
    )  # fmt: skip
    assert not any(each in place for each in encodings for place in places)


def test_a_foreign_secret_is_not_rotated(world: World, database: AppEnv) -> None:
    other = AppEnv(
        id=database.id, team=database.team, repository_id=database.repository_id, issuer="postgres"
    )
    run: Run = world.new_run(other)
    assert other.secret_id != database.secret_id
    assert_problem(Rotation(run).ask_to_issue(), 502, "foreign_owner")
    assert_problem(rotation(world, AppEnv(team=new_team())).ask_to_issue(), 502, "secret_missing")


def new_team() -> str:
    return f"team-x{new_id()[-12:]}"


@pytest.mark.endurance
def test_a_secret_whose_bindings_disagree_is_brought_to_one_version(
    world: World, database: AppEnv, tmp_path: Path
) -> None:
    """A rotation died between two repositories: both logins are in use, and none is overwritten."""
    elsewhere = AppEnv(
        team=database.team,
        secret_id=database.secret_id,
        issuer="postgres",
        store_path=database.secret_path,
    )
    run = world.new_run(elsewhere)
    assert_effect(REPOSITORY.do(run), "created")
    assert_effect(DATABASE_BINDINGS.do(run), "created")
    both = database.rotated()["bindings"] + elsewhere.rotated()["bindings"]
    one = Rotation(world.new_run(database), bindings=both)
    one.issue()
    one.bindings = both[:1]
    one.update()
    emergency = Rotation(world.new_run(database), emergency=True, bindings=both)
    assert_problem(emergency.ask_to_issue(), 502, "no_free_login")
    later = Rotation(world.new_run(database), bindings=both)
    assert all(each["passed"] for each in later.validate()["items"])
    later.issue("adopted")
    assert (later.version, later.replaces) == (2, 1)
    for appenv in (database, elsewhere):
        assert pinned_login_works(world, appenv, tmp_path)
    items = later.ask_to_update().json()["items"]
    assert [each["effect"] for each in items] == ["adopted", "created"]
    assert pinned_version(world, elsewhere, tmp_path) == 2
    later.retire()
    assert_tidy(world, database, 2)


@pytest.mark.parametrize("place", [ROTATION_MARKED, CREDENTIAL_WRITTEN])
def test_an_overtaken_run_issues_nothing_more(world: World, database: AppEnv, place: str) -> None:
    one = rotation(world, database)
    hit = world.workers.arm(place)
    with in_background(one.ask_to_issue) as held:
        eventually(hit.exists, what=f"{place} reached")
        with in_background(one.again().run.raise_fence) as raising:
            eventually(lambda: world.lock_waiters() >= 1, what="the fence waits")
            hit.unlink()
            assert raising.result().status_code == 200
    assert_problem(held.result(), 409, "fenced_off")
    assert list(world.applications.roles(database.secret_id).values()) == [True]
    written = [1] if place == ROTATION_MARKED else [1, 2]
    assert world.store.live_versions(database.secret_path) == written
