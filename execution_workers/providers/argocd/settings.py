"""What execution-workers can be told of Argo CD."""

from __future__ import annotations

from idp_kernel.settings import (
    AuthoritiesFile,
    HttpUrl,
    Label,
    Needs,
    SecretFilePath,
    ServiceSettings,
)

ARGOCD_NEEDS = Needs("the GitOps agent argocd", ("argocd_url", "argocd_token_file"))


class ArgoCdSettings(ServiceSettings):
    """What the GitOps agent `argocd` needs."""

    argocd_url: HttpUrl | None = None
    """Where Argo CD's API server is; the agent `argocd` needs it."""
    argocd_token_file: SecretFilePath | None = None
    """A token of an account that may read applications; the agent `argocd` needs it."""
    argocd_ca_file: AuthoritiesFile | None = None
    """The authorities that vouch for its certificate, as PEM; the well-known ones without it."""
    argocd_project: Label | None = None
    """The Argo CD project with the environments' applications; all without it."""
