"""Each kind of effect, how it is asked for, and how its provider is asked about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from idp_kernel.ids import new_id
from idp_kernel.wire.worker import (
    APPENV_BRANCH_PROTECTION,
    APPENV_SECRET_BINDINGS,
    APPENV_SECRETS,
    CHECK_BINDINGS_PRESENT,
    CHECK_GITOPS_RECONCILED,
    CHECK_REPOSITORY_PROTECTED,
    CHECK_SECRET_WITHIN_POLICY,
    GIT_BRANCH_PROTECTION,
    GIT_REPOSITORIES,
    GIT_REPOSITORIES_ARCHIVE,
    GIT_REPOSITORIES_SEED,
    SECRETS_BINDINGS_REMOVE,
    SECRETS_BINDINGS_UPDATE,
    SECRETS_END,
    SECRETS_ISSUE,
    SECRETS_RETIRE,
    UNDO_SUFFIX,
)
from idp_kernel.workflows import Step
from tests.integration.execution_workers.driver import INSTALLATION, AppEnv, Json, Run, World

CHECKS = (
    CHECK_REPOSITORY_PROTECTED,
    CHECK_BINDINGS_PRESENT,
    CHECK_GITOPS_RECONCILED,
    CHECK_SECRET_WITHIN_POLICY,
)
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
    needs: tuple[Effect, ...] = ()
    """What other requests have done before."""
    own_needs: tuple[Effect, ...] = ()
    """What the same request has done before."""
    is_adopted: bool = True
    """Whether a later request takes what is there; a rotation makes another."""
    has_undo: bool = True
    ends: bool = False
    """Whether something is gone for good by it, which a later run looks for again."""

    def do(self, run: Run) -> httpx.Response:
        return run.post(self.path, self.body(run.appenv), run.key(self.step))

    def undo(self, run: Run) -> httpx.Response:
        key = run.key(self.step, undo=True)
        return run.post(self.path + UNDO_SUFFIX, self.body(run.appenv), key)

    def prepare(self, run: Run) -> None:
        for need in self.needs:
            assert_effect(need.do(run.world.new_run(run.appenv)), "created")
        for need in self.own_needs:
            assert_effect(need.do(run), "created")


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
    if not (clone / MANIFEST).exists():
        return 0
    return len(world.forge.git("log", "--format=%H", "--all", "--", MANIFEST, cwd=clone).split())


def _repositories(world: World, owner: str, name: str) -> int:
    return 0 if world.forge.repository(owner, name) is None else 1


def _seeds(world: World, appenv: AppEnv, folder: Path) -> int:
    """Commits of the catalogue's file, if it is there now."""
    clone = world.forge.clone(appenv.team, "shop", folder)
    if not (clone / "catalog-info.yaml").exists():
        return 0
    return len(world.forge.git("log", "--format=%H", "--", "catalog-info.yaml", cwd=clone).split())


def _code_protections(world: World, appenv: AppEnv, _folder: Path) -> int:
    repository = world.forge.repository(appenv.team, "shop")
    return 0 if repository is None else len(repository["protections"])


def _rotated_versions(world: World, appenv: AppEnv, _folder: Path) -> int:
    """Versions that can be read beside the first."""
    return len([number for number in world.store.live_versions(appenv.secret_path) if number > 1])


def _moves(world: World, appenv: AppEnv, folder: Path) -> int:
    """Commits of the manifest after its first, if it pins the second version now."""
    clone = world.forge.clone(appenv.team, appenv.repository_name, folder)
    if "version: '2'" not in (clone / MANIFEST).read_text():
        return 0
    return len(world.forge.git("log", "--format=%H", "--", MANIFEST, cwd=clone).split()) - 1


def _destroyed(world: World, appenv: AppEnv, _folder: Path) -> int:
    metadata = world.store.metadata(appenv.secret_path)
    assert metadata is not None
    return [each["destroyed"] for each in metadata["versions"].values()].count(True)


def _removals(world: World, appenv: AppEnv, folder: Path) -> int:
    """Commits of the manifest after its first, if it is there no more."""
    clone = world.forge.clone(appenv.team, appenv.repository_name, folder)
    if (clone / MANIFEST).exists():
        return 0
    return len(world.forge.git("log", "--format=%H", "--", MANIFEST, cwd=clone).split()) - 1


def _archives(world: World, appenv: AppEnv, _folder: Path) -> int:
    repository = world.forge.repository(appenv.team, appenv.repository_name)
    return int(repository is not None and repository["archived"])


def _make_repository_foreign(world: World, appenv: AppEnv, folder: Path) -> None:
    """Another's in its place."""
    path = f"/api/v1/repositories/{appenv.team}/{appenv.repository_name}"
    assert world.forge.request("DELETE", path).status_code == 204
    _plant_repository(world, appenv, folder)


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


def _plant_code_repository(world: World, appenv: AppEnv, name: str) -> None:
    body = {"owner": appenv.team, "name": name, "marker": _foreign_marker()}
    assert world.forge.request("POST", "/api/v1/repositories", body).status_code == 201


def _plant_ownership(world: World, appenv: AppEnv, folder: Path) -> None:
    content = "installationId: another\nrepositoryId: another\n"
    world.forge.push_file(appenv.team, "shop", folder, ".idp/ownership.yaml", content)


def _plant_code_protection(world: World, appenv: AppEnv, _folder: Path) -> None:
    path = f"/api/v1/repositories/{appenv.team}/shop/protection/main"
    body = {"branch": "main", "marker": _foreign_marker()}
    assert world.forge.request("PUT", path, body).status_code == 200


def _make_foreign(world: World, appenv: AppEnv, _folder: Path) -> None:
    body = {"custom_metadata": {"idp_installation_id": "another"}}
    path = f"kv/metadata/{appenv.secret_path}"
    assert world.store.request("POST", path, body).status_code == 204


def database(appenv: AppEnv) -> AppEnv:
    """The same, its secret a database login."""
    return replace(appenv, issuer="postgres")


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
)
PROTECTION = Effect(
    name="protection",
    path=APPENV_BRANCH_PROTECTION,
    step=Step.APPLY_BRANCH_PROTECTION,
    event="git_branch_protection_applied",
    body=lambda appenv: {"subject": appenv.subject, "repositories": [appenv.repository]},
    times_done=_protections,
    plant_foreign=_plant_protection,
    needs=(REPOSITORY,),
)
SECRET = Effect(
    name="secret",
    path=APPENV_SECRETS,
    step=Step.PROVISION_SECRETS,
    event="secret_store_secret_written",
    body=lambda appenv: {"subject": appenv.subject, "secrets": [appenv.secret]},
    times_done=_versions,
    plant_foreign=_plant_secret,
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
    needs=(REPOSITORY,),
)
CODE_REPOSITORY = Effect(
    name="code repository",
    path=GIT_REPOSITORIES,
    step=Step.CREATE_CODE_REPOSITORY,
    event="git_repository_created",
    adopted_event="git_repository_adopted",
    body=lambda appenv: {
        "subject": appenv.application_subject,
        "repositories": [appenv.code_repository],
    },
    times_done=lambda world, appenv, _: _repositories(world, appenv.team, "shop"),
    plant_foreign=lambda world, appenv, _: _plant_code_repository(world, appenv, "shop"),
)
DEPLOYMENT_REPOSITORY = Effect(
    name="deployment repository",
    path=GIT_REPOSITORIES,
    step=Step.CREATE_DEPLOYMENT_REPOSITORY,
    event="git_repository_created",
    adopted_event="git_repository_adopted",
    body=lambda appenv: {
        "subject": appenv.application_subject,
        "repositories": [appenv.deployment_repository],
    },
    times_done=lambda world, appenv, _: _repositories(world, appenv.team, "shop-deploy"),
    plant_foreign=lambda world, appenv, _: _plant_code_repository(world, appenv, "shop-deploy"),
)
SEED = Effect(
    name="seed",
    path=GIT_REPOSITORIES_SEED,
    step=Step.SEED_REPOSITORIES,
    event="git_repository_seeded",
    body=lambda appenv: {
        "subject": appenv.application_subject,
        "description": "Sells things",
        "repositories": [appenv.code_repository],
    },
    times_done=_seeds,
    plant_foreign=_plant_ownership,
    needs=(CODE_REPOSITORY,),
)
CODE_PROTECTION = Effect(
    name="code protection",
    path=GIT_BRANCH_PROTECTION,
    step=Step.APPLY_REPOSITORY_PROTECTION,
    event="git_branch_protection_applied",
    body=lambda appenv: {
        "subject": appenv.application_subject,
        "repositories": [appenv.code_repository],
    },
    times_done=_code_protections,
    plant_foreign=_plant_code_protection,
    needs=(CODE_REPOSITORY,),
)
DATABASE_SECRET = replace(
    SECRET,
    name="database secret",
    body=lambda appenv: {"subject": appenv.subject, "secrets": [database(appenv).secret]},
)
DATABASE_BINDINGS = replace(
    BINDINGS,
    name="database bindings",
    body=lambda appenv: {
        "subject": appenv.subject,
        "repository": appenv.repository,
        "bindings": [database(appenv).binding()],
    },
)
CREDENTIAL = Effect(
    name="credential",
    path=SECRETS_ISSUE,
    step=Step.ISSUE_NEW_CREDENTIAL,
    event="credential_issuer_credential_issued",
    body=lambda appenv: appenv.rotated(),
    times_done=_rotated_versions,
    plant_foreign=_make_foreign,
    needs=(REPOSITORY, SECRET, BINDINGS),
    is_adopted=False,
    has_undo=False,
)
DATABASE_CREDENTIAL = replace(
    CREDENTIAL,
    name="database credential",
    body=lambda appenv: database(appenv).rotated(),
    needs=(REPOSITORY, DATABASE_SECRET, DATABASE_BINDINGS),
)
MOVED_BINDING = Effect(
    name="moved binding",
    path=SECRETS_BINDINGS_UPDATE,
    step=Step.UPDATE_SECRET_BINDINGS,
    event="git_secret_bindings_updated",
    body=lambda appenv: appenv.rotated(version=2, replacesVersion=1),
    times_done=_moves,
    plant_foreign=_plant_manifest,
    needs=(*CREDENTIAL.needs, CREDENTIAL),
    has_undo=False,
)
DATABASE_MOVED_BINDING = replace(
    MOVED_BINDING,
    name="database moved binding",
    body=lambda appenv: database(appenv).rotated(version=2, replacesVersion=1),
    needs=(*DATABASE_CREDENTIAL.needs, DATABASE_CREDENTIAL),
)
RETIREMENT = Effect(
    name="retirement",
    path=SECRETS_RETIRE,
    step=Step.RETIRE_OLD_CREDENTIAL,
    event="credential_issuer_credential_retired",
    body=lambda appenv: appenv.rotated(version=2),
    times_done=_destroyed,
    plant_foreign=_make_foreign,
    needs=CREDENTIAL.needs,
    own_needs=(CREDENTIAL, MOVED_BINDING),
    is_adopted=False,
    has_undo=False,
)
DATABASE_RETIREMENT = replace(
    RETIREMENT,
    name="database retirement",
    body=lambda appenv: database(appenv).rotated(version=2),
    needs=DATABASE_CREDENTIAL.needs,
    own_needs=(DATABASE_CREDENTIAL, DATABASE_MOVED_BINDING),
)
REMOVED_BINDING = Effect(
    name="removed binding",
    path=SECRETS_BINDINGS_REMOVE,
    step=Step.REMOVE_SECRET_BINDINGS,
    event="git_secret_bindings_removed",
    body=lambda appenv: appenv.rotated(),
    times_done=_removals,
    plant_foreign=_plant_manifest,
    needs=(REPOSITORY, SECRET, BINDINGS),
    is_adopted=False,
    has_undo=False,
    ends=True,
)
ENDING = Effect(
    name="ending",
    path=SECRETS_END,
    step=Step.END_CREDENTIALS,
    event="credential_issuer_credentials_ended",
    body=lambda appenv: appenv.rotated(),
    times_done=_destroyed,
    plant_foreign=_make_foreign,
    needs=(SECRET,),
    is_adopted=False,
    has_undo=False,
    ends=True,
)
DATABASE_ENDING = replace(
    ENDING,
    name="database ending",
    body=lambda appenv: database(appenv).rotated(),
    needs=(DATABASE_SECRET,),
)
ARCHIVE = Effect(
    name="archive",
    path=GIT_REPOSITORIES_ARCHIVE,
    step=Step.ARCHIVE_ENVIRONMENT_REPOSITORY,
    event="git_repository_archived",
    body=lambda appenv: {"subject": appenv.subject, "repositories": [appenv.repository]},
    times_done=_archives,
    plant_foreign=_make_repository_foreign,
    needs=(REPOSITORY,),
    is_adopted=False,
    has_undo=False,
    ends=True,
)
EFFECTS = (
    REPOSITORY,
    CODE_REPOSITORY,
    DEPLOYMENT_REPOSITORY,
    SEED,
    PROTECTION,
    CODE_PROTECTION,
    SECRET,
    DATABASE_SECRET,
    BINDINGS,
    CREDENTIAL,
    DATABASE_CREDENTIAL,
    MOVED_BINDING,
    RETIREMENT,
    DATABASE_RETIREMENT,
    REMOVED_BINDING,
    ENDING,
    DATABASE_ENDING,
    ARCHIVE,
)
