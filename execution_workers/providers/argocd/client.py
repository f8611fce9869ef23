"""Reads what Argo CD's applications say of a repository; changes nothing.

Argo CD's own `wait` knows no revision, so revision, sync and health are compared here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from execution_workers.credentials import SecretFile
from execution_workers.ports import Permission
from execution_workers.providers.argocd.conditions import (
    HEALTHY,
    ready_of,
    revision_of,
    sources_of,
)
from execution_workers.providers.argocd.errors import ERRORS
from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.external_secrets import (
    GROUP,
    KIND,
    BroughtSecret,
    applied_by_all,
    condition_of,
    read_external_secret,
)
from execution_workers.providers.repository_urls import OwnerAtForge, is_of_repository
from execution_workers.providers.rest import RestClient
from idp_kernel.wire.agent import Reconciliation
from idp_kernel.wire.worker import GitOpsCondition

APPLICATIONS = "api/v1/applications"
CAN_READ = "api/v1/account/can-i/applications/get"


@dataclass(frozen=True)
class _Seen:
    """One application as it is now."""

    revision: str | None
    ready: GitOpsCondition
    synced_at: str
    brought: Sequence[BroughtSecret]


class ArgoCd:
    """The port `GitOpsAgent` on Argo CD. Thread-safe."""

    def __init__(
        self,
        base_url: str,
        token: SecretFile,
        calls: ProviderCalls,
        *,
        project: str | None,
        owner_at_forge: OwnerAtForge,
        timeout_seconds: float,
        ca_file: Path | None = None,
    ) -> None:
        self._token = token
        self._owner_at_forge = owner_at_forge
        self._calls = calls
        self._project = project
        self._client = RestClient(
            base_url, calls, ERRORS, timeout_seconds=timeout_seconds, ca_file=ca_file
        )

    def permissions(self) -> Sequence[Permission]:
        objects = f"{self._project or '*'}/*"
        answer = self._read(f"{CAN_READ}/{quote(objects, safe='')}", "read own rights", {})
        return (
            Permission(
                "applications, get",
                answer.get("value") == "yes",
                "Add to policy.csv in argocd-rbac-cm, with the account's name for ACCOUNT: "
                f"p, ACCOUNT, applications, get, {objects}, allow.",
            ),
        )

    def reconciliation(self, owner: str, name: str) -> Reconciliation | None:
        """What all applications say that have the repository as a source: the one that is furthest
        behind speaks for them. None while there is none.
        """
        query = {} if self._project is None else {"projects": self._project}
        at_forge = self._owner_at_forge(owner)
        listed = self._read(APPLICATIONS, "list applications", query).get("items") or ()
        found = [
            self._seen(application, index)
            for application in listed
            for index, source in enumerate(sources_of(application))
            if is_of_repository(str(source.get("repoURL", "")), at_forge, name)
        ]
        seen = [each for each in found if each is not None]
        if not seen:
            return None
        behind = min(seen, key=lambda each: (each.ready.status == "True", each.synced_at))
        return Reconciliation(
            owner=owner,
            name=name,
            observed_revision=behind.revision,
            conditions=(behind.ready,),
            applied_secrets=applied_by_all(secret for each in seen for secret in each.brought),
        )

    def close(self) -> None:
        """Closes the pooled connections."""
        self._client.close()

    def _seen(self, application: Mapping[str, Any], index: int) -> _Seen | None:
        """None when the application has gone since it was listed, as with its repository."""
        status = application.get("status") or {}
        is_healthy = (status.get("health") or {}).get("status") == HEALTHY
        nodes = () if is_healthy else self._nodes(application)
        brought = self._brought(application)
        if nodes is None or brought is None:
            return None
        ready = ready_of(application, index, nodes)
        if ready.status == "True":
            ready = condition_of(brought) or ready
        synced_at = str((status.get("operationState") or {}).get("finishedAt") or "")
        return _Seen(revision_of(status, index), ready, synced_at, brought)

    def _nodes(self, application: Mapping[str, Any]) -> Sequence[Mapping[str, Any]] | None:
        """Everything the application has in the cluster, each with its health; applications
        themselves no longer tell that of their parts.
        """
        tree = self._of_application(application, "resource-tree", "read resource tree", {})
        return None if tree is None else tree.get("nodes") or ()

    def _brought(self, application: Mapping[str, Any]) -> Sequence[BroughtSecret] | None:
        operation = "read managed resources"
        query = {"group": GROUP, "kind": KIND}
        found = self._of_application(application, "managed-resources", operation, query)
        if found is None:
            return None
        states = [json.loads(each.get("liveState") or "null") for each in found.get("items") or ()]
        return [read_external_secret(state) for state in states if state]

    def _of_application(
        self, application: Mapping[str, Any], what: str, operation: str, query: Mapping[str, str]
    ) -> Mapping[str, Any] | None:
        """None when Argo CD itself says that there is no such application any more."""
        metadata = application["metadata"]
        path = f"{APPLICATIONS}/{quote(metadata['name'])}/{what}"
        place = {"project": application["spec"]["project"]}
        if metadata.get("namespace"):
            place["appNamespace"] = metadata["namespace"]
        with self._calls.calling(operation):
            response = self._sent(path, operation, {**query, **place})
            if response.status_code == 404:
                self._client.require_own(response, operation, "code")
                return None
            return self._decoded(response, operation)

    def _read(self, path: str, operation: str, query: Mapping[str, str]) -> Mapping[str, Any]:
        with self._calls.calling(operation):
            return self._decoded(self._sent(path, operation, query), operation)

    def _sent(self, path: str, operation: str, query: Mapping[str, str]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._token.read()}"}
        return self._client.send("GET", path, operation, query=query, headers=headers)

    def _decoded(self, response: httpx.Response, operation: str) -> Mapping[str, Any]:
        document = self._client.decoded(response, operation)
        if not isinstance(document, dict):
            raise self._client.unreadable(response, operation, "an answer that is no object")
        return document
