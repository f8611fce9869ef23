"""What the answers of `local-forge` mean to us; git's own words are in `forges.git_errors`."""

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

_DENIED = Verdict(ProviderRejected, "forge_denied", "Give execution-workers the bot's token.")
_REJECTED = Verdict(
    ProviderRejected, "forge_rejected", "Change what was asked for, or compare FORGE_URL."
)
_FAILED = Verdict(Unavailable, "forge_failed", "Look at the forge's log.")

ERRORS: ErrorTable = {
    InvalidInput: _REJECTED,
    Unauthenticated: _DENIED,
    NotAllowed: _DENIED,
    NotFound: Verdict(
        ProviderRejected,
        "forge_missing",
        "Restore it at the forge; what is not active yet may begin again with its first step.",
    ),
    Conflict: _REJECTED,
    MoveRefused: _REJECTED,
    Unavailable: Verdict(Unavailable, "forge_unavailable", "It is tried again."),
    ProviderRejected: _FAILED,
    InvariantBroken: _FAILED,
}
"""Of the REST calls."""
