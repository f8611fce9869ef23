"""What the demo complains of, one thing out of order at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from idp_cli.demonstration_proof import Consumer, Proof, RotatedCredential
from idp_kernel.ids import new_id
from idp_kernel.wire.api import (
    Application,
    ApplicationEnvironment,
    RepositorySummary,
    SecretSummary,
)
from idp_kernel.wire.consumer import ConsumedSecret
from idp_kernel.wire.worker import (
    CredentialIssuerName,
    RepositoryKind,
    SecretPurpose,
    SecretSensitivity,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID = new_id()
NAMES = ("app-key", "db", "payment-gateway")


def repository(kind: RepositoryKind, **changes: object) -> RepositorySummary:
    good = RepositorySummary(id=ID, kind=kind, name="shop", url="http://forge/shop", state="Active")
    return good.model_copy(update=changes)


def application(*repositories: RepositorySummary, state: str = "Active") -> Application:
    return Application(
        id=ID, team="demo", slug="shop", description="", state=state, created_at=NOW,
        repositories=repositories,
    )  # fmt: skip


def environment(versions: tuple[int | None, ...], **changes: object) -> ApplicationEnvironment:
    secrets = tuple(
        SecretSummary(
            id=ID, name=name, purpose=SecretPurpose.RUNTIME, issuer=CredentialIssuerName.OPENBAO,
            sensitivity=SecretSensitivity.LOW, state="Active", store_path=f"teams/demo/{name}",
            version=version, binding_id=ID, binding_state="Active",
        )
        for name, version in zip(NAMES, versions, strict=True)
    )  # fmt: skip
    found = ApplicationEnvironment(
        id=ID, application_id=ID, team="demo", application="shop", environment="dev",
        state="Active", repository_name="appenv-1", revision="c0ffee", secrets=secrets,
        created_at=NOW,
    )  # fmt: skip
    return found.model_copy(update=changes)


def consumed(version: int | None, refused: int = 0) -> ConsumedSecret:
    return ConsumedSecret(
        owner="demo", repository="appenv-1", name="db", version=version, logins=9, refused=refused
    )


def rotated(name: str, **changes: object) -> RotatedCredential:
    role = "idp_x_b" if name == "db" else None
    good = RotatedCredential(name=name, issued=2, role=role, kept=2, destroyed=1, ended_sessions=3)
    return replace(good, **changes)  # type: ignore[arg-type] # the tests name its fields


CODE, DEPLOYMENT = repository(RepositoryKind.CODE), repository(RepositoryKind.DEPLOYMENT)
GOOD = Proof(
    application=application(CODE, DEPLOYMENT),
    before=environment((1, 1, 1)),
    after=environment((2, 2, 1)),
    secret_names=frozenset(NAMES),
    rotations=(rotated("db"), rotated("app-key")),
    bindings_revision="c0ffee",
    observed_revision="c0ffee",
    consumer=Consumer(before=consumed(1), after=consumed(2)),
)


def test_nothing_is_complained_of_when_all_is_well() -> None:
    assert list(GOOD.complaints()) == []
    assert dict(GOOD.facts())["consumer of db"] == "version 1 → 2, 9 logins, 0 refused"
    told = "versions destroyed 1, live 1; sessions ended 3, login now idp_x_b"
    assert dict(GOOD.facts())["old db"] == told
    assert dict(GOOD.facts())["old app-key"] == "versions destroyed 1, live 1"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"application": application(CODE, DEPLOYMENT, state="Onboarding")},
            "the application is Onboarding, not Active",
        ),
        (
            {"application": application(CODE)},
            "the application has no deployment repository that is Active",
        ),
        (
            {"application": application(repository(RepositoryKind.CODE, url=None), DEPLOYMENT)},
            "the application has no code repository that is Active",
        ),
        (
            {"after": environment((2, 2, 1), state="Provisioning")},
            "the environment is Provisioning, not Active",
        ),
        (
            {"after": environment((2, 2, 1), revision="0ld")},
            "the environment's revision is not the commit that moved the bindings last",
        ),
        (
            {"observed_revision": None},
            "the GitOps agent has not observed the commit that moved the bindings last",
        ),
        (
            {
                "after": environment((1, 2, 1)),
                "rotations": (rotated("app-key", issued=1, kept=1, destroyed=0),),
            },
            "the secret app-key went from version 1 to 1",
        ),
        (
            {"after": environment((2, 2, 2))},
            "the secret payment-gateway went from version 1 to 2",
        ),
        (
            {"after": environment((None, 2, 1))},
            "the secret app-key has no version in the store",
        ),
        (
            {"rotations": (rotated("db", kept=None), rotated("app-key"))},
            "nothing says that the old credential of db was retired",
        ),
        (
            {"rotations": (rotated("db"), rotated("app-key", destroyed=0))},
            "2 versions of app-key are live, not 1",
        ),
        (
            {"rotations": (rotated("db", kept=1), rotated("app-key"))},
            "version 1 of db was kept and 2 issued, but 2 is in use",
        ),
        (
            {"rotations": (rotated("db", role=None), rotated("app-key"))},
            "nothing says which login db has now",
        ),
        (
            {"consumer": Consumer(before=consumed(1), after=consumed(1))},
            "the consumer of db used version 1, not 2, after the rotation",
        ),
        (
            {"consumer": Consumer(before=None, after=consumed(2))},
            "the consumer of db used version -, not 1, before the rotation",
        ),
        (
            {"consumer": Consumer(before=consumed(1), after=consumed(2, refused=1))},
            "the consumer of db had 1 of its logins refused",
        ),
    ],
)
def test_each_thing_out_of_order_is_complained_of(change: dict[str, Any], complaint: str) -> None:
    assert list(replace(GOOD, **change).complaints()) == [complaint]


def test_another_machine_s_consumers_are_no_cause_for_complaint() -> None:
    there = replace(GOOD, consumer=None)
    assert list(there.complaints()) == []
    assert "consumer of db" not in dict(there.facts())
