"""What stands after the demo, as the platform and those beside it tell it, and whether it is as it
should be.

Of an old credential it has what the platform's steps say they ended, and what the consumer met.
Nobody here tries the old login: its password never comes to the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from idp_kernel.wire.api import Application, ApplicationEnvironment, SecretSummary, WorkflowRequest
from idp_kernel.wire.consumer import ConsumedSecret
from idp_kernel.wire.worker import RepositoryKind
from idp_kernel.workflows import Step

ACTIVE = "Active"
DATABASE_LOGIN = "db"
APP_KEY = "app-key"
ROTATED = frozenset({DATABASE_LOGIN, APP_KEY})
"""The secrets the demo rotates, each once."""

Fact = tuple[str, object]


@dataclass(frozen=True)
class Consumer:
    """How the consumer of the database login fared."""

    before: ConsumedSecret | None
    """Just before the rotation; none when it used none."""
    after: ConsumedSecret | None

    @property
    def told(self) -> str:
        """Its versions and logins in one line."""
        if self.after is None:
            return "uses none"
        before = self.before.version if self.before is not None else None
        logins = f"{self.after.logins} logins, {self.after.refused} refused"
        return f"version {before or '-'} → {self.after.version or '-'}, {logins}"

    def complaints(self, versions: tuple[int | None, int | None]) -> Iterator[str]:
        """`versions`: those of the secret before and after its rotation."""
        for moment, seen, version in zip(
            ("before", "after"), (self.before, self.after), versions, strict=True
        ):
            found = seen.version if seen is not None else None
            if found is None or found != version:
                yield (
                    f"the consumer of {DATABASE_LOGIN} used version {found or '-'}, not "
                    f"{version or '-'}, {moment} the rotation"
                )
        if self.after is not None and self.after.refused:
            yield f"the consumer of {DATABASE_LOGIN} had {self.after.refused} of its logins refused"


@dataclass(frozen=True)
class RotatedCredential:
    """What the steps of a rotation say of the credentials of its secret."""

    name: str
    issued: int | None
    """The new version."""
    role: str | None
    """The new login, of a database login."""
    kept: int | None
    """The version that was not retired; none when that step said nothing."""
    destroyed: int
    """How many versions the store has no more."""
    ended_sessions: int
    """How many sessions of the old login ended with it."""

    @classmethod
    def told_by(cls, rotation: WorkflowRequest, name: str) -> RotatedCredential:
        """As the latest outcomes of its steps have it."""
        issue, retire = Step.ISSUE_NEW_CREDENTIAL, Step.RETIRE_OLD_CREDENTIAL
        role = reported(rotation, issue, "role")
        return cls(
            name=name,
            issued=_number(reported(rotation, issue, "version")),
            role=None if role is None else str(role),
            kept=_number(reported(rotation, retire, "version")),
            destroyed=_number(reported(rotation, retire, "destroyedVersions")) or 0,
            ended_sessions=_number(reported(rotation, retire, "endedSessions")) or 0,
        )

    @property
    def live(self) -> int:
        """How many versions can still be read: the store numbers them from 1, none is left out."""
        return (self.issued or 0) - self.destroyed

    @property
    def told(self) -> str:
        """What was retired, in one line."""
        told = f"versions destroyed {self.destroyed}, live {self.live}"
        if self.role is None:
            return told
        return f"{told}; sessions ended {self.ended_sessions}, login now {self.role}"

    def complaints(self, version: int | None) -> Iterator[str]:
        """`version`: that of the secret after its rotation; one without is another's complaint."""
        if self.kept is None:
            yield f"nothing says that the old credential of {self.name} was retired"
            return
        if version is not None and not self.kept == self.issued == version:
            yield (
                f"version {self.kept} of {self.name} was kept and {self.issued or '-'} issued, but "
                f"{version} is in use"
            )
        if self.live != 1:
            yield f"{self.live} versions of {self.name} are live, not 1"
        if self.name == DATABASE_LOGIN and self.role is None:
            yield f"nothing says which login {self.name} has now"


@dataclass(frozen=True)
class Proof:
    """Before and after the rotations."""

    application: Application
    before: ApplicationEnvironment
    after: ApplicationEnvironment
    secret_names: frozenset[str]
    rotations: tuple[RotatedCredential, ...]
    bindings_revision: str | None
    """The commit that the last rotation's bindings were moved with."""
    observed_revision: str | None
    """What the GitOps agent itself says; for another machine's platform, the API's word for it."""
    consumer: Consumer | None
    """None for another machine's platform, whose consumers nobody here can ask."""

    def complaints(self) -> Iterator[str]:
        """What is not as it should be."""
        yield from self._application_complaints()
        if self.after.state != ACTIVE:
            yield f"the environment is {self.after.state}, not {ACTIVE}"
        if self.bindings_revision is None or self.after.revision != self.bindings_revision:
            yield "the environment's revision is not the commit that moved the bindings last"
        if self.observed_revision != self.bindings_revision:
            yield "the GitOps agent has not observed the commit that moved the bindings last"
        for name in sorted(self.secret_names):
            yield from self._secret_complaints(name)
        for rotation in self.rotations:
            yield from rotation.complaints(_version(self.after, rotation.name))
        if self.consumer is not None:
            yield from self.consumer.complaints(self._versions(DATABASE_LOGIN))

    def facts(self) -> Iterator[Fact]:
        """Name and value, for people."""
        yield "application", self.application.state
        for repository in self.application.repositories:
            yield f"{repository.kind} repository", repository.url
        yield "environment", self.after.state
        yield "environment repository", self.after.repository_url
        yield "bindings commit", self.bindings_revision
        yield "GitOps agent observed", self.observed_revision
        for secret in self.after.secrets:
            yield f"secret {secret.name}", f"version {_change(*self._versions(secret.name))}"
        for rotation in self.rotations:
            yield f"old {rotation.name}", rotation.told
        if self.consumer is not None:
            yield f"consumer of {DATABASE_LOGIN}", self.consumer.told

    def _application_complaints(self) -> Iterator[str]:
        if self.application.state != ACTIVE:
            yield f"the application is {self.application.state}, not {ACTIVE}"
        repositories = {each.kind: each for each in self.application.repositories}
        for kind in (RepositoryKind.CODE, RepositoryKind.DEPLOYMENT):
            found = repositories.get(kind)
            if found is None or found.url is None or found.state != ACTIVE:
                yield f"the application has no {kind} repository that is {ACTIVE}"

    def _secret_complaints(self, name: str) -> Iterator[str]:
        before, after = self._versions(name)
        if before is None or after is None:
            yield f"the secret {name} has no version in the store"
        elif after != before + (name in ROTATED):
            yield f"the secret {name} went from version {before} to {after}"

    def _versions(self, name: str) -> tuple[int | None, int | None]:
        return _version(self.before, name), _version(self.after, name)


def moved_revision(rotation: WorkflowRequest) -> str | None:
    """The commit in the latest outcome of the step that moves the bindings."""
    revision = reported(rotation, Step.UPDATE_SECRET_BINDINGS, "revision")
    return None if revision is None else str(revision)


def reported(request: WorkflowRequest, step: Step, key: str) -> str | int | None:
    """That reference in the latest outcome of the step; none when it has none."""
    views = [view for view in request.steps if view.step == step]
    for view in reversed(views):
        for item in view.result.items if view.result else ():
            if key in item.references:
                return item.references[key]
    return None


def secret_of(environment: ApplicationEnvironment, name: str) -> SecretSummary | None:
    """The environment's secret of that name."""
    return next((secret for secret in environment.secrets if secret.name == name), None)


def _version(environment: ApplicationEnvironment, name: str) -> int | None:
    secret = secret_of(environment, name)
    return None if secret is None else secret.version


def _number(reference: str | int | None) -> int | None:
    return reference if isinstance(reference, int) else None


def _change(before: int | None, after: int | None) -> str:
    return str(after or "-") if before == after else f"{before or '-'} → {after or '-'}"
