"""Workflows that fail for good since a provider has what stands against them."""

from __future__ import annotations

import secrets
from typing import Any

from idp_kernel.ids import new_id
from idp_kernel.services import DEFAULT_PORTS
from idp_kernel.wire.forge import REPOSITORIES
from idp_kernel.workflows import Step
from tests.e2e.logins import BoundSecret, as_superuser, group_of
from tests.e2e.platform import Platform, Subject, eventually


def fails_to_onboard(platform: Platform, onboarded: Subject) -> dict[str, Any]:
    """Somebody else's repository has the name already."""
    slug = f"taken-{new_id()[-10:]}"
    marker = {"installationId": "another", "entityId": new_id(), "requestId": new_id()}
    bot = (platform.home / "keys" / "forge-bot.token").read_text().strip()
    planted = platform.client.post(
        platform.url(DEFAULT_PORTS.local_forge, REPOSITORIES),
        json={"owner": onboarded.team, "name": slug, "marker": marker},
        headers={"Authorization": f"Bearer {bot}"},
    )
    assert planted.status_code == 201, planted.text
    application = {"team": onboarded.team, "slug": slug}
    return _failed(platform, platform.ok("POST", "/v1/applications", application))


def fails_to_provision(
    platform: Platform, subject: Subject, *wanted: dict[str, str]
) -> dict[str, Any]:
    """Somebody else's secret lies where its own belongs."""
    hit = platform.arm(f"workflow-engine.{Step.PROVISION_SECRETS}.before_call")
    accepted = platform.provision(subject, *wanted)
    eventually(hit.exists, what="the run is before its secrets")
    _plant_secret(platform, stranger_path(subject, accepted))
    hit.unlink()
    return _failed(platform, accepted)


def stranger_path(subject: Subject, request: dict[str, Any]) -> str:
    """Where the environment's `app-key` belongs, below the store's mount."""
    return f"teams/{subject.team}/appenv/{request['applicationEnvironmentId']}/app-key"


def _plant_secret(platform: Platform, path: str) -> None:
    """A secret that is none of the platform's."""
    written = platform.client.post(
        platform.url(DEFAULT_PORTS.openbao, f"/v1/kv/data/{path}"),
        json={"data": {"value": f"a stranger's {secrets.token_hex(16)}"}},
        headers={"X-Vault-Token": platform.openbao_root_token},
    )
    assert written.status_code == 200, written.text


def lets_it_provision(platform: Platform, subject: Subject, request: dict[str, Any]) -> None:
    """What stood against it is gone."""
    path = stranger_path(subject, request)
    removed = platform.client.delete(
        platform.url(DEFAULT_PORTS.openbao, f"/v1/kv/metadata/{path}"),
        headers={"X-Vault-Token": platform.openbao_root_token},
    )
    assert removed.status_code == 204, removed.text


def fails_to_rotate(bound: BoundSecret) -> dict[str, Any]:
    """The new login does not work: somebody changes its password before it is tried."""
    platform = bound.platform
    (secret_id,) = [
        secret["id"]
        for secret in platform.ok("GET", f"/v1/application-environments/{bound.appenv_id}")[
            "secrets"
        ]
        if secret["name"] == bound.name
    ]
    hit = platform.arm(f"workflow-engine.{Step.VERIFY_NEW_CREDENTIAL}.before_call")
    accepted = platform.rotate(secret_id)
    eventually(hit.exists, what="the new login is made and not tried yet")
    in_use = bound.values()["username"]
    (made,) = {f"{group_of(secret_id)}_a", f"{group_of(secret_id)}_b"} - {in_use}
    with as_superuser(platform) as connection:
        connection.execute(f"ALTER ROLE {made} PASSWORD '{secrets.token_hex(16)}'".encode())
    hit.unlink()
    return _failed(platform, accepted)


def _failed(platform: Platform, accepted: dict[str, Any]) -> dict[str, Any]:
    request = platform.ended(accepted["requestId"])
    assert request["state"] == "failed", request
    return request
