"""What execution-workers can be told of Flux."""

from __future__ import annotations

from idp_kernel.settings import (
    AuthoritiesFile,
    HttpUrl,
    Label,
    Needs,
    SecretFilePath,
    ServiceSettings,
)

FLUX_NEEDS = Needs("the GitOps agent flux", ("flux_kubernetes_url", "flux_token_file"))


class FluxSettings(ServiceSettings):
    """What the GitOps agent `flux` needs."""

    flux_kubernetes_url: HttpUrl | None = None
    """The Kubernetes API of the cluster with Flux; the agent `flux` needs it."""
    flux_token_file: SecretFilePath | None = None
    """The token of a service account that may read Flux's resources; the agent `flux` needs it."""
    flux_ca_file: AuthoritiesFile | None = None
    """The authorities that vouch for the cluster's certificate, as PEM; the well-known ones
    without it."""
    flux_namespace: Label | None = None
    """The namespace with the environments' GitRepositories and Kustomizations; all without it."""
