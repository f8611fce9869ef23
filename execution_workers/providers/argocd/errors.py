"""What answers of Argo CD mean to us."""

from __future__ import annotations

from execution_workers.providers.agent_errors import agent_errors
from idp_kernel.downstream import ARGOCD

ERRORS = agent_errors(ARGOCD, "ARGOCD_URL", "ARGOCD_TOKEN_FILE")
