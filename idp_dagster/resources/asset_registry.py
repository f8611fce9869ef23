"""The resource `asset_registry`: what the catalog is to show, as the control plane knows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from dagster import ConfigurableResource

from idp_dagster.clients import control_plane_client
from idp_kernel.http.client import ServiceClient
from idp_kernel.wire.engine import (
    ASSET_APPLICATION_ENVIRONMENTS,
    ASSET_SECRETS,
    CHECK_RESULTS,
    AppEnvAsset,
    AppEnvAssets,
    AssetCheckName,
    CheckResults,
    CheckResultsKept,
    SecretAsset,
    SecretAssets,
)
from idp_kernel.wire.worker import Finding

FINDINGS_PER_CALL = 500
"""As many as `CheckResults` takes."""

AnyPage = TypeVar("AnyPage", AppEnvAssets, SecretAssets)


class AssetRegistryResource(ConfigurableResource[None]):
    """Lists and results, with the service's own token."""

    control_plane_url: str
    service_key_file: str

    def application_environments(self) -> tuple[AppEnvAsset, ...]:
        pages = self._pages(ASSET_APPLICATION_ENVIRONMENTS, AppEnvAssets)
        return tuple(item for page in pages for item in page.items)

    def secrets(self) -> tuple[SecretAsset, ...]:
        pages = self._pages(ASSET_SECRETS, SecretAssets)
        return tuple(item for page in pages for item in page.items)

    def keep_findings(
        self, check: AssetCheckName, read_at: datetime, findings: Sequence[Finding]
    ) -> frozenset[str]:
        left_out: set[str] = set()
        for start in range(0, len(findings), FINDINGS_PER_CALL):
            told = tuple(findings[start : start + FINDINGS_PER_CALL])
            body = CheckResults(check=check, read_at=read_at, findings=told)
            kept = self._api.call("POST", CHECK_RESULTS, CheckResultsKept, body=body)
            left_out.update(kept.left_out)
        return frozenset(left_out)

    def link(self, path: str) -> str:
        return f"{self.control_plane_url}{path}"

    def _pages(self, path: str, page: type[AnyPage]) -> Iterator[AnyPage]:
        query: dict[str, str | int] = {}
        while True:
            answer = self._api.call("GET", path, page, query=query)
            yield answer
            if answer.next_cursor is None:
                return
            query = {"cursor": answer.next_cursor}

    @property
    def _api(self) -> ServiceClient:
        return control_plane_client(self.control_plane_url, Path(self.service_key_file))
