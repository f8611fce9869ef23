"""An application's own repositories: created, described, protected; people's work stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from idp_kernel.wire.worker import GIT_REPOSITORIES_VALIDATE
from idp_kernel.workflows import Step
from tests.integration.execution_workers.catalogue import (
    CODE_PROTECTION,
    CODE_REPOSITORY,
    DEPLOYMENT_REPOSITORY,
    SEED,
    assert_effect,
    assert_problem,
)
from tests.integration.execution_workers.driver import INSTALLATION, Json, Run


def validate(run: Run) -> list[Json]:
    appenv = run.appenv
    body = {
        "subject": appenv.application_subject,
        "repositories": [appenv.code_repository, appenv.deployment_repository],
    }
    answer = run.post(GIT_REPOSITORIES_VALIDATE, body, run.key(Step.VALIDATE_APPLICATION))
    assert answer.status_code == 200, answer.text
    findings: list[Json] = answer.json()["items"]
    return findings


def seed(run: Run, *repositories: Json) -> httpx.Response:
    body = {
        "subject": run.appenv.application_subject,
        "description": "Sells things",
        "repositories": list(repositories),
    }
    return run.post(SEED.path, body, run.key(SEED.step))


def test_names_that_are_free_or_ours_are_valid(run: Run) -> None:
    assert [each["passed"] for each in validate(run)] == [True, True]
    assert_effect(CODE_REPOSITORY.do(run), "created")
    code, deployment = validate(run)
    assert (code["passed"], deployment["passed"]) == (True, True)
    assert "is there" in code["found"]
    assert "there is no" in deployment["found"]


def test_a_name_that_is_somebody_elses_is_told(run: Run, tmp_path: Path) -> None:
    DEPLOYMENT_REPOSITORY.plant_foreign(run.world, run.appenv, tmp_path)
    code, deployment = validate(run)
    assert (code["passed"], deployment["passed"]) == (True, False)
    assert deployment["id"] == run.appenv.deployment_repository_id
    assert f"{run.appenv.team}/shop-deploy is free" in deployment["expected"]
    assert "not made for this" in deployment["found"]


def test_repositories_are_created_empty_and_described_in_one_commit_each(
    run: Run, tmp_path: Path
) -> None:
    appenv, forge = run.appenv, run.world.forge
    for effect in (CODE_REPOSITORY, DEPLOYMENT_REPOSITORY):
        answer = assert_effect(effect.do(run), "created")
        assert "revision" not in answer["items"][0]["references"]
    for name in ("shop", "shop-deploy"):
        repository = forge.repository(appenv.team, name)
        assert repository is not None
        assert repository["headRevision"] is None
    answer = seed(run, appenv.code_repository, appenv.deployment_repository).json()
    assert [item["effect"] for item in answer["items"]] == ["created", "created"]
    assert [item["item"] for item in answer["items"]] == [
        f"seed/{appenv.code_repository_id}", f"seed/{appenv.deployment_repository_id}",
    ]  # fmt: skip
    assert answer["events"] == ["git_repository_seeded"] * 2
    code, deployment = (
        forge.clone(appenv.team, name, tmp_path) for name in ("shop", "shop-deploy")
    )
    for clone in (code, deployment):
        assert len(forge.git("log", "--format=%H", cwd=clone).split()) == 1
        assert f"* @{appenv.team}" in (clone / "CODEOWNERS").read_text()
        ownership = yaml.safe_load((clone / ".idp/ownership.yaml").read_text())
        assert ownership["installationId"] == INSTALLATION
        assert ownership["applicationId"] == appenv.application_id
    assert "Sells things" in (code / "README.md").read_text()
    component = yaml.safe_load((code / "catalog-info.yaml").read_text())
    assert component["spec"]["owner"] == f"group:{appenv.team}"
    assert (deployment / "base/kustomization.yaml").exists()
    assert not (deployment / "catalog-info.yaml").exists()


def test_where_people_wrote_before_everything_stays(run: Run, tmp_path: Path) -> None:
    assert_effect(CODE_REPOSITORY.do(run), "created")
    repository = run.appenv.team, "shop", tmp_path
    run.world.forge.push_file(*repository, "README.md", "Ours.\n")
    run.world.forge.push_file(*repository, "src/main.py", "pass\n")
    assert_effect(SEED.do(run), "created")
    assert_effect(SEED.undo(run.with_(fence=2)), "kept")
    clone = run.world.forge.clone(*repository)
    assert (clone / "README.md").read_text() == "Ours.\n"
    assert (clone / "src/main.py").read_text() == "pass\n"
    assert (clone / "catalog-info.yaml").exists(), "the repository stays, and is described"
    assert_effect(CODE_REPOSITORY.undo(run.with_(fence=3)), "kept")


def test_where_people_changed_something_since_nothing_is_undone(run: Run, tmp_path: Path) -> None:
    assert_effect(CODE_REPOSITORY.do(run), "created")
    assert_effect(SEED.do(run), "created")
    repository = run.appenv.team, "shop", tmp_path
    run.world.forge.push_file(*repository, "catalog-info.yaml", "kind: Component\n")
    assert_effect(SEED.undo(run.with_(fence=2)), "kept")
    clone = run.world.forge.clone(*repository)
    assert (clone / "catalog-info.yaml").read_text() == "kind: Component\n"
    assert (clone / "CODEOWNERS").exists()


def test_an_onboarding_that_is_undone_leaves_nothing(run: Run) -> None:
    for effect in (CODE_REPOSITORY, SEED, CODE_PROTECTION):
        assert_effect(effect.do(run), "created")
    undoing = run.with_(fence=2)
    for effect in (CODE_PROTECTION, SEED, CODE_REPOSITORY):
        assert_effect(effect.undo(undoing), "undone")
    assert run.world.forge.repository(run.appenv.team, "shop") is None


def test_the_bot_describes_a_protected_repository_too(run: Run) -> None:
    assert_effect(CODE_REPOSITORY.do(run), "created")
    assert_effect(CODE_PROTECTION.do(run), "created")
    assert_effect(SEED.do(run), "created")


def test_a_repository_is_needed_to_describe_or_protect_it(run: Run) -> None:
    assert_problem(SEED.do(run), 502, "repository_missing")
    assert_problem(CODE_PROTECTION.do(run), 502, "repository_missing")
    assert_effect(SEED.undo(run), "absent")
    assert_effect(CODE_PROTECTION.undo(run), "absent")


def test_an_environments_repository_is_not_described_here(run: Run) -> None:
    assert_problem(seed(run, run.appenv.repository), 502, "repository_missing")
    assert_effect(CODE_REPOSITORY.do(run), "created")
    other: dict[str, Any] = {**run.appenv.code_repository, "kind": "application_environment"}
    assert_problem(seed(run, other), 422, "wrong_repository_kind")


@pytest.mark.parametrize("step", [Step.SEED_REPOSITORIES, Step.APPLY_REPOSITORY_PROTECTION])
def test_an_address_takes_no_other_steps_key(run: Run, step: Step) -> None:
    body = CODE_REPOSITORY.body(run.appenv)
    answer = run.post(CODE_REPOSITORY.path, body, run.key(step))
    assert_problem(answer, 422, "idempotency_key_mismatch")
