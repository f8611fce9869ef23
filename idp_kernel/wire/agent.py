"""The REST API of `local-gitops-agent`: what it reconciles and what it saw, Flux style.

The agent finds the repositories to reconcile by itself at the forge (names that begin with
`appenv-`), with its own read-only token.
"""

from __future__ import annotations

from typing import Final

from idp_kernel.wire.base import Timestamp, WireModel
from idp_kernel.wire.worker import GitOpsCondition

RECONCILIATIONS = "/api/v1/reconciliations"
RECONCILIATION = "/api/v1/reconciliations/{owner}/{name}"


READY: Final = "Ready"
VALIDATION_FAILED: Final = "ValidationFailed"
"""The agent takes the manifests for wrong."""
SYNC_FAILED: Final = "SyncFailed"
"""The cluster has refused what the agent would apply."""
UNHEALTHY: Final = "Unhealthy"
"""It is applied, and something of it does not work."""
LASTING_REASONS: Final = frozenset({VALIDATION_FAILED, SYNC_FAILED, UNHEALTHY})
"""Why an agent is not `Ready` where waiting alone is no way out; other reasons pass."""


class AppliedSecret(WireModel):
    """What an ExternalSecret brings, of the last revision that was found valid."""

    name: str
    remote_key: str
    version: int | None
    properties: tuple[str, ...] = ()
    """Which of the version's properties it brings."""


class Reconciliation(WireModel):
    owner: str
    name: str
    observed_revision: str | None
    """The commit of the default branch that was last looked at."""
    ancestors: tuple[str, ...] = ()
    """The commits before it on the default branch, newest first, at most 100."""
    conditions: tuple[GitOpsCondition, ...]
    """Always one of type `Ready`: `True`, `False` (reason says why) or `Unknown`; and one of type
    `SourceAvailable`, which is `False` while the forge is away and the rest may be out of date."""
    applied_secrets: tuple[AppliedSecret, ...] = ()
    last_reconciled_at: Timestamp | None = None
    """When the forge's present state was last seen and compared with this."""


class Reconciliations(WireModel):
    """Answer of `/api/v1/reconciliations`: everything the agent reconciles, by owner and name."""

    items: tuple[Reconciliation, ...]
