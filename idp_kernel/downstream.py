"""Whose errors steps tell of, and by which codes: the closed sets that labels come from."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from idp_kernel.services import ServiceName

ARGOCD: Final = "argocd"
FLUX: Final = "flux"
GITEA: Final = "gitea"
GITHUB: Final = "github"
HARBOR: Final = "harbor"
OPENBAO: Final = "openbao"
POSTGRES: Final = "postgres"


class CircuitState(StrEnum):
    """Whether a provider is called, by what its last calls came to."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Refusal(StrEnum):
    """Why a call to a provider was not made; also the code of the error."""

    BUSY = "provider_busy"
    RATE_LIMITED = "provider_rate_limited"
    PAUSED = "provider_paused"
    CIRCUIT_OPEN = "circuit_open"


PULL_REQUEST_OPEN: Final = "pull_request_open"
"""The code of a commit that comes by a pull request which nobody has merged yet; no error of a
provider's."""

VALUE_SET_BY_PERSON: Final = "value_set_by_person"
"""The code of a rotation that only a person can give the next value to."""

TARGETS: Final = frozenset({*ServiceName, ARGOCD, FLUX, GITEA, GITHUB, HARBOR, OPENBAO, POSTGRES})
"""Providers, and services that gave no answer."""

CODES: Final = frozenset(
    {
        "unreachable",
        *Refusal,
        "credential_unreadable",
        "agent_denied",
        "agent_failed",
        "agent_rejected",
        "agent_unavailable",
        *(
            f"{agent}_{code}"
            for agent in (ARGOCD, FLUX)
            for code in (
                "denied",
                "failed",
                "misconfigured",
                "missing",
                "rate_limited",
                "rejected",
                "timeout",
                "unreachable",
                "unreadable",
            )
        ),
        "forge_branch_busy",
        "forge_denied",
        "forge_failed",
        "forge_missing",
        "forge_rejected",
        "forge_unavailable",
        "forge_unreachable",
        "git_broken_off",
        "git_failed",
        "git_timeout",
        "gitea_contended",
        "gitea_denied",
        "gitea_failed",
        "gitea_misconfigured",
        "gitea_missing",
        "gitea_moved",
        "gitea_quota",
        "gitea_rate_limited",
        "gitea_rejected",
        "gitea_timeout",
        "gitea_unreachable",
        "gitea_unreadable",
        "github_clock",
        "github_denied",
        "github_failed",
        "github_misconfigured",
        "github_missing",
        "github_moved",
        "github_rate_limited",
        "github_rejected",
        "github_timeout",
        "github_unreachable",
        "github_unreadable",
        "harbor_contended",
        "harbor_denied",
        "harbor_failed",
        "harbor_misconfigured",
        "harbor_missing",
        "harbor_rate_limited",
        "harbor_rejected",
        "harbor_timeout",
        "harbor_unreachable",
        "harbor_unreadable",
        "openbao_behind",
        "openbao_contended",
        "openbao_denied",
        "openbao_failed",
        "openbao_misconfigured",
        "openbao_missing",
        "openbao_not_initialised",
        "openbao_rate_limited",
        "openbao_rejected",
        "openbao_sealed",
        "openbao_standby",
        "openbao_timeout",
        "openbao_unreachable",
        "openbao_unreadable",
        "postgres_busy",
        "postgres_denied",
        "postgres_failed",
        "postgres_misconfigured",
        "postgres_misused",
        "postgres_unreachable",
        "elder_credential_in_use",
        "issuer_not_configured",
        "login_replaced",
        "no_free_login",
    }
)
"""Those of the providers' error tables, and those of the calls to them."""

OTHER: Final = "other"
"""The label of whatever is in no closed set."""
