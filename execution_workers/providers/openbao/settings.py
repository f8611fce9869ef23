"""What execution-workers can be told of OpenBao, or Vault."""

from __future__ import annotations

from enum import StrEnum

from idp_kernel.secret_store import StorePathPart
from idp_kernel.services import DEFAULT_PORTS, LOOPBACK
from idp_kernel.settings import (
    AuthoritiesFile,
    HttpUrl,
    Label,
    Needs,
    SecretFilePath,
    ServiceSettings,
)


class StoreLoginChoice(StrEnum):
    """How the workers log in at the store."""

    APPROLE = "approle"
    KUBERNETES = "kubernetes"
    JWT = "jwt"


class VersionEnd(StrEnum):
    """What becomes of a version whose credential was retired."""

    DESTROY = "destroy"
    DELETE = "delete"


class OpenBaoSettings(ServiceSettings):
    """What the store `openbao` needs."""

    openbao_url: HttpUrl = f"http://{LOOPBACK}:{DEFAULT_PORTS.openbao}"
    """Where OpenBao, or Vault, is."""
    openbao_ca_file: AuthoritiesFile | None = None
    """The authorities that vouch for its certificate, as PEM; the well-known ones without it."""
    openbao_namespace: StorePathPart | None = None
    """The namespace with the secrets; the root without it."""
    openbao_login: StoreLoginChoice = StoreLoginChoice.APPROLE
    """By which auth method the workers log in."""
    openbao_login_mount: StorePathPart | None = None
    """Where that method is mounted; at its own name without it. People log in at `jwt`, so a
    `jwt` login of the workers has a mount of its own."""
    openbao_approle_file: SecretFilePath | None = None
    """The workers' login by `approle`, which needs it: JSON with `role_id` and `secret_id`."""
    openbao_login_role: Label | None = None
    """The workers' role at the methods `kubernetes` and `jwt`, which need it."""
    openbao_login_token_file: SecretFilePath | None = None
    """The token that the methods `kubernetes` and `jwt` exchange, and need: read at each login."""
    openbao_retired_versions: VersionEnd = VersionEnd.DESTROY
    """Destroyed, a version is gone for good; deleted, whoever may undelete can bring it back."""

    @property
    def openbao_login_needs(self) -> Needs:
        """What the workers' login needs."""
        by_token = ("openbao_login_token_file", "openbao_login_role")
        is_approle = self.openbao_login is StoreLoginChoice.APPROLE
        names = ("openbao_approle_file",) if is_approle else by_token
        return Needs(f"the login {self.openbao_login}", names)
