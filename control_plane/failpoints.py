"""Where a test may hold this process still (`idp_kernel.failpoints`)."""

from __future__ import annotations

from typing import Final

COMMAND_AFTER_COMMIT: Final = "control-plane-api.command.after_commit"
END_PHASE_BEFORE_COMMIT: Final = "control-plane-api.end_phase.before_commit"
END_PHASE_AFTER_COMMIT: Final = "control-plane-api.end_phase.after_commit"
FINALIZE_BEFORE_COMMIT: Final = "control-plane-api.finalize.before_commit"
FINALIZE_AFTER_COMMIT: Final = "control-plane-api.finalize.after_commit"

FAILPOINTS: Final = (
    COMMAND_AFTER_COMMIT,
    END_PHASE_BEFORE_COMMIT,
    END_PHASE_AFTER_COMMIT,
    FINALIZE_BEFORE_COMMIT,
    FINALIZE_AFTER_COMMIT,
)
