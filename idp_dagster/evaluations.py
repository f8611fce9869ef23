"""How a finding is shown in the asset catalog."""

from __future__ import annotations

from collections.abc import Sequence

from dagster import AssetCheckEvaluation, AssetCheckSeverity, AssetCheckSpec, EventLogRecord
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from idp_kernel.telemetry.logs import redact
from idp_kernel.wire.worker import Finding

SEVERITY = AssetCheckSeverity.ERROR
"""Of every failed finding: what was confirmed once does not hold any more."""


def evaluation(
    spec: AssetCheckSpec,
    finding: Finding,
    about: EventLogRecord | None,
) -> AssetCheckEvaluation:
    """One partition's. Without the materialization it is about, Dagster takes it for outdated."""
    target = about and AssetCheckEvaluationTargetMaterializationData(
        storage_id=about.storage_id, run_id=about.run_id, timestamp=about.timestamp
    )
    return AssetCheckEvaluation(
        asset_key=spec.asset_key,
        check_name=spec.name,
        partition=finding.id,
        passed=finding.passed,
        severity=SEVERITY,
        metadata={"expected": redact(finding.expected), "found": redact(finding.found)},
        target_materialization_data=target,
    )


def whole_evaluation(
    spec: AssetCheckSpec, findings: Sequence[Finding], *, left_out: int
) -> AssetCheckEvaluation:
    """The run's own, of no partition: how many were judged, how many of them stand no more, and
    how many were left out.
    """
    failed = sum(not finding.passed for finding in findings)
    return AssetCheckEvaluation(
        asset_key=spec.asset_key,
        check_name=spec.name,
        passed=not failed,
        severity=SEVERITY,
        description=f"{failed} of {len(findings)} are not as expected.",
        metadata={"looked_at": len(findings), "failed": failed, "left_out": left_out},
    )
