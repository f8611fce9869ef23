"""What the providers themselves say of a provisioned environment."""

from __future__ import annotations

import subprocess
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import yaml

from idp_kernel.wire.worker import appenv_repository_name
from tests.e2e.platform import Platform, Subject

BINDINGS = "manifests/external-secrets"
EVENTS_IN_ORDER = [
    "application_environment_provisioning_requested",
    "git_repository_created",
    "git_branch_protection_applied",
    "secret_store_secret_written",
    "git_secret_bindings_committed",
    "gitops_reconciliation_verified",
    "workflow_appenv_provisioning_completed",
]


def clone(platform: Platform, subject: Subject, appenv_id: str, folder: Path, token: str) -> Path:
    """A working copy, cloned as a developer does."""
    name = appenv_repository_name(appenv_id)
    address = f"{platform.forge_url}/{subject.team}/{name}.git"
    cloned = platform.git("clone", address, str(folder / name), token=token)
    assert cloned.returncode == 0, cloned.stderr
    return folder / name


def commits(repository: Path, *paths: str) -> list[str]:
    """The revisions of main that touched `paths`, newest first."""
    ran = subprocess.run(
        ["git", "log", "--format=%H", "origin/main", "--", *paths],
        cwd=repository, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    return ran.stdout.split()


def assert_provisioned_once(
    platform: Platform,
    subject: Subject,
    request: dict[str, Any],
    folder: Path,
    *,
    aside: AbstractSet[str] = frozenset(),
) -> None:
    """Active, and every effect is there once: asked of the forge, the store and the agent.

    `aside` names events that may stand between the others, as after an earlier failure.
    """
    assert request["state"] == "succeeded", request
    appenv_id = request["applicationEnvironmentId"]
    appenv = platform.ok("GET", f"/v1/application-environments/{appenv_id}")
    assert appenv["state"] == "Active"
    repository = clone(platform, subject, appenv_id, folder, platform.admin_token)
    assert len(commits(repository)) == 2, "one commit seeds, one binds"
    (binding_commit,) = commits(repository, BINDINGS)
    assert appenv["revision"] == binding_commit
    (secret,) = appenv["secrets"]
    assert_pinned(platform, repository, secret)
    assert_one_version(platform, secret)
    seen = platform.reconciliation(subject.team, appenv_repository_name(appenv_id))
    assert seen["observedRevision"] == binding_commit
    events = [event for event in events_of(platform, request["id"]) if event not in aside]
    assert events == EVENTS_IN_ORDER


def assert_pinned(platform: Platform, repository: Path, secret: dict[str, Any]) -> None:
    """The committed ExternalSecret names the secret at the version the API tells."""
    manifest = yaml.safe_load((repository / BINDINGS / f"{secret['name']}.yaml").read_text())
    (data,) = manifest["spec"]["data"]
    assert data["remoteRef"]["version"] == str(secret["version"])
    assert secret["storePath"].endswith(data["remoteRef"]["key"])


def assert_one_version(platform: Platform, secret: dict[str, Any]) -> None:
    """The store holds exactly the version that the binding pins."""
    metadata = platform.openbao(
        f"kv/metadata/{store_key(secret)}", platform.openbao_root_token
    ).json()["data"]
    assert list(metadata["versions"]) == [str(secret["version"])] == ["1"]


def store_key(secret: dict[str, Any]) -> str:
    """The secret's path below the mount."""
    return str(secret["storePath"]).removeprefix("kv/")


def events_of(platform: Platform, request_id: str) -> list[str]:
    """The types of a request's events, as committed."""
    page = platform.ok("GET", f"/v1/events?requestId={request_id}&limit=200")
    sequences = [event["sequence"] for event in page["items"]]
    assert sequences == sorted(set(sequences))
    return [event["type"] for event in page["items"]]
