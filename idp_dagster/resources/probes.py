"""The resource `probes`: looks at the providers through execution-workers, for no request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dagster import ConfigurableResource

from idp_dagster.clients import probes_client
from idp_kernel.wire.base import WireModel
from idp_kernel.wire.worker import (
    CHECK_BINDINGS_PRESENT,
    CHECK_GITOPS_RECONCILED,
    CHECK_REPOSITORY_PROTECTED,
    CHECK_SECRET_WITHIN_POLICY,
    AppEnvExpected,
    CheckAppEnvs,
    CheckSecrets,
    Findings,
    SecretExpected,
)


class ProbesResource(ConfigurableResource[None]):
    """Each is one call, with the service's own token."""

    workers_url: str
    control_plane_url: str
    """Where that token comes from."""
    service_key_file: str

    def repository_protected(self, expected: Sequence[AppEnvExpected]) -> Findings:
        return self._look(CHECK_REPOSITORY_PROTECTED, CheckAppEnvs(items=tuple(expected)))

    def bindings_present(self, expected: Sequence[AppEnvExpected]) -> Findings:
        return self._look(CHECK_BINDINGS_PRESENT, CheckAppEnvs(items=tuple(expected)))

    def gitops_reconciled(self, expected: Sequence[AppEnvExpected]) -> Findings:
        return self._look(CHECK_GITOPS_RECONCILED, CheckAppEnvs(items=tuple(expected)))

    def secret_within_policy(self, expected: Sequence[SecretExpected]) -> Findings:
        return self._look(CHECK_SECRET_WITHIN_POLICY, CheckSecrets(items=tuple(expected)))

    def _look(self, path: str, body: WireModel) -> Findings:
        key_file = Path(self.service_key_file)
        workers = probes_client(self.workers_url, self.control_plane_url, key_file)
        return workers.call("POST", path, Findings, body=body)
