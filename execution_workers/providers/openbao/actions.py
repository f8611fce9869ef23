"""A secret's value in OpenBao: written once, adopted when it is there, deleted by who wrote it.

The marker is written before the value. A kill in between leaves a marked secret without a version,
which a repeat completes; a version under our marker is adopted and never overwritten.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from execution_workers.failpoints import SECRET_MARKED
from execution_workers.ports import Attempt, Made, Marker, Undone, foreign_owner
from execution_workers.providers.openbao.client import MOUNT, OpenBaoClient, SecretMetadata
from idp_kernel.failpoints import failpoint
from idp_kernel.wire.worker import AppEnvSubject, EffectKind, SecretWanted
from idp_kernel.workflows import ProviderEvent

VALUE_BYTES = 32
TEAM_POLICY = """\
# Written by execution-workers: what members of one team may do with their own secrets.
path "{mount}/data/teams/{team}/*" {{
  capabilities = ["read"]
}}

path "{mount}/metadata/teams/{team}/*" {{
  capabilities = ["list", "read"]
}}
"""

_INSTALLATION, _ENTITY, _REQUEST = "idp_installation_id", "idp_entity_id", "idp_request_id"


class OpenBaoStore:
    """The port `SecretStore` on OpenBao."""

    def __init__(self, client: OpenBaoClient) -> None:
        self._client = client

    def secret(self, subject: AppEnvSubject, wanted: SecretWanted) -> SecretAction:
        return SecretAction(self._client, subject, wanted)


@dataclass(frozen=True)
class SecretAction:
    """One secret of an application environment."""

    client: OpenBaoClient
    subject: AppEnvSubject
    secret: SecretWanted

    @property
    def item(self) -> str:
        return f"secret/{self.secret.secret_id}"

    @property
    def wanted(self) -> Mapping[str, object]:
        return {
            "subject": self.subject.model_dump(mode="json"),
            "secret": self.secret.model_dump(mode="json"),
        }

    @property
    def path(self) -> str:
        """Below the mount."""
        appenv = self.subject.application_environment_id
        return f"teams/{self.subject.team}/appenv/{appenv}/{self.secret.name}"

    def do(self, attempt: Attempt) -> Made:
        self._ensure_team_policy(attempt)
        marker = attempt.marker(self.secret.secret_id)
        found = self.client.metadata(self.path)
        if found is not None and not _marker_of(found).is_of_same_entity(marker):
            raise foreign_owner(self.client.provider, f"a secret at {self.path}")
        if found is not None and found.live:
            return self._adopted(found, attempt)
        return self._written(found, marker, attempt)

    def undo(self, attempt: Attempt) -> Undone:
        found = self.client.metadata(self.path)
        if found is None:
            return Undone(EffectKind.ABSENT, {})
        if _marker_of(found) != attempt.marker(self.secret.secret_id):
            return Undone(EffectKind.KEPT, self._references(found.version))
        attempt.check_fence()
        self.client.delete(self.path)
        return Undone(EffectKind.UNDONE, self._references(found.version))

    def _adopted(self, found: SecretMetadata, attempt: Attempt) -> Made:
        created_by = _marker_of(found).request_id
        is_ours = created_by == attempt.request_id
        return Made(
            references=self._references(found.version),
            created_by=created_by,
            created=False,
            event=ProviderEvent.SECRET_STORE_SECRET_WRITTEN if is_ours else None,
        )

    def _written(self, found: SecretMetadata | None, marker: Marker, attempt: Attempt) -> Made:
        """Marked as this request's, also over a marker that a killed one left without value."""
        attempt.check_fence()
        self.client.write_metadata(
            self.path,
            _custom_of(marker),
            expected_version=found.metadata_version if found else 0,
        )
        failpoint(SECRET_MARKED)
        attempt.check_fence()
        version = self.client.write_value(
            self.path,
            secrets.token_urlsafe(VALUE_BYTES),
            expected_version=found.version if found else 0,
        )
        return Made(
            references=self._references(version),
            created_by=marker.request_id,
            created=True,
            event=ProviderEvent.SECRET_STORE_SECRET_WRITTEN,
        )

    def _ensure_team_policy(self, attempt: Attempt) -> None:
        """What lets the team's members read their own secrets, and nothing of others."""
        name = f"team-{self.subject.team}"
        policy = TEAM_POLICY.format(mount=MOUNT, team=self.subject.team)
        if self.client.policy(name) != policy:
            attempt.check_fence()
            self.client.write_policy(name, policy)

    def _references(self, version: int) -> dict[str, str | int]:
        return {
            "secretId": self.secret.secret_id,
            "storePath": self.path,
            "version": version,
        }


def _marker_of(found: SecretMetadata) -> Marker:
    return Marker(*(found.custom.get(key, "") for key in (_INSTALLATION, _ENTITY, _REQUEST)))


def _custom_of(marker: Marker) -> dict[str, str]:
    return {
        _INSTALLATION: marker.installation_id,
        _ENTITY: marker.entity_id,
        _REQUEST: marker.request_id,
    }
