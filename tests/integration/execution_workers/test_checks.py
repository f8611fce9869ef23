"""Checks against real providers: what a person broke is told in words, and it alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from idp_kernel.services import Scope
from idp_kernel.wire.worker import (
    CHECK_BINDINGS_PRESENT,
    CHECK_GITOPS_RECONCILED,
    CHECK_REPOSITORY_PROTECTED,
    CHECK_SECRET_WITHIN_POLICY,
    CHECKS_PER_CALL,
    UNDO_VERIFY,
)
from idp_kernel.workflows import Step
from tests.integration.execution_workers.catalogue import (
    BINDINGS,
    CHECKS,
    MANIFEST,
    PROTECTION,
    assert_effect,
    assert_problem,
)
from tests.integration.execution_workers.driver import AppEnv, Json, Run, World, eventually
from tests.integration.execution_workers.rotating import Rotation, provisioned

OF_APPENVS = CHECKS[:3]
HOUR = 3600


@pytest.fixture
def standing(world: World) -> AppEnv:
    """An application environment as provisioning leaves it."""
    return protected(world, AppEnv())


def protected(world: World, appenv: AppEnv) -> AppEnv:
    provisioned(world, appenv)
    assert_effect(PROTECTION.do(world.new_run(appenv)), "created")
    return appenv


def revision_of(world: World, appenv: AppEnv) -> str:
    """Where its bindings stand, as a later request is told."""
    run = world.new_run(appenv)
    answer = assert_effect(BINDINGS.do(run), "adopted")
    return str(answer["items"][0]["references"]["revision"])


def expected(appenv: AppEnv, revision: str, **changes: object) -> Json:
    return {
        "subject": appenv.subject,
        "repository": appenv.repository,
        "requiredApprovals": 1,
        "revision": revision,
        "bindings": [appenv.binding()],
        **changes,
    }


def expected_secret(appenv: AppEnv, **changes: object) -> Json:
    return {
        "subject": appenv.subject,
        "secret": appenv.secret,
        "storePath": appenv.secret_path,
        "version": 1,
        "longestAgeSeconds": HOUR,
        **changes,
    }


def look(world: World, path: str, items: list[Json]) -> list[Json]:
    answer = world.new_run(AppEnv()).check(path, items)
    assert answer.status_code == 200, answer.text
    findings: list[Json] = answer.json()["items"]
    for finding in findings:
        assert finding["expected"]
        assert finding["found"]
    return findings


def passes(world: World, path: str, item: Json) -> bool:
    return bool(look(world, path, [item])[0]["passed"])


def test_what_stands_as_it_should_passes_every_check(world: World, standing: AppEnv) -> None:
    item = expected(standing, revision_of(world, standing))
    for path in OF_APPENVS:
        eventually(lambda at=path: passes(world, at, item), what=path)  # type: ignore[misc]
    assert passes(world, CHECK_SECRET_WITHIN_POLICY, expected_secret(standing))


def test_findings_come_in_the_order_of_the_things(world: World, standing: AppEnv) -> None:
    others = [AppEnv() for _ in range(6)]
    items = [expected(each, "0" * 40) for each in (*others[:3], standing, *others[3:])]
    for path in (CHECK_REPOSITORY_PROTECTED, CHECK_BINDINGS_PRESENT):
        findings = look(world, path, items)
        assert [each["id"] for each in findings] == [
            item["subject"]["applicationEnvironmentId"] for item in items
        ]
        assert [each["passed"] for each in findings] == [item is items[3] for item in items]
        assert f"no repository {others[0].team}/" in findings[0]["found"]


def test_a_protection_that_somebody_removed_or_weakened(world: World, standing: AppEnv) -> None:
    item = expected(standing, "0" * 40)
    path = f"/api/v1/repositories/{standing.team}/{standing.repository_name}/protection/main"
    repository = world.forge.repository(standing.team, standing.repository_name)
    assert repository is not None
    (protection,) = repository["protections"]
    world.forge.request("PUT", path, {**protection, "requiredApprovals": 0}).raise_for_status()
    (finding,) = look(world, CHECK_REPOSITORY_PROTECTED, [item])
    assert not finding["passed"]
    assert "at least 1 approval" in finding["expected"]
    assert "needs 0 approvals" in finding["found"]
    world.forge.request("DELETE", path).raise_for_status()
    (finding,) = look(world, CHECK_REPOSITORY_PROTECTED, [item])
    assert not finding["passed"]
    assert "not protected" in finding["found"]
    world.forge.request("PUT", path, protection).raise_for_status()
    for wanted in (0, 1):
        strict = expected(standing, "0" * 40, requiredApprovals=wanted)
        assert passes(world, CHECK_REPOSITORY_PROTECTED, strict), "more than wanted is fine"


def test_a_repository_that_somebody_else_made(world: World) -> None:
    appenv = AppEnv()
    marker = {"installationId": "another", "entityId": "x", "requestId": "x"}
    body = {"owner": appenv.team, "name": appenv.repository_name, "marker": marker}
    assert world.forge.request("POST", "/api/v1/repositories", body).status_code == 201
    (finding,) = look(world, CHECK_REPOSITORY_PROTECTED, [expected(appenv, "0" * 40)])
    assert "not made by this platform" in finding["found"]


def test_a_binding_that_somebody_removed_or_changed(
    world: World, standing: AppEnv, tmp_path: Path
) -> None:
    other = protected(world, AppEnv())
    items = [expected(each, "0" * 40) for each in (standing, other)]
    repository = standing.team, standing.repository_name, tmp_path
    clone = world.forge.clone(*repository)
    content = (clone / MANIFEST).read_text()
    world.forge.push_file(*repository, MANIFEST, content.replace("'1'", "'9'"))
    changed, untouched = look(world, CHECK_BINDINGS_PRESENT, items)
    assert (changed["passed"], untouched["passed"]) == (False, True)
    assert "app-key at version 1" in changed["expected"]
    assert "pins version 9" in changed["found"]
    world.forge.git("pull", "--quiet", cwd=clone)
    world.forge.git("rm", "--quiet", MANIFEST, cwd=clone)
    world.forge.git("commit", "--quiet", "-m", "Away", cwd=clone)
    world.forge.git("push", "--quiet", "origin", "HEAD:refs/heads/main", cwd=clone)
    removed, untouched = look(world, CHECK_BINDINGS_PRESENT, items)
    assert (removed["passed"], untouched["passed"]) == (False, True)
    assert f"there is no {MANIFEST}" in removed["found"]
    world.forge.push_file(*repository, MANIFEST, content)
    assert passes(world, CHECK_BINDINGS_PRESENT, items[0])


def test_manifests_that_the_agent_refuses(world: World, standing: AppEnv, tmp_path: Path) -> None:
    item = expected(standing, revision_of(world, standing))
    eventually(lambda: passes(world, CHECK_GITOPS_RECONCILED, item), what="reconciled")
    repository = standing.team, standing.repository_name, tmp_path
    broken = "apiVersion: v1\nkind: NoSuchKind\nmetadata: {name: broken}\n"
    world.forge.push_file(*repository, "manifests/broken.yaml", broken)
    eventually(lambda: not passes(world, CHECK_GITOPS_RECONCILED, item), what="refused")
    found = eventually(lambda: _refused(world, item), what="the agent's own words")
    assert "Ready is False" in found
    repaired = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: broken, namespace: shop-dev}\n"
    world.forge.push_file(*repository, "manifests/broken.yaml", repaired)
    eventually(lambda: passes(world, CHECK_GITOPS_RECONCILED, item), what="repaired")


def _refused(world: World, item: Json) -> str | None:
    found = str(look(world, CHECK_GITOPS_RECONCILED, [item])[0]["found"])
    return found if "NoSuchKind" in found else None


def test_a_commit_beyond_what_the_agent_remembers_still_counts(
    world: World, standing: AppEnv, tmp_path: Path
) -> None:
    """A team that commits a lot does not drift from that."""
    item = expected(standing, revision_of(world, standing))
    clone = world.forge.clone(standing.team, standing.repository_name, tmp_path)
    for number in range(102):
        world.forge.git("commit", "--quiet", "--allow-empty", "-m", f"Work {number}", cwd=clone)
    world.forge.git("push", "--quiet", "origin", "HEAD:refs/heads/main", cwd=clone)
    head = world.forge.git("rev-parse", "HEAD", cwd=clone).strip()

    def agents_words() -> str:
        return str(look(world, CHECK_GITOPS_RECONCILED, [item])[0]["found"])

    eventually(lambda: head in agents_words() and "True" in agents_words(), what="head is seen")
    assert passes(world, CHECK_GITOPS_RECONCILED, item)
    elsewhere = expected(standing, "0" * 40)
    assert not passes(world, CHECK_GITOPS_RECONCILED, elsewhere)


def test_an_environment_that_the_agent_does_not_know(world: World) -> None:
    (finding,) = look(world, CHECK_GITOPS_RECONCILED, [expected(AppEnv(), "0" * 40)])
    assert "does not know" in finding["found"]


def test_versions_that_are_missing_destroyed_deleted_or_too_old(
    world: World, standing: AppEnv
) -> None:
    path = standing.secret_path

    def found(**changes: object) -> str:
        item = expected_secret(standing, **changes)
        (finding,) = look(world, CHECK_SECRET_WITHIN_POLICY, [item])
        assert not finding["passed"]
        return str(finding["found"])

    eventually(
        lambda: (
            not passes(
                world, CHECK_SECRET_WITHIN_POLICY, expected_secret(standing, longestAgeSeconds=1)
            )
        ),
        what="older than a second",
    )
    assert "old" in found(longestAgeSeconds=1)
    assert "never written" in found(version=7)
    world.store.request("DELETE", f"kv/data/{path}").raise_for_status()
    assert "deleted" in found()
    world.store.request("PUT", f"kv/destroy/{path}", {"versions": [1]}).raise_for_status()
    assert "has ended" in found()
    world.store.request("DELETE", f"kv/metadata/{path}").raise_for_status()
    assert f"no secret at {path}" in found()


def test_a_rotated_secret_is_within_policy_at_its_new_version(
    world: World, standing: AppEnv
) -> None:
    Rotation(world.new_run(standing)).complete()
    items = [expected_secret(standing, version=version) for version in (1, 2)]
    first, second = look(world, CHECK_SECRET_WITHIN_POLICY, items)
    assert (first["passed"], second["passed"]) == (False, True)


def test_a_login_that_somebody_disabled_by_hand(world: World) -> None:
    appenv = provisioned(world, AppEnv(issuer="postgres"))
    item = expected_secret(appenv)
    assert passes(world, CHECK_SECRET_WITHIN_POLICY, item)
    (role,) = world.applications.roles(appenv.secret_id)
    world.applications.execute("ALTER ROLE {} NOLOGIN", role)
    (finding,) = look(world, CHECK_SECRET_WITHIN_POLICY, [item])
    assert not finding["passed"]
    assert f"{role} may not log in" in finding["found"]
    world.applications.execute("COMMENT ON ROLE {} IS NULL", role)
    (finding,) = look(world, CHECK_SECRET_WITHIN_POLICY, [item])
    assert "no login" in finding["found"]


@pytest.mark.endurance
def test_a_full_batch_is_answered(world: World) -> None:
    appenvs = [protected(world, AppEnv()) for _ in range(3)]
    items = [expected(each, "0" * 40) for each in appenvs * CHECKS_PER_CALL][:CHECKS_PER_CALL]
    findings = look(world, CHECK_BINDINGS_PRESENT, items)
    assert all(each["passed"] for each in findings)
    assert len(findings) == CHECKS_PER_CALL


def test_a_call_of_more_than_a_batch_is_refused(world: World) -> None:
    items = [expected(AppEnv(), "0" * 40)] * (CHECKS_PER_CALL + 1)
    answer = world.new_run(AppEnv()).check(CHECK_REPOSITORY_PROTECTED, items)
    assert_problem(answer, 422, "invalid_input")


def test_checks_are_for_services_with_the_scope(world: World, standing: AppEnv) -> None:
    run = world.new_run(standing)
    for path in CHECKS:
        without = httpx.post(
            f"{world.workers.url}{path}", json={"items": []}, trust_env=False, timeout=20
        )
        assert_problem(without, 401, "token_missing")
        assert_problem(run.check(path, [], token=run.token), 401, "token_invalid")
        claims_only = world.service_token(Scope.CLAIMS)
        assert_problem(run.check(path, [], token=claims_only), 401, "token_invalid")
        assert run.check(path, []).json() == {"items": []}


def test_a_secret_is_looked_for_in_its_teams_place_only(world: World, standing: AppEnv) -> None:
    item = expected_secret(standing, storePath="teams/other/appenv/x/app-key")
    answer = world.new_run(standing).check(CHECK_SECRET_WITHIN_POLICY, [item])
    assert_problem(answer, 403, "foreign_team")


@pytest.mark.endurance
def test_checks_at_once_answer_or_say_that_they_are_busy(world: World, standing: AppEnv) -> None:
    run, items = world.new_run(standing), [expected(standing, "0" * 40)] * 8
    with ThreadPoolExecutor(8) as executor:
        answers = list(executor.map(lambda _: run.check(CHECK_BINDINGS_PRESENT, items), range(8)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert 200 in {answer.status_code for answer in answers}
    busy = [answer.json()["code"] for answer in answers if answer.status_code == 503]
    assert set(busy) <= {"workers_busy"}


def test_what_was_undone_is_gone_from_forge_agent_and_store(world: World, standing: AppEnv) -> None:
    item = expected(standing, revision_of(world, standing))
    eventually(lambda: passes(world, CHECK_GITOPS_RECONCILED, item), what="the agent knows it")
    run = world.new_run(standing)
    repository, secret = undone(run)
    assert (repository["passed"], secret["passed"]) == (False, False)
    assert "is there" in repository["found"]
    assert standing.secret_path in secret["found"]
    path = f"/api/v1/repositories/{standing.team}/{standing.repository_name}"
    world.forge.request("DELETE", path).raise_for_status()
    world.store.request("DELETE", f"kv/metadata/{standing.secret_path}").raise_for_status()
    eventually(lambda: all(each["passed"] for each in undone(run)), what="nobody has it")


def undone(run: Run) -> list[Json]:
    """What the probe finds of all that a provisioning makes."""
    body = {
        "subject": run.appenv.subject,
        "repositories": [run.appenv.repository],
        "secrets": [run.appenv.secret],
    }
    answer = run.post(UNDO_VERIFY, body, run.key(Step.VERIFY_NOTHING_LEFT))
    assert answer.status_code == 200, answer.text
    findings: list[Json] = answer.json()["items"]
    return findings
