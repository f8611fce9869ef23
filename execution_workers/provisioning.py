"""A secret's first credential: born here, written once, let in by its issuer, adopted when there.

The marker is written before the value, and the value before the issuer lets it in. A kill in
between leaves a marked secret, which a repeat completes; a version under our marker is adopted
and never overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from execution_workers.failpoints import (
    SECRET_MARKED,
    SECRET_REMOVED_AT_ISSUER,
    SECRET_WRITTEN,
    TEAM_LET_IN,
)
from execution_workers.ports import (
    Attempt,
    CredentialIssuer,
    Made,
    Marker,
    Properties,
    SecretStore,
    StoredSecret,
    Undone,
    foreign_owner,
    secret_lock,
)
from execution_workers.values_of_people import written_by_people
from idp_kernel.failpoints import failpoint
from idp_kernel.wire.worker import AppEnvSubject, EffectKind, SecretWanted
from idp_kernel.workflows import ProviderEvent


@dataclass(frozen=True)
class SecretAction:
    """One secret of an application environment, with its first credential."""

    store: SecretStore
    issuer: CredentialIssuer
    subject: AppEnvSubject
    secret: SecretWanted

    @property
    def item(self) -> str:
        return f"secret/{self.secret.secret_id}"

    @property
    def locks(self) -> tuple[str]:
        return (secret_lock(self.secret.secret_id),)

    @property
    def wanted(self) -> Mapping[str, object]:
        return {
            "subject": self.subject.model_dump(mode="json"),
            "secret": self.secret.model_dump(mode="json"),
        }

    @property
    def path(self) -> str:
        """Below the store's mount."""
        return self.store.path_of(self.subject, self.secret.name)

    def do(self, attempt: Attempt) -> Made:
        self.store.let_team_in(self.subject.team, attempt)
        failpoint(TEAM_LET_IN)
        marker = attempt.marker(self.secret.secret_id)
        found = self.store.find(self.path)
        if found is not None and not found.marker.is_of_same_entity(marker):
            raise foreign_owner(self.store.provider, f"a secret at {self.path}")
        if found is not None and found.version in found.live:
            return self._adopted(found, attempt)
        return self._written(found, marker, attempt)

    def undo(self, attempt: Attempt) -> Undone:
        """Also keeps a secret that was rotated since, that has a value which a person set, or on
        whose login data of somebody hangs.
        """
        found = self.store.find(self.path)
        if found is None:
            return Undone(EffectKind.ABSENT, {})
        references = self._references(found.version)
        is_ours = found.marker == attempt.marker(self.secret.secret_id)
        if not is_ours or found.rotation is not None or self._has_value_of_person(found):
            return Undone(EffectKind.KEPT, references)
        if not self.issuer.remove(self.secret.secret_id, attempt):
            return Undone(EffectKind.KEPT, references)
        failpoint(SECRET_REMOVED_AT_ISSUER)
        attempt.check_fence()
        self.store.delete(self.path)
        return Undone(EffectKind.UNDONE, references)

    def _has_value_of_person(self, found: StoredSecret) -> bool:
        return self.issuer.takes_values_of_people and any(
            True for _ in written_by_people(self.store, self.path, found.live)
        )

    def _adopted(self, found: StoredSecret, attempt: Attempt) -> Made:
        """As it is; the platform's own credential is let in if that is what a killed one left."""
        value = self.store.read(self.path, found.version)
        if value is not None and value.written_by:
            self._install(value.properties, found.version, attempt)
        created_by = found.marker.request_id
        is_ours = created_by == attempt.request_id
        return Made(
            references=self._references(found.version),
            created_by=created_by,
            created=False,
            event=ProviderEvent.SECRET_STORE_SECRET_WRITTEN if is_ours else None,
        )

    def _written(self, found: StoredSecret | None, marker: Marker, attempt: Attempt) -> Made:
        """Marked as this request's, also over a marker that a killed one left without value."""
        properties = self.issuer.draft(self.secret.secret_id, {}, team=self.subject.team)
        attempt.check_fence()
        self.store.mark(self.path, found, marker, None)
        failpoint(SECRET_MARKED)
        attempt.check_fence()
        version = self.store.write(
            self.path,
            properties,
            written_by=attempt.request_id,
            newest_version=found.version if found else 0,
        )
        failpoint(SECRET_WRITTEN)
        self._install(properties, version, attempt)
        return Made(
            references=self._references(version),
            created_by=marker.request_id,
            created=True,
            event=ProviderEvent.SECRET_STORE_SECRET_WRITTEN,
        )

    def _install(self, properties: Properties, version: int, attempt: Attempt) -> None:
        self.issuer.install(
            self.secret.secret_id, properties, version, attempt, team=self.subject.team
        )

    def _references(self, version: int) -> dict[str, str | int]:
        return {
            "secretId": self.secret.secret_id,
            "storePath": self.path,
            "version": version,
        }
