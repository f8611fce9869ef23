"""Each kind of effect, how it is asked for, and how its provider is asked about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from idp_kernel.ids import new_id
from idp_kernel.wire.worker import (
    APPENV_BRANCH_PROTECTION,
    APPENV_SECRET_BINDINGS,
    APPENV_SECRETS,
    GIT_REPOSITORIES,
    UNDO_SUFFIX,
)
from idp_kernel.workflows import Step
from tests.integration.execution_workers.driver import INSTALLATION, AppEnv, Json, Run, World

MANIFEST = "manifests/external-secrets/app-key.yaml"


@dataclass(frozen=True)
class Effect:
    """One kind of effect, and how its provider is asked about it."""

    name: str
    path: str
    step: Step
    event: str
    body: Callable[[AppEnv], Json]
    times_done: Callable[[World, AppEnv, Path], int]
    """How often the provider has it; 0 when it is not there."""
    plant_foreign: Callable[[World, AppEnv, Path], None]
    adopted_event: str | None = None
    needs_repository: bool = True

    def do(self, run: Run) -> httpx.Response:
        return run.post(self.path, self.body(run.appenv), run.key(self.step))

    def undo(self, run: Run) -> httpx.Response:
        key = run.key(self.step, undo=True)
        return run.post(self.path + UNDO_SUFFIX, self.body(run.appenv), key)

    def prepare(self, run: Run) -> None:
        if self.needs_repository:
            assert_effect(REPOSITORY.do(run), "created")


def assert_effect(answer: httpx.Response, effect: str) -> Json:
    assert answer.status_code == 200, answer.text
    (item,) = answer.json()["items"]
    assert item["effect"] == effect, answer.text
    found: Json = answer.json()
    return found


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def _commits(world: World, appenv: AppEnv, folder: Path, *paths: str) -> int:
    if world.forge.repository(appenv.team, appenv.repository_name) is None:
        return 0
    clone = world.forge.clone(appenv.team, appenv.repository_name, folder)
    return len(world.forge.git("log", "--format=%H", "--all", "--", *paths, cwd=clone).split())


def _protections(world: World, appenv: AppEnv, _folder: Path) -> int:
    repository = world.forge.repository(appenv.team, appenv.repository_name)
    return 0 if repository is None else len(repository["protections"])


def _versions(world: World, appenv: AppEnv, _folder: Path) -> int:
    metadata = world.store.metadata(appenv.secret_path)
    return 0 if metadata is None else len(metadata["versions"])


def _manifests(world: World, appenv: AppEnv, folder: Path) -> int:
    """Commits of the manifest, if it is there now."""
    clone = world.forge.clone(appenv.team, appenv.repository_name, folder)
    return _commits(world, appenv, folder, MANIFEST) if (clone / MANIFEST).exists() else 0


def _foreign_marker() -> Json:
    return {"installationId": INSTALLATION, "entityId": new_id(), "requestId": new_id()}


def _plant_repository(world: World, appenv: AppEnv, _folder: Path) -> None:
    body = {
        "owner": appenv.team, "name": appenv.repository_name, "marker": _foreign_marker(),
    }  # fmt: skip
    assert world.forge.request("POST", "/api/v1/repositories", body).status_code == 201


def _plant_protection(world: World, appenv: AppEnv, _folder: Path) -> None:
    path = f"/api/v1/repositories/{appenv.team}/{appenv.repository_name}/protection/main"
    body = {"branch": "main", "marker": _foreign_marker()}
    assert world.forge.request("PUT", path, body).status_code == 200


def _plant_secret(world: World, appenv: AppEnv, _folder: Path) -> None:
    body = {"data": {"value": "somebody-else-s"}}
    assert world.store.request("POST", f"kv/data/{appenv.secret_path}", body).status_code == 200


def _plant_manifest(world: World, appenv: AppEnv, folder: Path) -> None:
    content = "kind: ExternalSecret\nmetadata: {name: app-key}\n"
    world.forge.push_file(appenv.team, appenv.repository_name, folder, MANIFEST, content)


REPOSITORY = Effect(
    name="repository",
    path=GIT_REPOSITORIES,
    step=Step.MATERIALIZE_REPOSITORIES,
    event="git_repository_created",
    adopted_event="git_repository_adopted",
    body=lambda appenv: {"subject": appenv.subject, "repositories": [appenv.repository]},
    times_done=_commits,
    plant_foreign=_plant_repository,
    needs_repository=False,
)
PROTECTION = Effect(
    name="protection",
    path=APPENV_BRANCH_PROTECTION,
    step=Step.APPLY_BRANCH_PROTECTION,
    event="git_branch_protection_applied",
    body=lambda appenv: {"subject": appenv.subject, "repositories": [appenv.repository]},
    times_done=_protections,
    plant_foreign=_plant_protection,
)
SECRET = Effect(
    name="secret",
    path=APPENV_SECRETS,
    step=Step.PROVISION_SECRETS,
    event="secret_store_secret_written",
    body=lambda appenv: {"subject": appenv.subject, "secrets": [appenv.secret]},
    times_done=_versions,
    plant_foreign=_plant_secret,
    needs_repository=False,
)
BINDINGS = Effect(
    name="bindings",
    path=APPENV_SECRET_BINDINGS,
    step=Step.CREATE_SECRET_BINDINGS,
    event="git_secret_bindings_committed",
    body=lambda appenv: {
        "subject": appenv.subject,
        "repository": appenv.repository,
        "bindings": [appenv.binding()],
    },
    times_done=_manifests,
    plant_foreign=_plant_manifest,
)
EFFECTS = (REPOSITORY, PROTECTION, SECRET, BINDINGS)
