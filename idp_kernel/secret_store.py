"""What everybody who meets at the secret store takes for granted of it: workers, people, set-up."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from idp_kernel.settings import Form

SECRETS_MOUNT: Final = "kv"
"""Of the type KV version 2, with the teams' secrets."""
PEOPLE_MOUNT: Final = "jwt"
"""The auth method by which people log in with what the control plane signs."""
NAMESPACE_HEADER: Final = "X-Vault-Namespace"

StorePathPart = Annotated[
    str,
    Field(pattern=r"^[\w.-]+(/[\w.-]+)*$"),
    Form("letters, digits, _, ., - and single slashes in between"),
]
