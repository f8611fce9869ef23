"""The end of a secret: no binding brings it, no login of it is let in, nothing of it is kept.

Each deed looks first, so repeating it succeeds; none can be taken back. The store keeps the
secret's path with its marker, and no version.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from execution_workers.failpoints import CREDENTIALS_ENDED_AT_ISSUER
from execution_workers.ports import (
    Attempt,
    Ended,
    Made,
    StoredSecret,
    foreign_owner,
    secret_lock,
)
from execution_workers.rotation import RotationParties
from idp_kernel.failpoints import failpoint
from idp_kernel.wire.worker import EndCredentials
from idp_kernel.workflows import ProviderEvent


@dataclass(frozen=True)
class EndAction:
    """Every credential of a secret ended at its issuer, then every version destroyed."""

    parties: RotationParties
    body: EndCredentials

    @property
    def item(self) -> str:
        return f"ending/{self.body.secret.secret_id}"

    @property
    def locks(self) -> tuple[str]:
        return (secret_lock(self.body.secret.secret_id),)

    @property
    def wanted(self) -> Mapping[str, object]:
        return self.body.model_dump(mode="json")

    def do(self, attempt: Attempt) -> Made:
        """Each request that sees the end tells it: who brought it about stands nowhere, since
        nothing is left to say so.
        """
        stored = self._own_secret(attempt)
        issuer = self.parties.issuer_of(self.body)
        ended = issuer.end(self.body.secret.secret_id, attempt)
        failpoint(CREDENTIALS_ENDED_AT_ISSUER)
        versions = () if stored is None else sorted(stored.kept)
        if versions:
            attempt.check_fence()
            self.parties.store.end(self.body.store_path, versions)
        return Made(
            references=self._references(ended, len(versions)),
            created_by=attempt.request_id,
            created=bool(versions or ended.logins),
            event=ProviderEvent.CREDENTIAL_ISSUER_CREDENTIALS_ENDED,
        )

    def _own_secret(self, attempt: Attempt) -> StoredSecret | None:
        store, path = self.parties.store, self.body.store_path
        stored = store.find(path)
        marker = attempt.marker(self.body.secret.secret_id)
        if stored is not None and not stored.marker.is_of_same_entity(marker):
            raise foreign_owner(store.provider, f"a secret at {path}")
        return stored

    def _references(self, ended: Ended, destroyed: int) -> dict[str, str | int]:
        return {
            "storePath": self.body.store_path,
            "destroyedVersions": destroyed,
            "endedSessions": ended.sessions,
            "keptLogins": ended.kept_logins,
        }
