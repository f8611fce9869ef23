"""What an application of Argo CD says, as one condition.

https://argo-cd.readthedocs.io/en/stable/operator-manual/health/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from idp_kernel.wire.agent import READY, SYNC_FAILED, UNHEALTHY
from idp_kernel.wire.worker import GitOpsCondition

HEALTHY, DEGRADED = "Healthy", "Degraded"
SYNCED = "Synced"
_FAILED_PHASES = ("Failed", "Error")
_MOST_TOLD = 3

Document = Mapping[str, Any]


def sources_of(application: Document) -> Sequence[Document]:
    """Where its manifests come from; an application has one source or several."""
    spec = application.get("spec") or {}
    return spec.get("sources") or ([spec["source"]] if spec.get("source") else [])


def revision_of(status: Document, index: int) -> str | None:
    """The commit of the source at that place that was compared with the cluster last."""
    sync = status.get("sync") or {}
    revisions = sync.get("revisions") or [sync.get("revision")]
    return (revisions[index] if index < len(revisions) else None) or None


def ready_of(application: Document, index: int, nodes: Sequence[Document]) -> GitOpsCondition:
    """`True` when what it compared last is applied and healthy; the message names what is not.

    It has no time: Argo CD's moments are of its health, which may stay good over a new revision.
    """
    status = application.get("status") or {}
    operation = status.get("operationState") or {}
    sync, health = _word(status, "sync"), _word(status, "health")
    errors = list(_errors(status))
    if operation.get("phase") in _FAILED_PHASES and _is_about(operation, status, index):
        return _condition("False", SYNC_FAILED, _of_operation(operation))
    if errors and sync != SYNCED:
        return _condition("Unknown", "ComparisonError", "; ".join(errors))
    if operation.get("phase") == "Running":
        return _condition("Unknown", "Syncing", _of_operation(operation))
    if sync != SYNCED:
        return _condition("Unknown", sync, _of_sync(application, sync))
    if health != HEALTHY:
        status_word = "False" if health == DEGRADED else "Unknown"
        reason = UNHEALTHY if health == DEGRADED else health
        return _condition(status_word, reason, "; ".join(_unhealthy(nodes)) or _no_part(health))
    return _condition("True", "Healthy", f"{_name(application)} is synced and healthy")


def _condition(status: str, reason: str, message: str) -> GitOpsCondition:
    return GitOpsCondition(type=READY, status=status, reason=reason, message=message)


def _word(status: Document, part: str) -> str:
    return str((status.get(part) or {}).get("status") or "Unknown")


def _name(application: Document) -> str:
    return f"application {application['metadata']['name']}"


def _is_about(operation: Document, status: Document, index: int) -> bool:
    """Whether the operation was to bring the revision that is compared now."""
    result = operation.get("syncResult") or {}
    return revision_of({"sync": result}, index) in (revision_of(status, index), None)


def _errors(status: Document) -> Iterator[str]:
    for each in status.get("conditions") or ():
        if str(each.get("type", "")).endswith("Error"):
            yield f"{each['type']}: {each.get('message', '')}"


def _of_operation(operation: Document) -> str:
    """Its own message, and what the cluster says of each object that it refused."""
    refused = [
        f"{_place(each)}: {each.get('message', '')}"
        for each in (operation.get("syncResult") or {}).get("resources") or ()
        if each.get("status") == SYNC_FAILED
    ]
    return "; ".join([str(operation.get("message") or "no message"), *refused[:_MOST_TOLD]])


def _of_sync(application: Document, sync: str) -> str:
    policy = (application.get("spec") or {}).get("syncPolicy") or {}
    by_hand = "" if policy.get("automated") else "; it is not synced by itself"
    return f"{_name(application)} is {sync}{by_hand}"


def _unhealthy(nodes: Sequence[Document]) -> Iterator[str]:
    wrong = [node for node in nodes if _word(node, "health") not in (HEALTHY, "Unknown")]
    for node in wrong[:_MOST_TOLD]:
        health = node["health"]
        message = f": {health['message']}" if health.get("message") else ""
        yield f"{_place(node)} is {health['status']}{message}"
    if len(wrong) > _MOST_TOLD:
        yield f"{len(wrong) - _MOST_TOLD} more"


def _no_part(health: str) -> str:
    return f"its health is {health}, and no part of it says why"


def _place(resource: Document) -> str:
    namespace = f"{resource['namespace']}/" if resource.get("namespace") else ""
    return f"{resource.get('kind', 'something')} {namespace}{resource.get('name', '')}"
