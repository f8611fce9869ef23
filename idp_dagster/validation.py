"""What becomes of a finding that speaks against a workflow."""

from __future__ import annotations

from idp_kernel.errors import ProviderRejected
from idp_kernel.wire.worker import Findings


def require_passed(findings: Findings, *, code: str) -> None:
    """Raises `ProviderRejected` with the code, and what each failed finding expected and found."""
    failed = [finding for finding in findings.items if not finding.passed]
    if failed:
        told = "; ".join(
            f"{finding.id}: expected {finding.expected}, found {finding.found}"
            for finding in failed
        )
        raise ProviderRejected(f"{told}. Mend it there, then retry the request.", code=code)
