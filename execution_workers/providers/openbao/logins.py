"""How the workers prove who they are to OpenBao. https://openbao.org/docs/auth/"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from execution_workers.credentials import SecretFile
from idp_kernel.errors import ProviderRejected


class StoreLogin(Protocol):
    """One auth method. Its files are read at each login, so a replaced one counts at once."""

    @property
    def path(self) -> str:
        """Where the login is sent."""
        ...

    def proof(self) -> Mapping[str, str]:
        """What is sent. Raises `ProviderRejected` (`credential_unreadable`)."""
        ...


@dataclass(frozen=True)
class AppRoleLogin:
    """By a role and a secret id, which somebody handed out."""

    file: SecretFile
    mount: str = "approle"

    @property
    def path(self) -> str:
        return f"auth/{self.mount}/login"

    def proof(self) -> Mapping[str, str]:
        try:
            document = json.loads(self.file.read_document())
            return {"role_id": document["role_id"], "secret_id": document["secret_id"]}
        except (ValueError, KeyError, TypeError):
            raise ProviderRejected(
                f"{self.file.path} is no JSON with role_id and secret_id; "
                "let the store's set-up write it again.",
                code="credential_unreadable",
                details={"target": "openbao"},
            ) from None


@dataclass(frozen=True)
class TokenLogin:
    """By a token that somebody else signs: Kubernetes for a service account, or any other issuer
    that the method `jwt` trusts.
    """

    file: SecretFile
    role: str
    mount: str

    @property
    def path(self) -> str:
        return f"auth/{self.mount}/login"

    def proof(self) -> Mapping[str, str]:
        return {"role": self.role, "jwt": self.file.read()}
