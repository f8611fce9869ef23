"""Secrets in OpenBao: whose they are stands in their metadata, who wrote a version in its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from execution_workers.ports import (
    Attempt,
    Marker,
    Permission,
    Properties,
    Rotation,
    StoredSecret,
    StoredValue,
)
from execution_workers.providers.openbao.client import OpenBaoClient, SecretMetadata
from execution_workers.providers.openbao.permissions import permissions_of
from execution_workers.providers.openbao.settings import VersionEnd
from execution_workers.providers.openbao.teams import ensure_team
from idp_kernel.wire.worker import AppEnvSubject

WRITTEN_BY = "idp_request_id"
"""Beside the properties of a version; a person's own version has none."""
WRITTEN_AS = "idp_version"
"""Which version was written so. One that says another number is a person's copy: the store's UI
begins a new version with all that the one before it has.
"""
_INSTALLATION, _ENTITY, _REQUEST = "idp_installation_id", "idp_entity_id", "idp_request_id"
_ROTATION_REQUEST, _REPLACES = "idp_rotation_request_id", "idp_replaces_version"
_TAKES = "idp_takes_version"


class OpenBaoStore:
    """The port `SecretStore` on OpenBao."""

    def __init__(
        self, client: OpenBaoClient, retired_versions: VersionEnd = VersionEnd.DESTROY
    ) -> None:
        self._client = client
        self._retired_versions = retired_versions

    @property
    def provider(self) -> str:
        return self._client.provider

    def permissions(self) -> Sequence[Permission]:
        return permissions_of(self._client, self._retired_versions)

    def path_of(self, subject: AppEnvSubject, name: str) -> str:
        return f"teams/{subject.team}/appenv/{subject.application_environment_id}/{name}"

    def let_team_in(self, team: str, attempt: Attempt) -> None:
        ensure_team(self._client, team, attempt)

    def find(self, path: str) -> StoredSecret | None:
        found = self._client.metadata(path)
        return None if found is None else self._stored(found)

    def mark(
        self, path: str, found: StoredSecret | None, marker: Marker, rotation: Rotation | None
    ) -> None:
        expected = 0 if found is None else found.metadata_version
        self._client.write_metadata(path, _custom_of(marker, rotation), expected_version=expected)

    def write(
        self, path: str, properties: Properties, *, written_by: str, newest_version: int
    ) -> int:
        data = {**properties, WRITTEN_BY: written_by, WRITTEN_AS: str(newest_version + 1)}
        return self._client.write_value(path, data, expected_version=newest_version)

    def read(self, path: str, version: int) -> StoredValue | None:
        data = self._client.value(path, version)
        if data is None:
            return None
        texts = {key: value for key, value in data.items() if isinstance(value, str)}
        written_by, written_as = texts.pop(WRITTEN_BY, ""), texts.pop(WRITTEN_AS, str(version))
        return StoredValue(texts, written_by if written_as == str(version) else "")

    def end(self, path: str, versions: Sequence[int]) -> None:
        if self._retired_versions is VersionEnd.DELETE:
            self._client.delete_versions(path, versions)
        else:
            self._client.destroy(path, versions)

    def delete(self, path: str) -> None:
        self._client.delete(path)

    def _stored(self, found: SecretMetadata) -> StoredSecret:
        marker = Marker(*(found.custom.get(key, "") for key in (_INSTALLATION, _ENTITY, _REQUEST)))
        ends_deleted = self._retired_versions is VersionEnd.DELETE
        return StoredSecret(
            marker=marker,
            rotation=_rotation_of(found.custom),
            version=found.version,
            metadata_version=found.metadata_version,
            live=found.live,
            kept=frozenset(found.live) if ends_deleted else found.kept,
        )


def _rotation_of(custom: Mapping[str, str]) -> Rotation | None:
    replaces = custom.get(_REPLACES, "")
    if _ROTATION_REQUEST not in custom or not replaces.isdecimal():
        return None
    takes = custom.get(_TAKES, "")
    return Rotation(
        custom[_ROTATION_REQUEST], int(replaces), int(takes) if takes.isdecimal() else None
    )


def _custom_of(marker: Marker, rotation: Rotation | None) -> dict[str, str]:
    custom = {
        _INSTALLATION: marker.installation_id,
        _ENTITY: marker.entity_id,
        _REQUEST: marker.request_id,
    }
    if rotation is None:
        return custom
    takes = rotation.takes_version
    return {
        **custom,
        _ROTATION_REQUEST: rotation.request_id,
        _REPLACES: str(rotation.replaces_version),
        **({} if takes is None else {_TAKES: str(takes)}),
    }
