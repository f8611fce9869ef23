"""The list of failpoints is complete: a test that walks it walks all there are."""

from __future__ import annotations

from execution_workers.failpoints import EFFECT_STEPS, FAILPOINTS, after_provider
from idp_kernel.workflows import APPLICATION_ENVIRONMENT_PROVISIONING, Step

PROBES = {
    Step.VERIFY_GITOPS_RECONCILIATION,
    Step.FINALIZE_APPLICATION_ENVIRONMENT_PROVISIONING,
}


def test_every_step_with_an_effect_has_its_failpoint() -> None:
    assert set(EFFECT_STEPS) == set(APPLICATION_ENVIRONMENT_PROVISIONING.steps) - PROBES
    assert after_provider(Step.PROVISION_SECRETS) in FAILPOINTS


def test_names_are_unique_and_of_this_process() -> None:
    assert len(set(FAILPOINTS)) == len(FAILPOINTS)
    assert all(name.startswith("execution-workers.") for name in FAILPOINTS)
