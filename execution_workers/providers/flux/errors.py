"""What answers of the Kubernetes API mean to us."""

from __future__ import annotations

from execution_workers.providers.agent_errors import agent_errors
from execution_workers.providers.calls import Verdict
from idp_kernel.downstream import FLUX
from idp_kernel.errors import ProviderRejected

ERRORS = agent_errors(FLUX, "FLUX_KUBERNETES_URL", "FLUX_TOKEN_FILE")
NOT_SERVED = Verdict(
    ProviderRejected,
    "flux_missing",
    "Install the External Secrets Operator, or the version of its API that manifests name.",
)
