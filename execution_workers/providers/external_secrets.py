"""What an ExternalSecret of a cluster brings, and whether its operator has brought it.

https://external-secrets.io/latest/api/externalsecret/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from idp_kernel.wire.agent import READY, UNHEALTHY, AppliedSecret
from idp_kernel.wire.worker import GitOpsCondition

GROUP, KIND = "external-secrets.io", "ExternalSecret"
_PROGRESSING = "SecretsProgressing"


@dataclass(frozen=True)
class BroughtSecret:
    """An ExternalSecret as the cluster has it."""

    place: str
    """Namespace and name."""
    applied: AppliedSecret | None
    """None when it names no single version."""
    problem: str
    """What its operator says against it; empty when it was brought as it is now."""
    has_failed: bool
    """Whether the operator has tried."""


def read_external_secret(document: Mapping[str, Any]) -> BroughtSecret:
    """One as Kubernetes serves it; raises `KeyError` or `TypeError` when it is none."""
    metadata, status = document["metadata"], document.get("status") or {}
    ready = next((each for each in status.get("conditions") or () if each["type"] == READY), None)
    # The operator writes `<generation>-<hash>` of what it has brought.
    brought = str(status.get("syncedResourceVersion", "")).partition("-")[0]
    is_stale = bool(brought) and brought != str(metadata.get("generation", brought))
    if ready is None or is_stale:
        problem, has_failed = "its operator has not brought it yet", False
    elif ready["status"] == "True":
        problem, has_failed = "", False
    else:
        told = f"{ready.get('reason', 'no reason')}: {ready.get('message', '')}"
        problem, has_failed = told, ready["status"] == "False"
    return BroughtSecret(
        place=f"{metadata.get('namespace', '')}/{metadata['name']}",
        applied=_applied(metadata["name"], document["spec"]),
        problem=problem,
        has_failed=has_failed,
    )


def applied_by_all(brought: Iterable[BroughtSecret]) -> tuple[AppliedSecret, ...]:
    """What is applied, but for secrets that are at several versions at once."""
    found: dict[str, set[AppliedSecret | None]] = {}
    for each in brought:
        name = each.place.rpartition("/")[2]
        found.setdefault(name, set()).add(each.applied)
    single = (next(iter(each)) for each in found.values() if len(each) == 1)
    return tuple(each for each in single if each is not None)


def condition_of(brought: Sequence[BroughtSecret]) -> GitOpsCondition | None:
    """Why the agent cannot be called ready, however well it is itself; None when nothing is."""
    wrong = [each for each in brought if each.problem]
    if not wrong:
        return None
    has_failed = any(each.has_failed for each in wrong)
    told = "; ".join(f"{KIND} {each.place}: {each.problem}" for each in wrong)
    return GitOpsCondition(
        type=READY,
        status="False" if has_failed else "Unknown",
        reason=UNHEALTHY if has_failed else _PROGRESSING,
        message=told,
    )


def _applied(name: str, spec: Mapping[str, Any]) -> AppliedSecret | None:
    references = [each["remoteRef"] for each in spec.get("data") or ()]
    references += [each["extract"] for each in spec.get("dataFrom") or () if "extract" in each]
    pairs = {(each["key"], str(each.get("version", ""))) for each in references}
    if len(pairs) != 1:
        return None
    ((key, version),) = pairs
    properties = dict.fromkeys(each["property"] for each in references if "property" in each)
    return AppliedSecret(
        name=name,
        remote_key=key,
        version=int(version) if version.isdecimal() else None,
        properties=tuple(properties),
    )
