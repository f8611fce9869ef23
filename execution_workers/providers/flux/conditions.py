"""What a Kustomization of Flux says, as one condition. https://fluxcd.io/flux/components/kustomize/kustomizations/"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from idp_kernel.wire.agent import READY, SYNC_FAILED, UNHEALTHY, VALIDATION_FAILED
from idp_kernel.wire.worker import GitOpsCondition

HEALTHY = "Healthy"
_REASONS = {
    "BuildFailed": VALIDATION_FAILED,
    "ReconciliationFailed": SYNC_FAILED,
    "HealthCheckFailed": UNHEALTHY,
}
"""Flux's reasons for what lasts until a person mends it; others pass."""

Document = Mapping[str, Any]


def revision_of(kustomization: Document) -> str | None:
    """The commit that it speaks about: the one applied, and that of the last try if that failed."""
    status = kustomization.get("status") or {}
    is_refused = ready_of(kustomization).status == "False"
    told = status.get("lastAttemptedRevision") if is_refused else None
    return commit_of(str(told or status.get("lastAppliedRevision") or ""))


def commit_of(revision: str) -> str | None:
    """Of `<branch>@sha1:<commit>`; None when nothing was applied yet."""
    return revision.rpartition(":")[2] or None


def ready_of(kustomization: Document) -> GitOpsCondition:
    """`True` when it is ready, healthy as far as it looks, and speaks of itself as it is now."""
    status = kustomization.get("status") or {}
    generation = kustomization["metadata"].get("generation")
    if (kustomization.get("spec") or {}).get("suspend"):
        return _unknown("Suspended", f"{_name(kustomization)} is suspended")
    if generation is not None and status.get("observedGeneration") != generation:
        return _unknown("NewGeneration", f"Flux has not taken up {_name(kustomization)} as it is")
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    if READY not in conditions:
        return _unknown("NoCondition", f"{_name(kustomization)} says nothing yet")
    healthy = conditions.get(HEALTHY)
    is_ready = conditions[READY]["status"] == "True"
    if is_ready and healthy is not None and healthy["status"] != "True":
        return _condition(healthy)
    return _condition(conditions[READY])


def external_secrets_of(kustomization: Document, group: str, kind: str) -> Iterator[list[str]]:
    """Version of the API, namespace and name of each that it has applied. An entry's id is
    `<namespace>_<name>_<group>_<kind>`; of these only a name may have an underscore: Flux writes
    two for the colon in names of RBAC.
    """
    inventory = (kustomization.get("status") or {}).get("inventory") or {}
    for entry in inventory.get("entries") or ():
        namespace, rest = entry["id"].split("_", 1)
        name, of_group, of_kind = rest.rsplit("_", 2)
        if (of_group, of_kind) == (group, kind):
            yield [entry["v"], namespace, name]


def _condition(said: Document) -> GitOpsCondition:
    """Without its time: that is of the condition, which may stay over a new revision."""
    reason = str(said.get("reason") or "NoReason")
    return GitOpsCondition(
        type=READY,
        status=str(said["status"]),
        reason=_REASONS.get(reason, reason) if said["status"] == "False" else reason,
        message=str(said.get("message") or ""),
    )


def _unknown(reason: str, message: str) -> GitOpsCondition:
    return GitOpsCondition(type=READY, status="Unknown", reason=reason, message=message)


def _name(kustomization: Document) -> str:
    metadata = kustomization["metadata"]
    return f"Kustomization {metadata.get('namespace', '')}/{metadata['name']}"
