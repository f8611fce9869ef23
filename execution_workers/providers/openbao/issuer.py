"""A random value, or a person's own: whoever reads it decides what it opens, so the store itself is
its issuer.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from execution_workers.ports import Attempt, Ended, Permission, Properties, Sessions

VALUE_BYTES = 32
VALUE = "value"


class GeneratedValues:
    """The port `CredentialIssuer` for values that are good as soon as the store has them."""

    def permissions(self) -> Sequence[Permission]:
        """None: it calls nobody."""
        return ()

    @property
    def takes_values_of_people(self) -> bool:
        return True

    def draft(
        self,
        secret_id: str,  # noqa: ARG002 - the same for every secret
        in_use: Mapping[int, Properties],  # noqa: ARG002 - it takes the place of none
        *,
        team: str,  # noqa: ARG002
        emergency: bool = False,  # noqa: ARG002
    ) -> Properties:
        return {VALUE: secrets.token_urlsafe(VALUE_BYTES)}

    def install(
        self,
        secret_id: str,
        properties: Properties,
        version: int,
        attempt: Attempt,
        *,
        team: str,
        emergency: bool = False,
    ) -> None:
        """It is in the store, and that is all."""

    def verify(self, properties: Properties, *, team: str) -> str | None:  # noqa: ARG002
        return None if properties.get(VALUE) else "its value is empty"

    def problem_with(self, secret_id: str, version: int) -> str | None:  # noqa: ARG002
        """Nothing: it is good where the store has it."""
        return None

    def sessions(self, secret_id: str, properties: Properties) -> Sessions | None:  # noqa: ARG002
        """Nobody knows who reads it."""
        return None

    def retire_others(
        self,
        secret_id: str,  # noqa: ARG002 - the store knows them all
        properties: Properties,  # noqa: ARG002
        version: int,  # noqa: ARG002
        attempt: Attempt,  # noqa: ARG002
        *,
        team: str,  # noqa: ARG002
    ) -> int:
        """They end with their versions in the store."""
        return 0

    def end(self, secret_id: str, attempt: Attempt) -> Ended:  # noqa: ARG002
        """They end with their versions in the store."""
        return Ended(logins=0, sessions=0)

    def logins_let_in(self, secret_id: str) -> Sequence[str]:  # noqa: ARG002
        """None: whoever knows a value decides what it opens."""
        return ()

    def remove(self, secret_id: str, attempt: Attempt) -> bool:  # noqa: ARG002
        """It ends with the secret in the store."""
        return True
