"""What the answers of `local-gitops-agent` mean to us."""

from __future__ import annotations

from execution_workers.providers.calls import Verdict
from execution_workers.providers.problems import ErrorTable
from idp_kernel.errors import (
    Conflict,
    InvalidInput,
    InvariantBroken,
    MoveRefused,
    NotAllowed,
    NotFound,
    ProviderRejected,
    Unauthenticated,
    Unavailable,
)

_REJECTED = Verdict(
    ProviderRejected, "agent_rejected", "Compare GITOPS_AGENT_URL and the agent's version."
)
_DENIED = Verdict(ProviderRejected, "agent_denied", "Give execution-workers the reader's token.")
_FAILED = Verdict(Unavailable, "agent_failed", "Look at the agent's log.")

ERRORS: ErrorTable = {
    InvalidInput: _REJECTED,
    Unauthenticated: _DENIED,
    NotAllowed: _DENIED,
    NotFound: _REJECTED,
    Conflict: _REJECTED,
    MoveRefused: _REJECTED,
    Unavailable: Verdict(Unavailable, "agent_unavailable", "It is tried again."),
    ProviderRejected: _FAILED,
    InvariantBroken: _FAILED,
}
