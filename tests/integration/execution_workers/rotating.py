"""A rotation step by step, as the engine carries it out, and what its secret's users see."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from idp_kernel.wire.worker import (
    SECRETS_BINDINGS_UPDATE,
    SECRETS_CONSUMERS,
    SECRETS_ISSUE,
    SECRETS_RETIRE,
    SECRETS_VALIDATE,
    SECRETS_VERIFY,
)
from idp_kernel.workflows import Step
from tests.integration.execution_workers.catalogue import (
    BINDINGS,
    MANIFEST,
    REPOSITORY,
    SECRET,
    assert_effect,
)
from tests.integration.execution_workers.driver import AppEnv, Json, Run, World


@dataclass
class Rotation:
    """One rotation of the secret of an application environment; a request of its own."""

    run: Run
    emergency: bool = False
    bindings: list[Json] | None = None
    """Where the secret is bound, if not in its own application environment alone."""
    issued: Json = field(default_factory=dict)
    moved: Json = field(default_factory=dict)

    @property
    def version(self) -> int:
        return int(self.issued["version"])

    @property
    def replaces(self) -> int:
        return int(self.issued["replacesVersion"])

    def again(self) -> Rotation:
        """The same request, by its next run."""
        run = self.run.with_(fence=self.run.fence + 1)
        return replace(self, run=run)

    def ask_to_validate(self) -> httpx.Response:
        return self._post(SECRETS_VALIDATE, Step.VALIDATE_ROTATION, emergency=self.emergency)

    def validate(self) -> Json:
        answer = self.ask_to_validate()
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def ask_to_issue(self) -> httpx.Response:
        return self._post(SECRETS_ISSUE, Step.ISSUE_NEW_CREDENTIAL, emergency=self.emergency)

    def issue(self, effect: str = "created") -> None:
        answer = assert_effect(self.ask_to_issue(), effect)
        self.issued = answer["items"][0]["references"]

    def verify(self, version: int | None = None) -> Json:
        answer = self._post(
            SECRETS_VERIFY, Step.VERIFY_NEW_CREDENTIAL, version=version or self.version
        )
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def ask_to_update(self) -> httpx.Response:
        return self._post(
            SECRETS_BINDINGS_UPDATE,
            Step.UPDATE_SECRET_BINDINGS,
            version=self.version,
            replacesVersion=self.replaces,
        )

    def update(self, effect: str = "created") -> None:
        answer = assert_effect(self.ask_to_update(), effect)
        self.moved = answer["items"][0]["references"]

    def consumers(self) -> Json:
        answer = self._post(
            SECRETS_CONSUMERS,
            Step.CONFIRM_CONSUMERS,
            version=self.version,
            replacesVersion=self.replaces,
            revisions={self.run.appenv.binding_id: self.moved["revision"]},
            emergency=self.emergency,
        )
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def ask_to_retire(self) -> httpx.Response:
        return self._post(SECRETS_RETIRE, Step.RETIRE_OLD_CREDENTIAL, version=self.version)

    def retire(self, effect: str = "created") -> Json:
        answer = assert_effect(self.ask_to_retire(), effect)
        found: Json = answer["items"][0]["references"]
        return found

    def complete(self, *, issued: str = "created", retired: str = "created") -> Rotation:
        """All steps of it."""
        self.issue(issued)
        assert self.verify()["works"]
        self.update()
        self.retire(retired)
        return self

    def _post(self, path: str, step: Step, **more: object) -> httpx.Response:
        bound = {} if self.bindings is None else {"bindings": self.bindings}
        return self.run.post(path, self.run.appenv.rotated(**more, **bound), self.run.key(step))


def provisioned(world: World, appenv: AppEnv) -> AppEnv:
    """The application environment with its secret, bound at version 1."""
    run = world.new_run(appenv)
    for effect, body in (
        (REPOSITORY, REPOSITORY.body(appenv)),
        (SECRET, SECRET.body(appenv)),
        (BINDINGS, BINDINGS.body(appenv)),
    ):
        assert_effect(run.post(effect.path, body, run.key(effect.step)), "created")
    return appenv


def pinned_version(world: World, appenv: AppEnv, folder: Path) -> int:
    """What the manifest pins, on the default branch."""
    clone = world.forge.clone(appenv.team, appenv.repository_name, folder)
    versions = {
        line.strip().removeprefix("version: ").strip("'")
        for line in (clone / MANIFEST).read_text().splitlines()
        if line.strip().startswith("version: ")
    }
    (version,) = versions
    return int(version)


def pinned_login_works(world: World, appenv: AppEnv, folder: Path) -> bool:
    """Whether whoever reads the binding now gets in with it."""
    version = pinned_version(world, appenv, folder)
    return world.lets_in(world.store.content(appenv.secret_path, version))


def assert_tidy(world: World, appenv: AppEnv, version: int) -> None:
    """After a rotation: one version that can be read, and of two logins one that works."""
    assert world.store.live_versions(appenv.secret_path) == [version]
    if appenv.issuer == "postgres":
        assert sorted(world.applications.roles(appenv.secret_id).values()) == [False, True]
    if appenv.issuer == "harbor":
        robots = world.harbor.robots_of(appenv.secret_id).values()
        assert sum(not each.disable for each in robots) == 1
    assert world.lets_in(world.store.content(appenv.secret_path, version))
