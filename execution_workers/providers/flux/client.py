"""Reads what Flux's Kustomizations say of a repository; changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from execution_workers.credentials import SecretFile
from execution_workers.ports import Permission
from execution_workers.providers.calls import ProviderCalls
from execution_workers.providers.external_secrets import (
    GROUP,
    KIND,
    BroughtSecret,
    applied_by_all,
    condition_of,
    read_external_secret,
)
from execution_workers.providers.flux.conditions import (
    external_secrets_of,
    ready_of,
    revision_of,
)
from execution_workers.providers.flux.errors import ERRORS, NOT_SERVED
from execution_workers.providers.repository_urls import OwnerAtForge, is_of_repository
from execution_workers.providers.rest import RestClient
from idp_kernel.wire.agent import READY, Reconciliation
from idp_kernel.wire.worker import GitOpsCondition

SOURCES = ("source.toolkit.fluxcd.io", "v1", "gitrepositories")
KUSTOMIZATIONS = ("kustomize.toolkit.fluxcd.io", "v1", "kustomizations")
EXTERNAL_SECRETS = "externalsecrets"
REVIEWS = "apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
PAGE_SIZE = 500
Document = Mapping[str, Any]


class Flux:
    """The port `GitOpsAgent` on Flux. Thread-safe."""

    def __init__(
        self,
        kubernetes_url: str,
        token: SecretFile,
        calls: ProviderCalls,
        *,
        namespace: str | None,
        owner_at_forge: OwnerAtForge,
        timeout_seconds: float,
        ca_file: Path | None = None,
    ) -> None:
        self._token = token
        self._owner_at_forge = owner_at_forge
        self._calls = calls
        self._namespace = namespace
        self._client = RestClient(
            kubernetes_url, calls, ERRORS, timeout_seconds=timeout_seconds, ca_file=ca_file
        )

    def permissions(self) -> Sequence[Permission]:
        return tuple(
            self._permission(verb, group, resource, namespace)
            for verb, group, resource, namespace in (
                ("list", SOURCES[0], SOURCES[2], self._namespace),
                ("list", KUSTOMIZATIONS[0], KUSTOMIZATIONS[2], self._namespace),
                ("get", GROUP, EXTERNAL_SECRETS, None),
            )
        )

    def reconciliation(self, owner: str, name: str) -> Reconciliation | None:
        """What all Kustomizations say that have the repository as their source: one that is not
        ready speaks for them. None while no GitRepository has its address.
        """
        at_forge = self._owner_at_forge(owner)
        sources = {
            _place(source["metadata"])
            for source in self._list(SOURCES)
            if is_of_repository(str(source["spec"].get("url", "")), at_forge, name)
        }
        if not sources:
            return None
        applied = [each for each in self._list(KUSTOMIZATIONS) if _source_of(each) in sources]
        brought = [secret for each in applied for secret in self._brought(each)]
        seen = [(ready_of(each), revision_of(each)) for each in applied]
        seen = seen or [(_no_kustomization(sorted(sources)), None)]
        ready, revision = min(seen, key=lambda each: each[0].status == "True")
        if ready.status == "True":
            ready = condition_of(brought) or ready
        return Reconciliation(
            owner=owner,
            name=name,
            observed_revision=_revision_of_all(seen, revision),
            conditions=(ready,),
            applied_secrets=applied_by_all(brought),
        )

    def close(self) -> None:
        """Closes the pooled connections."""
        self._client.close()

    def _brought(self, kustomization: Document) -> list[BroughtSecret]:
        found = (
            self._external_secret(*each) for each in external_secrets_of(kustomization, GROUP, KIND)
        )
        return [read_external_secret(each) for each in found if each is not None]

    def _external_secret(self, version: str, namespace: str, name: str) -> Document | None:
        """None when the cluster says of this one that it is not there, which it says otherwise of
        a kind that it does not serve.
        """
        path = f"apis/{GROUP}/{version}/namespaces/{namespace}/{EXTERNAL_SECRETS}/{name}"
        operation = "read external secret"

        def is_gone(response: httpx.Response) -> bool:
            if response.status_code != 404:
                return False
            if _named_in(response) != name:
                found = f"no {EXTERNAL_SECRETS} of {GROUP}/{version} are served"
                raise NOT_SERVED.of(self._client.provider, operation, found, status="404")
            return True

        return self._call("GET", path, operation, is_none=is_gone)

    def _list(self, kind: tuple[str, str, str]) -> list[Document]:
        """All of them; Kubernetes gives a list in pages."""
        group, version, resource = kind
        within = "" if self._namespace is None else f"/namespaces/{self._namespace}"
        path, operation = f"apis/{group}/{version}{within}/{resource}", f"list {resource}"
        found: list[Document] = []
        query: dict[str, str | int] = {"limit": PAGE_SIZE}
        while True:
            page = self._call("GET", path, operation, query=query) or {}
            found += page.get("items") or ()
            following = (page.get("metadata") or {}).get("continue")
            if not following:
                return found
            query["continue"] = following

    def _permission(
        self, verb: str, group: str, resource: str, namespace: str | None
    ) -> Permission:
        wanted = {"verb": verb, "group": group, "resource": resource, "namespace": namespace or ""}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": wanted},
        }
        answer = self._call("POST", REVIEWS, "read own rights", body=body) or {}
        return Permission(
            f"{verb} {resource}.{group}",
            bool((answer.get("status") or {}).get("allowed")),
            f"Bind a role with the verb {verb} on {resource} of {group} to the service account.",
        )

    def _call(
        self,
        method: str,
        path: str,
        operation: str,
        *,
        body: Document | None = None,
        query: Mapping[str, str | int] | None = None,
        is_none: Callable[[httpx.Response], bool] = lambda _response: False,
    ) -> Document | None:
        """The decoded answer; None for one that means there is no such thing."""
        with self._calls.calling(operation):
            headers = {"Authorization": f"Bearer {self._token.read()}"}
            response = self._client.send(
                method, path, operation, body=body, query=query, headers=headers
            )
            if is_none(response):
                return None
            document = self._client.decoded(response, operation)
            if not isinstance(document, dict):
                raise self._client.unreadable(response, operation, "an answer that is no object")
            return document


def _named_in(response: httpx.Response) -> str | None:
    """Of which object Kubernetes speaks in a refusal; None when of none, or when it is not its."""
    try:
        return str(response.json()["details"]["name"])
    except (ValueError, KeyError, TypeError):
        return None


def _place(metadata: Document) -> str:
    return f"{metadata.get('namespace', '')}/{metadata['name']}"


def _source_of(kustomization: Document) -> str:
    reference = kustomization["spec"]["sourceRef"]
    if reference.get("kind") != "GitRepository":
        return ""
    namespace = reference.get("namespace") or kustomization["metadata"].get("namespace", "")
    return f"{namespace}/{reference['name']}"


def _revision_of_all(
    seen: Sequence[tuple[GitOpsCondition, str | None]], spoken_for: str | None
) -> str | None:
    """None while Kustomizations that are ready have different revisions: one will follow."""
    revisions = {revision for ready, revision in seen if ready.status == "True"}
    return None if len(revisions) > 1 else spoken_for


def _no_kustomization(sources: Sequence[str]) -> GitOpsCondition:
    found = f"no Kustomization has the GitRepository {', '.join(sources)} as its source"
    return GitOpsCondition(type=READY, status="Unknown", reason="NoKustomization", message=found)
